"""What the values of a configuration must be to each other, and to this host.

Each check names the keys that it reads. It is left out when one of them is already known to be
wrong, so that one mistake is reported once. A check yields findings; a warning is allowed and said.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from staqraft.config.document import Document, Key
from staqraft.config.schema import Config
from staqraft.model import NodeId, NodeRole
from staqraft.names import node_uri

REPLICAS = 2
MAX_WITNESSES = 1
MAX_PORT = 65_535
MAX_UNIX_PATH = 107  # sun_path with its closing NUL
ELECTIONS_IN_LEASE = 2  # a leader change may need a second election
RENEWALS_IN_LEASE = 2
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about `key`; only a warning if `fatal` is False."""

    key: Key
    text: str
    fatal: bool = True


Check = Callable[[Config], Iterator[Finding]]


def run(config: Config, document: Document) -> list[str]:
    """Notes what is wrong in `document`, and returns the warnings.

    `config` may have stand-ins where `document` knows of problems.
    """
    warnings = []
    for reads, check in CHECKS:
        if not document.sound(reads):
            continue
        for finding in check(config):
            if finding.fatal:
                document.problem(finding.key, finding.text)
            else:
                warnings.append(document.located(finding.key, finding.text))
    return warnings


def members(config: Config) -> Iterator[Finding]:
    """Two replicas and at most one witness, and this host is one of them."""
    roles = Counter(node.role for node in config.nodes.values())
    if roles[NodeRole.REPLICA] != REPLICAS:
        yield Finding(
            ("nodes",), f"has {roles[NodeRole.REPLICA]} replicas: a cluster has exactly {REPLICAS}"
        )
    if roles[NodeRole.WITNESS] > MAX_WITNESSES:
        yield Finding(
            ("nodes",), f"has {roles[NodeRole.WITNESS]} witnesses: a cluster has one, or none"
        )
    if not roles[NodeRole.WITNESS]:
        yield Finding(
            ("nodes",),
            "has no witness: when one replica fails the other cannot take over by itself,"
            " because it cannot tell a dead peer from a cut link; any third host will do",
            fatal=False,
        )


def own_node(config: Config) -> Iterator[Finding]:
    """The host is one of the nodes."""
    if config.node not in config.nodes:
        known = ", ".join(config.nodes)
        yield Finding(("node",), f"{config.node!r} is not one of the nodes ({known})")


def rings(config: Config) -> Iterator[Finding]:
    """The replicas are on the same rings, the witness on some of them; addresses are unique."""
    replicas = [node for node in config.nodes.values() if node.role is NodeRole.REPLICA]
    common = {ring.name for ring in replicas[0].rings} if replicas else set()
    for node in config.nodes.values():
        names = {ring.name for ring in node.rings}
        key = ("nodes", node.id, "rings")
        if node.role is NodeRole.REPLICA and names != common:
            yield Finding(
                key,
                f"replica {node.id} is on {_list(names)} and {replicas[0].id} on {_list(common)}:"
                " both replicas are to have the same rings",
            )
        elif not names <= common:
            yield Finding(
                key, f"no replica is on {_list(names - common)}: the witness could not be reached"
            )
    seen: dict[str, NodeId] = {}
    for node in config.nodes.values():
        for ring in node.rings:
            other = seen.setdefault(ring.address, node.id)
            if other != node.id or [r.address for r in node.rings].count(ring.address) > 1:
                yield Finding(
                    ("nodes", node.id, "rings", ring.name),
                    f"{ring.address} is the address of {other} already",
                )


def preferred_rings(config: Config) -> Iterator[Finding]:
    """Replication prefers rings that exist."""
    known = {ring.name for node in config.nodes.values() for ring in node.rings}
    for group in config.groups.values():
        for ring in group.replication.prefer_rings:
            if ring not in known:
                yield Finding(
                    ("groups", group.id, "replication", "prefer_rings"),
                    f"there is no ring {ring!r}: the nodes are on {_list(known)}",
                )


def initial_active(config: Config) -> Iterator[Finding]:
    """A group first becomes active on a replica."""
    for group in config.groups.values():
        if group.initial_active not in config.replicas:
            yield Finding(
                ("groups", group.id, "initial_active"),
                f"{group.initial_active!r} is not a replica: write one of {_list(config.replicas)}",
            )


def raft_timing(config: Config) -> Iterator[Finding]:
    """What the Raft library asserts, and that a tick is fine enough to keep its promises."""
    raft = config.consensus
    if raft.election_max_ms <= raft.election_min_ms:
        yield Finding(
            ("consensus", "election_max"),
            f"{raft.election_max_ms} ms is to be longer than election_min"
            f" ({raft.election_min_ms} ms): twice is usual",
        )
    if raft.heartbeat_ms * 3 >= raft.election_min_ms:
        yield Finding(
            ("consensus", "heartbeat"),
            f"{raft.heartbeat_ms} ms is to be less than a third of election_min"
            f" ({raft.election_min_ms} ms): at most {(raft.election_min_ms - 1) // 3} ms",
        )
    if raft.tick_ms * 2 > raft.heartbeat_ms:
        yield Finding(
            ("consensus", "tick"),
            f"{raft.tick_ms} ms is to be at most half of heartbeat ({raft.heartbeat_ms} ms)",
        )


