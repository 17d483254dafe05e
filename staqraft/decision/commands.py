"""What a group's decision core wants done (PURE).

The executor carries commands out in the order given. A command with a token is answered by exactly
one event with that token, within the executor's time limit; one without is not answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from staqraft.model import Admission, Epoch, EpochStart, FenceRung, NodeId
from staqraft.model import Command as Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """Propose to Raft. The executor puts in the wall clock."""

    token: int
    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceLoser:
    """Ask the loser, over every ring and through the other members, to let go of older epochs."""

    token: int
    loser: NodeId
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOff:
    """Have the fence devices turn the loser off, and make sure that it is off."""

    token: int
    loser: NodeId
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTurnOff:
    """Whatever the `TurnOff` with this token has not done yet is not to be done any more.

    That `TurnOff` is not answered, unless its answer is on its way.
    """

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAlone:
    """The other replica is off, by `rung`: go on in a Raft generation of this node only.

    It fails when the other was heard since `contacts`.
    """

    token: int
    rung: FenceRung
    contacts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishData:
    """Stop receiving, apply everything received. Answered with the last applied position.

    It fails when something received cannot be applied, unless an operator accepts that loss.
    """

    token: int
    epoch: Epoch
    accept_data_loss: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCapture:
    """Capture changes and send them, in this epoch."""

    token: int
    epoch: Epoch
    epoch_starts: tuple[EpochStart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowActive:
    """Receive and apply what `active` sends; None: nobody is active, so do neither."""

    epoch: Epoch
    active: NodeId | None
    epoch_starts: tuple[EpochStart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartServices:
    """Start the services in order, each confirmed by its check."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopServices:
    """Stop the services in reverse order."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckVips:
    """Ask the network who has the virtual addresses; answered by `VipsChecked`, and within 1 s."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartService:
    """Stop a service that is not well, and start it. A `StopServices` ends it on the way."""

    token: int
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeVips:
    """Have the virtual addresses until `deadline_ms` at the latest, and announce them.

    A gate before them is to `admit` so much; None: as much as it does (at first nothing).
    """

    token: int
    deadline_ms: int
    admit: Admission | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldVips:
    """A renewal was committed: let the kernel keep the addresses until `deadline_ms` at the latest.

    An address that the kernel has taken away meanwhile is added and announced again, unless
    `only_if_held`.
    """

    deadline_ms: int
    only_if_held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DropVips:
    """Remove the virtual addresses and verify by the kernel's word that they are gone."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmWatchdog:
    """From now on the machine is reset unless it is kicked; it may be relied upon until then."""

    token: int
    deadline_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KickWatchdog:
    """A renewal was committed: the lease lasts until `deadline_ms`.

    Not to be carried out when the device would then fire later than that.
    """

    deadline_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveWatchdog:
    """The addresses are verified to be gone: the services have their time to stop, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisarmWatchdog:
    """Addresses and services are verified to be gone: there is nothing to reset for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Everything written before now is to be durable at `target`. Answered with its position."""

    token: int
    target: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinBarrier:
    """Take a capture barrier for a standby that wants to join the in-sync set."""

    token: int
    peer: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFence:
    """Answer a `FenceRequested`."""

    token: int
    let_go: bool
    detail: str


Command = (
    Propose
    | FenceLoser
    | TurnOff
    | StopTurnOff
    | GoAlone
    | FinishData
    | StartCapture
    | FollowActive
    | StartServices
    | StopServices
    | CheckVips
    | RestartService
    | TakeVips
    | HoldVips
    | DropVips
    | ArmWatchdog
    | KickWatchdog
    | LeaveWatchdog
    | DisarmWatchdog
    | Flush
    | JoinBarrier
    | AnswerFence
)
