"""Staying inside a tree: every path of a record is resolved beneath the tree's root, by the kernel.

`openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS refuses `..`, absolute paths and symbolic
links in the middle in one call, without a window between check and use. Where it is missing
(kernels before 5.6, seccomp filters that do not know it) each component is opened with O_NOFOLLOW,
which is as strict and slower. The last component is never opened through: all calls name it
relative to its directory and do not follow links.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from staqraft.errors import ApplyError, PathEscape
from staqraft.index import STAGING_NAME

_SYS_OPENAT2: Final = 437  # the same on all architectures
_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CACHED: Final = 256
_LONGEST: Final = 4096  # PATH_MAX, which counts the zero byte
_PAUSES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_OTHER_FILESYSTEM: Final = frozenset({errno.EXDEV, errno.EBUSY})  # below a mount, or one itself
_NO_NAMES: Final = frozenset({b"", b".", b".."})


class RootMissing(ApplyError):
    """A tree's root is gone, not mounted or replaced: nothing is written, nothing is removed."""

    retryable = True


class CannotWrite(ApplyError):
    """The volume refuses writes (full, read-only, broken): nothing is lost, apply again later."""

    retryable = True


class MountedInside(CannotWrite):
    """Something is mounted inside of a tree, or a subvolume: what is below it is not the tree's."""

    def __init__(self, path: bytes, tree: str = "") -> None:
        """`tree`: which, for a person."""
        self.path = path
        super().__init__(
            f"{tree}{': ' if tree else ''}{os.fsdecode(path)!r} is, or is below, a mount point or a"
            " btrfs subvolume inside of the tree: what is there is not the tree's, so nothing is"
            " compared, written or removed in the whole tree. Unmount it; or, if it is meant to be"
            " there, exclude it on both replicas or make it a tree of its own"
        )


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def check_path(path: bytes) -> None:
    """Raises PathEscape for a path that no replica of ours ever writes into a record."""
    if not path:
        return
    if b"\0" in path:
        raise PathEscape(f"path {path!r} contains a zero byte: refused")
    parts = path.split(b"/")
    if not _NO_NAMES.isdisjoint(parts):
        raise PathEscape(f"path {path!r} is absolute or has an empty, '.' or '..' part: refused")
    if parts[0] == STAGING_NAME:
        raise PathEscape(f"path {path!r} is inside StaqRaft's own directory: refused")


def open_beneath(root: int, path: bytes) -> int:
    """Opens the directory `path` beneath `root`; NotADirectoryError if a link is in the way.

    Raises MountedInside for one on another filesystem, and for one below a bind mount.
    """
    if len(path) < _LONGEST:
        return _open_beneath(root, path)
    part, rest = _first_part(path)
    above = _open_beneath(root, part)
    try:
        return open_beneath(above, rest)
    except MountedInside as error:
        raise MountedInside(part + b"/" + error.path) from None
    finally:
        os.close(above)


def _first_part(path: bytes) -> tuple[bytes, bytes]:
    """As much of a path as the kernel takes in one call, and the rest."""
    end = path.rfind(b"/", 0, _LONGEST)
    if end < 0:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(path))
    return path[:end], path[end + 1 :]


def _open_beneath(root: int, path: bytes) -> int:
    number, code = _openat2(root, path, _RESOLVE_NO_XDEV)
    if number >= 0:
        return _same_filesystem(root, number, path)
    if code in (errno.ENOSYS, errno.EPERM):
        return _same_filesystem(root, walk_beneath(root, path), path)
    if code == errno.EXDEV:
        number, code = _openat2(root, path, 0)
        if number >= 0:
            os.close(number)
            raise MountedInside(path)
        raise PathEscape(f"{path!r} leads out of its tree: refused")
    if code == errno.ELOOP:  # a link is no directory of the tree, wherever it leads
        code = errno.ENOTDIR
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def _openat2(root: int, path: bytes, more: int) -> tuple[int, int]:
    """The open directory or -1, and the error's number."""
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | more
    how = _OpenHow(_DIRECTORY, 0, resolve)
    number = _libc.syscall(_SYS_OPENAT2, root, path or b".", ctypes.byref(how), ctypes.sizeof(how))
    return int(number), ctypes.get_errno()


def _same_filesystem(root: int, number: int, path: bytes) -> int:
    """Btrfs subvolumes are no mounts, and nothing can be renamed into them either."""
    if os.fstat(root).st_dev != os.fstat(number).st_dev:
        os.close(number)
        raise MountedInside(path)
    return number


