"""The state of a group's decision core on one replica (PURE)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from staqraft.decision.conflict import OnConflict
from staqraft.decision.defects import Better, NodeHealth
from staqraft.decision.following import Following
from staqraft.decision.lease import Lease, Timing
from staqraft.decision.phases import ADDRESSED, ADDRESSED_BEHIND_GATE, Phase
from staqraft.model import (
    NO_EPOCH,
    ORIGIN,
    Epoch,
    FenceRung,
    Generation,
    GroupId,
    GroupRecord,
    NodeId,
    Position,
)

EVERY_RUNG = frozenset({FenceRung.CONFIRMED, FenceRung.DEVICE, FenceRung.LEASE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """What the configuration says of a service's failures."""

    restarts: int
    window_ms: int
    failover: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceWatch:
    """A service as the core sees it. Instants are this host's."""

    problem: str = ""  # why it is not well; empty if it is
    stuck: bool = False  # it could not be stopped: to start it again is no use
    restarts: tuple[int, ...] = ()  # when it was restarted
    token: int = 0  # of the restart that is under way
    stays: str = ""  # why the group does not move because of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says of the group.

    `fenced_by` are the rungs of which one suffices before a takeover; that the loser released by
    itself, or that an operator vouches for it, always does. `devices` are the nodes that a fence
    device can turn off, each with the time in ms that its use is put off. `gate`: the kernel keeps
    clients from the addresses until told to let them in.
    """

    node: NodeId
    group: GroupId
    replicas: tuple[NodeId, ...]
    initial_active: NodeId
    timing: Timing
    fenced_by: frozenset[FenceRung] = EVERY_RUNG
    devices: dict[NodeId, int] = field(default_factory=dict)
    watchdog_ms: int = 0  # its time-out; 0: there is none
    gate: bool = False
    pair: bool = False  # there is no witness: see `pair`
    moves_for_health: bool = True  # to a replica that is better off
    prefer: NodeId | None = None  # failback: who is to be active when it has been well for long
    failback_ms: int = 0  # so long
    on_conflict: OnConflict = OnConflict.IGNORE  # somebody else has a virtual address
    services: dict[str, ServicePolicy] = field(default_factory=dict)
    moves_most: int = 3  # so many moves of the group because of failed services
    moves_window_ms: int = 3_600_000

    @property
    def peers(self) -> tuple[NodeId, ...]:
        """The other replicas."""
        return tuple(replica for replica in self.replicas if replica != self.node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """The attempt that is under way: what it is based on, and since when.

    `proposed_ms` is the instant before the first attempt on this base; the lease counts from it.
    """

    base_epoch: Epoch
    base_renewal: int
    loser: NodeId | None
    released: bool
    lease_over_ms: int  # when the loser's lease has surely run out
    proposed_ms: int
    reason: str
    forced: bool = False  # an operator accepts data loss
    fenced: tuple[FenceRung, str] | None = None  # the proof that the loser no longer serves
    serving: bool = False  # it is the active's own next epoch: addresses and services may be up


@dataclass(frozen=True, slots=True, kw_only=True)
class Fencing:
    """How far it is known that the loser no longer serves; tokens are 0 when nothing is asked."""

    loser: NodeId
    lease_over_ms: int  # when its lease has surely run out
    asked: int = 0  # token of the FenceLoser that is under way
    ask_ms: int = 0  # not before this instant is it asked (again)
    unanswered: str = ""  # why it did not confirm when it was asked last
    device: int = 0  # token of the TurnOff that is under way
    device_ms: int = 0  # not before this instant is a device used (again)
    device_problem: str = ""  # why that failed last
    contacts: int = 0  # of a pair: how often the loser had been met when the device was asked
    proof: tuple[FenceRung, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairState:
    """How this node stands to the other, where there is no witness; see `events.RaftReported`.

    Tokens are 0 when nothing is asked. `proof` and everything behind it belong to this loss.
    """

    generation: Generation
    reached: bool
    contacts: int
    newer: str
    favoured: bool
    lost_ms: int  # since when this is so
    device: int = 0  # token of the TurnOff that is under way
    again_ms: int = 0  # not before this instant is a device used again
    problem: str = ""  # why that failed last
    proof: tuple[FenceRung, str] | None = None
    left: bool = False  # it said farewell, and was not heard since
    going: int = 0  # token of the GoAlone that is under way


class Joining(Enum):
    """How far a standby is on its way into the in-sync set, as the active sees it."""

    OUT = "out"
    BARRIER = "barrier"  # barriers wait for it already; its own barrier is being taken
    CATCHING_UP = "catching-up"  # until it has acknowledged that barrier's position
    PROPOSED = "proposed"  # the addition was proposed; no way back but through Raft


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSync:
    """A standby as the active sees it. Instants are this host's."""

    following: Following = Following.LOST
    durable: Position = ORIGIN
    whole_ms: int = 0  # when it was last heard while it was whole
    told_ms: int = 0  # when our stream process last said anything of it
    joining: Joining = Joining.OUT
    target: Position = ORIGIN
    token: int = 0  # of the barrier or the proposal that is under way
    propose_again_ms: int = 0

    @property
    def whole(self) -> bool:
        """By the last report."""
        return self.following is Following.WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceWaiter:
    """A `FenceRequested` that is answered when this node has let go."""

    token: int
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """Everything that the core remembers.

    `observed_ms` is when the record's (epoch, renewal) last changed as this node saw it.
    `awaiting` is the token of the action or proposal that the phase waits for; 0 if none.
    """

    settings: Settings
    phase: Phase = Phase.STARTUP
    record: GroupRecord = field(default_factory=GroupRecord)
    observed_ms: int = 0
    lease: Lease = field(default_factory=Lease)
    takeover: Takeover | None = None
    fencing: Fencing | None = None  # in phase FENCING only
    awaiting: int = 0
    retry_ms: int = 0  # not before this instant is what failed tried again
    cooldown_ms: int = 0  # not before this instant does this node acquire by itself
    next_token: int = 1
    blockers: tuple[str, ...] = ()
    journal_last: Position = ORIGIN  # newest record of this node's journal, as last reported
    kicked_ms: int | None = None  # when the watchdog was last kicked; None: it is not armed
    opening_seq: int = 0  # where the epoch that is being opened begins
    peers: dict[NodeId, PeerSync] = field(default_factory=dict)
    fence_waiters: tuple[FenceWaiter, ...] = ()
    handing_to: NodeId | None = None
    failed_wish: tuple[int, str] = (0, "")  # the switchover tried in vain: its log index, and why
    release_after: bool = False  # having let go, tell Raft, so that nobody waits for the lease
    shutting_down: bool = False
    rest_asked: tuple[int, int] = (0, 0)  # the first attempt to rest: its renewal, just before when
    rest_before: int = 0  # the rest (its log index) that was in the record already
    checking: int = 0  # token of the CheckVips that is under way
    claimed: tuple[str, ...] = ()  # who else has a virtual address, as found in this takeover
    preferred_since_ms: int | None = None  # since when the preferred replica has been well
    rest_over_again_ms: int = 0  # not before this instant is the end of a rest proposed again
    reason: str = ""  # why the group is in this phase, a sentence for people
    service_problem: str = ""
    health: dict[NodeId, NodeHealth] = field(default_factory=dict)
    better: Better | None = None  # another replica is, on the active only
    health_again_ms: int = 0  # not before this instant is it handed over for that (again)
    services: dict[str, ServiceWatch] = field(default_factory=dict)
    moves_seen: dict[int, int] = field(default_factory=dict)  # log index: first seen at
    move_again_ms: int = 0  # not before this instant is a move proposed again
    clear_again_ms: int = 0  # not before this instant is it proposed again to forget them
    pair: PairState | None = None  # where there is no witness
    served: Epoch = NO_EPOCH  # this node served in it until its daemon was restarted
    fenced_before: Epoch = NO_EPOCH  # another node proved to have acquired this epoch

    @property
    def addressed(self) -> bool:
        """The virtual addresses may be on this node, and are refreshed at each renewal."""
        phases = ADDRESSED_BEHIND_GATE if self.settings.gate else ADDRESSED
        return self.phase in phases

    @property
    def mine(self) -> bool:
        """The record names this node as active, and it has not released."""
        return self.record.active == self.settings.node and not self.record.released

    @property
    def epoch_is_open(self) -> bool:
        """The record's epoch has its first position already."""
        starts = self.record.epoch_starts
        return bool(starts) and starts[-1].epoch == self.record.epoch
