"""What the data processes do with memory that is free: keep it while they work, then give it back.

Batches and pieces of files are blocks of a mebibyte that live for a moment. By itself the C library
fetches each from the kernel and returns it at once, and the kernel's zeroing and mapping of its
pages was a fifth of what a first copy of large files costs. Nothing here is needed for anything but
speed: another C library than glibc has its own way.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from typing import Final, NoReturn

_TRIM_THRESHOLD: Final = -1  # names of mallopt(3)
_MMAP_THRESHOLD: Final = -3
_LARGEST_BLOCK: Final = 16 << 20  # what is larger comes from the kernel and goes back at once
_KEPT_BYTES: Final = 64 << 20  # free memory at a heap's end, beyond which it is returned
_LOOK_S: Final = 10.0
_BUSY: Final = 0.05  # of a core

_libc = ctypes.CDLL(None)


def keep() -> None:
    """From now on blocks of this process are used again. To be called before threads are made."""
    if _is_glibc():
        _libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        _libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """What is free now goes back to the kernel: some milliseconds, in which the GIL is not held."""
    if _is_glibc():
        _libc.malloc_trim(0)


async def tidy_for_ever() -> NoReturn:
    """Gives back what was kept, each time that this process has nothing to do any more."""
    was_busy, used_s = True, time.process_time()
    while True:
        await asyncio.sleep(_LOOK_S)
        before_s, used_s = used_s, time.process_time()
        is_busy = used_s - before_s > _BUSY * _LOOK_S
        if was_busy and not is_busy:
            await asyncio.to_thread(give_back)
        was_busy = is_busy


def _is_glibc() -> bool:
    return hasattr(_libc, "gnu_get_libc_version")
