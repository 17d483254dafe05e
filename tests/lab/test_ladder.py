"""Fencing through the witness, and addresses that a third host has; on real daemons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import second
from lab.cluster import CONFIGURATION, GROUP, STAQCTL, Cluster
from lab.lab import Lab
from lab.layout import HOSTS, VIP, VIP_INTERFACE
from lab.processes import wait_until
from lab.views import Views

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

SITES = second.GROUP
PATIENCE_S = 60.0
REACHED_S = 90.0  # a minute, and what comes on top


@dataclass
class Ladder:
    """The cluster, and what its members say of either group."""

    cluster: Cluster
    views: Views
    sites: Views

    @property
    def lab(self) -> Lab:
        return self.cluster.lab

    def history(self, kind: str) -> list[str]:
        return [event["text"] for event in self.cluster.events("w") if event["kind"] == kind]

    def said(self, node: str) -> str:
        argv = [*STAQCTL, "--config", CONFIGURATION, "status"]
        return " ".join(self.lab.run(node, argv, check=False).stdout.split())

    def move(self, active: str) -> None:
        """The first group goes to the other, at once when that says that it would take over."""

        def ready() -> bool:
            takeovers = self.cluster.group(active).get("takeovers", [])
            others = [t for t in takeovers if not t.get("active")]
            return bool(others) and all(t.get("known") and not t.get("refusals") for t in others)

        wait_until(ready, PATIENCE_S, f"the other replica would take over from {active}")
        self.cluster.ctl(active, "switchover", "-g", GROUP)

    def third_host(self, what: str, address: str) -> None:
        words = ["ip", "address", what, f"{address}/32", "dev", VIP_INTERFACE]
        self.lab.run("client", words)


@pytest.fixture(scope="module")
def ladder(lab: Lab) -> Iterator[Ladder]:
    """a is active for one group, which takes a word only for proof; b for the other."""
    more = {"fenced_by": ["confirmed"], SITES: second.group(address_conflict="refuse")}
    cluster = Cluster(lab, more=more)
    cluster.install()
    with Views(lab) as views, Views(lab, group=SITES) as sites:
        cluster.start()
        views.wait_protected("a", PATIENCE_S)
        sites.wait_protected("b", PATIENCE_S)
        yield Ladder(cluster, views, sites)


def test_an_address_that_a_third_host_has_is_taken_all_the_same(ladder: Ladder) -> None:
    ladder.third_host("add", VIP)
    ladder.move("a")
    ladder.views.wait_protected("b", PATIENCE_S)
    mac = HOSTS["client"].mac()
    told = f"{mac} has {VIP} on eth0: it is taken all the same ('address_conflict')"
    wait_until(lambda: told in ladder.history("address-conflict"), PATIENCE_S, "it is told")
    assert f"is used by another host, too: {mac} has {VIP}" in ladder.said("b")
    ladder.third_host("delete", VIP)
    wait_until(lambda: mac not in ladder.said("b"), REACHED_S, "b sees that it is over")
    ladder.move("b")
    ladder.views.wait_protected("a", PATIENCE_S)


def test_or_left_to_it_where_the_group_says_so(ladder: Ladder) -> None:
    ladder.third_host("add", second.VIP)
    before = len(ladder.history("takeover-failed"))
    ladder.lab.run(
        "b",
        [*STAQCTL, "--config", CONFIGURATION, "switchover", "-g", SITES, "--timeout", "5s"],
        check=False,
    )
    wait_until(
        lambda: len(ladder.history("takeover-failed")) >= before + 2, PATIENCE_S, "both refuse"
    )
    failed = ladder.history("takeover-failed")[-1]
    assert f"{HOSTS['client'].mac()} has {second.VIP} on eth0: find that host" in failed
    assert ladder.sites.serving() is None
    ladder.third_host("delete", second.VIP)
    ladder.sites.wait_protected(timeout_s=PATIENCE_S)


def test_the_loser_is_asked_through_the_witness(ladder: Ladder) -> None:
    epoch = ladder.views.wait_protected("a", PATIENCE_S).epoch
    for link in ("a-b", "a-w"):
        ladder.lab.cut(link)

    def waits() -> bool:
        view = ladder.views.latest["b"]
        return view is not None and view.phase == "fencing" and view.epoch == epoch + 1

    ladder.views.wait(waits, PATIENCE_S, "b has the epoch, and waits for a's word")
    assert "does not suffice here" in ladder.said("b")
    assert ladder.views.serving() is None
    ladder.lab.heal("a-w")
    ladder.views.wait(lambda: ladder.views.serving() == "b", PATIENCE_S, "b serves")
    proof = ladder.history("fenced")[-1]
    assert re.search(r"a no longer serves; proof: confirmed \(.*w", proof), proof
    ladder.lab.heal("a-b")
    ladder.views.wait_protected("b", PATIENCE_S)
    status = ladder.cluster.group("b", GROUP)
    assert status["last_fence"] == "confirmed"
