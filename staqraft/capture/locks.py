"""The locks of mbox files: a mailbox is read while nobody writes to it.

Who delivers to a mailbox or rewrites it holds a lock on it: of the kernel (fcntl), or a file beside
it called like it with `.lock` behind (Debian Policy 11.6 wants both). For what is read at once a
shared lock of the kernel is held; a dot lock is only looked for, since making one would be a change
of the tree. Nobody is waited for longer than `WAIT_MS`: a lock that a dead program left, or a
POP3 session that keeps one for its whole time, does not keep the standby from what is there. Then
it is read as it is, and said so until the lock is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from typing import Final

from staqraft.capture.objects import look
from staqraft.capture.structure import Dirty

WAIT_MS: Final = 5_000
_FLOCK: Final = struct.Struct("@hhqqi0q")  # struct flock: type, whence, start, length, process
_GET_OF_FILE, _SET_OF_FILE = 36, 37  # F_OFD_GETLK, F_OFD_SETLK: locks of the descriptor, not of us
_REFUSED: Final = (errno.EACCES, errno.EAGAIN)


class MailboxLocks:
    """Used by the capture thread only."""

    def __init__(self, report: Callable[[str, str], None], now_ms: Callable[[], int]) -> None:
        self._report = report
        self._now_ms = now_ms
        self._since: dict[tuple[str, bytes], int] = {}
        self._places: dict[tuple[str, bytes], Dirty] = {}
        self._said: set[tuple[str, bytes]] = set()

    @property
    def waited_for(self) -> int:
        """Mailboxes that somebody holds, and that are not read for that."""
        now = self._now_ms()
        return sum(now - since < WAIT_MS for since in self._since.values())

    def stuck(self) -> list[tuple[str, bytes, Dirty]]:
        """Mailboxes that were locked for too long, to be looked at again: no event may tell."""
        return [(*key, self._places[key]) for key in sorted(self._said)]

    def take(self, place: Dirty, path: bytes, directory: int, fd: int) -> bool:
        """Whether the mailbox may be read now.

        The kernel's lock is held until `release`, or until `fd` is closed.
        """
        key = (place.tree, path)
        holder = _holder(directory, place.name, fd)
        if not holder:
            self.forget(*key)
            return True
        self._places[key] = place
        since = self._since.setdefault(key, self._now_ms())
        if self._now_ms() - since < WAIT_MS:
            return False
        self._said.add(key)
        self._report(
            _key(*key),
            f"tree {place.tree}: the mailbox {os.fsdecode(path)!r} is locked for more than"
            f" {WAIT_MS // 1000} s by {holder}, so it is read as it is and may end in half a"
            " message on the standby; end who holds the lock, or remove it if nobody does",
        )
        return True

    def try_again(self, tree: str, path: bytes) -> bool:
        """It was written to while it was read: whether that is reason to read it again."""
        since = self._since.setdefault((tree, path), self._now_ms())
        return self._now_ms() - since < WAIT_MS

    def forget(self, tree: str, path: bytes) -> None:
        """Nobody holds it any more, or there is no such mailbox."""
        key = (tree, path)
        self._since.pop(key, None)
        self._places.pop(key, None)
        if key in self._said:
            self._said.discard(key)
            self._report(_key(*key), "")

    @staticmethod
    def release(fd: int) -> None:
        """Lets go of the kernel's lock, if `take` took one."""
        fcntl.fcntl(fd, _SET_OF_FILE, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def _key(tree: str, path: bytes) -> str:
    return f"lock {tree} {path!r}"


def _holder(directory: int, name: bytes, fd: int) -> str:
    """Who holds a lock, in words; "" if nobody does: then the kernel's lock is ours, shared."""
    if look(directory, name + b".lock") is not None:
        return f"{os.fsdecode(name)}.lock"
    wanted = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(fd, _SET_OF_FILE, wanted)
    except OSError as error:
        if error.errno not in _REFUSED:
            return ""  # a filesystem without locks: then nobody has one
        kind, *_, process = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, wanted))
        return f"process {process}" if kind != fcntl.F_UNLCK and process > 0 else "a program"
    return ""
