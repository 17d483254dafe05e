"""From active to standby at once: the lease is about to end, or another epoch exists (PURE).

Addresses first, then services, then the role. What fails is tried again; until it succeeds, nobody
is told that this node let go. The planned way is `handover`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision import insync, watchdog
from staqraft.decision.commands import (
    AnswerFence,
    DropVips,
    FollowActive,
    StopServices,
)
from staqraft.decision.lease import Lease
from staqraft.decision.phases import HOLDING, Phase
from staqraft.decision.state import FenceWaiter
from staqraft.model import CancelSwitchover, Position, Release

if TYPE_CHECKING:
    from staqraft.decision.events import FenceRequested
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn


def stand_down(turn: Turn, reason: str, *, release: bool = False) -> None:
    """Let go at once. With `release` Raft is told at the end, so that the other may go on."""
    attempt = turn.state.takeover if turn.state.phase is Phase.ACQUIRING else None
    if attempt is not None:
        # It may still be granted, and a lease counts from the first attempt on the same base.
        attempt = replace(attempt, serving=False)
    turn.enter(Phase.DROPPING, reason)
    turn.set(lease=Lease(), takeover=attempt, handing_to=None, release_after=release)
    insync.forget(turn)
    turn.emit(DropVips(token=turn.await_token()))


def running_out(state: GroupState, now_ms: int) -> str | None:
    """Why there is just the time left to let go in good order; None while there is more."""
    if not state.lease.held(now_ms + state.settings.timing.let_go_ms):
        return "the lease could not be renewed: no Raft majority was reached in time"
    if watchdog.about_to_fire(state, now_ms):
        return "no Raft majority was reached in time, and the watchdog would reset this machine"
    return None


def addresses_dropped(turn: Turn) -> None:
    """The kernel confirmed that the addresses are gone."""
    turn.enter(Phase.HALTING)
    watchdog.addresses_gone(turn)
    turn.emit(StopServices(token=turn.await_token()))


def halted(turn: Turn) -> None:
    """The services are down: the role follows."""
    state = turn.state
    turn.set(service_problem="")
    watchdog.disarm(turn)
    if state.release_after and state.mine:
        release(turn, state.journal_last)
    else:
        become_standby(turn)


def settle_letting_go(turn: Turn) -> None:
    """An action of letting go failed: try it again when its time has come."""
    state = turn.state
    if state.awaiting or turn.now_ms < state.retry_ms:
        return
    match state.phase:
        case Phase.DROPPING | Phase.UNADDRESSING:
            turn.emit(DropVips(token=turn.await_token()))
        case Phase.HALTING:
            turn.emit(StopServices(token=turn.await_token()))
        case _:
            raise AssertionError(state.phase)


def become_standby(turn: Turn) -> None:
    """Nothing is held any more: follow whoever is active, and answer who waited for this."""
    turn.enter(Phase.STANDBY)
    turn.set(lease=Lease(), handing_to=None, release_after=False)
    insync.forget(turn)
    follow(turn)
    for waiter in turn.state.fence_waiters:
        turn.emit(AnswerFence(token=waiter.token, let_go=True, detail=""))
    turn.set(fence_waiters=())


def follow(turn: Turn) -> None:
    """Tell the data worker whom to follow, as the record says it."""
    record = turn.state.record
    active = record.active if record.active != turn.state.settings.node else None
    turn.emit(FollowActive(epoch=record.epoch, active=active, epoch_starts=record.epoch_starts))


def release(turn: Turn, position: Position) -> None:
    """Tell Raft that nothing is held any more, so that the other may go on."""
    state = turn.state
    turn.enter(Phase.RELEASING)
    turn.propose(
        Release(
            node=state.settings.node,
            group=state.settings.group,
            epoch=state.record.epoch,
            position=position,
            reason=state.reason,
        ),
        awaited=True,
    )


def settle_releasing(turn: Turn) -> None:
    """The record shows the release, or its fate is unknown: ask again."""
    state = turn.state
    if not state.mine:
        become_standby(turn)
    elif state.awaiting == 0 and turn.now_ms >= state.retry_ms:
        release(turn, state.journal_last)


def cancel(turn: Turn, reason: str) -> None:
    """Give the pending switchover up; asked again until the record shows it."""
    settings = turn.state.settings
    turn.propose(CancelSwitchover(node=settings.node, group=settings.group, reason=reason))
    turn.set(retry_ms=turn.now_ms + settings.timing.retry_ms)


# --- asked by another node ------------------------------------------------------------------------


def on_fence(turn: Turn, event: FenceRequested) -> None:
    """Another node acquired an epoch: let go of every older one, then answer."""
    state = turn.state
    if event.epoch <= state.record.epoch and state.mine and state.phase in HOLDING:
        detail = f"{state.settings.node} is active in epoch {state.record.epoch}"
        turn.emit(AnswerFence(token=event.token, let_go=False, detail=detail))
        return
    turn.set(fenced_before=max(state.fenced_before, event.epoch))
    holds_nothing = state.phase is Phase.STANDBY or (
        state.phase is Phase.ACQUIRING and not (state.takeover and state.takeover.serving)
    )
    if holds_nothing:
        turn.emit(AnswerFence(token=event.token, let_go=True, detail=""))
        return
    turn.set(
        fence_waiters=(*state.fence_waiters, FenceWaiter(token=event.token, epoch=event.epoch))
    )
    if state.phase not in {Phase.DROPPING, Phase.HALTING}:
        stand_down(turn, f"another node acquired epoch {event.epoch}")
