"""The state of one object as the kernel tells it: everything but the content of files.

All access is by an open directory and a name, never following a symlink, so that whatever is
renamed meanwhile, nothing outside of the tree is read.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from typing import Final

from staqraft.capture.errors import ObjectUnstable
from staqraft.index import LOCAL_XATTRS, FileIdentity
from staqraft.journal.record import Metadata, ObjectType

GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
_NO_XATTRS: Final = frozenset({errno.EOPNOTSUPP, errno.ENODATA, errno.ENOSYS, errno.EPERM})
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WALK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES: Final = 5
_TYPES: Final = {
    stat.S_IFREG: ObjectType.FILE,
    stat.S_IFDIR: ObjectType.DIRECTORY,
    stat.S_IFLNK: ObjectType.SYMLINK,
    stat.S_IFIFO: ObjectType.FIFO,
    stat.S_IFSOCK: ObjectType.SOCKET,
    stat.S_IFCHR: ObjectType.CHARACTER_DEVICE,
    stat.S_IFBLK: ObjectType.BLOCK_DEVICE,
}
_DEVICES: Final = frozenset({ObjectType.CHARACTER_DEVICE, ObjectType.BLOCK_DEVICE})


@dataclass(frozen=True, slots=True)
class ObjectState:
    """An object's metadata and inode, as of one moment."""

    metadata: Metadata
    identity: FileIdentity
    links: int
    blocks: int  # 512 bytes each, as stat has it

    @property
    def is_file(self) -> bool:
        """Whether it has content of its own."""
        return self.metadata.type is ObjectType.FILE

    def with_size(self, size: int) -> Metadata:
        """The metadata of content that turned out to be `size` bytes long."""
        return self.metadata if size == self.metadata.size else replace(self.metadata, size=size)


def look(directory_fd: int, name: bytes) -> os.stat_result | None:
    """What stands at a name (the directory itself for b""); None if nothing does."""
    try:
        if not name:
            return os.fstat(directory_fd)
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


def type_of(found: os.stat_result) -> ObjectType:
    """The kind of object."""
    return _TYPES[stat.S_IFMT(found.st_mode)]


def identity_of(found: os.stat_result) -> FileIdentity:
    """Which inode it is, and when it last changed in any way."""
    return FileIdentity(dev=found.st_dev, ino=found.st_ino, ctime_ns=found.st_ctime_ns)


def state_of(found: os.stat_result, xattrs: tuple[tuple[bytes, bytes], ...]) -> ObjectState:
    """The state from its parts; a symlink's target is still to be added."""
    kind = type_of(found)
    metadata = Metadata(
        type=kind,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        size=found.st_size if kind is ObjectType.FILE else 0,
        rdev=found.st_rdev if kind in _DEVICES else 0,
        xattrs=xattrs,
    )
    return ObjectState(metadata, identity_of(found), found.st_nlink, found.st_blocks)


def read_state(directory_fd: int, name: bytes) -> ObjectState | None:
    """The whole state of what stands at a name (b"": the directory itself); None if nothing does.

    Raises ObjectUnstable if it is replaced each time that it is looked at.
    """
    for _ in range(_TRIES):
        found = look(directory_fd, name)
        if found is None:
            return None
        try:
            state = state_of(found, _xattrs(_path_of(directory_fd, name)))
            if stat.S_ISLNK(found.st_mode):
                target = os.readlink(name, dir_fd=directory_fd)
                state = replace(state, metadata=replace(state.metadata, symlink_target=target))
        except OSError as error:
            if error.errno in GONE or error.errno == errno.EINVAL:
                continue  # replaced between two calls
            raise
        again = look(directory_fd, name)
        if again is not None and identity_of(again) == state.identity:
            return state
    raise ObjectUnstable(f"{os.fsdecode(name)!r} was replaced each of {_TRIES} times it was read")


def xattrs_at(directory_fd: int, name: bytes) -> tuple[tuple[bytes, bytes], ...] | None:
    """The extended attributes of what stands at a name; None if they cannot be read."""
    try:
        return _xattrs(_path_of(directory_fd, name))
    except OSError:
        return None


def state_of_open(fd: int) -> ObjectState:
    """The state of an open file."""
    return state_of(os.fstat(fd), _xattrs(fd))


def open_file(directory_fd: int, name: bytes) -> tuple[int, ObjectState] | None:
    """Opens a regular file for reading, with the state that it is in; None if none stands there.

    Never blocks on a FIFO.
    """
    try:
        fd = _open_quietly(directory_fd, name)
    except OSError as error:
        if error.errno in GONE or error.errno in (errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        state = state_of_open(fd)
    except BaseException:
        os.close(fd)
        raise
    if state.is_file:
        return fd, state
    os.close(fd)
    return None


def open_below(root_fd: int, path: bytes) -> int | None:
    """Opens a directory by walking down from a root without following symlinks; None if gone."""
    fd = os.dup(root_fd)
    for name in path.split(b"/") if path else ():
        if name in (b"", b".", b".."):
            os.close(fd)
            return None
        try:
            below = os.open(name, _WALK, dir_fd=fd)
        except OSError as error:
            if error.errno in GONE or error.errno == errno.ELOOP:
                return None
            raise
        finally:
            os.close(fd)
        fd = below
    return fd


def _path_of(directory_fd: int, name: bytes) -> bytes:
    """For the calls that have no variant with a directory descriptor.

    Below an open directory, whose last component is not followed by those that are told so.
    """
    return b"/proc/self/fd/%d/%s" % (directory_fd, name or b".")


def _open_quietly(directory_fd: int, name: bytes) -> int:
    try:
        return os.open(name, _READ | os.O_NOATIME, dir_fd=directory_fd)
    except PermissionError:  # not ours: only the owner and root may read without leaving a trace
        return os.open(name, _READ, dir_fd=directory_fd)


def _xattrs(target: bytes | int) -> tuple[tuple[bytes, bytes], ...]:
    follow = isinstance(target, int)
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise
    if not names:
        return ()
    found: list[tuple[bytes, bytes]] = []
    for name in names:
        if name.startswith(LOCAL_XATTRS):
            continue
        try:
            found.append((os.fsencode(name), os.getxattr(target, name, follow_symlinks=follow)))
        except OSError as error:
            if error.errno not in _NO_XATTRS:
                raise
    return tuple(sorted(found))
