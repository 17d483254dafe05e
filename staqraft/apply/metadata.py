"""Making an object's metadata exactly what a record says.

The order matters: chown clears setuid, setgid and file capabilities, so the owner comes first, then
extended attributes (POSIX ACLs and capabilities among them), then the mode, which agrees with the
ACL's mask and so does not change it, and the time last, because the rest does not touch mtime but a
later write would.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from staqraft.apply.observe import beside, read_xattrs
from staqraft.journal.record import Metadata, ObjectType


def write_to_new_file(number: int, wanted: Metadata, *, mode: int | None = None) -> None:
    """Sets everything on a file that was just made in staging (no attributes, owned by us).

    `mode`: the one that it has for certain, if that is known.
    """
    os.fchown(number, wanted.uid, wanted.gid)
    for name, value in wanted.xattrs:
        os.setxattr(number, name, value)
    if wanted.mode != mode or wanted.xattrs:
        os.fchmod(number, wanted.mode)
    os.utime(number, ns=(wanted.mtime_ns, wanted.mtime_ns))


def write_at(directory: int, name: bytes, wanted: Metadata) -> None:
    """Sets everything on what stands at `name`, which has the type that is wanted."""
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    path = beside(directory, name)
    owner_changes = (found.st_uid, found.st_gid) != (wanted.uid, wanted.gid)
    if owner_changes:
        os.chown(name, wanted.uid, wanted.gid, dir_fd=directory, follow_symlinks=False)
    attributes_change = _write_xattrs(path, wanted.xattrs)
    if wanted.type is not ObjectType.SYMLINK and (
        owner_changes or attributes_change or stat.S_IMODE(found.st_mode) != wanted.mode
    ):
        _chmod(directory, name, wanted.mode)
    os.utime(name, ns=(wanted.mtime_ns, wanted.mtime_ns), dir_fd=directory, follow_symlinks=False)


def _chmod(directory: int, name: bytes, mode: int) -> None:
    # There is no fchmodat that does not follow links: pin the object first, then name the pin.
    pinned = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        Path(f"/proc/self/fd/{pinned}").chmod(mode)
    finally:
        os.close(pinned)


def _write_xattrs(path: bytes, wanted: tuple[tuple[bytes, bytes], ...]) -> bool:
    had = dict(read_xattrs(path))
    goal = dict(wanted)
    if had == goal:
        return False
    for name in had.keys() - goal.keys():
        _remove_xattr(path, name)
    for name, value in goal.items():
        if had.get(name) != value:
            os.setxattr(path, name, value, follow_symlinks=False)
    return True


def _remove_xattr(path: bytes, name: bytes) -> None:
    try:
        os.removexattr(path, name, follow_symlinks=False)
    except OSError as error:
        # An ACL may go away with the mode that was set just now.
        if error.errno != errno.ENODATA:
            raise
