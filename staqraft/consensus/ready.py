"""What happens to a Raft member, and what a step of it produced (after etcd's `Ready`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from staqraft.model import ClusterRecord, FenceRung, Generation, NodeId, Outcome
from staqraft.wire.v1 import raft_pb2 as pb


@dataclass(frozen=True, slots=True)
class Connected:
    """A session with the peer is open; the generations that both sides named in their openings."""

    node: NodeId
    told: Generation
    heard: Generation


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The session with the peer is gone."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the peer. `at`: when it came, if it lay for a while, on the member's clock."""

    node: NodeId
    message: pb.Envelope
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A command of this node, encoded, with its identity."""

    identity: bytes
    command: bytes


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nobody waits for this command of this node any more."""

    identity: bytes


@dataclass(frozen=True, slots=True)
class GoAlone:
    """The other member is certainly off, by `rung`, and was asked about after `contacts`.

    `forced`: it may have gone on alone before, and is given up.
    """

    rung: FenceRung
    contacts: int
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Resign:
    """The node is about to stop: if it leads, another one is to."""


Happening = Resign | Connected | Disconnected | Received | Submitted | Withdrawn | GoAlone


class Failure(Enum):
    """Why a submitted command will not be answered by an outcome of this attempt."""

    NOT_TAKEN = "it was not taken: there is no leader"
    UNKNOWN = "the leader changed: it may or may not take effect"
    STORE_FULL = "the Raft volume has no space"
    OUTDATED = "this software is too old for the cluster"


@dataclass(slots=True)
class Ready:
    """What a step produced, after everything that it promises was synced."""

    messages: list[tuple[NodeId, pb.Envelope]] = field(default_factory=list)
    outcomes: list[tuple[bytes, Outcome]] = field(default_factory=list)
    failures: list[tuple[bytes, Failure]] = field(default_factory=list)
    offenders: dict[NodeId, str] = field(default_factory=dict)  # whose session is to be closed
    record: ClusterRecord | None = None  # the new record if it changed
    redial: set[NodeId] = field(default_factory=set)  # a session in which a generation was outdated
    alone: list[str] = field(default_factory=list)  # answers to `GoAlone`: "" or why not


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Raft's timers, in seconds; `snapshot_after`: entries that the log may have, if not many."""

    election_min_s: float
    election_max_s: float
    heartbeat_s: float
    snapshot_after: int | None = None
