"""How far the Raft log is known to have come, in a file of its own beside it.

A disk that lost the end of the log leaves one that looks as if the last transactions had never been
written: this node would vote twice or miss what it has acknowledged. So every transaction of the
log has a number, and the mark keeps the highest one that was synced. A log with a lower number than
its mark has lost something and is not used. Who has the mark open has the log: it is locked.

The mark is written after the log was synced, and not synced itself, so that it costs no second
flush. It can be older than the log then, never newer: a power cut alone never makes the two
disagree. The price is the limit of what it can find: where a power cut *and* a disk that lost
synced data come together, the last moments before the kernel wrote the mark out (about half a
minute) may be lost unnoticed.

Two slots in pages of their own: one was synced and is left alone while the other is overwritten;
every `_SYNC_EVERY` transactions the mark is synced and they change places. A power cut that
spoils the page under way leaves the other.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from staqraft.consensus.durable import sync_directory

_MAGIC: Final = b"STQRMARK"
_SLOT: Final = struct.Struct("<8sQI")  # magic, number, crc32 of both
_BODY: Final = struct.Struct("<8sQ")
_PAGE: Final = 4096
_BYTES: Final = 2 * _PAGE
_SYNC_EVERY: Final = 256


class LogMark:
    """The file, open and locked. One thread at a time; errors are OSError."""

    def __init__(self, descriptor: int, numbers: tuple[int | None, int | None]) -> None:
        self._descriptor = descriptor
        known = [number for number in numbers if number is not None]
        self.number = max(known, default=None)  # None: neither slot can be read
        # Which slot is overwritten: not the one with the higher number, and rather a spoiled one.
        self._slot = 0 if numbers[0] is None or numbers[0] != self.number else 1
        self._unsynced = 0

    @classmethod
    def make(cls, path: Path) -> LogMark:
        """A new mark of number 0, durable, in place of whatever is there."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor)
            os.pwrite(descriptor, _slot(0).ljust(_PAGE, b"\0") * 2, 0)
            os.fsync(descriptor)
            sync_directory(path.parent)
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor, (0, 0))

    @classmethod
    def open(cls, path: Path) -> LogMark | None:
        """The mark that is there; None: there is none. Its `number` is None if it is spoiled."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            _lock(descriptor)
            content = os.pread(descriptor, _BYTES, 0)
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor, (_number(content[:_PAGE]), _number(content[_PAGE:])))

    def advance(self, number: int) -> None:
        """The transaction with this number is on disk. Seldom waits for the disk itself."""
        self.number = number
        os.pwrite(self._descriptor, _slot(number), self._slot * _PAGE)
        self._unsynced += 1
        if self._unsynced >= _SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Makes the mark durable, and leaves this slot alone from now on."""
        if self._unsynced:
            os.fdatasync(self._descriptor)
            self._unsynced = 0
            self._slot = 1 - self._slot

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


def _lock(descriptor: int) -> None:
    """BlockingIOError when somebody has the mark already. Ends with the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _slot(number: int) -> bytes:
    body = _BODY.pack(_MAGIC, number)
    return body + zlib.crc32(body).to_bytes(4, "little")


def _number(page: bytes) -> int | None:
    if len(page) < _SLOT.size:
        return None
    magic, number, crc = _SLOT.unpack_from(page)
    if magic != _MAGIC or crc != zlib.crc32(page[: _BODY.size]):
        return None
    return int(number)
