"""When a large file is read: not in the middle of being written, and not again and again (PURE).

Reading it while it changes is in vain, since all of it has to be read once more. So a file that has
just begun to change and is still open is given a moment; one that was found changed after it was
read is read again soon, and the more often that happens, the longer it is left alone, up to some
times what reading took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from staqraft.capture import dirty

LOOK_AGAIN_MS: Final = 20
PATIENCE_MS: Final = 100
QUIET_MS: Final = 2_000
LEAST_PAUSE_MS: Final = 50
MOST_PAUSE: Final = 3  # times what reading took
_KEPT: Final = 1_000

File = tuple[str, int, int]  # tree, device, inode


@dataclass(slots=True)
class _Pace:
    since_ms: int
    again: int = 0  # how often it was changed when it had been read


class Paces:
    """Of the files that change now."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._paces: dict[File, _Pace] = {}

    def is_too_early(self, file: File, flags: int) -> bool:
        """Whether to look again in LOOK_AGAIN_MS, for a place that was marked with `flags`."""
        if flags & (dirty.CLOSED | dirty.SCANNED) or not flags & dirty.CONTENT:
            return False
        now = self._now_ms()
        pace = self._pace(file)
        if pace.again:
            return False
        if now - pace.since_ms > QUIET_MS:
            pace.since_ms = now
        return now - pace.since_ms < PATIENCE_MS

    def pause_ms(self, file: File, took_ms: int) -> int:
        """How long it is left alone, since it changed in the `took_ms` in which it was read."""
        pace = self._pace(file)
        pause = max(LEAST_PAUSE_MS, min(pace.again, MOST_PAUSE) * took_ms)
        pace.again += 1
        return pause

    def held_still(self, file: File) -> None:
        """It was read and is as it was."""
        self._paces.pop(file, None)

    def _pace(self, file: File) -> _Pace:
        if len(self._paces) >= _KEPT and file not in self._paces:
            self._paces.clear()  # of files that went away, mostly
        return self._paces.setdefault(file, _Pace(self._now_ms()))
