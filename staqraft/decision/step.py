"""One step of the core: take an event in, then settle what time and the record allow (PURE)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from staqraft.decision import (
    conflict,
    fencing,
    handover,
    health,
    insync,
    pair,
    planned,
    rest,
    services,
    standdown,
    takeover,
    watchdog,
)
from staqraft.decision.commands import Command, HoldVips
from staqraft.decision.events import (
    ActionDone,
    ActionFailed,
    CaptureBroken,
    DataReported,
    EpochNotContinuable,
    Event,
    FenceRequested,
    HealthReported,
    OffConfirmed,
    PeerReported,
    ProposalAccepted,
    ProposalRefused,
    ProposalUnknown,
    RaftReported,
    RecordObserved,
    ScheduleDue,
    ServiceReported,
    ShutdownRequested,
    Tick,
    VipsChecked,
)
from staqraft.decision.lease import proposing, renewed
from staqraft.decision.phases import CAPTURED, HOLDING, RENEWING, RETURNING, Phase
from staqraft.decision.turn import Turn
from staqraft.model import Position, Renew

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState

# What the answer to a phase's action leads to, what its failure leads to (default: another try),
# and what the phase does by itself as time passes and the record changes.
_DONE: dict[Phase, Callable[[Turn, Position], None]] = {
    Phase.FINISHING: takeover.finished,
    Phase.ARMING: lambda turn, _: takeover.start_capture(turn),
    Phase.CAPTURING: lambda turn, _: takeover.captured(turn),
    Phase.STARTING: lambda turn, _: takeover.services_started(turn, problem=""),
    Phase.ADDRESSING: lambda turn, _: takeover.addressed(turn),
    Phase.ADMITTING: lambda turn, _: takeover.serve(turn),
    Phase.PREPARING: lambda turn, _: handover.prepared(turn),
    Phase.DRAINING: lambda turn, _: handover.stop_services(turn),
    Phase.STOPPING: lambda turn, _: handover.services_stopped(turn),
    Phase.FLUSHING: handover.flushed,
    Phase.UNADDRESSING: lambda turn, _: handover.unaddressed(turn),
    Phase.DROPPING: lambda turn, _: standdown.addresses_dropped(turn),
    Phase.HALTING: lambda turn, _: standdown.halted(turn),
    Phase.LEAVING: lambda turn, _: rest.left(turn),
}
_FAILED: dict[Phase, Callable[[Turn, str], None]] = {
    Phase.FINISHING: takeover.step_failed,
    Phase.ARMING: takeover.step_failed,
    Phase.CAPTURING: takeover.step_failed,
    Phase.STARTING: takeover.services_started,
    Phase.PREPARING: handover.not_prepared,
    Phase.DRAINING: handover.hand_over_failed,
    Phase.STOPPING: services.stop_failed,
    Phase.FLUSHING: handover.hand_over_failed,
}
_SETTLE: dict[Phase, Callable[[Turn], None]] = {
    Phase.RESUMING: takeover.settle_resuming,
    Phase.STANDBY: takeover.settle_standby,
    Phase.ACQUIRING: takeover.settle_acquiring,
    Phase.FENCING: takeover.settle_fencing,
    Phase.OPENING: takeover.settle_opening,
    Phase.ADDRESSING: takeover.settle_addressing,
    Phase.ADMITTING: takeover.settle_addressing,
    Phase.ACTIVE: handover.settle_active,
    Phase.PREPARING: handover.settle_preparing,
    Phase.RELEASING: standdown.settle_releasing,
    Phase.RESTING: rest.settle_resting,
    Phase.LEAVING: rest.settle_leaving,
    Phase.DROPPING: standdown.settle_letting_go,
    Phase.HALTING: standdown.settle_letting_go,
    Phase.UNADDRESSING: standdown.settle_letting_go,
}

_SETTLING_LIMIT = 32  # a turn that does not come to rest is a bug, not a reason to hang


def step(state: GroupState, event: Event) -> tuple[GroupState, tuple[Command, ...]]:
    """What the core thinks and wants after the event. Never raises for any order of events."""
    turn = Turn(state, event.now_ms)
    _take_in(turn, event)
    health.settle(turn)
    for _ in range(_SETTLING_LIMIT):
        before = turn.state.phase
        _settle(turn)
        if turn.state.phase is before:
            break
        health.settle(turn)
    else:
        raise AssertionError(f"the turn does not settle: {event} in {turn.state}")
    fencing.settle_left(turn)
    pair.settle(turn)
    rest.settle_over(turn)
    services.settle(turn)
    insync.settle(turn)
    planned.settle(turn)
    _renew(turn)
    return turn.state, tuple(turn.commands)


def _take_in(turn: Turn, event: Event) -> None:  # noqa: C901, PLR0912 - one case an event
    match event:
        case Tick() | ProposalAccepted():
            pass  # what was accepted shows in the record
        case RecordObserved():
            _observe(turn, event)
        case ProposalRefused():
            _on_proposal_failed(turn, event.token, event.reason)
        case ProposalUnknown():
            _on_proposal_failed(turn, event.token, event.detail)
        case ActionDone():
            _on_done(turn, event)
        case ActionFailed():
            _on_failed(turn, event)
        case EpochNotContinuable():
            if event.token == turn.state.awaiting and turn.state.phase is Phase.CAPTURING:
                takeover.new_epoch_for_self(turn)
        case CaptureBroken():
            if turn.state.phase in CAPTURED and turn.state.mine:
                takeover.new_epoch_for_self(turn)
        case DataReported():
            if turn.state.phase in {Phase.UNADDRESSING, Phase.RELEASING}:
                turn.set(blockers=event.blockers)
            else:
                turn.set(blockers=event.blockers, journal_last=event.last)
        case PeerReported():
            insync.on_report(turn, event)
        case HealthReported():
            health.on_report(turn, event)
        case FenceRequested():
            standdown.on_fence(turn, event)
        case OffConfirmed():
            fencing.vouched(turn, event)
            pair.vouched(turn, event)
        case RaftReported():
            pair.on_report(turn, event)
        case VipsChecked():
            conflict.on_checked(turn, event)
        case ScheduleDue():
            planned.due(turn, event)
        case ServiceReported():
            services.on_report(turn, event)
        case ShutdownRequested():
            turn.set(shutting_down=True)
        case _:
            assert_never(event)


def _observe(turn: Turn, event: RecordObserved) -> None:
    """A newer record: restart the challenger's timer, count our own renewal, follow the active."""
    old, new = turn.state.record, event.record
    started = turn.state.phase is not Phase.STARTUP
    if not started or (old.epoch, old.renewal) != (new.epoch, new.renewal):
        turn.set(record=new, observed_ms=turn.now_ms)
    else:
        turn.set(record=new)
    state = turn.state
    pair.on_record(turn, old, new, first=not started)
    services.on_record(turn, old, new, first=not started)
    if not started:
        turn.set(served=event.served)
        if state.mine and state.fenced_before <= new.epoch:
            takeover.resume(turn)
        else:
            standdown.stand_down(turn, "the daemon started")
        return
    if state.mine and new.epoch == state.lease.epoch and new.renewal != old.renewal:
        turn.set(lease=renewed(state.settings.timing, state.lease, new.renewal))
        _hold(turn)
        watchdog.kick(turn)  # renewed first, then kicked
    followed = (old.epoch, old.active, old.epoch_starts) == (
        new.epoch,
        new.active,
        new.epoch_starts,
    )
    if state.phase is Phase.STANDBY and not followed and not state.mine:
        standdown.follow(turn)


