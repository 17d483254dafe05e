"""Room ahead of the last record: blocks that the segment has already, filled with zeros.

A file that grows has the file system commit a transaction with each sync, and that waits for what
others wrote there, too. What is written over blocks that are on the disk is written, and that is
all: a third of the time on ext4. So a journal that gets little at a time is given room when nobody
waits for it. What gets much at a time grows as it did, since the zeros are written besides.

Zeros are never a frame (see `frames`), so readers take them for "nothing yet". Only the segment
that is being written has room: it is cut off before the next segment begins.
"""

from __future__ import annotations

import os
from typing import Final

from staqraft.journal import files

ROOM_BYTES: Final = 1 << 20
LITTLE_BYTES: Final = 128 << 10  # more than this with one sync: the data is what takes the time


class Room:
    """Of the segment that is being written, which `segment_bytes` bounds."""

    def __init__(self, segment_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        self._end = 0
        self._gets_little = False
        self._refused = False

    def begin(self, end: int) -> None:
        """Another segment, or the same cut off: there is none behind `end`."""
        self._end = end
        self._gets_little = self._refused = False

    def synced(self, size: int) -> None:
        """So much was made durable at once."""
        self._gets_little = size <= LITTLE_BYTES

    def is_wanted(self, end: int) -> bool:
        """Whether half of it is used up where little comes at a time."""
        missing = self._upto(end) - max(self._end, end)
        return self._gets_little and not self._refused and missing >= ROOM_BYTES // 2

    def extend(self, fd: int, end: int) -> None:
        """Makes it, durable; where there is no space, none. Raises OSError."""
        start, upto = max(self._end, end), self._upto(end)
        if start >= upto:
            return
        self._end = upto
        if not files.pwrite_all(fd, memoryview(bytes(upto - start)), start):
            self._refused = True
            self.cut(fd, end)
        os.fdatasync(fd)

    def cut(self, fd: int, end: int) -> None:
        """Gives up what is behind `end`. Raises OSError."""
        if self._end > end:
            os.ftruncate(fd, end)
            self._end = end

    def _upto(self, end: int) -> int:
        return min(end + ROOM_BYTES, self._segment_bytes)
