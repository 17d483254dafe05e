"""Switchovers that nobody asks for at this moment: scheduled ones, and failback (PURE).

Both end in the same wish as an operator's `staqctl switchover`, and only the active, which knows
how its standby is, makes them one. A scheduled switchover that cannot be done is waited for a
minute and then dropped with its reason: nobody is to be surprised by it later. The failback policy
waits until the preferred replica has been well for a while, twice as long after each time it moved
the group in a row, and leaves alone what an operator has chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staqraft.decision import handover, health, services
from staqraft.decision.phases import Phase
from staqraft.model import DropSchedule, RequestSwitchover, SettleFailback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from staqraft.decision.events import ScheduleDue
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn
    from staqraft.model import NodeId

LATE_MS: Final = 60_000  # for so long a scheduled switchover that is blocked is still tried
_DOUBLINGS: Final = 6
_SETTLED_TIMES: Final = 4  # active for so many waits: the next failback waits like the first


def due(turn: Turn, event: ScheduleDue) -> None:
    """The active's wall clock says that its time has come; said again until the record shows it."""
    state = turn.state
    entry = state.record.scheduled
    if state.phase is not Phase.ACTIVE or entry is None or entry.log_index != event.schedule:
        return
    settings = state.settings
    problem = reason_against(state, entry.target, turn.now_ms)
    if entry.target == settings.node:
        # Not waited for, or it would be done as soon as somebody moves the group away.
        _drop(turn, entry.log_index, f"{entry.target} is active already", missed=False)
    elif event.late_ms > LATE_MS:
        passed = f"its time passed {event.late_ms // 1000} s ago"
        reason = f"{passed}, and {problem or 'nobody who could do it was active then'}"
        _drop(turn, entry.log_index, reason, missed=True)
    elif problem is None:
        turn.propose(
            RequestSwitchover(
                node=settings.node,
                group=settings.group,
                target=entry.target,
                requested_by=entry.requested_by,
                reason=entry.reason,
                schedule=entry.log_index,
            )
        )


def _drop(turn: Turn, schedule: int, reason: str, *, missed: bool) -> None:
    settings = turn.state.settings
    turn.propose(
        DropSchedule(
            node=settings.node,
            group=settings.group,
            schedule=schedule,
            missed=missed,
            reason=reason,
        )
    )


def reason_against(state: GroupState, target: NodeId, now_ms: int) -> str | None:
    """Why a switchover that nobody asks for just now would not be done; None: it would."""
    record, me = state.record, state.settings.node
    if target == me:
        return f"{target} is active already"
    if record.maintenance:
        return "maintenance is on"
    if record.switchover is not None:
        return f"a switchover to {record.switchover.target} is pending"
    if state.shutting_down:
        return f"the daemon on {me} is stopping"
    return handover.can_follow(state, target, now_ms)


# --- failback -------------------------------------------------------------------------------------


def settle(turn: Turn) -> None:
    """Count for how long the preferred replica has been well, and hand over when it is enough."""
    state = turn.state
    settings, now_ms = state.settings, turn.now_ms
    prefer = settings.prefer
    if prefer is None:
        return
    if state.phase is not Phase.ACTIVE or against_failback(state, now_ms) is not None:
        turn.set(preferred_since_ms=None)
        return
    if state.preferred_since_ms is None:
        turn.set(preferred_since_ms=now_ms)
        return
    if now_ms < state.preferred_since_ms + wait_ms(state):
        return
    turn.set(preferred_since_ms=now_ms)  # not proposed again at once, whatever comes of it
    if prefer != settings.node:
        turn.propose(
            RequestSwitchover(
                node=settings.node,
                group=settings.group,
                target=prefer,
                requested_by="the failback policy",
                reason=f"{prefer} is preferred, and has been well for {wait_ms(state) // 1000} s",
                failback=True,
            )
        )
    elif state.record.failbacks:
        turn.propose(
            SettleFailback(node=settings.node, group=settings.group, epoch=state.record.epoch)
        )


def wait_ms(state: GroupState) -> int:
    """How long the preferred replica is to be well; as the active, until all is calm again."""
    settings = state.settings
    if settings.prefer == settings.node:
        return settings.failback_ms * _SETTLED_TIMES
    times: int = 1 << min(state.record.failbacks, _DOUBLINGS)
    return settings.failback_ms * times


def against_failback(state: GroupState, now_ms: int) -> str | None:
    """Why the preferred replica is not counted as well now; None: it is, or is the active."""
    settings, record = state.settings, state.record
    if settings.prefer is None or settings.prefer == settings.node:
        return None
    if record.chosen == settings.node:
        return f"an operator chose {settings.node}: 'staqctl switchover' undoes that"
    if (unwell := health.worse(state, settings.prefer)) is not None:
        return unwell
    if services.recent_moves(state, now_ms):
        return "the group moved for a failed service lately: 'staqctl service clear' forgets that"
    return reason_against(state, settings.prefer, now_ms)


def instants(state: GroupState) -> Iterator[int]:
    """When `settle` has something to do."""
    if state.preferred_since_ms is not None:
        yield state.preferred_since_ms + wait_ms(state)


def story(state: GroupState, now_ms: int) -> str:
    """For people: what the failback policy waits for; "" where there is nothing to say."""
    prefer, me = state.settings.prefer, state.settings.node
    if prefer is None or not state.mine or prefer == me:
        return ""
    if (reason := against_failback(state, now_ms)) is not None:
        return f"{prefer} is preferred; not now: {reason}"
    since_ms = now_ms if state.preferred_since_ms is None else state.preferred_since_ms
    left_s = max(0, -(-(since_ms + wait_ms(state) - now_ms) // 1000))
    return f"{prefer} is preferred, and becomes active in {left_s} s if it stays well"
