"""Events from fanotify: one mark on each filesystem that has a tree, whatever its size."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from staqraft.capture import dirty, fanotify, handles
from staqraft.capture.directories import Directory
from staqraft.capture.dirty import DirtySet, Key
from staqraft.capture.errors import CookieUnavailable, WatchUnavailable
from staqraft.capture.source import READ_BYTES, Drain, Known

_MODIFY: Final = fanotify.MODIFY
_CREATE: Final = fanotify.CREATE
_CLOSE: Final = fanotify.CLOSE_WRITE
_ATTRIB: Final = fanotify.ATTRIB
_NAMES: Final = fanotify.DELETE | fanotify.RENAME
_STRUCTURE: Final = fanotify.DELETE | fanotify.RENAME | fanotify.CREATE
_NO_SUCH_DIRECTORY: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class FanotifySource:
    """See `Source`. `ignore_pid` names a process whose writes are known already (ours, applying).

    Raises WatchUnavailable with the reason when this kernel, filesystem or privilege does not do.
    """

    backend = "fanotify"
    sees_all_names = True

    def __init__(
        self,
        dirty_set: DirtySet,
        known: Known,
        cookies: Path,
        *,
        ignore_pid: int = -1,
        flags: int = fanotify.INIT_FLAGS,
    ) -> None:
        self.problem = ""
        self._dirty = dirty_set
        self._known = known
        self._ignore_pid = ignore_pid
        self._roots: dict[str, tuple[int, bytes]] = {}
        self._linked: set[Key] = set()
        try:
            self._fd = fanotify.init(flags)
        except OSError as error:
            raise WatchUnavailable(_reason(error, "fanotify cannot be used")) from error
        try:
            self._cookie_fd = os.open(cookies, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._cookie_key = self._mark_cookies(cookies)
        except BaseException:
            os.close(self._fd)
            raise
        self._drain = Drain(self.backend, self._fd, self._read, dirty_set)
        self._drain.start()

    def _mark_cookies(self, cookies: Path) -> bytes:
        try:
            fanotify.mark(self._fd, fanotify.MARK_ADD, fanotify.CREATE, self._cookie_fd)
            return handles.key_of(self._cookie_fd, handles.filesystem_id(self._cookie_fd))
        except OSError as error:
            os.close(self._cookie_fd)
            raise CookieUnavailable(_reason(error, f"{cookies} cannot be watched")) from error

    def add_root(self, tree: str, fd: int) -> Key:
        """Marks the root's filesystem. Raises WatchUnavailable."""
        try:
            fsid = handles.filesystem_id(fd)
            fanotify.mark(
                self._fd, fanotify.MARK_ADD | fanotify.MARK_FILESYSTEM, fanotify.TREE_MASK, fd
            )
            key = handles.key_of(fd, fsid)
            opened = handles.open_key(fd, key)
        except OSError as error:
            raise WatchUnavailable(
                _reason(error, f"the filesystem of tree {tree} cannot be marked")
            ) from error
        if opened is None:
            raise WatchUnavailable(f"directories of tree {tree} cannot be opened by handle")
        os.close(opened)
        self._roots[tree] = (fd, fsid)
        return key

    def key_of(self, tree: str, fd: int) -> Key:
        """The key of an open directory."""
        return handles.key_of(fd, self._roots[tree][1])

    def open(self, directory: Directory) -> int | None:
        """Opens by handle: exact, whatever was renamed meanwhile."""
        assert isinstance(directory.key, bytes), "fanotify keys are bytes"
        return handles.open_key(self._roots[directory.tree][0], directory.key)

    def is_inside(self, directory: Directory) -> bool | None:
        """Asks the kernel for the directory's present path."""
        fd = self.open(directory)
        if fd is None:
            return False
        try:
            if os.fstat(fd).st_nlink == 0:
                return False
            path = str(Path(f"/proc/self/fd/{fd}").readlink())
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return None  # the kernel does not say so long a path
        finally:
            os.close(fd)
        root = str(Path(f"/proc/self/fd/{self._roots[directory.tree][0]}").readlink())
        return path.startswith(root.rstrip("/") + "/")

    def note_linked(self, tree: str, directory_fd: int, name: bytes) -> None:
        """The file has more names, maybe outside of the trees: events of any are news of it."""
        with suppress(OSError):  # gone again
            self._linked.add(handles.key_at(directory_fd, name, self._roots[tree][1]))

    def inode_of(self, key: Key) -> tuple[int, int] | None:
        """Device and inode of an object that an event named."""
        assert isinstance(key, bytes), "fanotify keys are bytes"
        for fd, fsid in self._roots.values():
            if key.startswith(fsid):
                return handles.inode_of(fd, key)
        return None

    def forget(self, key: Key) -> None:
        """Nothing is kept for a single directory."""

    def barrier(self, timeout_ms: int) -> None:
        """Cookie and wait."""
        self._drain.barrier(self._cookie_fd, timeout_ms)

    def close(self) -> None:
        """Stops reading and drops all marks."""
        self._drain.stop()
        os.close(self._fd)
        os.close(self._cookie_fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        cookies: list[bytes] = []
        marks: list[tuple[Key, bytes, int]] = []
        lost = False
        for event in fanotify.parse(data):
            if event.mask & fanotify.OVERFLOW:
                lost = True
            else:
                self._note(event, marks, cookies)
        if marks:
            self._dirty.add(marks)
        if lost:
            self._dirty.overflow()
            self._drain.lost()
        for name in cookies:
            self._drain.seen(name)

    def _note(
        self, event: fanotify.Event, marks: list[tuple[Key, bytes, int]], cookies: list[bytes]
    ) -> None:
        mask, pid, places, target = event
        if target is not None and _tells_of_object(mask, places, known=target in self._linked):
            self._dirty.add_object(target)
        flags = -1
        for key, name in places:
            if key == self._cookie_key:
                cookies.append(name)
            elif self._known(key):
                if flags < 0:
                    flags = _flags(mask)
                if pid != self._ignore_pid or flags & dirty.DIRECTORY:
                    marks.append((key, b"" if name == b"." else name, flags))


def _tells_of_object(mask: int, places: tuple[tuple[bytes, bytes], ...], *, known: bool) -> bool:
    """Whether an event is to be told by object: its places do not say all names of it.

    The kernel tells a change of the number of names without any name.
    """
    if mask & fanotify.ONDIR:
        return False
    if not places:
        return mask & (_ATTRIB | fanotify.DELETE_SELF) == _ATTRIB
    return known and bool(mask & (_MODIFY | _CLOSE | _ATTRIB))


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
    if mask & fanotify.ONDIR and mask & _STRUCTURE:
        flags |= dirty.DIRECTORY
    return flags


def _reason(error: OSError, what: str) -> str:
    hint = {
        errno.EPERM: "not permitted: it needs CAP_SYS_ADMIN outside of a user namespace",
        errno.EINVAL: "this kernel is older than 5.17",
        errno.ENODEV: "the filesystem has no id",
        errno.EOPNOTSUPP: "the filesystem has no file handles",
        errno.EXDEV: "it is a subvolume: watch the filesystem's root",
    }.get(error.errno or 0, error.strerror)
    return f"{what}: {hint}"
