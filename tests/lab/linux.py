"""The few system calls that Python 3.11 does not offer, and the clock that the lab's records
share.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
OWN_HOST = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
EXT4_GOING_FLAGS_NOLOGFLUSH = 2
FIFREEZE = 0xC0045877
FITHAW = 0xC0045878

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Gives the calling process namespaces of its own."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def mount(
    source: str, target: str, kind: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """mount(2)."""
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind else None,
            ctypes.c_ulong(flags),
            data.encode() if data else None,
        ),
        f"mount {source} on {target} ({kind or 'bind'})",
    )


def set_hostname(name: str) -> None:
    """Names the calling process's UTS namespace."""
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), f"sethostname({name})")


def drop_filesystem(descriptor: int) -> None:
    """Ends an ext4 filesystem as a power cut does: what is not in its log yet is lost."""
    fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))


def freeze(descriptor: int) -> None:
    """Whoever writes to this filesystem from now on waits, uninterruptibly, until `thaw`."""
    fcntl.ioctl(descriptor, FIFREEZE, 0)


def thaw(descriptor: int) -> None:
    """Undoes `freeze`; one that is not frozen stays as it is."""
    with suppress(OSError):  # EINVAL: it is not frozen
        fcntl.ioctl(descriptor, FITHAW, 0)


def boottime() -> float:
    """Seconds on CLOCK_BOOTTIME, the same in all hosts of the lab."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def start_ticks(pid: int) -> int | None:
    """When the process started (field 22 of its stat), against reused pids; None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
