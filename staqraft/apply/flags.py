"""The inode flags that forbid changes: `chattr +i` (immutable) and `+a` (append only).

They are not replicated: no event tells of them, and a standby could not follow the active's changes
with them on. A node that was active may have some on its files, or an administrator set them on a
standby; where they are in the way of a record they are taken off, and the log says so.
"""

from __future__ import annotations

import array
import errno
import fcntl
import logging
import os
import stat
from typing import Final

logger = logging.getLogger(__name__)

_GET: Final = 0x80086601  # FS_IOC_GETFLAGS
_SET: Final = 0x40086602  # FS_IOC_SETFLAGS
_IMMUTABLE: Final = 0x10
_APPEND: Final = 0x20
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FLAGS: Final = frozenset(
    {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENXIO, errno.ELOOP, errno.ENOENT}
)


def unprotect(directory: int, name: bytes) -> bool:
    """Takes the flags off what stands at a name; whether there were any. Raises OSError."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            return False  # opening a device may do something
        number = os.open(name, _OPEN, dir_fd=directory)
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return False
        raise
    try:
        return _clear(number)
    finally:
        os.close(number)


def unprotect_with_children(directory: int, name: bytes) -> bool:
    """The same for what is in a directory, too."""
    done = unprotect(directory, name)
    try:
        here = os.open(name, os.O_DIRECTORY | _OPEN, dir_fd=directory)
    except NotADirectoryError:
        return done
    try:
        for child in os.listdir(here):  # noqa: PTH208 - of an open one
            done |= unprotect(here, os.fsencode(child))
    finally:
        os.close(here)
    return done


def _clear(number: int) -> bool:
    flags = array.array("L", [0])
    try:
        fcntl.ioctl(number, _GET, flags)
        if not flags[0] & (_IMMUTABLE | _APPEND):
            return False
        logger.warning(
            "%s was protected by chattr and stands in the way of the active's changes: the flags"
            " are taken off, a standby's files are not to be protected",
            os.readlink(f"/proc/self/fd/{number}"),  # noqa: PTH115 (a descriptor, not a path)
        )
        flags[0] &= ~(_IMMUTABLE | _APPEND)
        fcntl.ioctl(number, _SET, flags)
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return False
        raise
    return True
