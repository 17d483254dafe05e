"""The words of StaqRaft as values: nodes, groups, epochs, positions, what Raft keeps of a group.

Everything here is a frozen value without behaviour that could fail, shared by the pure decision
core, the replicated state machine and the data path. Nothing here reads a clock: wall-clock times
are for people and arrive from outside; deadlines are milliseconds on CLOCK_BOOTTIME of one host
and are never compared between hosts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

NodeId = NewType("NodeId", str)
GroupId = NewType("GroupId", str)
Epoch = NewType("Epoch", int)

NO_EPOCH = Epoch(0)


class NodeRole(Enum):
    """What a member of the cluster is for."""

    REPLICA = "replica"
    WITNESS = "witness"


class DataRole(Enum):
    """What a group's data worker does: capture and send, receive and apply, or neither."""

    IDLE = "idle"
    ACTIVE = "active"
    STANDBY = "standby"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a group's journal: the record `seq` that was written in `epoch`.

    `seq` grows by one with each record and goes on across epochs; two records with the same `seq`
    and different epochs belong to histories that parted. `Position(0, 0)` is before the first.
    """

    epoch: Epoch = NO_EPOCH
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"


ORIGIN = Position()


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStart:
    """Where an epoch's history begins: its first record has, or will have, this `seq`."""

    epoch: Epoch
    seq: int


class FenceRung(Enum):
    """How it was made sure that the former active no longer serves (weakest proof last)."""

    RELEASED = "released"  # it stopped by itself and said so through Raft
    CONFIRMED = "confirmed"  # it answered a Fence call: everything is down
    DEVICE = "device"  # a fence device turned it off and verified that
    LEASE = "lease"  # its lease ran out, which its kernel enforces
    OPERATOR = "operator"  # a person vouches that it is off


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Which members make up the Raft group, and since which change of that.

    The first is number 1 with all configured members. `founder` opened a later one; if it left a
    member out, that one was certainly off before, by `rung`. `lineage` are the number and founder
    of those that it came from, oldest first, without the first. See `consensus.generations`.
    """

    number: int
    members: frozenset[NodeId]
    founder: NodeId | None = None
    rung: FenceRung | None = field(default=None, compare=False)  # openings do not tell it
    lineage: tuple[tuple[int, NodeId], ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"generation {self.number} ({', '.join(sorted(self.members))})"


class Admission(Enum):
    """What the gate before the virtual addresses lets through."""

    CLOSED = "closed"  # nothing, and no answer to ARP: the address is silent
    OPEN = "open"
    DRAINING = "draining"  # all but new TCP connections, which wait for the next active


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceRecord:
    """Proof, kept through Raft, that the loser of `epoch` - 1 was fenced before the takeover."""

    epoch: Epoch
    loser: NodeId
    rung: FenceRung
    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Switchover:
    """An operator's wish that `target` becomes active; pending until done or cancelled."""

    target: NodeId
    requested_by: str
    reason: str
    log_index: int
    forced: bool = False  # by force-active: the target may lack data, and maintenance is no bar
    failback: bool = False  # nobody asked: the group's failback policy did
    schedule: int = 0  # the log index at which it was scheduled
    service: str = ""  # the active itself asks, because this one failed on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """An operator's wish that `target` becomes active at `at_ms`, by the active's wall clock."""

    target: NodeId
    at_ms: int
    requested_by: str
    reason: str
    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """An operator works on `node`, or on the whole cluster (None), since `log_index`.

    `since_ms` is the wall clock of the node that was asked, for people only.
    """

    node: NodeId | None
    requested_by: str
    reason: str
    since_ms: int
    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """What Raft keeps of one group. Equal on every member that applied the same log prefix.

    `renewal` counts the lease renewals of this epoch. `released` means that the active of this
    epoch stood down by itself at `position`, its final one. `in_sync` are the replicas that may
    be promoted without losing anything acknowledged; it is empty only before the first epoch.
    `in_sync_index` is where the log changed that set last: a set that left and came back is not
    the same, since things may have been acknowledged without whoever was out.
    `resting_ms`: the daemon of the active may have stopped in maintenance, and left its addresses
    to the kernel for so long after its last renewal; 0: its lease lasts as long as any. The log
    index at which that began is `resting_index`.
    `away` are the replicas, without a witness, that stopped in order, holding nothing.
    `chosen` is the active if it became active because an operator asked for it, `failbacks` how
    often in a row the failback policy moved the group.
    `moves` are the log indices of the switchovers that were asked for because of failed services,
    oldest first; `cleared_index` is where an operator had these forgotten last.
    """

    epoch: Epoch = NO_EPOCH
    active: NodeId | None = None
    renewal: int = 0
    released: bool = False
    in_sync: frozenset[NodeId] = frozenset()
    in_sync_index: int = 0
    position: Position = ORIGIN
    epoch_starts: tuple[EpochStart, ...] = ()
    fence: FenceRecord | None = None
    switchover: Switchover | None = None
    scheduled: Scheduled | None = None
    chosen: NodeId | None = None
    failbacks: int = 0
    maintenance: tuple[Maintenance, ...] = ()  # the cluster's first, then by node
    resting_ms: int = 0
    resting_index: int = 0
    away: frozenset[NodeId] = frozenset()
    moves: tuple[int, ...] = ()
    cleared_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRecord:
    """What a member last announced of itself."""

    version: str
    config_fingerprint: str
    log_index: int
    format: int = 1  # the newest format of commands that it understands


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEvent:
    """A line of the history that every node keeps.

    `wall_ms` is the proposer's wall clock (ms since 1970), for people only.
    """

    index: int
    wall_ms: int
    group: GroupId | None
    node: NodeId
    kind: str
    text: str
    epoch: Epoch
    position: Position = ORIGIN


