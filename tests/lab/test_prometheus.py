"""Debian's Prometheus on the client's host watches a real cluster, with the shipped files."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fakes.metrics_table import node_families
from lab import nginx
from lab.cluster import Cluster, Status
from lab.errors import LabError
from lab.lab import REPOSITORY, Lab
from lab.layout import HOSTS, MEMBERS
from lab.processes import wait_until
from lab.story import Story

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus"),
]

DEPLOY = REPOSITORY / "deploy" / "prometheus"
INSIDE = "/etc/staqraft"  # of a host: its etc/
PORT = 9090
ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=9).read().decode())"
WAIT_S = 90.0


class Prometheus:
    """On the client's host, with the shipped configuration but for targets, pace and patience."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def start(self) -> None:
        etc = self._lab.host_directory("client") / "etc"
        text = (DEPLOY / "prometheus.yml").read_text()
        for number, node in enumerate(MEMBERS, 1):
            assert f"192.0.2.{number}:9417" in text
            text = text.replace(f"192.0.2.{number}:9417", f"{HOSTS[node].address()}:9417")
        (etc / "prometheus.yml").write_text(text.replace("interval: 15s", "interval: 1s"))
        rules = (DEPLOY / "staqraft.rules.yml").read_text()
        (etc / "staqraft.rules.yml").write_text(re.sub(r"\bfor: \w+", "for: 2s", rules))
        self._lab.enable(
            "client",
            "prometheus",
            [
                "prometheus",
                f"--config.file={INSIDE}/prometheus.yml",
                "--storage.tsdb.path=/var/log/staqraft/prometheus",  # of this host of the lab
                f"--web.listen-address=127.0.0.1:{PORT}",
            ],
            notify=False,
        )

    def ask(self, path: str) -> Any:
        """The data of an answer; None while it does not answer."""
        argv = [sys.executable, "-c", ASK, f"http://127.0.0.1:{PORT}/api/v1/{path}"]
        done = self._lab.run("client", argv, check=False)
        return json.loads(done.stdout)["data"] if done.returncode == 0 else None

    def firing(self) -> list[dict[str, str]]:
        """The labels of all alerts that fire."""
        found = self.ask("alerts") or {"alerts": []}
        return [one["labels"] for one in found["alerts"] if one["state"] == "firing"]

    def wait(self, name: str, *, fires: bool = True, **labels: str) -> None:
        """Until this alert fires, or does no more."""

        def so() -> bool:
            wanted = {"alertname": name, **labels}
            return fires == any(wanted.items() <= one.items() for one in self.firing())

        what = f"{name} {labels or ''} {'fires' if fires else 'is over'}"
        wait_until(so, WAIT_S, what, every_s=0.5)

    def value(self, query: str) -> float | None:
        """Of the one series of a query."""
        found = self.ask(f"query?query={query}")["result"]
        return float(found[0]["value"][1]) if found else None


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    """a is active, both replicas are in sync, and there is data."""
    told = Story(lab=lab, cluster=Cluster(lab))
    told.start()
    for part in ("web", "mail"):
        told.write(part)
    told.compare()
    yield told
    if told.watcher is not None:
        told.watcher.finish()


@pytest.fixture(scope="module")
def prometheus(story: Story) -> Prometheus:
    """It runs, and has scraped everybody."""
    started = Prometheus(story.lab)
    started.start()

    def all_up() -> bool:
        targets = (started.ask("targets") or {}).get("activeTargets", [])
        return [one["health"] for one in targets] == ["up"] * len(MEMBERS)

    wait_until(all_up, WAIT_S, "all three nodes are scraped", every_s=0.5)
    return started


def test_the_rules_are_loaded_and_evaluated(prometheus: Prometheus) -> None:
    def rules() -> list[Status]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    wait_until(
        lambda: all(rule["health"] != "unknown" for rule in rules()), WAIT_S, "all are evaluated"
    )
    assert {rule["health"] for rule in rules()} == {"ok"}
    shipped = (DEPLOY / "staqraft.rules.yml").read_text().count("- alert:")
    assert len(rules()) == shipped


def test_a_healthy_cluster_raises_no_alarm(story: Story, prometheus: Prometheus) -> None:
    story.barrier()
    try:
        wait_until(lambda: not prometheus.firing(), WAIT_S, "nothing fires", every_s=0.5)
    except LabError as error:
        raise LabError(f"{error}, but these do: {prometheus.firing()}") from None
    assert prometheus.value("sum(staqraft_active)") == 1
    assert prometheus.value("min(staqraft_in_sync)") == 1
    assert prometheus.value("min(staqraft_barrier_duration_seconds_count{node='a'})") >= 1  # type: ignore[operator]


def test_a_witness_that_is_off_is_an_alarm_until_it_is_back(
    story: Story, prometheus: Prometheus
) -> None:
    story.lab.power_off("w")
    prometheus.wait("StaqraftDown", instance=f"{HOSTS['w'].address()}:9417")
    prometheus.wait("StaqraftMemberUnreachable", member="w", cluster="lab")
    story.lab.power_on("w")
    prometheus.wait("StaqraftDown", fires=False)
    prometheus.wait("StaqraftMemberUnreachable", fires=False)


def test_a_failover_is_an_alarm_with_its_duration(story: Story, prometheus: Prometheus) -> None:
    takeover = story.cut_power()
    prometheus.wait("StaqraftTakeover", node=takeover.winner, group="default")
    prometheus.wait("StaqraftNotInSync", node=takeover.winner, replica=takeover.loser)
    lasted = prometheus.value("staqraft_takeover_duration_seconds_sum{fence='lease'}")
    assert lasted is not None
    # The client's outage ends a little later and begins, by up to a renewal, too.
    assert lasted == pytest.approx(takeover.outage_s, abs=2.0)
    assert prometheus.value("staqraft_takeovers_total{fence='lease'}") == 1
    story.return_of_the_loser()
    prometheus.wait("StaqraftNotInSync", fires=False)
    prometheus.wait("StaqraftQuarantine", node=takeover.loser)


def test_a_service_that_dies_is_counted(story: Story, prometheus: Prometheus) -> None:
    story.lab.run(story.active, ["sh", "-c", f"kill -9 $(cat {nginx.PIDFILE})"])
    wait_until(
        lambda: (prometheus.value("sum(staqraft_service_failures_total)") or 0) >= 1,
        WAIT_S,
        "the failure is counted",
        every_s=0.5,
    )


def test_of_all_that_is_declared_real_daemons_show_nearly_all(prometheus: Prometheus) -> None:
    """All but what needs a fence device or somebody to be told."""
    declared = {family.name for family in node_families()}
    shown = set(prometheus.ask("label/__name__/values"))
    plain = {name.removesuffix("_bucket") for name in shown}
    assert declared - plain == {
        "staqraft_fence_device_up",
        "staqraft_notifications_total",
        "staqraft_notifications_dropped_total",
        "staqraft_notifications_held_back",
        "staqraft_notifications_waiting",
    }
