"""Events from inotify: a watch on each directory; for where fanotify is not to be had.

The watch is added **before** the directory is listed, so that what comes between is seen by one of
the two. One queue carries the events of all watches in order, so a cookie works here too.
"""

from __future__ import annotations

import errno
import os
import select
from contextlib import suppress
from pathlib import Path
from typing import Final

from inotify_simple import Event, INotify, parse_events
from inotify_simple import flags as bits

from staqraft.capture import dirty
from staqraft.capture.directories import Directory
from staqraft.capture.dirty import DirtySet, Key
from staqraft.capture.errors import WatchUnavailable
from staqraft.capture.source import READ_BYTES, Drain, Known

_MASK: Final = int(
    bits.MODIFY | bits.ATTRIB | bits.CLOSE_WRITE | bits.CREATE | bits.DELETE
    | bits.MOVED_FROM | bits.MOVED_TO | bits.ONLYDIR
)  # fmt: skip
_NAMES: Final = int(bits.DELETE | bits.MOVED_FROM | bits.MOVED_TO)
_STRUCTURE: Final = int(bits.CREATE | bits.DELETE | bits.MOVED_FROM | bits.MOVED_TO)
_OVERFLOW: Final = int(bits.Q_OVERFLOW)
_IGNORED: Final = int(bits.IGNORED)
_MODIFY: Final = int(bits.MODIFY)
_CLOSE: Final = int(bits.CLOSE_WRITE)
_CREATE: Final = int(bits.CREATE)
_ATTRIB: Final = int(bits.ATTRIB)
_MOVED_FROM: Final = int(bits.MOVED_FROM)
_HALF_MS: Final = 2
_ISDIR: Final = int(bits.ISDIR)
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class InotifySource:
    """See `Source`. Keys are watch descriptors, which the kernel ties to the inode."""

    backend = "inotify"
    sees_all_names = False

    def __init__(self, dirty_set: DirtySet, known: Known, cookies: Path) -> None:
        self.problem = ""
        self._dirty = dirty_set
        self._known = known
        self._roots: dict[str, int] = {}
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            raise WatchUnavailable(
                f"inotify cannot be used: {error.strerror};"
                " raise fs.inotify.max_user_instances if many programs use it"
            ) from error
        try:
            self._cookie_fd = os.open(cookies, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self._inotify.close()
            raise
        self._cookie_key = self._watch(self._cookie_fd)
        self._drain = Drain(self.backend, self._inotify.fileno(), self._read, dirty_set)
        self._drain.start()

    def add_root(self, tree: str, fd: int) -> Key:
        """Watches the root itself; what is below is watched as it is listed."""
        self._roots[tree] = fd
        return self._watch(fd)

    def key_of(self, tree: str, fd: int) -> Key:  # noqa: ARG002 (the protocol names the tree)
        """Watches an open directory."""
        return self._watch(fd)

    def open(self, directory: Directory) -> int | None:
        """Walks down from the root by name, and makes sure that it is the same inode."""
        fd = os.dup(self._roots[directory.tree])
        path = directory.path
        for name in path.split(b"/") if path else ():
            try:
                below = os.open(name, _OPEN, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                    return None
                raise
            finally:
                os.close(fd)
            fd = below
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) == directory.inode:
            return fd
        os.close(fd)
        return None

    def is_inside(self, directory: Directory) -> bool | None:  # noqa: ARG002 (see below)
        """Not to be known: the other half of a rename may still be in the queue."""
        return None

    def note_linked(self, tree: str, directory_fd: int, name: bytes) -> None:
        """Of no use here: a change under a name that is not watched tells nothing (`Elsewhere`)."""

    def inode_of(self, key: Key) -> tuple[int, int] | None:  # noqa: ARG002 (none are given out)
        """Objects are not told of."""
        return None

    def forget(self, key: Key) -> None:
        """Removes a watch, if the kernel has not done so."""
        if isinstance(key, bytes):
            return  # never watched
        with suppress(OSError):  # EINVAL: the directory is gone, and its watch with it
            self._inotify.rm_watch(key)

    def barrier(self, timeout_ms: int) -> None:
        """Cookie and wait."""
        self._drain.barrier(self._cookie_fd, timeout_ms)

    def close(self) -> None:
        """Stops reading and drops all watches."""
        self._drain.stop()
        self._inotify.close()
        os.close(self._cookie_fd)

    def _watch(self, fd: int) -> Key:
        try:
            return int(self._inotify.add_watch(f"/proc/self/fd/{fd}", _MASK))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            limit = Path("/proc/sys/fs/inotify/max_user_watches").read_text().strip()
            self.problem = (
                f"the kernel allows {limit} inotify watches and all are used, so some directories"
                " are only compared from time to time, and all of them at each barrier: raise"
                " fs.inotify.max_user_watches (sysctl), or run with CAP_SYS_ADMIN for fanotify"
            )
            found = os.fstat(fd)
            return b"unwatched %d %d" % (found.st_dev, found.st_ino)

    def _read(self) -> None:
        """Reads and marks. The two halves of a rename are marked together."""
        marks, cookies, lost = [], [], False
        events = self._next()
        while events and events[-1].mask & _MOVED_FROM and self._is_more():
            events += self._next()
        for wd, mask, _, name in events:
            if mask & _OVERFLOW:
                lost = True
            elif wd == self._cookie_key:
                cookies.append(os.fsencode(name))
            elif not mask & _IGNORED and self._known(wd):
                marks.append((wd, os.fsencode(name), _flags(mask)))
        if marks:
            self._dirty.add(marks)
        if lost:
            self._dirty.overflow()
            self._drain.lost()
        for cookie in cookies:
            self._drain.seen(cookie)

    def _next(self) -> list[Event]:
        try:
            events: list[Event] = parse_events(os.read(self._inotify.fileno(), READ_BYTES))
        except BlockingIOError:
            return []
        return events

    def _is_more(self) -> bool:
        """The other half of a rename comes at once, if it stays in the trees."""
        waiting = select.poll()
        waiting.register(self._inotify.fileno(), select.POLLIN)
        return bool(waiting.poll(_HALF_MS))


def _flags(mask: int) -> int:
    flags = 0
    if mask & _MODIFY:
        flags |= dirty.CONTENT
    if mask & _CLOSE:
        flags |= dirty.CLOSED
    if mask & _CREATE:
        flags |= dirty.CREATED
    if mask & _NAMES:
        flags |= dirty.NAMED
    if mask & _ATTRIB:
        flags |= dirty.ATTRIBUTES
    if mask & _ISDIR and mask & _STRUCTURE:
        flags |= dirty.DIRECTORY
    return flags