EVENTS_KEPT = 1000
MOVES_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """The whole replicated state: groups, members and the last `EVENTS_KEPT` events."""

    groups: dict[GroupId, GroupRecord] = field(default_factory=dict)
    members: dict[NodeId, MemberRecord] = field(default_factory=dict)
    events: tuple[ClusterEvent, ...] = ()
    log_index: int = 0


# --- commands: what may be proposed to Raft -----------------------------------------------------
# Each carries `node` (the proposer) and `wall_ms` (its wall clock, shown to people, never decided
# upon). All are idempotent: proposing one again after an unknown outcome is safe.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    node: NodeId
    wall_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _GroupCommand(_Command):
    group: GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew(_GroupCommand):
    """Renewal number `renewal` of the lease of `epoch`, by its active.

    Accepted when the number is higher than the last one. Each attempt has a number of its own, so
    that the holder knows from which of its proposals its lease counts.
    """

    epoch: Epoch
    renewal: int
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire(_GroupCommand):
    """`node` takes epoch `base_epoch` + 1, having seen nothing after (base_epoch, base_renewal).

    Refused when the record moved on, or `node` is not in the in-sync set. Before the first epoch
    the set is empty and the first acquire that commits wins (the configuration says who may try).
    """

    base_epoch: Epoch
    base_renewal: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEpoch(_GroupCommand):
    """The new active of `epoch` finished its data: its history begins at `start_seq`.

    The in-sync set becomes the new active alone.
    """

    epoch: Epoch
    start_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(_GroupCommand):
    """The active of `epoch` stood down by itself; everything up to `position` is its final word."""

    epoch: Epoch
    position: Position
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetInSync(_GroupCommand):
    """Compare-and-set of the in-sync set by the active of `epoch`, which stays a member.

    `expected` and `expected_index` are the record's set and its `in_sync_index` as the proposer
    saw them.
    """

    epoch: Epoch
    expected: frozenset[NodeId]
    expected_index: int
    members: frozenset[NodeId]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced(_GroupCommand):
    """The new active of `epoch` has proof by `rung` that `loser` no longer serves.

    `detail` is a sentence for the history: what was asked, and who or what answered.
    """

    epoch: Epoch
    loser: NodeId
    rung: FenceRung
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSwitchover(_GroupCommand):
    """An operator asks that `target` becomes active.

    `schedule`: it is the one that was scheduled at this log index, which is not any more then.
    `failback`: the group's policy asks, and not an operator; `service`: the active does, because
    this one failed on it.
    """

    target: NodeId
    requested_by: str
    reason: str
    schedule: int = 0
    failback: bool = False
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSwitchover(_GroupCommand):
    """An operator asks that `target` becomes active at `at_ms` (wall clock, ms since 1970)."""

    target: NodeId
    at_ms: int
    requested_by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSchedule(_GroupCommand):
    """What was scheduled at log index `schedule` is not to be done; 0: whichever it is.

    `missed`: its time came and it could not be done, for `reason`.
    """

    reason: str
    schedule: int = 0
    missed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleFailback(_GroupCommand):
    """The preferred replica has been active in `epoch` for so long that failing back is calm."""

    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearFailures(_GroupCommand):
    """Forget the moves because of failed services, up to the one at log index `up_to`.

    In an operator's name (`requested_by`) all of them, and the restarts that each replica counts.
    """

    up_to: int = 0
    requested_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSwitchover(_GroupCommand):
    """The pending switchover is given up, for `reason`."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMaintenance(_GroupCommand):
    """While `enabled`, nobody is turned off and nothing is taken over automatically.

    `target` is the node that is worked on, None the whole cluster; that one ends every other, too.
    """

    enabled: bool
    requested_by: str
    target: NodeId | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest(_GroupCommand):
    """In maintenance: the lease that this renewal grants lasts `rest_ms`, without a daemon.

    `ends`: the addresses are held for no longer than any lease again, so that the rest that began
    at this log index is over; `renewal` and `rest_ms` are 0 then.
    """

    epoch: Epoch
    renewal: int = 0
    rest_ms: int = 0
    ends: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell(_GroupCommand):
    """`node` stops in order: it holds nothing, and gave up its right to go on alone.

    `gone` False: it is back, and has no right yet.
    """

    gone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceActive(_GroupCommand):
    """An operator accepts data loss: `target` may acquire although it is not in sync."""

    base_epoch: Epoch
    base_renewal: int
    target: NodeId
    requested_by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteEvent(_Command):
    """A line for the history."""

    group: GroupId | None
    kind: str
    text: str
    epoch: Epoch = NO_EPOCH
    position: Position = ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce(_Command):
    """A member says which software and which configuration it runs.

    `format`: the newest format of commands that it understands, see `consensus.versions`.
    """

    version: str
    config_fingerprint: str
    format: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBarrier(_Command):
    """Changes nothing; that it was applied proves that the reader's state is current."""


Command = (
    Renew
    | Acquire
    | OpenEpoch
    | Release
    | SetInSync
    | Fenced
    | RequestSwitchover
    | ScheduleSwitchover
    | DropSchedule
    | SettleFailback
    | CancelSwitchover
    | ClearFailures
    | SetMaintenance
    | Rest
    | Farewell
    | ForceActive
    | NoteEvent
    | Announce
    | ReadBarrier
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The command took effect (or had already, when it was proposed twice) at `log_index`."""

    log_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The command was applied and changed nothing; `reason` is a sentence for people."""

    log_index: int
    reason: str


Outcome = Accepted | Refused
