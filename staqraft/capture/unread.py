"""What the disk does not give back: said, tried again, and in the way of barriers.

Everything else goes on meanwhile. What was removed, or replaced by something that can be read, is
forgotten.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from staqraft.capture.directories import Directory
from staqraft.capture.errors import ObjectUnstable
from staqraft.capture.structure import Dirty
from staqraft.capture.watcher import Watcher

AGAIN_MS: Final = 1_000
_LISTING: Final = " listing"
_What = tuple[str, bytes, str]  # tree, path, and what of it: itself (empty) or its listing


class Unread:
    """Used by the capture thread. `report` takes a key and a sentence, "" when it is over."""

    def __init__(
        self, watcher: Watcher, report: Callable[[str, str], None], now_ms: Callable[[], int]
    ) -> None:
        self._watcher = watcher
        self._report = report
        self._now_ms = now_ms
        self._known: dict[_What, str] = {}

    def failed(self, place: Dirty, path: bytes, error: OSError | ObjectUnstable) -> None:
        """An object could not be read: its place is looked at again in a moment."""
        self._say((place.tree, path, ""), error)
        self._watcher.postpone(place, self._now_ms() + AGAIN_MS)

    def not_listed(self, directory: Directory, error: OSError) -> None:
        """The same of what is in a directory, which is listed again by the caller."""
        self._say((directory.tree, directory.path, _LISTING), error)

    def was_read(self, tree: str, path: bytes) -> None:
        """An object can be read (again); a directory's own metadata, not what is in it."""
        self._over((tree, path, ""))

    def was_listed(self, directory: Directory) -> None:
        """All that is in a directory is known (again)."""
        self._over((directory.tree, directory.path, _LISTING))

    def left(self) -> list[str]:
        """A sentence for each object that is there and could not be read."""
        for what in [*self._known]:
            tree, path, _ = what
            try:
                (self._watcher.trees[tree].path / os.fsdecode(path)).lstat()
            except (FileNotFoundError, NotADirectoryError):
                self._over(what)
            except OSError:
                continue  # it is there, and not even that can be read
        return [*self._known.values()]

    def _over(self, what: _What) -> None:
        if self._known.pop(what, None):
            self._report(_key(what), "")

    def _say(self, what: _What, error: OSError | ObjectUnstable) -> None:
        tree, path, _ = what
        why = error.strerror if isinstance(error, OSError) else str(error)
        what_to_do = "see to its filesystem"
        if isinstance(error, OSError) and error.errno == errno.EAGAIN:
            why = "another program holds a lease on it, as Samba does for its clients"
            what_to_do = "and the kernel ends the lease within /proc/sys/fs/lease-break-time"
        text = (
            f"tree {tree}: {os.fsdecode(path)!r} cannot be read ({why}); it is tried again,"
            f" {what_to_do}"
        )
        self._known[what] = text
        self._report(_key(what), text)


def _key(what: _What) -> str:
    tree, path, part = what
    return f"read {tree} {path!r}{part}"
