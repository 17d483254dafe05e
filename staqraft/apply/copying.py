"""Whole objects from one place to another on this host: content, holes and all metadata."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import Final

from staqraft.apply import metadata as meta
from staqraft.apply.observe import metadata_at

_PIECE_BYTES: Final = 1 << 20
_RENAME_NOREPLACE: Final = 1
_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC

Place = tuple[int, bytes]  # an open directory and a name in it

_libc = ctypes.CDLL(None, use_errno=True)


def copy_object(source: Place, found: os.stat_result, target: Place) -> None:
    """Makes a durable copy of an object that is no directory; nothing is left of one that fails.

    `found` is the lstat of the source. FileExistsError when there is something at the target.
    """
    wanted = metadata_at(*source, found)
    directory, name = target
    if stat.S_ISREG(found.st_mode):
        _copy_file(source, target)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(wanted.symlink_target, name, dir_fd=directory)
    else:
        os.mknod(name, found.st_mode, wanted.rdev, dir_fd=directory)
    try:
        meta.write_at(directory, name, wanted)
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise
    os.fsync(directory)


def _copy_file(source: Place, target: Place) -> None:
    here = os.open(source[1], _READ, dir_fd=source[0])
    try:
        there = os.open(target[1], _CREATE, 0o600, dir_fd=target[0])
        try:
            _copy_content(here, there)
            os.fsync(there)
        except BaseException:
            os.unlink(target[1], dir_fd=target[0])
            raise
        finally:
            os.close(there)
    finally:
        os.close(here)


def _copy_content(here: int, there: int) -> None:
    size = os.fstat(here).st_size
    os.ftruncate(there, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(here, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole up to the end
            raise
        end = os.lseek(here, at, os.SEEK_HOLE)
        while at < end:
            piece = os.pread(here, min(_PIECE_BYTES, end - at), at)
            if not piece:
                return
            view = memoryview(piece)
            while view:
                written = os.pwrite(there, view, at)
                view = view[written:]
                at += written


def move_without_replacing(source: Place, target: Place) -> None:
    """Renames; FileExistsError when something stands at the target, whoever put it there when."""
    done = _libc.renameat2(
        source[0], source[1], target[0], target[1], ctypes.c_uint(_RENAME_NOREPLACE)
    )
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), os.fsdecode(target[1]))
    os.link(  # a filesystem that cannot do it in one step
        source[1],
        target[1],
        src_dir_fd=source[0],
        dst_dir_fd=target[0],
        follow_symlinks=False,
    )
    os.unlink(source[1], dir_fd=source[0])
