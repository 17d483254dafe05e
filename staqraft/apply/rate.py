"""How fast something goes lately, and how long the rest takes at that pace (PURE)."""

from __future__ import annotations

from collections import deque
from typing import Final

_WINDOW_S: Final = 20.0
# What looking at an object costs, in bytes of reading: a twentieth of a millisecond of processor
# time, or a seek. A million small files would else be scrubbed with a third of a core for minutes.
OBJECT_BYTES: Final = 64 << 10


class Rate:
    """Units a second, over the last twenty seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def per_s(self, done: int, now_s: float) -> float:
        """The pace, when so much is done now."""
        self._seen.append((now_s, done))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > _WINDOW_S:  # noqa: PLR2004
            self._seen.popleft()
        since_s, before = self._seen[0]
        return (done - before) / (now_s - since_s) if now_s > since_s else 0.0


def work(objects: int, size: int) -> int:
    """How much these are to do, in bytes: an object costs as much as this many of its bytes.

    Few large files and many small ones are then told by one pace, whichever come first.
    """
    return size + objects * OBJECT_BYTES


def left_s(done: int, total: int, per_s: float) -> float:
    """Seconds until all is done; below zero: not known."""
    if done >= total:
        return 0.0
    return (total - done) / per_s if per_s > 0 else -1.0
