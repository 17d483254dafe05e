"""What the metrics are told: plain figures, so that they know nothing of who tells them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from staqraft.model import Epoch, GroupId, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSample:
    """A group as the control process of this node sees it now."""

    group: GroupId
    phase: str  # a `decision.phases.Phase`, or "witness"
    eligible: bool | None  # it would take over by itself; None: it is active, or a witness
    epoch: Epoch
    lease_left_ms: int
    in_sync: Collection[NodeId]
    replicas: Collection[NodeId]
    vips_held: Mapping[str, bool]  # address with prefix -> it is on this node
    gate_open: bool | None = None  # clients get through; None: there is no gate
    maintenance_ms: int = 0  # for how long it is on, by wall clocks
    services: Mapping[str, str] = field(default_factory=dict)  # name -> state
    service_restarts: Mapping[str, int] = field(default_factory=dict)
    service_moves: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSample:
    """The session with a peer, as the stream process sees it."""

    connected: bool
    preferred_ring: bool | None  # it goes over the best of the networks; None: no ring is known
    lag_records: int
    lag_bytes: int
    lag_ms: int
    unapplied_records: int
    wire_bytes: int  # since the role began, compressed
    raw_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSample:
    """A group's data on this node, from its workers."""

    group: GroupId
    peers: Mapping[NodeId, PeerSample]
    journal_bytes: int
    journal_limit_bytes: int
    journal_free_bytes: int | None  # of its volume; None: not known
    journal_segments: int
    objects: Mapping[str, int]  # by tree
    dirty_objects: int
    unsettled_objects: int
    quarantined_objects: int
    quarantined_bytes: int
    changes: Mapping[str, int] = field(default_factory=dict)  # by kind, since the process started


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileSample:
    """How far a comparison is; all 0: none runs."""

    done: int = 0
    expected: int = 0
    fetched_bytes: int = 0
    bytes_per_s: int = 0
    left_ms: int = 0  # below 0: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubSample:
    """What the scrubber counted since its process started, and when its last pass ended."""

    found: int
    healed: int
    corrupt: int
    ended_s: float  # since 1970; 0: none yet


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSample:
    """A network between this replica and another one."""

    peer: NodeId
    ring: str
    up: bool  # both ways
    round_trip_ms: float | None  # None: none came back yet


@dataclass(frozen=True, slots=True, kw_only=True)
class PingSample:
    """An address that this replica pings: a target of its uplink, or the witness on a ring."""

    address: str
    answers: bool
    round_trip_us: int | None  # None: it never answered


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSample:
    """A volume that this replica needs."""

    path: str
    took_ms: int  # the last write, or one that has not ended yet
    failed: bool
    free_bytes: int
    size_bytes: int  # 0: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSample:
    """Raft as this node sees it now."""

    term: int
    commit_index: int
    applied_index: int
    leader: bool
    quorum: bool
    reachable: Mapping[NodeId, bool]  # the other members
    log_entries: int
    log_bytes: int
    late_ticks: int  # since start
