"""Somebody else has an address that this node is about to take (PURE).

The network is asked when the loser is fenced, while the data is finished and the services start, so
that it costs a takeover nothing. What the former active's own MAC still claims is said and never
counts against the takeover: that it no longer serves was proved already, and a stale answer of its
neighbours is not to undo that. What a third host claims is an alarm, and by the group's policy
either taken all the same, since announcements win most of the traffic back, or not taken.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from staqraft.decision.commands import CheckVips
from staqraft.decision.phases import HOLDING

if TYPE_CHECKING:
    from staqraft.decision.events import VipsChecked
    from staqraft.decision.state import GroupState
    from staqraft.decision.turn import Turn


class OnConflict(Enum):
    """What to do about an address that somebody else has."""

    IGNORE = "ignore"  # the network is not asked
    TAKE = "take"
    REFUSE = "refuse"


def begin(turn: Turn) -> None:
    """Ask, beside everything else."""
    turn.set(checking=0, claimed=())
    if turn.state.settings.on_conflict is OnConflict.IGNORE:
        return
    token = turn.token()
    turn.set(checking=token)
    turn.emit(CheckVips(token=token))


def on_checked(turn: Turn, event: VipsChecked) -> None:
    """What was found is in the history, whatever is done about it."""
    state = turn.state
    if event.token != state.checking:
        return
    turn.set(checking=0, claimed=event.others)
    if state.phase not in HOLDING:
        return
    for text in event.former:
        turn.note("address-conflict", f"{text}, the former active; it was proved not to serve")
    taken = state.settings.on_conflict is OnConflict.TAKE
    what = "it is taken all the same" if taken else "it is not taken"
    for text in event.others:
        turn.note("address-conflict", f"{text}: {what} ('address_conflict')")


def pending(state: GroupState) -> bool:
    """The answer decides, and is not there yet."""
    return bool(state.checking) and state.settings.on_conflict is OnConflict.REFUSE


def objection(state: GroupState) -> str | None:
    """Why the addresses are not taken; None: they are."""
    if state.settings.on_conflict is not OnConflict.REFUSE or not state.claimed:
        return None
    return f"{'; '.join(state.claimed)}: find that host, or set 'address_conflict: take'"
