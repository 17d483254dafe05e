"""How far something is, for people: on stderr, one line that is written over on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Final, TextIO

from staqraft.cli.rendering import duration_text

_LINE_EVERY_S: Final = 10.0  # where it cannot be written over


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
