"""From active to standby: handing over as planned, or letting go at once (PURE).

Planned: a flush while the services still run, then services, flush, addresses, release. Nothing is
lost, no lease has to run out, and if the other replica is not at hand clients notice nothing.
Forced (the lease is about to end, another epoch exists, a takeover failed): addresses first, then
services, then the role. What fails is tried again; until it succeeds, nobody is told that this
node let go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision import insync, takeover, watchdog
from staqraft.decision.commands import (
    AnswerFence,
    DropVips,
    Flush,
    FollowActive,
    StopServices,
    TakeVips,
)
from staqraft.decision.lease import Lease
from staqraft.decision.phases import HOLDING, Phase
from staqraft.decision.state import FenceWaiter
from staqraft.model import Admission, CancelSwitchover, NodeId, Position, Release

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
        _release(turn, state.journal_last)
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


# --- the planned way ------------------------------------------------------------------------------


def ready_target(state: GroupState, now_ms: int) -> NodeId | None:
    """A standby that could take over now without losing anything."""
    for peer in state.settings.peers:
        if can_follow(state, peer, now_ms) is None:
            return peer
    return None


def can_follow(state: GroupState, target: NodeId, now_ms: int) -> str | None:
    """Why `target` cannot take over now; None if it can."""
    if target not in state.settings.replicas:
        return f"{target} is not a replica of group {state.settings.group}"
    if target not in state.record.in_sync:
        return f"{target} is not in sync"
    sync = state.peers.get(target)
    timeout = state.settings.timing.in_sync_timeout_ms
    if sync is None or not sync.streaming or now_ms - sync.streaming_ms > timeout:
        return f"{target} cannot be reached on the replication stream"
    return None


def settle_active(turn: Turn) -> None:
    """Hand over if somebody asks for it."""
    state = turn.state
    if turn.now_ms < state.retry_ms:
        return
    wish = state.record.switchover
    if wish is not None:
        problem = (
            f"{wish.target} is active already"
            if wish.target == state.settings.node
            else can_follow(state, wish.target, turn.now_ms)
        )
        if wish.log_index == state.failed_wish[0]:
            problem = state.failed_wish[1]
        if problem is None:
            hand_over(turn, wish.target, f"switchover asked by {wish.requested_by}: {wish.reason}")
        else:
            cancel(turn, problem)
    elif state.shutting_down and (target := ready_target(state, turn.now_ms)) is not None:
        hand_over(turn, target, "the daemon stops")


def hand_over(turn: Turn, target: NodeId, reason: str) -> None:
    """Begin the planned way. What the flush finds missing costs the clients nothing yet."""
    turn.enter(Phase.PREPARING, reason)
    turn.set(handing_to=target)
    turn.emit(Flush(token=turn.await_token(), target=target))


def settle_preparing(turn: Turn) -> None:
    """Whoever asked has given up meanwhile: stay active."""
    state = turn.state
    wish = state.record.switchover
    if (wish is None or wish.target != state.handing_to) and not state.shutting_down:
        turn.set(handing_to=None)
        turn.enter(Phase.ACTIVE, "the switchover was cancelled in time")


def prepared(turn: Turn) -> None:
    """The target has everything up to a moment ago, and answers: the rest will be short.

    With a gate, new clients wait for the next active from now on. If it cannot be told, they would
    be refused as soon as the services stop, so then this node stays active and lets them in.
    """
    if not turn.state.settings.gate:
        stop_services(turn)
        return
    deadline = turn.state.lease.deadline_ms
    assert deadline is not None, "handing over without a lease"
    turn.enter(Phase.DRAINING)
    token = turn.await_token()
    turn.emit(TakeVips(token=token, deadline_ms=deadline, admit=Admission.DRAINING))


def stop_services(turn: Turn) -> None:
    """Nobody new comes in where there is a gate, so nobody is refused."""
    turn.enter(Phase.STOPPING)
    turn.emit(StopServices(token=turn.await_token()))


def not_prepared(turn: Turn, detail: str) -> None:
    """The target does not answer. The services were not touched."""
    _give_up(turn, detail)
    turn.enter(Phase.ACTIVE, detail)
    _cancel_failed(turn, detail)


def cancel(turn: Turn, reason: str) -> None:
    """Give the pending switchover up; asked again until the record shows it."""
    settings = turn.state.settings
    turn.propose(CancelSwitchover(node=settings.node, group=settings.group, reason=reason))
    turn.set(retry_ms=turn.now_ms + settings.timing.retry_ms)


def services_stopped(turn: Turn) -> None:
    """No service writes any more: the last changes go out."""
    target = turn.state.handing_to
    assert target is not None, "handing over to nobody"
    turn.enter(Phase.FLUSHING)
    turn.emit(Flush(token=turn.await_token(), target=target))


def flushed(turn: Turn, position: Position) -> None:
    """The target has everything."""
    turn.enter(Phase.UNADDRESSING)
    turn.set(journal_last=position)
    turn.emit(DropVips(token=turn.await_token()))


def unaddressed(turn: Turn) -> None:
    """Nothing of the group is on this node any more."""
    watchdog.disarm(turn)
    _release(turn, turn.state.journal_last)


def hand_over_failed(turn: Turn, detail: str) -> None:
    """Draining, stopping or flushing failed: stay active, say so, and serve again."""
    _give_up(turn, detail)
    takeover.start_services(turn)
    _cancel_failed(turn, detail)


def _give_up(turn: Turn, detail: str) -> None:
    state = turn.state
    me = state.settings.node
    text = f"handing over to {state.handing_to} failed: {detail}; {me} stays active"
    turn.note("switchover-failed", text)
    turn.set(handing_to=None, shutting_down=False)


def _cancel_failed(turn: Turn, detail: str) -> None:
    """It is not tried again while its cancellation is on the way: services would come and go."""
    wish = turn.state.record.switchover
    if wish is not None:
        turn.set(failed_wish=(wish.log_index, detail))
        cancel(turn, detail)


def _release(turn: Turn, position: Position) -> None:
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
        _release(turn, state.journal_last)


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
