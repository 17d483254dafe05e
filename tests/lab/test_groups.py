"""Two groups with their own trees, addresses and services share the load of two replicas.

Real daemons and real nginx; each test stands on the one before it, as in `test_story`. What is
done to one group is never seen by the clients of the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from lab import second
from lab.arpwatch import Findings
from lab.cluster import CONFIGURATION, GROUP, STAQCTL, Cluster
from lab.lab import Lab
from lab.layout import VIP
from lab.linux import boottime
from lab.observers import Client, Observer, probe_http, watch_arp
from lab.processes import wait_until
from lab.views import Views

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

SITES = second.GROUP
PATIENCE_S = 60.0
FAILBACK_S = 6


@dataclass
class Sharing:
    """The cluster, and what clients and the switch see of either group."""

    cluster: Cluster
    views: dict[str, Views] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    watchers: dict[str, Observer[Findings]] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        return self.cluster.lab

    def wait(self, **actives: str) -> dict[str, int]:
        """Until each group is active there and both replicas are in sync; the epochs."""
        return {
            group: self.views[group].wait_protected(active, PATIENCE_S).epoch
            for group, active in actives.items()
        }

    def wait_serves(self, group: str, node: str) -> None:
        views = self.views[group]
        views.wait(lambda: views.serving() == node, PATIENCE_S, f"{node} serves {group}")

    def expect_undisturbed(self, group: str, since: float) -> None:
        """Nobody who asked for a page of this group after that instant was let down."""
        client = self.clients[group]
        client.wait_served(boottime())
        asked = [outcome for outcome in client.record.outcomes if outcome[0] > since]
        assert len(asked) > 5
        assert [outcome for outcome in asked if outcome[2]] == []

    def page(self, group: str) -> str:
        url = f"http://{VIP}/who" if group == GROUP else f"http://{second.VIP}:{second.PORT}/who"
        words = ["curl", "-s", "-m", "2", url]
        return self.lab.run("client", words, check=False).stdout.strip()

    def tried(self, node: str, *words: str) -> tuple[int, str]:
        """Exit code, and all that staqctl said."""
        argv = [*STAQCTL, "--config", CONFIGURATION, *words]
        done = self.lab.run(node, argv, check=False, timeout_s=90)
        return done.returncode, done.stdout + done.stderr

    def history(self, group: str) -> list[dict[str, str]]:
        return [event for event in self.cluster.events("w") if event["group"] == group]


@pytest.fixture(scope="module")
def sharing(lab: Lab) -> Iterator[Sharing]:
    """a is active for one group, b for the other."""
    failback = {"prefer": "a", "after": f"{FAILBACK_S}s"}
    cluster = Cluster(lab, more={SITES: second.group(failback=failback)})
    cluster.install()
    told = Sharing(cluster)
    with ExitStack() as stack:
        for group, vip in ((GROUP, VIP), (SITES, second.VIP)):
            told.watchers[group] = stack.enter_context(watch_arp(lab, vip))
            told.views[group] = stack.enter_context(Views(lab, group=group))
        cluster.start()
        # The one prefers a: an operator's choice of b holds it there.
        told.wait_serves(SITES, "b")
        told.views[GROUP].wait_protected("a", PATIENCE_S)
        for node, root in (("a", "/srv/www"), ("b", second.TREE)):
            lab.run(node, ["sh", "-c", f"echo {root} > {root}/who"])
        yield told


def serving(sharing: Sharing) -> None:
    """Clients that ask all the time, from now on."""
    for group, at in ((GROUP, VIP), (SITES, f"{second.VIP}:{second.PORT}")):
        if group not in sharing.clients:
            sharing.clients[group] = Client(probe_http(sharing.lab, "/who", at=at))
        sharing.clients[group].wait_served(0.0)


def test_each_is_active_where_it_is_to_be_and_the_policy_moves_one_only(sharing: Sharing) -> None:
    assert sharing.page(GROUP) == "/srv/www"
    assert sharing.page(SITES) == second.TREE
    serving(sharing)
    before = sharing.wait(**{GROUP: "a"})
    since = boottime()
    after = sharing.wait(**{SITES: "a"})  # the failback policy
    sharing.expect_undisturbed(GROUP, since)
    assert sharing.wait(**{GROUP: "a"}) == before
    assert any("the failback policy asks" in event["text"] for event in sharing.history(SITES))
    assert after[SITES] == 2


def test_an_operator_moves_one_back_and_the_other_is_not_disturbed(sharing: Sharing) -> None:
    before = sharing.wait(**{GROUP: "a"})
    code, said = sharing.tried("b", "switchover", "-g", SITES, "--to", "b", "--dry-run")
    assert code == 0, said
    assert "b opens the gate to clients" in said
    assert "nothing is in its way" in said
    code, said = sharing.tried("w", "switchover")
    assert code == 2
    assert "one must be named: default, sites" in said
    since = boottime()
    code, said = sharing.tried("w", "switchover", "-g", SITES, "--to", "b")
    assert code == 0, said
    sharing.wait(**{SITES: "b"})
    sharing.expect_undisturbed(GROUP, since)
    assert sharing.wait(**{GROUP: "a"}) == before
    code, said = sharing.tried("b", "status")
    assert "an operator chose b" in said


def test_a_power_cut_moves_one_and_leaves_the_other_alone(sharing: Sharing) -> None:
    before = sharing.wait(**{GROUP: "a", SITES: "b"})
    sharing.cluster.ctl("a", "barrier", "-g", GROUP)
    since = boottime()
    cut = sharing.lab.power_off("a")
    sharing.wait_serves(GROUP, "b")
    sharing.clients[GROUP].wait_served(cut)
    assert sharing.page(GROUP) == "/srv/www"
    sharing.expect_undisturbed(SITES, since)
    assert sharing.cluster.group("b", SITES)["epoch"] == str(before[SITES])
    fenced = [event["text"] for event in sharing.history(GROUP) if event["kind"] == "fenced"]
    assert fenced[-1].startswith("a no longer serves; proof: lease")


def test_who_returns_follows_both_and_gets_one_back(sharing: Sharing) -> None:
    sharing.lab.power_on("a")
    epochs = sharing.wait(**{GROUP: "b", SITES: "b"})
    since = boottime()
    code, said = sharing.tried("a", "switchover", "-g", GROUP, "--at", "+3s", "--reason", "rest")
    assert code == 0, said
    later = sharing.cluster.group("w", GROUP)["scheduled"]
    assert (later["target"], later["reason"]) == ("a", "rest")
    assert sharing.wait(**{GROUP: "a"})[GROUP] == epochs[GROUP] + 1
    sharing.expect_undisturbed(SITES, since)
    assert sharing.wait(**{SITES: "b"})[SITES] == epochs[SITES]


def test_a_switchover_put_off_survives_the_daemons_and_is_given_up(sharing: Sharing) -> None:
    assert sharing.tried("w", "switchover", "-g", SITES, "--to", "a", "--at", "+1h")[0] == 0
    sharing.lab.ask_init("b", op="stop", unit="staqraftd")
    sharing.wait_serves(SITES, "a")  # handed over, in order
    sharing.lab.ask_init("b", op="start", unit="staqraftd")
    sharing.wait(**{GROUP: "a", SITES: "a"})
    assert sharing.cluster.group("b", SITES)["scheduled"]["target"] == "a"
    code, said = sharing.tried("b", "switchover", "-g", SITES, "--cancel")
    assert (code, said[:9]) == (0, "given up "), said
    wait_until(
        lambda: not sharing.cluster.group("a", SITES).get("scheduled"), PATIENCE_S, "it is gone"
    )
    code, said = sharing.tried("b", "switchover", "-g", SITES, "--at", "2001-01-01 00:00")
    assert code == 7
    assert "in the past" in said
    assert any(event["kind"] == "switchover-unscheduled" for event in sharing.history(SITES))


def test_at_no_time_did_two_hosts_answer_for_either_address(sharing: Sharing) -> None:
    for client in sharing.clients.values():
        client.finish()
    for group, watcher in sharing.watchers.items():
        findings = watcher.finish()
        assert findings.doubles == [], group
        assert findings.questions > 100
    assert json.loads(sharing.cluster.ctl("a", "status", "--json"))["raft"]["has_quorum"]
