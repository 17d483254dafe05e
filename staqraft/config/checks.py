"""What the values of a configuration must be to each other, and to this host.

Every check runs, also over stand-ins for wrong values, and yields findings. Each finding names the
keys that it follows from: where one of them has a stand-in, the reader leaves the finding out, so
that one mistake is reported once and hides nothing else.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from staqraft.config import (
    fence_checks,
    health,
    lease_checks,
    notify_checks,
    service_checks,
    tls,
)
from staqraft.config.document import NAMES, Finding, Key, own_role
from staqraft.config.fence_checks import AskAgent
from staqraft.config.schema import Config
from staqraft.config.service_checks import AskUnit
from staqraft.model import NodeId, NodeRole
from staqraft.names import is_name

REPLICAS = 2
MAX_WITNESSES = 1
MAX_PORT = 65_535
MAX_UNIX_PATH = 107  # sun_path with its closing NUL


Check = Callable[[Config], Iterator[Finding]]


def findings(
    config: Config,
    now: datetime,
    ask_agent: AskAgent | None = None,
    ask_unit: AskUnit | None = None,
) -> Iterator[Finding]:
    """What there is to say about the values in relation; `now` is for the certificates.

    With `ask_agent` the fence agents are asked what they think of their options, with `ask_unit`
    systemd whether it would start the services by itself.
    """
    for check in CHECKS:
        yield from check(config)
    if ask_agent is not None and config.node in config.nodes:
        yield from fence_checks.agents(config, ask_agent)
    if ask_unit is not None:
        yield from service_checks.boot(config, ask_unit)
    yield from tls.check(config, now)


def members(config: Config) -> Iterator[Finding]:
    """Two replicas and at most one witness, and this host is one of them."""
    roles = Counter(node.role for node in config.nodes.values())
    reads = (_names("nodes"), *(("nodes", node, "role") for node in config.nodes))
    if roles[NodeRole.REPLICA] != REPLICAS:
        yield Finding(
            key=("nodes",),
            text=f"has {roles[NodeRole.REPLICA]} replicas: a cluster has exactly {REPLICAS}",
            reads=reads,
        )
    if roles[NodeRole.WITNESS] > MAX_WITNESSES:
        yield Finding(
            key=("nodes",),
            text=f"has {roles[NodeRole.WITNESS]} witnesses: a cluster has one, or none",
            reads=reads,
        )
    if not roles[NodeRole.WITNESS]:
        bare = [node for node in config.replicas if node not in config.fencing]
        device = f"; there is no fence device for {_list(bare)}" if bare else ""
        yield Finding(
            key=("nodes",),
            text="has no witness: when one replica is lost the active goes on serving, but barriers"
            " wait, and a standby does not take over, until a fence device (see 'fencing') or an"
            " operator confirms that the lost one is off, because nobody can tell a dead peer from"
            f" a cut link{device}. With any third host as witness none of this would wait",
            reads=(*reads, _names("fencing")),
            fatal=False,
        )


def pair(config: Config) -> Iterator[Finding]:
    """Without a witness the active acts first, and a device can tell that the other is off."""
    if any(node.role is NodeRole.WITNESS for node in config.nodes.values()):
        return
    waits = config.pair
    if waits.standby_waits_ms <= waits.active_waits_ms:
        yield Finding(
            key=("pair", "standby_waits"),
            text=f"{waits.standby_waits_ms} ms is to be longer than active_waits"
            f" ({waits.active_waits_ms} ms), by what a fence device takes to turn a replica off:"
            " else the two turn each other off when the link between them is cut",
            reads=(("pair", "active_waits"),),
        )


def own_node(config: Config) -> Iterator[Finding]:
    """The host is one of the nodes."""
    if config.node not in config.nodes:
        known = ", ".join(config.nodes)
        yield Finding(
            key=("node",),
            text=f"{config.node!r} is not one of the nodes ({known})",
            reads=(_names("nodes"),),
        )


def rings(config: Config) -> Iterator[Finding]:
    """The replicas are on the same rings, the witness on some of them."""
    replicas = [node for node in config.nodes.values() if node.role is NodeRole.REPLICA]
    if not replicas:
        return
    model = replicas[0]
    common = {ring.name for ring in model.rings}
    for node in config.nodes.values():
        names = {ring.name for ring in node.rings}
        key = ("nodes", node.id, "rings")
        reads = (
            _names(*key),
            _names("nodes", model.id, "rings"),
            ("nodes", node.id, "role"),
            ("nodes", model.id, "role"),
        )
        if node.role is NodeRole.REPLICA and names != common:
            yield Finding(
                key=key,
                text=f"replica {node.id} is on {_list(names)} and {model.id} on {_list(common)}:"
                " both replicas are to have the same rings",
                reads=reads,
            )
        elif not names <= common:
            yield Finding(
                key=key,
                text=f"no replica is on {_list(names - common)}: the witness could not be reached",
                reads=reads,
            )


def addresses(config: Config) -> Iterator[Finding]:
    """Every ring of every node has an address of its own."""
    seen: dict[str, tuple[NodeId, Key]] = {}
    for node in config.nodes.values():
        for ring in node.rings:
            key = ("nodes", node.id, "rings", ring.name)
            other, other_key = seen.setdefault(ring.address, (node.id, key))
            if other_key != key:
                yield Finding(
                    key=key,
                    text=f"{ring.address} is the address of {other} already",
                    reads=(other_key,),
                )


def preferred_rings(config: Config) -> Iterator[Finding]:
    """Replication prefers rings that exist."""
    known = {ring.name for node in config.nodes.values() for ring in node.rings}
    reads = (_names("nodes"), *(_names("nodes", node, "rings") for node in config.nodes))
    for group in config.groups.values():
        for ring in group.replication.prefer_rings:
            if ring not in known:
                yield Finding(
                    key=("groups", group.id, "replication", "prefer_rings"),
                    text=f"there is no ring {ring!r}: the nodes are on {_list(known)}",
                    reads=reads,
                )


def initial_active(config: Config) -> Iterator[Finding]:
    """A group first becomes active on a replica."""
    for group in config.groups.values():
        if config.replicas and group.initial_active not in config.replicas:
            yield Finding(
                key=("groups", group.id, "initial_active"),
                text=f"{group.initial_active!r} is not a replica:"
                f" write one of {_list(config.replicas)}",
                reads=(_names("nodes"), ("nodes", group.initial_active, "role")),
            )


def failback(config: Config) -> Iterator[Finding]:
    """A group goes back to a replica."""
    for group in config.groups.values():
        known = group.failback
        if known is not None and config.replicas and known.prefer not in config.replicas:
            yield Finding(
                key=("groups", group.id, "failback", "prefer"),
                text=f"{known.prefer!r} is not a replica: write one of {_list(config.replicas)}",
                reads=(_names("nodes"), ("nodes", known.prefer, "role")),
            )


def raft_timing(config: Config) -> Iterator[Finding]:
    """What the Raft library asserts, and that a tick is fine enough to keep its promises."""
    raft = config.consensus
    if raft.election_max_ms <= raft.election_min_ms:
        yield Finding(
            key=("consensus", "election_max"),
            text=f"{raft.election_max_ms} ms is to be longer than election_min"
            f" ({raft.election_min_ms} ms): twice is usual",
            reads=(("consensus", "election_min"),),
        )
    if raft.heartbeat_ms * 3 >= raft.election_min_ms:
        yield Finding(
            key=("consensus", "heartbeat"),
            text=f"{raft.heartbeat_ms} ms is to be less than a third of election_min"
            f" ({raft.election_min_ms} ms): at most {(raft.election_min_ms - 1) // 3} ms",
            reads=(("consensus", "election_min"),),
        )
    if raft.tick_ms * 2 > raft.heartbeat_ms:
        yield Finding(
            key=("consensus", "tick"),
            text=f"{raft.tick_ms} ms is to be at most half of heartbeat ({raft.heartbeat_ms} ms)",
            reads=(("consensus", "heartbeat"),),
        )


def stream_timing(config: Config) -> Iterator[Finding]:
    """A peer is known to be dead before it leaves the in-sync set for being silent."""
    for group in config.groups.values():
        stream = group.replication
        if stream.dead_peer_ms >= stream.in_sync_timeout_ms:
            yield Finding(
                key=("groups", group.id, "replication", "dead_peer"),
                text=f"{stream.dead_peer_ms} ms is to be less than in_sync_timeout"
                f" ({stream.in_sync_timeout_ms} ms), so that another ring is tried first",
                reads=(("groups", group.id, "replication", "in_sync_timeout"),),
            )


def journal_bounds(config: Config) -> Iterator[Finding]:
    """At least two segments fit, so that trimming leaves something."""
    for group in config.groups.values():
        journal = group.journal
        if journal.segment_bytes * 2 > journal.max_bytes:
            yield Finding(
                key=("groups", group.id, "journal", "segment"),
                text=f"{journal.segment_bytes} bytes is to be at most half of max"
                f" ({journal.max_bytes} bytes)",
                reads=(("groups", group.id, "journal", "max"),),
            )


def ports(config: Config) -> Iterator[Finding]:
    """No port has two uses."""
    last = config.ports.data + 2 * len(config.groups) - 1
    data = range(config.ports.data, last + 1)
    groups = _names("groups")
    if last > MAX_PORT:
        yield Finding(
            key=("ports", "data"),
            text=f"the groups need the ports up to {last}: choose lower",
            reads=(groups,),
        )
    for name in ("control", "metrics"):
        if getattr(config.ports, name) in data:
            yield Finding(
                key=("ports", name),
                text=f"{getattr(config.ports, name)} is among the data ports {data.start} to {last}"
                " (two a group)",
                reads=(("ports", "data"), groups),
            )
    if config.ports.control == config.ports.metrics:
        yield Finding(
            key=("ports", "metrics"),
            text="is the same port as control",
            reads=(("ports", "control"),),
        )


def vips(config: Config) -> Iterator[Finding]:
    """A VIP is one address of one group, and of no node."""
    fixed = {
        ring.address: (node.id, ("nodes", node.id, "rings", ring.name))
        for node in config.nodes.values()
        for ring in node.rings
    }
    seen: dict[str, tuple[str, Key]] = {}
    for group in config.groups.values():
        for index, vip in enumerate(group.vips):
            key = ("groups", group.id, "vips", str(index + 1))
            address, address_key = str(vip.address.ip), (*key, "address")
            if address in fixed:
                node, node_key = fixed[address]
                yield Finding(
                    key=key,
                    text=f"{address} is node {node}'s own address: a VIP is to be free,"
                    " it moves between the replicas",
                    reads=(address_key, node_key),
                )
            if address in seen:
                other, other_key = seen[address]
                yield Finding(
                    key=key,
                    text=f"{address} is a VIP of group {other} already",
                    reads=(address_key, other_key),
                )
            seen[address] = (group.id, address_key)


def vip_interfaces(config: Config) -> Iterator[Finding]:
    """The interfaces are there, on a host that may become active."""
    if config.node not in config.replicas:
        return
    present = {name for _, name in socket.if_nameindex()}
    for group in config.groups.values():
        for index, vip in enumerate(group.vips):
            if vip.interface not in present:
                yield Finding(
                    key=("groups", group.id, "vips", str(index + 1), "interface"),
                    text=f"{vip.interface!r} is not on this host now (there is {_list(present)}):"
                    " it could not take over",
                    reads=own_role(config.node),
                    fatal=False,
                )


def trees(config: Config) -> Iterator[Finding]:
    """Trees do not overlap each other or what the daemon itself writes (journal, quarantine)."""
    taken: list[tuple[str, Path, Key]] = [
        ("state_dir", config.state_dir, ("state_dir",)),
        ("run_dir", config.run_dir, ("run_dir",)),
    ]
    for group in config.groups.values():
        for tree in group.trees:
            key = ("groups", group.id, "trees", tree.name, "path")
            if tree.path == Path("/"):
                yield Finding(key=key, text="the root of the system cannot be replicated")
                continue
            for what, path, other_key in taken:
                if _overlap(tree.path, path):
                    yield Finding(
                        key=key,
                        text=f"{tree.path} overlaps {what} ({path}): separate them",
                        reads=(other_key,),
                    )
            taken.append((f"tree {group.id}.{tree.name}", tree.path, key))


def tree_names(config: Config) -> Iterator[Finding]:
    """A tree's name is unique on a host; status and quarantine use it alone."""
    seen: dict[str, str] = {}
    for group in config.groups.values():
        for tree in group.trees:
            if tree.name in seen:
                yield Finding(
                    key=("groups", group.id, "trees", tree.name),
                    text=f"group {seen[tree.name]} has a tree of this name already",
                )
            seen[tree.name] = group.id


