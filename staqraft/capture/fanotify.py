"""A thin binding of fanotify(7): init, mark, and events by directory handle and name.

Kernel 5.17 or later. Events are read as bytes and taken apart here; they carry no file
descriptors, since the group reports file handles.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from staqraft.capture.handles import libc, raise_errno

CLOEXEC: Final = 0x1
NONBLOCK: Final = 0x2
UNLIMITED_QUEUE: Final = 0x10
UNLIMITED_MARKS: Final = 0x20
REPORT_FID: Final = 0x200
REPORT_DIR_FID: Final = 0x400
REPORT_NAME: Final = 0x800
REPORT_TARGET_FID: Final = 0x1000
INIT_FLAGS: Final = (
    CLOEXEC | NONBLOCK | UNLIMITED_QUEUE | UNLIMITED_MARKS
    | REPORT_FID | REPORT_DIR_FID | REPORT_NAME | REPORT_TARGET_FID
)  # fmt: skip

MARK_ADD: Final = 0x1
MARK_REMOVE: Final = 0x2
MARK_INODE: Final = 0x0
MARK_FILESYSTEM: Final = 0x100

MODIFY: Final = 0x2
ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
OVERFLOW: Final = 0x4000
RENAME: Final = 0x10000000
ONDIR: Final = 0x40000000
TREE_MASK: Final = MODIFY | ATTRIB | CLOSE_WRITE | CREATE | DELETE | DELETE_SELF | RENAME | ONDIR

_EVENT: Final = struct.Struct("=IBBHQii")
_INFO: Final = struct.Struct("=BBH")
_HANDLE_BYTES: Final = struct.Struct("=I")
_METADATA_VERSION: Final = 3
_INFO_FID: Final = 1
_INFO_DFID_NAME: Final = 2
_INFO_DFID: Final = 3
_INFO_OLD_DFID_NAME: Final = 10
_INFO_NEW_DFID_NAME: Final = 12
_NAMED: Final = frozenset({_INFO_DFID_NAME, _INFO_OLD_DFID_NAME, _INFO_NEW_DFID_NAME})
_KEY_AT: Final = 4  # a record's key (fsid and handle) begins behind its header
_HANDLE_SIZE_AT: Final = 12
_HANDLE_AT: Final = 20

libc.fanotify_mark.argtypes = (
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
)


class Event(NamedTuple):
    """Something may have changed at each of `places`. An overflow has none.

    A place is a directory's key and a name in it; the name `.` is the directory itself. A rename
    has two places. `target` is the key of the object itself, where the kernel told it.
    """

    mask: int
    pid: int
    places: tuple[tuple[bytes, bytes], ...]
    target: bytes | None


def init(flags: int = INIT_FLAGS) -> int:
    """A new group. Raises OSError (EPERM without privilege, EINVAL if the kernel is too old)."""
    fd: int = libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC)
    if fd < 0:
        raise_errno("fanotify_init")
    return fd


def mark(group: int, what: int, mask: int, directory_fd: int) -> None:
    """Adds (or removes) a mark on the directory open as `directory_fd`, or on its filesystem."""
    if libc.fanotify_mark(group, what, mask, directory_fd, b".") != 0:
        raise_errno("fanotify_mark")


def parse(data: bytes) -> Iterator[Event]:
    """The events in what was read from a group."""
    at, end = 0, len(data)
    while at < end:
        length, version, _, header, mask, _, pid = _EVENT.unpack_from(data, at)
        if version != _METADATA_VERSION or length < header:
            raise ValueError(f"fanotify event of unknown version {version} at byte {at}")
        places: list[tuple[bytes, bytes]] = []
        target = None
        info = at + header
        at += length
        while info < at:
            kind, _, size = _INFO.unpack_from(data, info)
            if kind in _NAMED or kind in (_INFO_FID, _INFO_DFID):
                (handle_bytes,) = _HANDLE_BYTES.unpack_from(data, info + _HANDLE_SIZE_AT)
                name_at = info + _HANDLE_AT + handle_bytes
                key = data[info + _KEY_AT : name_at]
                if kind in _NAMED:
                    places.append((key, data[name_at : data.index(0, name_at)]))
                elif kind == _INFO_DFID:
                    places.append((key, b"."))
                else:
                    target = key
            info += size
        yield Event(mask, pid, tuple(places), target)
