"""Health on real daemons: cables, one-way faults, uplinks and a disk that hangs.

Each test stands on the one before it, as in `test_story`. What is checked is what an administrator
reads, and that the service moves when that helps, and only then.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.cluster import Cluster, Status
from lab.lab import Lab
from lab.layout import HOSTS, REPLICAS, SERVICE, SYNC, other
from lab.processes import wait_until
from lab.story import Story

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

PATIENCE_S = 60.0
TARGET = HOSTS["client"].address()
HEALTH = {
    "steady": "2s",
    "disk": {"interval": "500ms", "slow": "1s", "hung": "3s"},
    "ping": {"targets": [TARGET], "interval": "500ms", "lost_after": "2s"},
}


class Tale(Story):
    """A story in which findings are waited for."""

    def status(self, node: str) -> Status:
        return self.cluster.status(node) or {}

    def wait(self, node: str, holds: Callable[[Status], Any], what: str) -> None:
        wait_until(lambda: holds(self.status(node)), PATIENCE_S, f"{node}: {what}")

    def wait_finding(self, node: str, code: str, words: str) -> None:
        def found(status: Status) -> bool:
            return any(f["code"] == code and words in f["text"] for f in status.get("findings", []))

        try:
            self.wait(node, found, f"finds {code}: {words}")
        except Exception as error:
            said = json.dumps(self.status(node).get("findings"), indent=1)
            raise AssertionError(f"{node} says: {said}") from error

    def wait_well(self) -> None:
        """Nothing is wrong with links and uplinks, and either could take over from the other."""

        def well(status: Status) -> bool:
            group = (status.get("groups") or [{}])[0]
            ready = [
                t.get("active") or (t.get("known") and not t.get("refusals"))
                for t in group.get("takeovers", [])
            ]
            ways = [link["way"] for link in status.get("links", [])]
            codes = {f["code"] for f in status.get("findings", [])}
            said = {code for code in codes if not code.startswith("disk")}
            return len(ready) == 2 and all(ready) and ways == ["both ways"] * 2 and not said

        for node in REPLICAS:
            self.wait(node, well, "all is well")

    def epoch_of(self, node: str) -> int:
        return int(self.cluster.group(node)["epoch"])

    def moves(self) -> None:
        """The other replica is active from now on."""
        self.active = other(self.active)
        self.cluster.wait_active(self.active, PATIENCE_S)


@pytest.fixture(scope="module")
def tale(lab: Lab) -> Tale:
    """a is active, both replicas are in sync, and ping the client."""
    told = Tale(lab=lab, cluster=Cluster(lab))
    told.cluster.install()
    for node in REPLICAS:
        path = lab.host_directory(node) / "etc" / "staqraft.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), "health": HEALTH}))
    told.cluster.start()
    told.cluster.wait_protected("a", PATIENCE_S)
    return told


def test_all_is_well_and_either_could_take_over(tale: Tale) -> None:
    tale.wait_well()
    text = tale.cluster.wait_well("a")
    assert "takeover      a is active" in text
    assert "takeover      b would take over now" in text
    assert "Link sync: 10.77.1.11 - b 10.77.1.12: both ways" in text


@pytest.mark.parametrize(("network", "interface"), [(SYNC, "eth1"), (SERVICE, "eth0")])
def test_the_standbys_cable_is_pulled_and_both_name_it(
    tale: Tale, network: str, interface: str
) -> None:
    epoch = tale.epoch_of("a")
    tale.lab.cut(f"b:{network}")
    for node in REPLICAS:
        tale.wait_finding(node, "link-cable", f"{interface} of b (ring {network}")
    assert tale.epoch_of("a") == epoch
    assert tale.cluster.group("a")["active"] == "a"
    tale.lab.heal(f"b:{network}")
    tale.wait_well()


def test_one_direction_of_a_ring_is_lost_and_both_say_which(tale: Tale) -> None:
    epoch = tale.epoch_of("a")
    tale.lab.cut(f"a-b:{SYNC}", sender="a")
    words = "b does not hear a: packets from a to b are lost"
    tale.wait_finding("a", "link-one-way", words)
    tale.wait_finding("b", "link-one-way", words)
    assert tale.epoch_of("a") == epoch
    tale.lab.heal(f"a-b:{SYNC}", sender="a")
    tale.wait_well()


def test_both_rings_are_lost_and_nothing_moves_while_the_witness_hears_both(tale: Tale) -> None:
    epoch = tale.epoch_of("a")
    tale.lab.cut("a-b")
    for node in REPLICAS:
        words = f"{other(node)} does not answer on any ring"
        tale.wait_finding(node, "peer-silent", words)
    assert tale.epoch_of("a") == epoch
    assert tale.cluster.group("a")["active"] == "a"
    tale.lab.heal("a-b")
    tale.wait_well()


def test_a_witness_without_its_daemon_and_one_without_power(tale: Tale) -> None:
    tale.lab.cut("a-w", port=7400)
    tale.lab.cut("b-w", port=7400)
    for node in REPLICAS:
        tale.wait_finding(node, "daemon-silent", "the host of w answers pings (10.77.0.13)")
    tale.lab.heal("a-w", port=7400)
    tale.lab.heal("b-w", port=7400)
    tale.wait_well()
    tale.lab.power_off("w")
    for node in REPLICAS:
        tale.wait_finding(node, "peer-silent", "w does not answer on any ring")
    tale.lab.power_on("w")
    tale.wait_well()


def test_an_uplink_that_both_lost_moves_nothing(tale: Tale) -> None:
    epoch = tale.epoch_of("a")
    for node in REPLICAS:
        tale.lab.cut(f"{node}-client")
    for node in REPLICAS:
        tale.wait_finding(node, "uplink-lost", "neither")
    assert tale.epoch_of("a") == epoch
    for node in REPLICAS:
        tale.lab.heal(f"{node}-client")
    tale.wait_well()


def test_an_uplink_that_only_the_active_lost_moves_the_service(tale: Tale) -> None:
    tale.lab.cut("a-client")
    tale.wait_finding("a", "uplink-lost", f"{TARGET} does not answer it, but answers b")
    tale.moves()
    assert tale.cluster.group("b")["last_fence"] == "released"
    tale.lab.heal("a-client")
    tale.wait_well()
    assert tale.cluster.group("b")["active"] == "b"


def test_a_disk_that_hangs_moves_the_service_and_is_named(tale: Tale) -> None:
    """The frozen filesystem hangs whoever writes, as a dead disk does."""
    hung, tree = tale.active, "/srv/www"
    frozen = tale.lab.run(hung, ["fsfreeze", "--freeze", tree], check=False)
    if frozen.returncode:
        pytest.skip(f"no filesystem of its own to freeze: {frozen.stderr}")
    try:
        tale.wait_finding(hung, "disk-hung", f"on {hung} hangs")
        tale.moves()

        def refused(status: Status) -> bool:
            takeovers = (status.get("groups") or [{}])[0].get("takeovers", [])
            refusals = [r["code"] for t in takeovers for r in t.get("refusals", [])]
            return "unhealthy" in refusals

        for node in REPLICAS:
            tale.wait(node, refused, f"{hung} is not fit to take over")
    finally:
        tale.lab.run(hung, ["fsfreeze", "--unfreeze", tree])
    tale.wait_well()
