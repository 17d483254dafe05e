"""Networks on real daemons: an IPv6 sync ring, the cable of the active, `failover: false`.

Nobody is pinged here, so what is known of an uplink is the link of the interface with the virtual
addresses. Each test stands on the one before it, as in `test_story`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from lab.cluster import DAEMON, Cluster, Status
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import HOSTS, REPLICAS, SERVICE, SYNC, VIP, VIP_INTERFACE, other
from lab.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

PATIENCE_S = 60.0
WOULD_MOVE_MS = 8_000  # of a defect that moves the group
HEALTH: dict[str, Any] = {"steady": "2s", "ping": {"targets": []}}


def active(cluster: Cluster) -> str:
    """Whom the witness takes for the active, once it knows one."""
    found: list[str] = []

    def known() -> bool:
        found[:] = [cluster.group("w").get("active", "")]
        return found[0] in REPLICAS

    wait_until(known, PATIENCE_S, "somebody is active")
    return found[0]


def sync6(node: str) -> str:
    """The address on the sync ring."""
    return f"fd77:1::{HOSTS[node].number}"


def wait_leading(cluster: Cluster, node: str) -> None:
    """Until it leads Raft, too, as the active soon does: with the cable of another leader that one
    would lose its lease before anybody looks at a cable.
    """
    wait_until(lambda: leader(cluster, node) == node, PATIENCE_S, f"{node} leads")


def leader(cluster: Cluster, node: str) -> str:
    """By the word of `node`."""
    return str((cluster.status(node) or {}).get("raft", {}).get("leader", ""))


def write(cluster: Cluster, health: dict[str, Any]) -> None:
    """The configuration of all members, before their daemons are started (again)."""
    for node in cluster.lab.members:
        path = cluster.lab.host_directory(node) / "etc" / "staqraft.yaml"
        text = json.loads(path.read_text())
        for replica in REPLICAS:
            text["nodes"][replica]["rings"][SYNC] = sync6(replica)
        path.write_text(json.dumps({**text, "health": health}))


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    """a is active, b is in sync, and between them they have an IPv6 network."""
    made = Cluster(lab)
    made.install()
    for node in REPLICAS:
        interface = HOSTS[node].interface(SYNC)
        words = ["ip", "address", "add", f"{sync6(node)}/64", "dev", interface, "nodad"]
        lab.run(node, words)
    write(made, HEALTH)
    made.start()
    made.wait_protected("a", PATIENCE_S)
    return made


def finding(cluster: Cluster, node: str, code: str, *, for_ms: int = 0) -> Status:
    """What `node` says of itself under this code, once it does and has done for so long."""
    found: list[Status] = []

    def said() -> bool:
        status = cluster.status(node) or {}
        known = status.get("findings", [])  # those of the other replica, too
        found[:] = [f for f in known if (f["code"], f["node"]) == (code, node)]
        return bool(found) and int(found[0]["lasts_ms"]) >= for_ms

    wait_until(said, PATIENCE_S, f"{node} finds {code}")
    return found[0]


def wait_found_well(cluster: Cluster) -> None:
    """Until what was found before is over, and its time with it."""

    def well() -> bool:
        found = [f for n in REPLICAS for f in (cluster.status(n) or {"findings": [{}]})["findings"]]
        return not found

    wait_until(well, PATIENCE_S, "nothing is found on either")


def test_the_stream_and_the_links_use_ipv6(cluster: Cluster) -> None:
    def streams() -> bool:
        peers = cluster.group("a").get("stream", {}).get("peers", [])
        return [peer.get("ring") for peer in peers] == [SYNC]

    wait_until(streams, PATIENCE_S, "the stream goes over the sync ring")
    words = f"Link sync: {sync6('a')} - b {sync6('b')}: both ways"

    def said() -> bool:
        with suppress(LabError):  # it exits with 1 while b has not said yet that all is well
            return words in cluster.ctl("a", "status")
        return False

    wait_until(said, PATIENCE_S, words)


def test_raft_and_the_data_go_on_over_it_when_the_other_ring_is_cut(cluster: Cluster) -> None:
    epoch = cluster.group("a")["epoch"]
    wait_leading(cluster, "a")
    cluster.lab.cut(f"a-b:{SERVICE}")
    words = f"connected by ring {SYNC}, and nothing is failed over for a ring"
    assert words in finding(cluster, "a", "link-cut")["text"]
    assert cluster.barrier("a").replicas == REPLICAS
    assert cluster.group("a")["epoch"] == epoch
    cluster.lab.heal(f"a-b:{SERVICE}")


def test_an_active_whose_cable_is_pulled_gives_the_addresses_away(cluster: Cluster) -> None:
    cluster.lab.cut(f"a:{SERVICE}")
    cluster.wait_active("b", PATIENCE_S)
    words = f"{VIP_INTERFACE} of a has no link, so no client reaches {VIP} there"
    assert finding(cluster, "a", "vip-interface")["text"] == words
    assert any(words in event["text"] for event in cluster.events("b"))
    cluster.lab.heal(f"a:{SERVICE}")
    cluster.wait_protected("b", PATIENCE_S)


def test_a_switch_without_power_moves_nothing(cluster: Cluster) -> None:
    """Both have lost their links, and hear each other over the sync ring only."""
    epoch = cluster.wait_protected("b", PATIENCE_S)["epoch"]
    wait_found_well(cluster)
    wait_leading(cluster, "b")
    cluster.lab.cut(SERVICE)
    for node in REPLICAS:
        finding(cluster, node, "vip-interface", for_ms=WOULD_MOVE_MS)
    group = cluster.group("b")
    assert (group["active"], group["epoch"]) == ("b", epoch)
    assert "b is not well and stays active, since a has the same trouble" in group["summary"]
    cluster.lab.heal(SERVICE)
    cluster.wait_protected("b", PATIENCE_S)


def test_where_health_moves_nothing_it_is_said_only(cluster: Cluster) -> None:
    write(cluster, {**HEALTH, "failover": False})
    for node in ("a", "b"):  # the standby first
        cluster.lab.ask_init(node, op="stop", unit=DAEMON)
        cluster.lab.ask_init(node, op="start", unit=DAEMON)
        cluster.wait_protected(active(cluster), PATIENCE_S)
    serving = active(cluster)
    before = cluster.wait_protected(serving, PATIENCE_S)["epoch"]
    wait_found_well(cluster)
    wait_leading(cluster, serving)
    cluster.lab.cut(f"{serving}:{SERVICE}")
    finding(cluster, serving, "vip-interface", for_ms=WOULD_MOVE_MS)
    group = cluster.group(serving)
    assert group["epoch"] == before
    assert "stays active, since 'health.failover' is false" in group["summary"]
    cluster.lab.heal(f"{serving}:{SERVICE}")
    cluster.ctl(serving, "switchover")
    cluster.wait_protected(other(serving), PATIENCE_S)
