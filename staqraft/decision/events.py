"""What a group's decision core is told (PURE). Every event carries the instant of the decision."""

from __future__ import annotations

from dataclasses import dataclass

from staqraft.decision.defects import Defect
from staqraft.decision.following import Following
from staqraft.model import (
    NO_EPOCH,
    ORIGIN,
    Epoch,
    Generation,
    GroupRecord,
    NodeId,
    Position,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    now_ms: int  # CLOCK_BOOTTIME of this host


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(_Event):
    """Time passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordObserved(_Event):
    """Raft applied something; this is the group's record now.

    The first one must come after a read barrier, so that it is not older than our own start; or,
    of two replicas without a witness, with the proof that this host has not been off since it last
    could be sure of that. `served` is the epoch in which this node served until its daemon ended.
    """

    record: GroupRecord
    served: Epoch = NO_EPOCH


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalAccepted(_Event):
    """The proposal took effect, or had already."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRefused(_Event):
    """The proposal was applied and changed nothing."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalUnknown(_Event):
    """The proposal may or may not take effect: no leader, a new leader, or a time-out."""

    token: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDone(_Event):
    """A command with this token succeeded. FinishData, Flush and JoinBarrier set `position`.

    FenceLoser and TurnOff say in `detail` who or what confirmed it.
    """

    token: int
    position: Position = ORIGIN
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFailed(_Event):
    """A command with this token failed or timed out."""

    token: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochNotContinuable(_Event):
    """StartCapture: the journal lost its tail in a power cut, so this epoch cannot go on."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureBroken(_Event):
    """The data worker was restarted while it captured, and cannot continue this epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReported(_Event):
    """How this node's data worker is. Any of `blockers`, sentences, forbids a takeover.

    Each may end with what to do: behind the last ": ".
    """

    blockers: tuple[str, ...]
    last: Position = ORIGIN  # newest record in the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReported(_Event):
    """How the stream to a standby is, by this node's stream process.

    `silent_ms`: since the standby was last heard.
    """

    peer: NodeId
    following: Following
    durable: Position
    silent_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReported(_Event):
    """How `node` is: this one by its own probes, another one by its own word, `age_ms` old.

    `ready`: nothing is against its taking over, by its own word (`eligibility`). Told again and
    again as long as it lasts; see `health`.
    """

    node: NodeId
    defects: tuple[Defect, ...] = ()
    ready: bool = True
    age_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceRequested(_Event):
    """Another node acquired `epoch` and asks this one to let go of every older one."""

    epoch: Epoch
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OffConfirmed(_Event):
    """An operator vouches that `node` is off, or cannot serve for another reason."""

    node: NodeId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftReported(_Event):
    """How this node stands to the other replica, where there is no witness.

    `generation` is the one that this node's record is current in, `reached` that the other has a
    session in it, the `contacts`-th. `newer` names a generation that went on without this node.
    `favoured`: of the two this one is to act first.
    """

    generation: Generation
    reached: bool
    contacts: int
    newer: str = ""
    favoured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VipsChecked(_Event):
    """Who claimed a virtual address, a sentence each: `former` is the host that last had it."""

    token: int
    others: tuple[str, ...] = ()
    former: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDue(_Event):
    """By this host's wall clock the time of the switchover scheduled at log index `schedule` came.

    That was `late_ms` ago. It is said again and again while it is scheduled.
    """

    schedule: int
    late_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReported(_Event):
    """How a service of the group is on this node. `problem` is a sentence; empty: it is well.

    `stuck`: it could not be stopped.
    """

    service: str
    problem: str = ""
    stuck: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownRequested(_Event):
    """The daemon is to stop: hand over first if a standby is in sync."""


Event = (
    Tick
    | RecordObserved
    | ProposalAccepted
    | ProposalRefused
    | ProposalUnknown
    | ActionDone
    | ActionFailed
    | EpochNotContinuable
    | CaptureBroken
    | DataReported
    | PeerReported
    | HealthReported
    | FenceRequested
    | OffConfirmed
    | RaftReported
    | ScheduleDue
    | VipsChecked
    | ServiceReported
    | ShutdownRequested
)
