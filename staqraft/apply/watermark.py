"""How far the disk is: the last record whose file system calls are done, at the cost of a store.

The index is committed once a batch; the trees change with each record. After a kill the records in
between must not be executed again (a move executed twice is not harmless), so the position of each
finished record is stored in a small memory-mapped file, which the kernel keeps when a process dies.
After a power cut it says nothing: it is only believed in the boot that it was written in.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from staqraft.model import ORIGIN, Epoch, Position

_SLOT: Final = struct.Struct("<QQQ36sI")  # number, epoch, seq, boot id, crc
_BODY: Final = struct.Struct("<QQQ36s")
_SLOTS: Final = 2  # written in turn, so that a kill in the middle of one leaves the other


class Watermark:
    """The file, mapped."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._boot = boot_id.encode()[:36].ljust(36, b"\0")
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(number, _SLOT.size * _SLOTS)
            self._map = mmap.mmap(number, _SLOT.size * _SLOTS)
        finally:
            os.close(number)
        self._number, self._position = max(self._read(slot) for slot in range(_SLOTS))

    @property
    def position(self) -> Position:
        """The last finished record of this boot; ORIGIN if nothing is known."""
        return self._position

    def set(self, position: Position) -> None:
        """The file system calls of this record are done."""
        self._number += 1
        self._position = position
        body = _BODY.pack(self._number, position.epoch, position.seq, self._boot)
        start = _SLOT.size * (self._number % _SLOTS)
        self._map[start : start + _SLOT.size] = body + zlib.crc32(body).to_bytes(4, "little")

    def close(self) -> None:
        """Unmaps the file."""
        self._map.close()

    def _read(self, slot: int) -> tuple[int, Position]:
        raw = self._map[_SLOT.size * slot : _SLOT.size * (slot + 1)]
        number, epoch, seq, boot, crc = _SLOT.unpack(raw)
        if crc != zlib.crc32(raw[: _BODY.size]) or boot != self._boot:
            return 0, ORIGIN
        return number, Position(Epoch(epoch), seq)
