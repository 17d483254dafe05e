"""File handles: names for directories that survive renames (`name_to_handle_at(2)`).

A key is `fsid (8) | handle_bytes (4) | handle_type (4) | handle`, which is byte for byte what
follows the header of a fanotify information record, so that an event's directory is found in a
dictionary without taking the record apart.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import time
from collections.abc import Callable
from typing import Final

AT_EMPTY_PATH: Final = 0x1000
MAX_HANDLE_BYTES: Final = 128
KEY_PREFIX: Final = struct.Struct("=8sIi")
_FIRST_PAUSE_S: Final = 0.001
_MOST_S: Final = 2.0  # the pause at which it is given up: four seconds in all
_NOT_A_DIRECTORY: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_ubyte * MAX_HANDLE_BYTES),
    )


libc: Final = ctypes.CDLL(None, use_errno=True)
libc.name_to_handle_at.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(_FileHandle),
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_int,
)
libc.open_by_handle_at.argtypes = (ctypes.c_int, ctypes.POINTER(_FileHandle), ctypes.c_int)


def raise_errno(doing: str) -> None:
    """Raises the OSError of the libc call that just failed."""
    number = ctypes.get_errno()
    raise OSError(number, f"{doing}: {os.strerror(number)}")


def filesystem_id(fd: int) -> bytes:
    """The 8 bytes by which fanotify names the filesystem of an open file."""
    return struct.pack("=Q", os.fstatvfs(fd).f_fsid)


def key_of(fd: int, fsid: bytes) -> bytes:
    """The key of an open file or directory."""
    return _key(fd, b"", AT_EMPTY_PATH, fsid)


def key_at(directory_fd: int, name: bytes, fsid: bytes) -> bytes:
    """The key of what stands at `name`, not following a symlink."""
    return _key(directory_fd, name, 0, fsid)


def _key(fd: int, name: bytes, flags: int, fsid: bytes) -> bytes:
    handle = _FileHandle(handle_bytes=MAX_HANDLE_BYTES)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(fd, name, ctypes.byref(handle), ctypes.byref(mount), flags) != 0:
        raise_errno("name_to_handle_at")
    return KEY_PREFIX.pack(fsid, handle.handle_bytes, handle.handle_type) + bytes(
        memoryview(handle.f_handle)[: handle.handle_bytes]
    )


def open_key(mount_fd: int, key: bytes) -> int | None:
    """Opens a directory by its key; None if it is no more.

    `mount_fd` is any open (not O_PATH) file on the filesystem. Needs CAP_DAC_READ_SEARCH.
    """
    return _open(mount_fd, key, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def inode_of(mount_fd: int, key: bytes) -> tuple[int, int] | None:
    """The device and inode of any object by its key; None if it is no more."""
    fd = _open(mount_fd, key, os.O_PATH | os.O_CLOEXEC)
    if fd is None:
        return None
    try:
        found = os.fstat(fd)
        return (found.st_dev, found.st_ino) if found.st_nlink else None
    finally:
        os.close(fd)


def patiently(call: Callable[[], int], pause: Callable[[float], None] = time.sleep) -> int:
    """The result of a libc call that may say ENOMEM for a while, which is then no lack of memory.

    open_by_handle_at does so on ext4 (kernel 6.18) for a directory that is moved or removed at the
    same time: it is gone, or found, some milliseconds later.
    """
    wait_s = _FIRST_PAUSE_S
    while (result := call()) < 0 and ctypes.get_errno() == errno.ENOMEM and wait_s < _MOST_S:
        pause(wait_s)
        wait_s *= 2
    return result


def _open(mount_fd: int, key: bytes, flags: int) -> int | None:
    _, size, kind = KEY_PREFIX.unpack_from(key)
    handle = _FileHandle(handle_bytes=size, handle_type=kind)
    ctypes.memmove(handle.f_handle, key[KEY_PREFIX.size :], size)
    fd = patiently(lambda: int(libc.open_by_handle_at(mount_fd, ctypes.byref(handle), flags)))
    if fd >= 0:
        return fd
    if ctypes.get_errno() in (errno.ESTALE, *_NOT_A_DIRECTORY):
        return None
    raise_errno("open_by_handle_at")
    return None
