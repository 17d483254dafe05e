"""When the watchdog is armed, kicked and disarmed (PURE).

Whoever serves has promised the others to be silent when its lease is over. The watchdog keeps that
promise for a machine that hangs: armed before anything is served, kicked by committed renewals
only (never by time), and only while the device then fires before the lease ends. (Without a witness
also by who keeps its lease alone: nobody takes over from it, see `pair`.) Letting go in
good order has to be done before it fires, so with a watchdog the node gives up earlier than its
lease would ask for; if letting go fails, nobody kicks, and the machine is reset.

As soon as the addresses are verified to be gone the services get their configured time to stop.
When they did, or the addresses went last as planned, it is disarmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.decision.commands import (
    ArmWatchdog,
    DisarmWatchdog,
    KickWatchdog,
    LeaveWatchdog,
)
from staqraft.decision.phases import Phase

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn


def arm(turn: Turn) -> bool:
    """Arm it before anything is served; False: there is none."""
    state = turn.state
    if not state.settings.watchdog_ms:
        return False
    assert state.lease.deadline_ms is not None, "a watchdog without a lease"
    turn.enter(Phase.ARMING)
    token = turn.await_token()
    turn.emit(ArmWatchdog(token=token, deadline_ms=state.lease.deadline_ms))
    # It ticks from some instant after this one, so this is the safe side for giving up in time.
    turn.set(kicked_ms=turn.now_ms)
    return True


def kick(turn: Turn) -> None:
    """A renewal of ours was committed."""
    state = turn.state
    deadline_ms = state.lease.deadline_ms
    if state.kicked_ms is None or deadline_ms is None:
        return
    if turn.now_ms + state.settings.watchdog_ms <= deadline_ms:
        turn.emit(KickWatchdog(deadline_ms=deadline_ms))
        turn.set(kicked_ms=turn.now_ms)


def addresses_gone(turn: Turn) -> None:
    """What clients see is gone; the services may take longer than the device waits."""
    if turn.state.settings.watchdog_ms:
        turn.emit(LeaveWatchdog())
        turn.set(kicked_ms=None)


def disarm(turn: Turn) -> None:
    """Nothing is served any more."""
    if turn.state.settings.watchdog_ms:
        turn.emit(DisarmWatchdog())
        turn.set(kicked_ms=None)


def about_to_fire(state: GroupState, now_ms: int) -> bool:
    """There is just the time left in which addresses are given away in good order."""
    due_ms = let_go_by_ms(state)
    return due_ms is not None and now_ms >= due_ms


def let_go_by_ms(state: GroupState) -> int | None:
    """From when on it is about to fire; None: it is not armed."""
    if state.kicked_ms is None:
        return None
    return state.kicked_ms + state.settings.watchdog_ms - state.settings.timing.let_go_ms
