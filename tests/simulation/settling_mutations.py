"""What is taken out of who counts a standby that its active still has to make whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from simulation import worker
from simulation.patching import put
from staqraft.daemon.settling import Settling
from staqraft.decision import insync
from staqraft.decision.following import Following
from staqraft.model import ORIGIN


def joins_before_it_is_whole() -> None:
    """The core takes one that settles for one that could go on alone."""
    real = insync.on_report

    def on_report(turn: Any, event: Any) -> None:
        settles = event.following is Following.SETTLES
        real(turn, replace(event, following=Following.WHOLE) if settles else event)

    put(insync, "on_report", on_report)


def barrier_counts_one_that_settles() -> None:
    """What it has on disk suffices."""
    put(
        worker.Worker,
        "acknowledged",
        lambda self, position: self.peer.durable >= position,
    )


def restart_ends_it() -> None:
    """That is not kept with the index."""
    real = Settling.__init__

    def begun(self: Any, notes: Any) -> None:
        real(self, notes)
        self._until, self.lasts = None, False

    put(Settling, "__init__", begun)


def doubt_does_not_matter() -> None:
    """All that was written meanwhile is applied, and that suffices."""
    real = Settling.look
    put(Settling, "look", lambda self, applied, _in_doubt: real(self, applied, 0))


def end_does_not_matter() -> None:
    """Nothing is in doubt at present, and that suffices."""
    real = Settling.begin
    put(Settling, "begin", lambda self, _until: real(self, ORIGIN))


def fetched_anew_is_whole() -> None:
    """Whatever was written while it was fetched."""
    put(Settling, "go_on", lambda _self, _until: None)


_KINDS: Final = ("struck_while_settling", "die_while_comparing")
PATCHES: Final[tuple[tuple[str, Callable[[], None], str, tuple[str, ...]], ...]] = (
    ("settling: it joins before it is whole", joins_before_it_is_whole, "", _KINDS),
    ("settling: a barrier counts it", barrier_counts_one_that_settles, "", _KINDS),
    ("settling: a restart ends it", restart_ends_it, "", _KINDS),
    ("settling: what is in doubt does not matter", doubt_does_not_matter, "", _KINDS),
    ("settling: what was written meanwhile does not matter", end_does_not_matter, "", _KINDS),
    ("settling: what is fetched anew is whole", fetched_anew_is_whole, "", _KINDS),
)