def tree_roots(config: Config) -> Iterator[Finding]:
    """On a replica the trees are there; what is there instead of one is no tree."""
    if config.node not in config.replicas:
        return
    for group in config.groups.values():
        for tree in group.trees:
            if os.path.isdir(tree.path):  # noqa: PTH112 - Path's own raises for a name too long
                continue
            key = ("groups", group.id, "trees", tree.name, "path")
            reads = own_role(config.node)
            if os.path.exists(tree.path):  # noqa: PTH110 - as above
                yield Finding(
                    key=key,
                    text=f"{tree.path} is a file on this host: a tree is a directory",
                    reads=reads,
                )
                continue
            yield Finding(
                key=key,
                text=f"{tree.path} is not a directory on this host now: make it, or mount it,"
                " before the daemon starts",
                reads=reads,
                fatal=False,
            )


def socket_paths(config: Config) -> Iterator[Finding]:
    """Unix sockets have short names."""
    names = [f"{group}.stream.sock" for group in config.groups if is_name(group)]
    longest = max(names, key=len, default="")
    for key, path in (("run_dir", config.run_dir / longest), ("admin_socket", config.admin_socket)):
        if len(os.fsencode(path)) > MAX_UNIX_PATH:
            yield Finding(
                key=(key,),
                text=f"{path} is longer than {MAX_UNIX_PATH} bytes, too long for a socket",
            )


def _overlap(one: Path, other: Path) -> bool:
    """Whether one directory is in the other, by name or behind symbolic links."""
    pairs = ((one, other), (Path(os.path.realpath(one)), Path(os.path.realpath(other))))
    return any(a.is_relative_to(b) or b.is_relative_to(a) for a, b in pairs)


def _list(names: object) -> str:
    return ", ".join(sorted(names)) or "none"  # type: ignore[call-overload]


def _names(*section: str) -> Key:
    return (*section, NAMES)


CHECKS: tuple[Check, ...] = (
    members,
    pair,
    own_node,
    rings,
    addresses,
    preferred_rings,
    initial_active,
    failback,
    raft_timing,
    lease_checks.lifetime,
    lease_checks.margin,
    lease_checks.gate_usable,
    fence_checks.watchdog,
    fence_checks.fencing,
    fence_checks.secrets,
    stream_timing,
    journal_bounds,
    ports,
    vips,
    vip_interfaces,
    service_checks.targets,
    service_checks.units,
    service_checks.programs,
    trees,
    tree_names,
    tree_roots,
    socket_paths,
    health.check,
    notify_checks.secrets,
)
