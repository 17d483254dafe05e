"""The YAML file as a `Config`: strict, and with every problem of the file in one answer.

Reading goes in two steps. The sections are read one by one, wrong values replaced by stand-ins so
that reading goes on; then `checks` relates what was read to each other and to this host. What it
finds out about a stand-in is not said. A `Config` leaves here only without any problem.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from ipaddress import ip_interface
from pathlib import Path

from staqraft.config import (
    agents,
    checks,
    fencing,
    health,
    notify,
    patterns,
    service_sections,
    values,
)
from staqraft.config.document import Document, Section
from staqraft.config.fence_checks import AskAgent
from staqraft.config.profiles import PROFILES
from staqraft.config.schema import (
    FENCED_BY,
    GATE_AUTO,
    GATE_OFF,
    GATE_ON,
    Config,
    Consensus,
    Failback,
    Group,
    Journal,
    Lease,
    Maintenance,
    Node,
    Pair,
    Ports,
    Quarantine,
    RemovalLimit,
    Replication,
    Ring,
    Scrub,
    Tls,
    Tree,
    Vip,
    Watchdog,
)
from staqraft.config.service_checks import AskUnit
from staqraft.config.tls import Clock, utc_now
from staqraft.decision.conflict import OnConflict
from staqraft.errors import ConfigError
from staqraft.logs import LEVELS
from staqraft.model import FenceRung, GroupId, NodeId, NodeRole

logger = logging.getLogger(__name__)

ROLES = tuple(role.value for role in NodeRole)
RUNGS = tuple(rung.value for rung in FENCED_BY)
CONFLICTS = tuple(policy.value for policy in OnConflict)
COMPRESSIONS = ("auto", "always", "never")
GATES = (GATE_AUTO, GATE_ON, GATE_OFF)
MAX_DRIFT_PPM = 100_000

# What is beyond these is a slip of the pen, not a setting.
beat_ms = values.duration_to("1m")  # of Raft, the lease's renewal, the stream
patience_ms = values.duration_to("10m")  # how long a cluster waits before it acts
announce_ms = values.duration_between("1s", "1h")
keeping_ms = values.duration_to("3650d")

# What may differ between the nodes; everything else is in the fingerprint.
OWN_TO_EACH_NODE = (
    "node",
    "tls",
    "state_dir",
    "run_dir",
    "admin_socket",
    "watchdog",
    "health",
    "notify",
    "log_level",
    "source",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A usable configuration, and what is allowed but worth a second thought."""

    config: Config
    warnings: tuple[str, ...]


def load(path: Path, node: NodeId | None = None) -> Config:
    """The configuration in `path`, for this node; logs its warnings.

    `node` wins over the file's own `node`. ConfigError has every problem as `file:line: message`.
    """
    loaded = read(path, node)
    for warning in loaded.warnings:
        logger.warning(warning)
    return loaded.config


def check(
    path: Path,
    node: NodeId | None = None,
    *,
    clock: Clock = utc_now,
    ask_agent: AskAgent | None = None,
    ask_unit: AskUnit | None = None,
) -> tuple[int, list[str]]:
    """What `--check` says: the exit code (0, or 2 with problems) and the lines to print.

    `ask_agent` asks a fence agent which options it takes, `ask_unit` systemd whether it starts a
    unit at boot; None: they are not asked.
    """
    try:
        loaded = read(
            path, node, clock=clock, starting=False, ask_agent=ask_agent, ask_unit=ask_unit
        )
    except ConfigError as error:
        return error.exit_code, error.problems
    config = loaded.config
    summary = (
        f"{path}: good for node {config.node} of cluster {config.cluster}"
        f" (fingerprint {fingerprint(config)}, to be the same on every node)"
    )
    return 0, [*loaded.warnings, summary]


def read(
    path: Path,
    node: NodeId | None = None,
    *,
    clock: Clock = utc_now,
    starting: bool = True,
    ask_agent: AskAgent | None = None,
    ask_unit: AskUnit | None = None,
) -> Loaded:
    """As `load`, with the warnings returned.

    `starting`: what may pass by itself is a warning. A node whose clock is wrong until the network
    is there, or whose new certificate is on its way, is to run and not to end for good.
    """
    document = Document(path)
    config = _config(document, path, node)
    warnings = []
    for finding in checks.findings(config, clock(), ask_agent, ask_unit):
        if not all(document.trusted(key) for key in (finding.key, *finding.reads)):
            continue
        if finding.fatal and not (starting and finding.passes):
            document.problem(finding.key, finding.text)
        else:
            warnings.append(document.located(finding.key, finding.text))
    if problems := document.problems():
        raise ConfigError(problems)
    return Loaded(config=config, warnings=tuple(warnings))


