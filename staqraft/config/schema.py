"""The configuration as frozen values. `loader` makes them from YAML, `checks` relates them.

All durations are milliseconds, all sizes bytes. A value that stands here has passed every check.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from staqraft.config.notify import Receiver
from staqraft.config.services import Flapping, Service
from staqraft.decision.conflict import OnConflict
from staqraft.model import FenceRung, GroupId, NodeId, NodeRole

GATE_AUTO, GATE_ON, GATE_OFF = "auto", "on", "off"
GATEWAY = "gateway"  # instead of an address: whatever the default route leads to
FENCED_BY = (FenceRung.CONFIRMED, FenceRung.DEVICE, FenceRung.LEASE)


LET_GO_MS, LET_GO_GATED_MS = 250, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """An address of a node on one of its networks, in order of preference for control traffic."""

    name: str  # "service", "sync", ...
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A member of the cluster."""

    id: NodeId
    role: NodeRole
    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """TCP ports, equal on all nodes. Group i (sorted by name) uses data + 2i and data + 2i + 1."""

    control: int = 7400  # Raft, fencing, admin over mTLS
    data: int = 7410  # stream process, then trees process
    metrics: int = 9417  # Prometheus, plain HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files of this node."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """Raft timing."""

    election_min_ms: int = 300
    election_max_ms: int = 600
    heartbeat_ms: int = 95
    tick_ms: int = 15
    propose_timeout_ms: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The lease and what enforces it."""

    ttl_ms: int = 3000
    renew_ms: int = 300
    margin_ms: int = 100
    drift_ppm: int = 1000  # how much faster or slower a host's clock may run
    gate: str = GATE_AUTO  # nftables before the VIPs: auto (where they can be used), on, off

    @property
    def let_go_ms(self) -> int:
        """How long before its end the lease is given up when it was not renewed."""
        return min(LET_GO_MS, self.ttl_ms // 4)

    @property
    def let_go_gated_ms(self) -> int:
        """The same with a gate, which is closed in one transaction."""
        return min(LET_GO_GATED_MS, self.ttl_ms // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Without a witness: how long the other replica is missed before it is turned off."""

    active_waits_ms: int = 4_000  # by the active of the first group
    standby_waits_ms: int = 10_000  # by the other: longer by what a device takes to turn one off


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """What `staqctl maintenance` allows, and when it is said that it lasts long."""

    rest_ms: int = 600_000  # the active's addresses go on for so long without its daemon
    remind_ms: int = 4 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalLimit:
    """How much may vanish from a tree before somebody is asked."""

    percent: int = 0  # of its objects; 0: nobody is ever asked
    within_ms: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A directory whose content is replicated."""

    name: str
    path: Path
    profile: str = "plain"  # one of `profiles.PROFILES`
    exclude: tuple[str, ...] = ()  # see `patterns`: these come after the profile's own
    include: tuple[str, ...] = ()  # what comes back of what these leave out
    removals: RemovalLimit = field(default_factory=RemovalLimit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vip:
    """A virtual address that the active holds."""

    address: IPv4Interface | IPv6Interface
    interface: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Bounds of a group's journal on disk."""

    segment_bytes: int = 64 << 20
    max_bytes: int = 4 << 30
    max_age_ms: int = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """The stream between the replicas."""

    compression: str = "auto"  # auto, always, never
    window_bytes: int = 16 << 20
    dead_peer_ms: int = 1000
    in_sync_timeout_ms: int = 3000  # a standby that has not acknowledged for so long leaves the set
    prefer_rings: tuple[str, ...] = ("sync",)  # the other rings follow in the node's order


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """How long what a returning node had to itself is kept."""

    max_age_ms: int = 0  # 0: until an operator drops it


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrub:
    """How a standby's trees are read again and again, to find what is not as it should be."""

    rate_bytes: int = 20 << 20  # a second, at most
    period_ms: int = 7 * 24 * 3600 * 1000  # from the begin of a pass to that of the next
    io_pressure: int = 50  # per cent of time that programs wait for disks, above which it pauses


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """The device that resets this machine when its lease is not renewed."""

    device: Path = Path("/dev/watchdog")
    timeout_ms: int  # whole seconds, which is what devices take


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskHealth:
    """How the volumes of the trees, of Raft and of the journals are looked at."""

    interval_ms: int = 5_000  # from one write to the next
    slow_ms: int = 3_000  # a write that takes longer is told of
    hung_ms: int = 15_000  # one that takes longer counts as never ending
    warn_percent: int = 10  # free space, or free inodes, below which it is told of
    critical_percent: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PingHealth:
    """Who is asked whether this node has its uplink."""

    targets: tuple[str, ...] = (GATEWAY,)  # addresses, or the default gateway
    need: int = 1  # of the targets so many have to answer
    interval_ms: int = 1_000
    lost_after_ms: int = 5_000  # so long unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is looked at on each node. The nodes may differ in it."""

    disk: DiskHealth = field(default_factory=DiskHealth)
    ping: PingHealth = field(default_factory=PingHealth)
    memory_percent: int = 5  # available memory, below which it is told of
    clock_ms: int = 1_000  # from another node's clock
    steady_ms: int = 30_000  # what was wrong is well again when it has been so for so long
    failover: bool = True  # to a replica that is better off


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceDevice:
    """One way to turn a node off: a ClusterLabs fence agent and what it is to be told.

    All devices of a level must succeed (two power supplies), else the next level is tried. The
    options may hold secrets and are not shown: see `agents.redacted`.
    """

    name: str
    agent: Path
    plug: str  # what the device calls the node
    level: int = 1
    timeout_ms: int = 60_000  # for one action, a second try included
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFencing:
    """How a node is turned off by the others."""

    devices: tuple[FenceDevice, ...]
    delay_ms: int = 1000  # before a device is used: the node is asked first
    monitor_ms: int = 60_000  # how often each device is asked whether it could do its work


