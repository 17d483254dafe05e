"""What a stop in good order needs, taken out one at a time: see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from simulation import pair as mirror
from simulation.patching import put
from staqraft.decision import rest


def rest_counts_from_commit() -> None:
    """The addresses stay for a rest from when it was heard of, not from before it was asked."""
    real = rest._leave
    put(rest, "_leave", lambda turn, _since, lasts: real(turn, turn.now_ms, lasts))


def rest_without_commit() -> None:
    """The addresses are left to the kernel before anybody else knows for how long."""

    def begin(turn: Any) -> None:
        rest._leave(turn, turn.now_ms, turn.state.settings.timing.rest_ms)

    put(rest, "begin", begin)


def earlier_rest_counts() -> None:
    """A rest that was in the record before it asked is taken for the one it asks for."""
    real = rest.begin

    def begin(turn: Any) -> None:
        record = turn.state.record
        turn.set(record=replace(record, resting_index=0))
        real(turn)
        turn.set(record=record)

    put(rest, "begin", begin)


def right_outlives_a_farewell() -> None:
    """Who said farewell goes on with its right when it is back."""
    real = mirror.PairDaemon.say_farewell

    def say_farewell(self: mirror.PairDaemon) -> None:
        right = self._memory.right
        real(self)
        self._memory.right, self._leaves = right, False

    put(mirror.PairDaemon, "say_farewell", say_farewell)


_RENEWED_MEANWHILE: Final = (
    "renewals go on while it asks, so the other has just seen one when a rest is heard of late, and"
    " counts from that (tests/unit/test_decision_rest.py takes that away)"
)
_RESTED: Final = ("rested",)
PATCHES: Final[tuple[tuple[str, Callable[[], None], str, tuple[str, ...]], ...]] = (
    ("rest counts from commit", rest_counts_from_commit, _RENEWED_MEANWHILE, _RESTED),
    ("rest without a commit", rest_without_commit, "", _RESTED),
    ("an earlier rest counts", earlier_rest_counts, "", ("rests_twice",)),
    ("pair: right outlives a farewell", right_outlives_a_farewell, "", ("farewell",)),
)