def fingerprint(config: Config) -> str:
    """16 hex digits over everything that must be equal on all nodes, except secrets.

    It is shown to everybody, and a short password could be guessed from it.
    """
    shared = asdict(config)
    for name in OWN_TO_EACH_NODE:
        del shared[name]
    for how in shared["fencing"].values():
        for device in how["devices"]:
            device["options"] = agents.redacted(device["options"])
    text = json.dumps(shared, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _config(document: Document, path: Path, node: NodeId | None) -> Config:
    """What the file says; with problems noted in `document`, stand-ins are among it."""
    with document.root() as root:
        cluster = root.require("cluster", values.name, "", "give the cluster a name")
        own = root.read("node", values.node_name, "")
        if node is None and "node" not in root:
            root.missing("node", "say which of the nodes this host is, here or with --node")
        nodes = _nodes(root)
        rings = {ring.name for member in nodes.values() for ring in member.rings}
        groups = {
            GroupId(name): _group(GroupId(name), section, rings)
            for name, section in root.named("groups", values.name)
        }
        if not groups:
            root.missing("groups", "name at least one group, for instance 'default'")
        lease = _lease(root.section("lease"))
        dog = root.section("watchdog")
        return Config(
            cluster=cluster,
            node=NodeId(own) if node is None else node,
            nodes=nodes,
            tls=_tls(root.section("tls")),
            groups=groups,
            fencing={
                NodeId(name): fencing.of_node(name, section)
                for name, section in root.named("fencing", values.node_name)
            },
            ports=_ports(root.section("ports")),
            consensus=_consensus(root.section("consensus")),
            lease=lease,
            watchdog=_watchdog(dog, lease) if "watchdog" in root else None,
            pair=_pair(root.section("pair")),
            maintenance=_maintenance(root.section("maintenance")),
            health=health.read(root.section("health")),
            notify=tuple(notify.receivers(root)),
            state_dir=root.read("state_dir", values.own_directory, Path("/var/lib/staqraft")),
            run_dir=root.read("run_dir", values.own_directory, Path("/run/staqraft")),
            admin_socket=root.read(
                "admin_socket", values.absolute_path, Path("/run/staqraft/admin.sock")
            ),
            log_level=root.read("log_level", values.one_of(LEVELS), "info"),
            source=path,
        )


def _nodes(root: Section) -> dict[NodeId, Node]:
    nodes = {}
    for name, section in root.named("nodes", values.node_name):
        with section:
            role = section.require(
                "role", values.one_of(ROLES), ROLES[0], "write 'replica' or 'witness'"
            )
            rings = section.pairs("rings", values.name, values.address, "")
            if not rings:
                section.missing("rings", "give at least one, for instance 'service: 192.0.2.1'")
        nodes[NodeId(name)] = Node(
            id=NodeId(name),
            role=NodeRole(role),
            rings=tuple(Ring(name=ring, address=address) for ring, address in rings),
        )
    if not nodes:
        root.missing("nodes", "list the two replicas and the witness")
    return nodes


def _tls(section: Section) -> Tls:
    with section:
        return Tls(
            ca=section.require(
                "ca", values.absolute_path, Path("/"), "name the file ca.pem of 'staqctl certs'"
            ),
            certificate=section.require(
                "certificate", values.absolute_path, Path("/"), "name this node's .pem file"
            ),
            key=section.require(
                "key", values.absolute_path, Path("/"), "name this node's .key file"
            ),
        )


def _ports(section: Section) -> Ports:
    default = Ports()
    with section:
        return Ports(
            control=section.read("control", values.port, default.control),
            data=section.read("data", values.port, default.data),
            metrics=section.read("metrics", values.port, default.metrics),
        )


def _consensus(section: Section) -> Consensus:
    default = Consensus()
    with section:
        return Consensus(
            election_min_ms=section.read("election_min", beat_ms, default.election_min_ms),
            election_max_ms=section.read("election_max", beat_ms, default.election_max_ms),
            heartbeat_ms=section.read("heartbeat", beat_ms, default.heartbeat_ms),
            tick_ms=section.read("tick", beat_ms, default.tick_ms),
            propose_timeout_ms=section.read("propose_timeout", beat_ms, default.propose_timeout_ms),
        )


def _lease(section: Section) -> Lease:
    default = Lease()
    with section:
        return Lease(
            ttl_ms=section.read("ttl", patience_ms, default.ttl_ms),
            renew_ms=section.read("renew", beat_ms, default.renew_ms),
            margin_ms=section.read("margin", beat_ms, default.margin_ms),
            drift_ppm=section.read(
                "drift_ppm", values.integer(0, MAX_DRIFT_PPM), default.drift_ppm
            ),
            gate=section.read("gate", values.one_of(GATES), default.gate),
        )


def _watchdog(section: Section, lease: Lease) -> Watchdog:
    longest_ms = max(1, lease.ttl_ms // 2 // 1000) * 1000
    with section:
        return Watchdog(
            device=section.read("device", values.absolute_path, Path("/dev/watchdog")),
            timeout_ms=section.read("timeout", patience_ms, longest_ms),
        )


def _pair(section: Section) -> Pair:
    default = Pair()
    with section:
        return Pair(
            active_waits_ms=section.read("active_waits", patience_ms, default.active_waits_ms),
            standby_waits_ms=section.read("standby_waits", patience_ms, default.standby_waits_ms),
        )


def _maintenance(section: Section) -> Maintenance:
    default = Maintenance()
    with section:
        return Maintenance(
            rest_ms=section.read("rest", patience_ms, default.rest_ms),
            remind_ms=section.read("remind", keeping_ms, default.remind_ms),
        )


def _group(group: GroupId, section: Section, rings: set[str]) -> Group:
    with section:
        trees = tuple(_tree(name, tree) for name, tree in section.named("trees", values.name))
        if not trees:
            section.missing("trees", "name at least one directory to replicate")
        return Group(
            id=group,
            initial_active=NodeId(
                section.require(
                    "initial_active",
                    values.node_name,
                    "",
                    "name the replica that holds the data when the cluster first starts",
                )
            ),
            trees=trees,
            vips=tuple(_vip(vip) for vip in section.listed("vips")),
            services=tuple(
                service_sections.service(name, part)
                for name, part in section.named("services", values.word)
            ),
            flapping=service_sections.flapping(section.section("flapping")),
            fenced_by=tuple(
                FenceRung(rung) for rung in section.values("fenced_by", values.one_of(RUNGS), RUNGS)
            ),
            announce_every_ms=section.read("announce_every", announce_ms, 60_000),
            address_conflict=OnConflict(
                section.read("address_conflict", values.one_of(CONFLICTS), OnConflict.TAKE.value)
            ),
            failback=_failback(section.section("failback")) if "failback" in section else None,
            barrier_syncfs=section.read("barrier_syncfs", values.boolean, default=True),
            journal=_journal(section.section("journal")),
            replication=_replication(section.section("replication"), rings),
            quarantine=_quarantine(section.section("quarantine")),
            scrub=_scrub(section.section("scrub")),
        )


def _failback(section: Section) -> Failback:
    default = Failback(prefer=NodeId(""))
    with section:
        return Failback(
            prefer=NodeId(
                section.require(
                    "prefer", values.node_name, "", "name the replica that is to be active again"
                )
            ),
            after_ms=section.read("after", keeping_ms, default.after_ms),
        )


def _tree(name: str, section: Section) -> Tree:
    with section:
        return Tree(
            name=name,
            path=section.require(
                "path", values.absolute_path, Path("/"), "name the directory to replicate"
            ),
            profile=section.read("profile", values.one_of(tuple(PROFILES)), "plain"),
            exclude=section.values("exclude", patterns.parse),
            include=section.values("include", patterns.parse_included),
            removals=_removals(section.section("removals")),
        )


def _removals(section: Section) -> RemovalLimit:
    default = RemovalLimit()
    with section:
        if "within" in section and "ask_above" not in section:
            section.missing("ask_above", "say how many per cent of the objects may vanish in it")
        return RemovalLimit(
            percent=section.read("ask_above", values.percent, default.percent),
            within_ms=section.read("within", values.duration_to("7d"), default.within_ms),
        )


def _vip(section: Section) -> Vip:
    with section:
        return Vip(
            address=section.require(
                "address",
                values.vip_address,
                ip_interface("0.0.0.0/32"),
                "write for instance 192.0.2.10/24",
            ),
            interface=section.require(
                "interface", values.network_interface, "", "'ip link' shows what there is"
            ),
        )


def _journal(section: Section) -> Journal:
    default = Journal()
    with section:
        return Journal(
            segment_bytes=section.read("segment", values.size_to("4GiB"), default.segment_bytes),
            max_bytes=section.read("max", values.size_to("1024TiB"), default.max_bytes),
            max_age_ms=section.read("max_age", keeping_ms, default.max_age_ms),
        )


def _replication(section: Section, rings: set[str]) -> Replication:
    default = Replication()
    with section:
        return Replication(
            compression=section.read(
                "compression", values.one_of(COMPRESSIONS), default.compression
            ),
            window_bytes=section.read("window", values.size_to("1GiB"), default.window_bytes),
            dead_peer_ms=section.read("dead_peer", patience_ms, default.dead_peer_ms),
            in_sync_timeout_ms=section.read(
                "in_sync_timeout", patience_ms, default.in_sync_timeout_ms
            ),
            prefer_rings=section.values(
                "prefer_rings",
                values.name,
                tuple(ring for ring in default.prefer_rings if ring in rings),
            ),
        )


def _quarantine(section: Section) -> Quarantine:
    with section:
        return Quarantine(
            max_age_ms=section.read("max_age", keeping_ms, Quarantine().max_age_ms),
        )


def _scrub(section: Section) -> Scrub:
    default = Scrub()
    with section:
        return Scrub(
            rate_bytes=section.read("rate", values.size_to("100GiB"), default.rate_bytes),
            period_ms=section.read("period", keeping_ms, default.period_ms),
            io_pressure=section.read("io_pressure", values.integer(1, 100), default.io_pressure),
        )
