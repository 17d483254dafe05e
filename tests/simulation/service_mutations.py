"""What keeps services to one replica, and a group in its place, taken out; see `mutations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from simulation.patching import put
from staqraft.decision import handover, services, standdown, step
from staqraft.decision.phases import Phase


def _moves_without_end() -> None:
    put(services, "recent_moves", lambda *_: 0)


def _forgotten_by_the_next() -> None:
    """Each active counts the moves that it asked for itself."""
    real = services.recent_moves

    def recent_moves(state: Any, now_ms: int) -> int:
        fence = state.record.fence
        begun = fence.log_index if fence is not None else 0
        own = {index: at for index, at in state.moves_seen.items() if index > begun}
        return real(replace(state, moves_seen=own), now_ms)

    put(services, "recent_moves", recent_moves)


def _not_stopped_counts() -> None:
    """What does not stop is taken for stopped: handed over, let go of."""

    def failed(going_on: Callable[[Any], None]) -> Callable[[Any, str], None]:
        return lambda turn, _detail: going_on(turn)

    failures = {
        Phase.STOPPING: failed(handover.services_stopped),
        Phase.HALTING: failed(standdown.halted),
    }
    put(step, "_FAILED", {**step._FAILED, **failures})


def _stays_with_what_does_not_stop() -> None:
    """As in a switchover that an operator asked for."""
    put(step, "_FAILED", {**step._FAILED, Phase.STOPPING: handover.hand_over_failed})


def _restart_failed_is_well() -> None:
    put(services, "on_failed", services.on_done)


def _never_moves() -> None:
    put(services, "_move", lambda *_: None)


_KINDS: Final = ("services",)
_LASTING: Final = ("lasting",)
PATCHES: Final[tuple[tuple[str, Callable[[], None], tuple[str, ...]], ...]] = (
    ("services move the group without end", _moves_without_end, _KINDS),
    ("moves for services forgotten by the next active", _forgotten_by_the_next, _KINDS),
    ("services that do not stop count as stopped", _not_stopped_counts, _KINDS),
    ("services that do not stop keep the group", _stays_with_what_does_not_stop, _LASTING),
    ("a restart that failed makes a service well", _restart_failed_is_well, _KINDS),
    ("a failed service never moves the group", _never_moves, _LASTING),
)
