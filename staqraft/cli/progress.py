"""How far something is, for people: on stderr, one line that is written over on a terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Final, TextIO

from staqraft.cli.rendering import duration_text

_WINDOW_S: Final = 20.0
_LINE_EVERY_S: Final = 10.0  # where it cannot be written over
_UNKNOWN: Final = -1.0


class Rate:
    """What is done of a total, and how long the rest takes at the pace of the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def per_s(self, done: int, now_s: float) -> float:
        """Units a second, lately."""
        self._seen.append((now_s, done))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > _WINDOW_S:  # noqa: PLR2004
            self._seen.popleft()
        since_s, before = self._seen[0]
        return (done - before) / (now_s - since_s) if now_s > since_s else 0.0


def left_s(done: int, total: int, per_s: float) -> float:
    """Seconds until all is done; below zero: not known."""
    if done >= total:
        return 0.0
    return (total - done) / per_s if per_s > 0 else _UNKNOWN


def left_text(*seconds: float) -> str:
    """The longest of some times, in words."""
    if any(value < 0 for value in seconds):
        return "time left not known yet"
    return f"{duration_text(max(seconds) * 1000)} left"


class Line:
    """The line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._over = self._stream.isatty()
        self._width = 0
        self._said_s = time.monotonic()

    def show(self, text: str) -> None:
        """Writes it; now and then only, where every one would stay."""
        now_s = time.monotonic()
        if self._over:
            self._stream.write(f"\r{text.ljust(self._width)}")
            self._width = len(text)
            self._stream.flush()
        elif now_s - self._said_s >= _LINE_EVERY_S:
            self._stream.write(f"{text}\n")
            self._stream.flush()
            self._said_s = now_s

    def end(self) -> None:
        """What follows begins a line."""
        if self._over and self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()
            self._width = 0
