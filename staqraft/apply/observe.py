"""What stands at a path now: metadata, content digest and identity of one object.

The scan of capture reads objects for the journal; this reads them to compare: after a crash, and
when something is not as the index says. Extended attributes that belong to the machine and not to
the data (`LOCAL_XATTRS`) are left alone on both sides; a test holds both readers to agree.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from staqraft.index import LOCAL_XATTRS, FileIdentity, content_hasher
from staqraft.journal.record import Metadata, ObjectType

_TYPES: Final = {
    stat.S_IFREG: ObjectType.FILE,
    stat.S_IFDIR: ObjectType.DIRECTORY,
    stat.S_IFLNK: ObjectType.SYMLINK,
    stat.S_IFIFO: ObjectType.FIFO,
    stat.S_IFSOCK: ObjectType.SOCKET,
    stat.S_IFCHR: ObjectType.CHARACTER_DEVICE,
    stat.S_IFBLK: ObjectType.BLOCK_DEVICE,
}
_DEVICES: Final = (ObjectType.CHARACTER_DEVICE, ObjectType.BLOCK_DEVICE)
_NO_XATTRS: Final = frozenset({errno.EOPNOTSUPP, errno.ENODATA, errno.ENOSYS, errno.EPERM})
_READ_BYTES: Final = 1 << 20


def type_of(found: os.stat_result) -> ObjectType:
    """The kind of thing that was found."""
    return _TYPES[stat.S_IFMT(found.st_mode)]


def identity_of(found: os.stat_result) -> FileIdentity:
    """Which inode was found."""
    return FileIdentity(dev=found.st_dev, ino=found.st_ino, ctime_ns=found.st_ctime_ns)


def look(directory: int, name: bytes) -> os.stat_result | None:
    """lstat, or None if there is nothing."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def beside(directory: int, name: bytes) -> bytes:
    """A path for calls that know no dir_fd; it leads through the open directory, not the tree."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


def read_xattrs(path: bytes | int) -> tuple[tuple[bytes, bytes], ...]:
    """All extended attributes that are replicated, sorted by name; links are not followed."""
    follow = isinstance(path, int)
    try:
        names = os.listxattr(path, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ()
        raise
    found: list[tuple[bytes, bytes]] = []
    for name in names:
        if name.startswith(LOCAL_XATTRS):
            continue
        try:
            found.append((os.fsencode(name), os.getxattr(path, name, follow_symlinks=follow)))
        except OSError as error:
            if error.errno not in _NO_XATTRS:
                raise
    return tuple(sorted(found))


def metadata_at(directory: int, name: bytes, found: os.stat_result) -> Metadata:
    """The metadata of an object of which `found` is the lstat."""
    kind = type_of(found)
    link = kind is ObjectType.SYMLINK
    return Metadata(
        type=kind,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        size=found.st_size if kind is ObjectType.FILE else 0,
        symlink_target=os.readlink(name, dir_fd=directory) if link else b"",
        rdev=found.st_rdev if kind in _DEVICES else 0,
        xattrs=read_xattrs(beside(directory, name)),
    )


def digest_at(directory: int, name: bytes) -> bytes:
    """xxh3_128 of a regular file's content."""
    number = os.open(
        name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory
    )
    try:
        hasher = content_hasher()
        while piece := os.read(number, _READ_BYTES):
            hasher.update(piece)
        return hasher.digest()
    finally:
        os.close(number)