def _hold(turn: Turn) -> None:
    deadline = turn.state.lease.deadline_ms
    if deadline is None:
        return
    if turn.state.addressed:
        turn.emit(HoldVips(deadline_ms=deadline))
    elif turn.state.phase in RETURNING:
        turn.emit(HoldVips(deadline_ms=deadline, only_if_held=True))


def _on_proposal_failed(turn: Turn, token: int, detail: str) -> None:
    if token != turn.state.awaiting:
        return  # renewals, notes and in-sync changes are proposed again by their own clocks
    if turn.state.phase is Phase.ACQUIRING:
        takeover.acquire_failed(turn, detail)
        if not turn.state.mine:
            standdown.follow(turn)  # the record may have changed while we asked
    else:
        turn.set(awaiting=0, retry_ms=turn.now_ms + turn.state.settings.timing.retry_ms)


def _on_done(turn: Turn, event: ActionDone) -> None:
    if event.token != turn.state.awaiting:
        theirs = (fencing.on_done, pair.on_done, services.on_done)
        if not any(take(turn, event) for take in theirs):
            insync.on_barrier(turn, event)
        return
    _DONE[turn.state.phase](turn, event.position)


def _on_failed(turn: Turn, event: ActionFailed) -> None:
    if event.token != turn.state.awaiting:
        theirs = (fencing.on_failed, pair.on_failed, services.on_failed)
        if not any(take(turn, event) for take in theirs):
            insync.on_barrier(turn, event)
        return
    _FAILED.get(turn.state.phase, _retry)(turn, event.detail)


def _retry(turn: Turn, detail: str) -> None:
    """The phase stays, and its settling asks again when the time has come."""
    retry_ms = turn.now_ms + turn.state.settings.timing.retry_ms
    turn.set(awaiting=0, reason=detail, retry_ms=retry_ms)


def _settle(turn: Turn) -> None:
    """What the phase does by itself when time has passed or the record has changed."""
    if pair.keep_lease(turn):
        _hold(turn)
        watchdog.kick(turn)
    state = turn.state
    if state.phase in HOLDING and (reason := _lost(state, turn.now_ms)) is not None:
        standdown.stand_down(turn, reason)
        return
    if (settle := _SETTLE.get(state.phase)) is not None:
        settle(turn)  # the other phases wait for an answer


def _lost(state: GroupState, now_ms: int) -> str | None:
    """Why the lease cannot be relied upon any more; None while it can."""
    if state.phase is Phase.RELEASING and (not state.mine or state.lease.deadline_ms is None):
        return None  # that is what the release is for; without a lease nothing else is left to do
    if state.record.epoch != state.lease.epoch:
        return f"{state.record.active} acquired epoch {state.record.epoch}"
    if not state.mine:
        return "the record no longer names this node as active"
    return standdown.running_out(state, now_ms)


def _renew(turn: Turn) -> None:
    state = turn.state
    if state.phase not in RENEWING or not state.mine or turn.now_ms < state.lease.next_renew_ms:
        return
    lease = proposing(state.settings.timing, state.lease, state.record.renewal, turn.now_ms)
    turn.set(lease=replace(lease, epoch=state.record.epoch))
    turn.propose(
        Renew(
            node=state.settings.node,
            group=state.settings.group,
            epoch=state.record.epoch,
            renewal=lease.last_number,
            position=state.journal_last,
        )
    )
