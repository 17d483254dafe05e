"""What is done about a service that is not well (PURE).

In this order: it is restarted where it is, so many times in so long; then the group moves to a
standby that could take over now; else the group stays, and that is said as long as it is so.

A move is an ordinary switchover that the active itself asks for (`RequestSwitchover.service`), so
it flushes first, loses nothing, and is given up when the standby does not answer after all. What
differs: a service that cannot be stopped is no reason to stay. Then this node lets go at once and
does not renew, and the other has it fenced (`stop_failed`). Where the standby says that the service
could not run there, or another one that is well here (a package is not installed), the group stays.

**Flapping.** A service that fails on both replicas would send the group to and fro. Each move is
kept through Raft by the log index of its request; after so many within the window nobody moves the
group for a service any more, until the window has passed or an operator clears it. No clock is
compared: each replica counts a move from when it first saw it, so a restarted daemon only waits
longer. The active has those forgotten that are over.

In maintenance nothing is done: somebody works there, and may have stopped the service himself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision import handover, pair, standdown
from staqraft.decision.commands import RestartService
from staqraft.decision.defects import NodeHealth
from staqraft.decision.phases import Phase
from staqraft.decision.state import ServicePolicy, ServiceWatch
from staqraft.model import ClearFailures, RequestSwitchover

if TYPE_CHECKING:
    from staqraft.decision.events import ActionDone, ActionFailed, ServiceReported
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn
    from staqraft.model import GroupRecord, NodeId

_MOVE_AGAIN_MS = 30_000  # a move that was given up is not asked for again before this
_CLEAR_AGAIN_MS = 5_000


def on_report(turn: Turn, event: ServiceReported) -> None:
    """A service is well, or not."""
    if event.service not in turn.state.settings.services:
        return
    watch = _watch(turn.state, event.service)
    if event.problem:
        _put(turn, event.service, replace(watch, problem=event.problem, stuck=event.stuck))
    else:
        _well(turn, event.service)


def on_record(turn: Turn, old: GroupRecord, new: GroupRecord, *, first: bool) -> None:
    """Moves are counted from when they are first seen; what an operator cleared is forgotten."""
    state = turn.state
    seen = {index: state.moves_seen.get(index, turn.now_ms) for index in new.moves}
    turn.set(moves_seen=seen)
    if not first and old.cleared_index != new.cleared_index:
        for name, watch in state.services.items():
            _put(turn, name, replace(watch, restarts=(), stays="", stuck=False))
        turn.set(move_again_ms=0)


def on_done(turn: Turn, event: ActionDone) -> bool:
    """The answer to a `RestartService`; False if the token is not one of ours."""
    if (name := _restarting(turn.state, event.token)) is None:
        return False
    _put(turn, name, replace(_watch(turn.state, name), token=0))
    _well(turn, name)
    return True


def on_failed(turn: Turn, event: ActionFailed) -> bool:
    """As `on_done`."""
    if (name := _restarting(turn.state, event.token)) is None:
        return False
    _put(turn, name, replace(_watch(turn.state, name), token=0, problem=event.detail))
    return True


def forget(turn: Turn) -> None:
    """All services are started anew: what was known of each is over. Restarts are still counted."""
    for name, watch in turn.state.services.items():
        _put(turn, name, ServiceWatch(restarts=watch.restarts))


def settle(turn: Turn) -> None:
    """Do about each service that is not well what is to be done now."""
    state = turn.state
    if state.phase is not Phase.ACTIVE or not state.settings.services:
        return
    _clear_old_moves(turn)
    if state.record.maintenance:
        return
    for name, policy in state.settings.services.items():
        watch = _watch(turn.state, name)
        if not watch.problem or watch.token:
            continue
        if _is_beyond_restarts(policy, watch, turn.now_ms):
            _move(turn, name, policy)
        else:
            _restart(turn, name, policy)


def stop_failed(turn: Turn, detail: str) -> None:
    """The services do not stop. For an operator's wish to move this node stays; else it is fenced.

    Nothing is renewed from now on, and stopping goes on: the watchdog resets this machine, or the
    other replica's fence device turns it off, or its lease runs out.
    """
    wish = turn.state.record.switchover
    if wish is None or not wish.service:
        handover.hand_over_failed(turn, detail)
        return
    me = turn.state.settings.node
    turn.note("services-stuck", f"{me} cannot stop its services and is to be fenced: {detail}")
    standdown.stand_down(turn, f"its services cannot be stopped: {detail}", release=True)


def recent(policy: ServicePolicy, watch: ServiceWatch, now_ms: int) -> tuple[int, ...]:
    """The restarts that still count."""
    return tuple(at_ms for at_ms in watch.restarts if now_ms - at_ms < policy.window_ms)


def recent_moves(state: GroupState, now_ms: int) -> int:
    """How many moves for failed services still count."""
    window_ms = state.settings.moves_window_ms
    return sum(now_ms - seen_ms < window_ms for seen_ms in state.moves_seen.values())


def problems(state: GroupState) -> Iterator[str]:
    """A sentence for each service because of which the group would move and does not."""
    if state.phase is Phase.ACTIVE and not state.record.maintenance:
        for name, watch in state.services.items():
            if watch.stays:
                yield _stays_text(name, watch)


def instants(state: GroupState) -> Iterator[int]:
    """When `settle` may have something new to do."""
    settings = state.settings
    for seen_ms in state.moves_seen.values():
        yield seen_ms + settings.moves_window_ms
    yield state.move_again_ms
    yield state.clear_again_ms
    for name, watch in state.services.items():
        for at_ms in watch.restarts:
            yield at_ms + settings.services[name].window_ms


# --- one service ----------------------------------------------------------------------------------


def _is_beyond_restarts(policy: ServicePolicy, watch: ServiceWatch, now_ms: int) -> bool:
    return watch.stuck or len(recent(policy, watch, now_ms)) >= policy.restarts


def _restart(turn: Turn, name: str, policy: ServicePolicy) -> None:
    watch = _watch(turn.state, name)
    restarts = (*recent(policy, watch, turn.now_ms), turn.now_ms)
    token = turn.token()
    _put(turn, name, replace(watch, restarts=restarts, token=token))
    turn.emit(RestartService(token=token, service=name))
    turn.note(
        "service-restart",
        f"service {name} is restarted on {turn.state.settings.node}, for the"
        f" {_nth(len(restarts))} of {policy.restarts} times in {_minutes(policy.window_ms)}:"
        f" {watch.problem}",
    )


def _move(turn: Turn, name: str, policy: ServicePolicy) -> None:
    """Restarting it does not help: have the group move, or say why it stays."""
    state = turn.state
    if state.record.switchover is not None or state.shutting_down:
        return  # it leaves anyway
    target, reason = _whereto(state, name, policy, turn.now_ms)
    watch = _watch(state, name)
    if target is None:
        _put(turn, name, replace(watch, stays=reason))
        if not watch.stays:
            turn.note("service-stays", _stays_text(name, replace(watch, stays=reason)))
        return
    if turn.now_ms < state.move_again_ms:
        return
    _put(turn, name, replace(watch, stays=""))
    turn.set(move_again_ms=turn.now_ms + _MOVE_AGAIN_MS)
    turn.propose(
        RequestSwitchover(
            node=state.settings.node,
            group=state.settings.group,
            target=target,
            requested_by=f"staqraftd on {state.settings.node}",
            reason=f"service {name} failed there: {watch.problem}",
            service=name,
        )
    )


def _whereto(
    state: GroupState, name: str, policy: ServicePolicy, now_ms: int
) -> tuple[NodeId | None, str]:
    """Which standby the group moves to because of this service; None: none, and why."""
    if not policy.failover:
        return None, "'failover: false' stands with it"
    if (moves := recent_moves(state, now_ms)) >= state.settings.moves_most:
        window = _minutes(state.settings.moves_window_ms)
        times = "once" if moves == 1 else f"{moves} times"
        return None, (
            f"the group moved {times} within {window} for failed services, and is not to go to and"
            f" fro. When the cause is mended: 'staqctl service clear'"
        )
    reasons = []
    for peer in state.settings.peers:
        reason = handover.can_follow(state, peer, now_ms) or _no_help(state, name, peer, now_ms)
        if reason is None:
            return peer, ""
        reasons.append(reason)
    return None, "; ".join(reasons) or "there is no other replica"


def _no_help(state: GroupState, failed: str, peer: NodeId, now_ms: int) -> str | None:
    """What could not run on `peer`, by its own word, and would have to; None: it may help."""
    for name, defect in state.health.get(peer, NodeHealth()).absent_services.items():
        policy, watch = state.settings.services.get(name), _watch(state, name)
        lost = bool(watch.problem) and not watch.token and name != failed  # here, too
        if policy is None or (lost and _is_beyond_restarts(policy, watch, now_ms)):
            continue
        return f"{defect.text}: {defect.remedy}"
    return None


def _stays_text(name: str, watch: ServiceWatch) -> str:
    tried = ", and to restart it did not help" if watch.restarts else ""
    return f"service {name} failed{tried} ({watch.problem}); the group stays here: {watch.stays}"


def _well(turn: Turn, name: str) -> None:
    watch = _watch(turn.state, name)
    if watch.stays:
        turn.note("service-well", f"service {name} is well again on {turn.state.settings.node}")
    _put(turn, name, replace(watch, problem="", stuck=False, stays=""))
    if not any(other.problem for other in turn.state.services.values()):
        turn.set(service_problem="")


def _clear_old_moves(turn: Turn) -> None:
    """What does not count any more need not be kept, and be counted anew by who restarts."""
    state = turn.state
    window_ms = state.settings.moves_window_ms
    old = [index for index, at_ms in state.moves_seen.items() if turn.now_ms - at_ms >= window_ms]
    if not old or turn.now_ms < state.clear_again_ms or pair.lost(state):
        return
    turn.set(clear_again_ms=turn.now_ms + _CLEAR_AGAIN_MS)
    turn.propose(
        ClearFailures(
            node=state.settings.node,
            group=state.settings.group,
            up_to=max(old),
        )
    )


def _watch(state: GroupState, name: str) -> ServiceWatch:
    return state.services.get(name, ServiceWatch())


def _put(turn: Turn, name: str, watch: ServiceWatch) -> None:
    turn.set(services={**turn.state.services, name: watch})


def _restarting(state: GroupState, token: int) -> str | None:
    for name, watch in state.services.items():
        if watch.token == token:
            return name
    return None


def _nth(count: int) -> str:
    return f"{count}{'th' if count > 3 else ('st', 'nd', 'rd')[count - 1]}"  # noqa: PLR2004 - English


def _minutes(duration_ms: int) -> str:
    minutes, rest_ms = divmod(duration_ms, 60_000)
    return f"{duration_ms / 1000:g} s" if rest_ms else f"{minutes} min"