def walk_beneath(root: int, path: bytes) -> int:
    """The same without openat2, one component after the other."""
    here = os.open(b".", _DIRECTORY, dir_fd=root)
    for part in path.split(b"/") if path else ():
        try:
            below = os.open(part, _DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


@contextmanager
def opened_anew(directory: int) -> Iterator[int]:
    """To list it: an open directory lists on btrfs what it held when it was opened."""
    number = os.open(b".", _DIRECTORY, dir_fd=directory)
    try:
        yield number
    finally:
        os.close(number)


def directories_below(top: int, name: bytes) -> Iterator[int]:
    """A directory of `top` and all below it, each open until the next; no deeper is too deep."""
    pending = [name]
    while pending:
        path = pending.pop()
        try:
            here = open_beneath(top, path)
        except (FileNotFoundError, NotADirectoryError, MountedInside):
            continue
        try:
            with os.scandir(here) as found:
                names = [e.name for e in found if e.is_dir(follow_symlinks=False)]
            pending += [path + b"/" + os.fsencode(below) for below in names]
            yield here
        finally:
            os.close(here)


class TreeRoot:
    """A tree's root directory, kept open, and the way to everything below it.

    Directories are kept open for a batch (`release` ends it), so that a burst in one directory
    resolves its path once. One thread at a time.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._cache: dict[bytes, int] = {}
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _missing(name, path, error.strerror or str(error)) from error
        self._identity = _identity(os.fstat(self.fd))

    @property
    def shown(self) -> str:
        """The tree, for a person."""
        return f"tree {self.name} ({self.path})"

    def require_present(self) -> None:
        """Raises RootMissing if what the path leads to now is not what was opened."""
        try:
            found = _identity(self.path.stat())
        except OSError as error:
            raise _missing(self.name, self.path, error.strerror or str(error)) from error
        if found != self._identity:
            raise _missing(self.name, self.path, "another directory or filesystem is there now")

    def require_staging(self) -> None:
        """Raises RootMissing if the root lacks the directory that marks it as this tree's root."""
        try:
            os.stat(STAGING_NAME, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError as error:
            marker = self.path / os.fsdecode(STAGING_NAME)
            raise _missing(
                self.name,
                self.path,
                f"{marker} is gone, so this may be an empty mount point; if the directory was "
                f"emptied or replaced on purpose, say so with: mkdir '{marker}'",
            ) from error

    def make_staging(self) -> None:
        """Makes the staging directory, without a trace in the root's own times."""
        before = os.fstat(self.fd)
        try:
            os.mkdir(STAGING_NAME, 0o700, dir_fd=self.fd)
        except FileExistsError:
            return
        os.utime(STAGING_NAME, ns=(0, 0), dir_fd=self.fd)
        os.utime(self.fd, ns=(before.st_atime_ns, before.st_mtime_ns))

    def directory(self, path: bytes) -> int:
        """The open directory at a path; valid until `release` or `forget`."""
        found = self._cache.get(path)
        if found is None:
            if len(self._cache) >= _CACHED:
                self.release()
            try:
                found = self._cache[path] = open_beneath(self.fd, path)
            except MountedInside as error:
                raise MountedInside(error.path, self.shown) from None
        return found

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """The open directory in which a path's last component stands, and that component."""
        check_path(path)
        directory, _, name = path.rpartition(b"/")
        if not directory:
            return self.fd, name or b"."
        return self.directory(directory), name

    def staging(self) -> int:
        """The open staging directory."""
        return self.directory(STAGING_NAME)

    def forget(self, path: bytes) -> None:
        """A directory was moved or removed: paths at and below it lead elsewhere now."""
        below = path + b"/"
        for known in [p for p in self._cache if p == path or p.startswith(below)]:
            os.close(self._cache.pop(known))

    def release(self) -> None:
        """Closes the directories that were kept open for a batch."""
        for number in self._cache.values():
            os.close(number)
        self._cache.clear()

    def close(self) -> None:
        """Closes everything."""
        self.release()
        os.close(self.fd)


def refusal(root: TreeRoot, path: bytes, error: OSError) -> CannotWrite | None:
    """Why nothing can be written; None: something is wrong with this object only."""
    if error.errno in _PAUSES:
        return CannotWrite(
            f"tree {root.name}, {os.fsdecode(path)!r}: {error.strerror}; applying pauses and tries"
            f" again by itself: free space or repair the volume of {root.path}"
        )
    return MountedInside(path, root.shown) if error.errno in _OTHER_FILESYSTEM else None


def sync_filesystem(directory: int) -> None:
    """syncfs: everything written to the filesystem of this open directory is on its disk."""
    if _libc.syncfs(directory) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"syncfs: {os.strerror(code)}")


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _missing(name: str, path: Path, why: str) -> RootMissing:
    return RootMissing(
        f"tree {name}: {path} is not the tree's root ({why}). Nothing is written or removed there "
        "until it is mounted or restored"
    )
