"""A daemon that stops in maintenance leaves its addresses and services as they are (PURE).

Nobody takes over in maintenance, so nothing has to stop for an upgrade. But maintenance may be
ended while the daemon is away, and then the other replica must know how long to wait. So this is a
lease like any other, only a longer one: the last renewal says through Raft for how long (`Rest`),
and is accepted only in maintenance. When it is in the record

- this node lets its kernel keep the addresses until the instant before that proposal + `rest_ms`,
  less the drift, kicks no watchdog any more, and ends;
- whoever wants the next epoch has seen that renewal (`Acquire` names it), and waits for that long
  from when it observed it (`eligibility.lease_over_ms`), maintenance or not.

When the daemon is back, by then or later, it renews as after any restart; its lease counts as any
other's, and the kernel's lifetimes become short again with the first renewal. When it serves again
they surely are, and only then does it say that the rest is over: until then a challenger waits for
the long one. A host that lost its power has no addresses, and its daemon goes on in the epoch; if
it does not come back, maintenance off lets the other take over when the rest is over.

Without a witness, while the other replica is lost, nothing commits, and nothing has to: nobody
takes over from this one, whatever its lease (`pair`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from staqraft.decision import pair, watchdog
from staqraft.decision.commands import TakeVips
from staqraft.decision.lease import proposing
from staqraft.decision.phases import Phase
from staqraft.model import Rest

if TYPE_CHECKING:
    from staqraft.decision.turn import Turn

_OVER_AGAIN_MS = 2_000


def begin(turn: Turn) -> None:
    """The daemon of the active is to stop, and it is in maintenance."""
    turn.enter(Phase.RESTING, "the daemon stops in maintenance")
    turn.set(rest_asked=(0, turn.now_ms), rest_before=turn.state.record.resting_index)
    settle_resting(turn)


def settle_resting(turn: Turn) -> None:
    """The record shows it, or maintenance is over, or it is asked (again)."""
    state = turn.state
    number, asked_ms = state.rest_asked
    if not state.record.maintenance:
        turn.enter(Phase.ACTIVE, "maintenance ended before the daemon did")
    elif pair.lost(state):
        _leave(turn, turn.now_ms, state.settings.timing.rest_ms)
    elif (
        number
        and state.record.resting_ms
        and state.record.resting_index != state.rest_before
        and state.record.renewal >= number
    ):
        # By whichever renewal from this one on: the other has observed it after it was asked. But
        # not by a rest from before: this node may have proposed that it is over, and that may be
        # tried again until after it has left; who reads it then waits for a short lease only.
        lasts_ms = min(state.settings.timing.rest_ms, state.record.resting_ms)
        _leave(turn, asked_ms, lasts_ms)
    elif state.awaiting == 0 and turn.now_ms >= state.retry_ms:
        _ask(turn)


def _ask(turn: Turn) -> None:
    state = turn.state
    lease = proposing(state.settings.timing, state.lease, state.record.renewal, turn.now_ms)
    first = state.rest_asked[0] or lease.last_number
    turn.set(lease=lease, rest_asked=(first, state.rest_asked[1]))
    turn.propose(
        Rest(
            node=state.settings.node,
            group=state.settings.group,
            epoch=state.record.epoch,
            renewal=lease.last_number,
            rest_ms=state.settings.timing.rest_ms,
        ),
        awaited=True,
    )


def _leave(turn: Turn, since_ms: int, lasts_ms: int) -> None:
    deadline_ms = turn.state.settings.timing.holder_deadline(since_ms, lasts_ms)
    turn.enter(Phase.LEAVING)
    turn.set(lease=replace(turn.state.lease, deadline_ms=deadline_ms))
    _hand_to_kernel(turn, deadline_ms)


def _hand_to_kernel(turn: Turn, deadline_ms: int) -> None:
    turn.emit(TakeVips(token=turn.await_token(), deadline_ms=deadline_ms))


def settle_leaving(turn: Turn) -> None:
    """The kernel refused: once more."""
    state = turn.state
    if state.awaiting == 0 and turn.now_ms >= state.retry_ms and state.lease.deadline_ms:
        _hand_to_kernel(turn, state.lease.deadline_ms)


def left(turn: Turn) -> None:
    """The kernel keeps the addresses; nobody would kick the watchdog from now on."""
    watchdog.disarm(turn)
    turn.enter(Phase.RESTED)


def settle_over(turn: Turn) -> None:
    """It serves again: its addresses were taken anew, for no longer than its lease."""
    state = turn.state
    if (
        state.phase is not Phase.ACTIVE
        or not state.mine
        or not state.record.resting_ms
        or turn.now_ms < state.rest_over_again_ms
        or pair.lost(state)
    ):
        return
    turn.set(rest_over_again_ms=turn.now_ms + _OVER_AGAIN_MS)
    turn.propose(
        Rest(
            node=state.settings.node,
            group=state.settings.group,
            epoch=state.record.epoch,
            ends=state.record.resting_index,
        )
    )