@dataclass(frozen=True, slots=True, kw_only=True)
class Failback:
    """Who is to be active again once it has been healthy and in sync for so long."""

    prefer: NodeId
    after_ms: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The unit of failover. `fenced_by`: of these rungs one must succeed before a takeover."""

    id: GroupId
    initial_active: NodeId
    trees: tuple[Tree, ...]
    vips: tuple[Vip, ...] = ()
    services: tuple[Service, ...] = ()
    flapping: Flapping = field(default_factory=Flapping)
    fenced_by: tuple[FenceRung, ...] = FENCED_BY
    announce_every_ms: int = 60_000  # where the addresses are, after it was said at first
    address_conflict: OnConflict = OnConflict.TAKE
    failback: Failback | None = None  # None: whoever is active stays active
    barrier_syncfs: bool = True
    journal: Journal = field(default_factory=Journal)
    replication: Replication = field(default_factory=Replication)
    quarantine: Quarantine = field(default_factory=Quarantine)
    scrub: Scrub = field(default_factory=Scrub)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One node's configuration. Nodes differ only in `node`, `tls`, paths and log level."""

    cluster: str
    node: NodeId
    nodes: dict[NodeId, Node]
    tls: Tls
    groups: dict[GroupId, Group]
    fencing: dict[NodeId, NodeFencing] = field(default_factory=dict)
    ports: Ports = field(default_factory=Ports)
    consensus: Consensus = field(default_factory=Consensus)
    lease: Lease = field(default_factory=Lease)
    watchdog: Watchdog | None = None
    pair: Pair = field(default_factory=Pair)
    maintenance: Maintenance = field(default_factory=Maintenance)
    health: Health = field(default_factory=Health)
    notify: tuple[Receiver, ...] = ()
    state_dir: Path = Path("/var/lib/staqraft")
    run_dir: Path = Path("/run/staqraft")
    admin_socket: Path = Path("/run/staqraft/admin.sock")
    log_level: str = "info"
    source: Path = Path("/etc/staqraft/staqraft.yaml")  # the file that this came from

    @property
    def me(self) -> Node:
        """The node whose configuration this is."""
        return self.nodes[self.node]

    @property
    def replicas(self) -> tuple[NodeId, ...]:
        """The replicas, sorted by name."""
        return tuple(sorted(n.id for n in self.nodes.values() if n.role is NodeRole.REPLICA))

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses of all members."""
        return tuple(ring.address for node in self.nodes.values() for ring in node.rings)

    def group_number(self, group: GroupId) -> int:
        """The group's place in the sorted list of groups; its ports follow from it."""
        return sorted(self.groups).index(group)

    def stream_port(self, group: GroupId) -> int:
        """Where the group's stream process listens for the peer."""
        return self.ports.data + 2 * self.group_number(group)

    def trees_port(self, group: GroupId) -> int:
        """Where the group's trees process listens for the peer."""
        return self.stream_port(group) + 1

    def group_dir(self, group: GroupId) -> Path:
        """Where the group's journal, index and quarantine are kept."""
        return self.state_dir / "groups" / group

    def worker_socket(self, group: GroupId, process: str) -> Path:
        """The unix socket of a data worker's process: `trees` or `stream`."""
        return self.run_dir / f"{group}.{process}.sock"
