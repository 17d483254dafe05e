"""Inode flags, as chattr sets them."""

from __future__ import annotations

import array
import fcntl
import os
from pathlib import Path

IMMUTABLE, APPEND, NO_ATIME, NO_DUMP = 0x10, 0x20, 0x80, 0x40


def flags_of(path: Path) -> int:
    return _ioctl(path, 0x80086601, 0)


def set_flags(path: Path, flags: int) -> None:
    """Raises OSError where the filesystem has none."""
    _ioctl(path, 0x40086602, flags)


def _ioctl(path: Path, request: int, flags: int) -> int:
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        value = array.array("L", [flags])
        fcntl.ioctl(number, request, value)
        return value[0]
    finally:
        os.close(number)