def lease_timing(config: Config) -> Iterator[Finding]:
    """A Raft leader change costs neither the lease nor the VIP.

    Renewals stop while a leader is elected, at worst twice, and one may have been missed: the
    lease, and the VIP whose kernel lifetime is the lease in whole seconds less one, must last.
    """
    lease, raft = config.lease, config.consensus
    needed = RENEWALS_IN_LEASE * lease.renew_ms + ELECTIONS_IN_LEASE * raft.election_max_ms
    has_vips = any(group.vips for group in config.groups.values())
    effective = (lease.ttl_ms // 1000 - 1) * 1000 if has_vips else lease.ttl_ms
    effective = max(effective, 0)
    if needed >= effective:
        shortest = f"{(needed // 1000 + 2)}s" if has_vips else f"{needed + 1}ms"
        what = "a VIP lives" if has_vips else "it lasts"
        yield Finding(
            ("lease", "ttl"),
            f"with {lease.ttl_ms} ms {what} {effective} ms, but two renewals and two elections"
            f" take up to {needed} ms: set ttl to {shortest} or more, or shorten renew"
            " or consensus.election_max",
        )
    slack = lease.ttl_ms * lease.drift_ppm // MILLION + lease.margin_ms
    if slack * 2 >= lease.ttl_ms:
        yield Finding(
            ("lease", "margin"),
            f"margin and clock drift together ({slack} ms) are half of the ttl or more",
        )


def stream_timing(config: Config) -> Iterator[Finding]:
    """A peer is known to be dead before it leaves the in-sync set for being silent."""
    for group in config.groups.values():
        stream = group.replication
        if stream.dead_peer_ms >= stream.in_sync_timeout_ms:
            yield Finding(
                ("groups", group.id, "replication", "dead_peer"),
                f"{stream.dead_peer_ms} ms is to be less than in_sync_timeout"
                f" ({stream.in_sync_timeout_ms} ms), so that another ring is tried first",
            )


def journal_bounds(config: Config) -> Iterator[Finding]:
    """At least two segments fit, so that trimming leaves something."""
    for group in config.groups.values():
        journal = group.journal
        if journal.segment_bytes * 2 > journal.max_bytes:
            yield Finding(
                ("groups", group.id, "journal", "segment"),
                f"{journal.segment_bytes} bytes is to be at most half of max"
                f" ({journal.max_bytes} bytes)",
            )


def ports(config: Config) -> Iterator[Finding]:
    """No port has two uses."""
    last = config.ports.data + 2 * len(config.groups) - 1
    data = range(config.ports.data, last + 1)
    if last > MAX_PORT:
        yield Finding(("ports", "data"), f"the groups need the ports up to {last}: choose lower")
    for name in ("control", "metrics"):
        if getattr(config.ports, name) in data:
            yield Finding(
                ("ports", name),
                f"{getattr(config.ports, name)} is among the data ports {data.start} to {last}"
                " (two a group)",
            )
    if config.ports.control == config.ports.metrics:
        yield Finding(("ports", "metrics"), "is the same port as control")


def vips(config: Config) -> Iterator[Finding]:
    """A VIP is one address of one group, and of no node."""
    fixed = {ring.address: node.id for node in config.nodes.values() for ring in node.rings}
    seen: dict[str, str] = {}
    for group in config.groups.values():
        for index, vip in enumerate(group.vips):
            key = ("groups", group.id, "vips", str(index + 1))
            address = str(vip.address.ip)
            if address in fixed:
                yield Finding(
                    key,
                    f"{address} is node {fixed[address]}'s own address: a VIP is to be free,"
                    " it moves between the replicas",
                )
            if address in seen:
                yield Finding(key, f"{address} is a VIP of group {seen[address]} already")
            seen[address] = group.id


def vip_interfaces(config: Config) -> Iterator[Finding]:
    """The interfaces are there, on a host that may become active."""
    if config.node not in config.replicas:
        return
    present = {name for _, name in socket.if_nameindex()}
    for group in config.groups.values():
        for index, vip in enumerate(group.vips):
            if vip.interface not in present:
                yield Finding(
                    ("groups", group.id, "vips", str(index + 1), "interface"),
                    f"{vip.interface!r} is not on this host now (there is {_list(present)}):"
                    " it could not take over",
                    fatal=False,
                )


def trees(config: Config) -> Iterator[Finding]:
    """Trees do not overlap each other or what the daemon itself writes (journal, quarantine)."""
    taken: list[tuple[str, Path]] = [
        ("state_dir", config.state_dir),
        ("run_dir", config.run_dir),
    ]
    for group in config.groups.values():
        for tree in group.trees:
            key = ("groups", group.id, "trees", tree.name, "path")
            if tree.path == Path("/"):
                yield Finding(key, "the root of the system cannot be replicated")
                continue
            for what, path in taken:
                if _overlap(tree.path, path):
                    yield Finding(key, f"{tree.path} overlaps {what} ({path}): separate them")
            taken.append((f"tree {group.id}.{tree.name}", tree.path))


def tree_names(config: Config) -> Iterator[Finding]:
    """A tree's name is unique on a host; status and quarantine use it alone."""
    seen: dict[str, str] = {}
    for group in config.groups.values():
        for tree in group.trees:
            if tree.name in seen:
                key = ("groups", group.id, "trees", tree.name)
                yield Finding(key, f"group {seen[tree.name]} has a tree of this name already")
            seen[tree.name] = group.id


def tree_roots(config: Config) -> Iterator[Finding]:
    """On a replica the trees are there."""
    if config.node not in config.replicas:
        return
    for group in config.groups.values():
        for tree in group.trees:
            if not tree.path.is_dir():
                key = ("groups", group.id, "trees", tree.name, "path")
                yield Finding(
                    key,
                    f"{tree.path} is not a directory on this host now: make it, or mount it,"
                    " before the daemon starts",
                    fatal=False,
                )


def socket_paths(config: Config) -> Iterator[Finding]:
    """Unix sockets have short names."""
    names = [f"{group}.stream.sock" for group in config.groups]
    longest = max(names, key=len)
    for key, path in (("run_dir", config.run_dir / longest), ("admin_socket", config.admin_socket)):
        if len(os.fsencode(path)) > MAX_UNIX_PATH:
            yield Finding(
                (key,), f"{path} is longer than {MAX_UNIX_PATH} bytes, too long for a socket"
            )


def tls_files(config: Config) -> Iterator[Finding]:
    """The files are there, and the key is nobody else's to read."""
    for name in ("ca", "certificate", "key"):
        path: Path = getattr(config.tls, name)
        try:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                yield Finding(("tls", name), f"{path} is not a file")
                continue
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            yield Finding(
                ("tls", name), f"{path} cannot be read ({error.strerror}): 'staqctl certs' makes it"
            )
            continue
        if name == "key" and stat.S_IMODE(mode) & 0o077:
            yield Finding(("tls", name), f"{path} is open to others: chmod 600 {path}")


def certificate(config: Config) -> Iterator[Finding]:
    """The files are PEM, belong together, and are this node's."""
    files = config.tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(files.ca)
    except OSError:  # SSLError is one
        yield Finding(("tls", "ca"), f"{files.ca} is not a PEM certificate")
    try:
        # A password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError):
        yield Finding(
            ("tls", "key"),
            f"{files.key} is not the key of {files.certificate}, or one of them is not PEM",
        )
        return
    if not _names(files.certificate, node_uri(config.cluster, config.node)):
        yield Finding(
            ("tls", "certificate"),
            f"{files.certificate} is not for node {config.node} of cluster {config.cluster}:"
            f" 'staqctl certs issue {config.node}' makes one",
        )


def _names(path: Path, uri: str) -> bool:
    """Whether the first certificate in the file has this URI, as DER writes it: tag, length, text.

    Looking for the bytes saves the memory of a whole X.509 library in each daemon; TLS itself
    checks the certificate properly.
    """
    blocks = re.search(
        r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", path.read_text(), re.DOTALL
    )
    if blocks is None:
        return False
    der = ssl.PEM_cert_to_DER_cert(blocks[0])
    return b"\x86" + bytes([len(uri)]) + uri.encode() in der


def _overlap(one: Path, other: Path) -> bool:
    """Whether one directory is in the other, by name or behind symbolic links."""
    pairs = ((one, other), (Path(os.path.realpath(one)), Path(os.path.realpath(other))))
    return any(a.is_relative_to(b) or b.is_relative_to(a) for a, b in pairs)


def _list(names: object) -> str:
    return ", ".join(sorted(names)) or "none"  # type: ignore[call-overload]


CHECKS: tuple[tuple[tuple[Key, ...], Check], ...] = (
    ((("nodes",),), members),
    ((("nodes",), ("node",)), own_node),
    ((("nodes",),), rings),
    ((("nodes",), ("groups",)), preferred_rings),
    ((("nodes",), ("groups",)), initial_active),
    ((("consensus",),), raft_timing),
    ((("consensus",), ("lease",), ("groups",)), lease_timing),
    ((("groups",),), stream_timing),
    ((("groups",),), journal_bounds),
    ((("ports",), ("groups",)), ports),
    ((("nodes",), ("groups",)), vips),
    ((("nodes",), ("node",), ("groups",)), vip_interfaces),
    ((("groups",), ("state_dir",), ("run_dir",)), trees),
    ((("groups",),), tree_names),
    ((("nodes",), ("node",), ("groups",)), tree_roots),
    ((("groups",), ("run_dir",), ("admin_socket",)), socket_paths),
    ((("tls",),), tls_files),
    ((("cluster",), ("node",), ("tls",)), certificate),  # left out when a file cannot be read
)
