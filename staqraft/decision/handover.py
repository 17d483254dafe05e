"""From active to standby as planned (PURE).

A flush while the services still run, then services, flush, addresses, release. Nothing is lost, no
lease has to run out, and if the other replica is not at hand clients notice nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.decision import health, rest, standdown, takeover, watchdog
from staqraft.decision.commands import DropVips, Flush, StopServices, TakeVips
from staqraft.decision.defects import NodeHealth
from staqraft.decision.following import Following, why_not
from staqraft.decision.phases import Phase
from staqraft.decision.state import PeerSync
from staqraft.model import Admission, NodeId, Position
from staqraft.words import because

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn


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
    if barring := state.health.get(target, NodeHealth()).barring:
        return f"{target} is not fit to serve: {barring[0].text}"
    sync = state.peers.get(target, PeerSync())
    silent = sync.whole and now_ms - sync.whole_ms > state.settings.timing.in_sync_timeout_ms
    following = Following.LOST if silent else sync.following
    if not_yet := why_not(following, target, state.settings.node):
        return not_yet
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
            why = f"switchover asked by {wish.requested_by}{because(wish.reason)}"
            hand_over(turn, wish.target, why)
        else:
            standdown.cancel(turn, problem)
    elif state.shutting_down and state.record.maintenance:
        rest.begin(turn)
    elif state.shutting_down and (target := ready_target(state, turn.now_ms)) is not None:
        hand_over(turn, target, "the daemon stops")
    elif (better := health.target(state, turn.now_ms)) is not None:
        problem = health.hanging(state) or can_follow(state, better, turn.now_ms)
        if problem is None:
            hand_over(turn, better, health.reason(state))
        else:
            health.failed(turn, problem)


def hand_over(turn: Turn, target: NodeId, reason: str) -> None:
    """Begin the planned way. What the flush finds missing costs the clients nothing yet."""
    turn.enter(Phase.PREPARING, reason)
    turn.set(handing_to=target)
    turn.emit(Flush(token=turn.await_token(), target=target))


def settle_preparing(turn: Turn) -> None:
    """Whoever asked has given up meanwhile: stay active."""
    state = turn.state
    wish = state.record.switchover
    wished = wish is not None and wish.target == state.handing_to
    better = state.better is not None and state.better.node == state.handing_to
    if not (wished or better or state.shutting_down):
        turn.set(handing_to=None)
        turn.enter(Phase.ACTIVE, "there is no reason to hand over any more")


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
    health.failed(turn, detail)


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
    standdown.release(turn, turn.state.journal_last)


def hand_over_failed(turn: Turn, detail: str) -> None:
    """Draining, stopping or flushing failed: stay active, say so, and serve again."""
    _give_up(turn, detail)
    if health.failed(turn, detail):
        return
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
        standdown.cancel(turn, detail)
