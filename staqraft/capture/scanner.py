"""Compares directories with the index and marks what differs, a slice at a time.

Runs at the start, after lost events, and for each directory that came into a tree. It reads
directory entries and the index only; what differs is marked like an event and takes the same way
as everything else. A directory is listed after it was added to the map, so that a change between
the two is seen by the listing or by an event. A restarted scan costs only the comparison: what was
captured before stands in the index.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from staqraft.capture import dirty
from staqraft.capture.adoption import Adoption
from staqraft.capture.directories import Directory
from staqraft.capture.objects import GONE, type_of
from staqraft.capture.ports import IndexPort
from staqraft.capture.unread import AGAIN_MS, Unread
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry
from staqraft.journal.record import ObjectType
from staqraft.model import Position

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SLICE: Final = 500
_RACY_NS: Final = 2_000_000_000
"""What changed less than this before the last commit may have changed again in the same tick of
the clock: all of it is compared, not only its times."""
_MOST_MISSING: Final = 100_000
_RETRY_MS: Final = 5
_GIVE_UP_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Blocked:
    """A directory that could not be opened, to be tried again."""

    directory: Directory
    deep: bool
    due_ms: int
    give_up_ms: int


@dataclass(frozen=True, slots=True)
class _Listing:
    """A directory that is being compared."""

    directory: Directory
    deep: bool
    steps: Generator[None, None, None]


class Scanner:
    """A queue of directories to compare."""

    def __init__(
        self,
        watcher: Watcher,
        index: IndexPort,
        captured_ns: int | None,
        now_ms: Callable[[], int],
        adopted_at: Position | None,
        unread: Unread,
    ) -> None:
        """`adopted_at`: the origin of what was adopted unread, and may stay so."""
        self.scanned = 0
        self.adoption: Adoption | None = None  # while what is new is adopted
        self._adopted_at = adopted_at
        self._now_ms = now_ms
        self._blocked: dict[Directory, _Blocked] = {}
        self._watcher = watcher
        self._index = index
        self._racy_after: int | None = None
        if captured_ns is not None:
            self.distrust(captured_ns)
        self._queue: deque[tuple[Directory, bool]] = deque()
        self._queued: dict[Directory, bool] = {}
        self._current: _Listing | None = None
        self._unread = unread
        self._unlisted: dict[Directory, _Blocked] = {}  # their filesystem refuses it
        self._missing: deque[tuple[Directory, bytes]] = deque()  # known, and not there

    @property
    def waiting(self) -> int:
        """Directories that are still to be compared."""
        unfinished = self._current is not None or bool(self._missing)
        return len(self._queue) + len(self._blocked) + unfinished

    @property
    def ready(self) -> bool:
        """Whether a step has something to do now."""
        return (
            bool(self._queue)
            or self._current is not None
            or self._is_due()
            or (bool(self._missing) and not self._blocked)
        )

    def add(self, directory: Directory, *, deep: bool) -> None:
        """Compares a directory; with `deep` also the known directories below it.

        New ones are added by whoever attaches them.
        """
        if directory not in self._queued:
            self._queue.append((directory, deep))
            self._queued[directory] = deep
        elif deep:
            self._queued[directory] = True

    def distrust(self, since_ns: int) -> None:
        """What changed just before that time, or later, may not have been told (wall clock).

        Until `all_compared`, which ends that.
        """
        after = since_ns - _RACY_NS
        self._racy_after = after if self._racy_after is None else min(after, self._racy_after)

    def all_compared(self) -> None:
        """Every tree was compared since: what else changed is told."""
        if not self._unlisted:
            self._racy_after = None

    def step(self) -> None:
        """Compares some hundred entries."""
        if self._current is None:
            if self._is_due():
                self._retry()
            if not self._queue:
                if not self._blocked:
                    self._tell_missing()
                return
            directory, _ = self._queue.popleft()
            deep = self._queued.pop(directory)
            self._current = _Listing(directory, deep, self._compare(directory, deep=deep))
        listing = self._current
        try:
            done = next(listing.steps, self) is self
        except OSError as error:
            self._current = None
            self._failed(listing, error)
            return
        if done:
            self._current = None
            self.scanned += 1
            self._unread.was_listed(listing.directory)

    def close(self) -> None:
        """Gives up what it is at."""
        if self._current is not None:
            self._current.steps.close()
            self._current = None

    def _compare(self, directory: Directory, *, deep: bool) -> Generator[None, None, None]:
        if not self._watcher.directories.has(directory):
            self._blocked.pop(directory, None)
            return
        fd = self._watcher.open(directory)
        if fd is None:
            self._block(directory, deep=deep)
            return
        self._blocked.pop(directory, None)
        path = directory.path
        known = {e.path.rpartition(b"/")[2]: e for e in self._index.children(directory.tree, path)}
        itself = self._index.get(directory.tree, path)
        found = os.fstat(fd)
        if itself is None and self._is_adopted(directory, b"", found):
            self._enter()  # before what is in it
        elif itself is None or not self._same(found, itself):
            self._watcher.mark(directory, b"", dirty.SCANNED)
        excludes = self._watcher.excludes[directory.tree]
        # Opened anew: the watcher's may be closed between slices, and btrfs lists what a directory
        # held when it was opened.
        fd = os.open(b".", _OPEN, dir_fd=fd)
        try:
            with os.scandir(fd) as listing:
                for count, item in enumerate(listing, 1):
                    name = os.fsencode(item.name)
                    below = directory.below(name)
                    try:
                        found = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # gone while it was listed
                    is_directory = stat.S_ISDIR(found.st_mode)
                    if not excludes.excludes(below, is_directory=is_directory):
                        self._look(directory, name, found, known.pop(name, None), deep=deep)
                    if count % _SLICE == 0:
                        self._enter()
                        yield
                        if not self._watcher.directories.has(directory):
                            return
        finally:
            os.close(fd)
        self._enter()
        self._missing.extend((directory, name) for name in known)
        if len(self._missing) > _MOST_MISSING:
            self._tell_missing()

    def _tell_missing(self) -> None:
        """Marks what is not where it was, after all that may be its new place.

        What was renamed is then on the other side all the time, under one of its names.
        """
        for _ in range(min(_SLICE, len(self._missing))):
            directory, name = self._missing.popleft()
            if self._watcher.directories.has(directory):
                self._watcher.mark(directory, name, dirty.SCANNED | dirty.NAMED)

    def _is_adopted(self, directory: Directory, name: bytes, found: os.stat_result) -> bool:
        return self.adoption is not None and self.adoption.take(directory, name, found)

    def _enter(self) -> None:
        if self.adoption is not None:
            self.adoption.enter()

    def _failed(self, listing: _Listing, error: OSError) -> None:
        """It cannot be listed. Nobody waits for it, but for those who must know all of it."""
        directory, deep = listing.directory, listing.deep
        if error.errno in GONE:
            self._block(directory, deep=deep)
            return
        self._unread.not_listed(directory, error)
        due = self._now_ms() + AGAIN_MS
        self._unlisted[directory] = _Blocked(directory, deep, due, due)

    def _block(self, directory: Directory, *, deep: bool) -> None:
        """It is not where the map has it: gone, or moved, and that is still to be told."""
        now = self._now_ms()
        known = self._blocked.pop(directory, None)
        give_up = known.give_up_ms if known else now + _GIVE_UP_MS
        if now < give_up:
            self._blocked[directory] = _Blocked(directory, deep, now + _RETRY_MS, give_up)
        elif directory.parent is not None:
            parent, name = directory.parent, directory.name
            self._watcher.detach(directory)  # if it comes back now, it is found anew and listed
            self._watcher.mark(parent, name, dirty.SCANNED | dirty.DIRECTORY | dirty.LAST_CALL)

    def _is_due(self) -> bool:
        now = self._now_ms()
        waiting = chain(self._blocked.values(), self._unlisted.values())
        return any(blocked.due_ms <= now for blocked in waiting)

    def _retry(self) -> None:
        now = self._now_ms()
        for blocked in self._blocked.values():
            if blocked.due_ms <= now:
                self.add(blocked.directory, deep=blocked.deep)
        self.list_again(now)

    def list_again(self, until_ms: int | None = None) -> None:
        """What could not be listed is tried once more, now or (`until_ms`) if it is due by then."""
        for blocked in [*self._unlisted.values()]:
            if until_ms is None or blocked.due_ms <= until_ms:
                del self._unlisted[blocked.directory]
                self.add(blocked.directory, deep=blocked.deep)

    def _look(
        self,
        directory: Directory,
        name: bytes,
        found: os.stat_result,
        entry: Entry | None,
        *,
        deep: bool,
    ) -> None:
        if stat.S_ISDIR(found.st_mode):
            child = directory.child(name)
            if child is None and entry is None and self.adoption is not None:
                child = self._watcher.attach(directory, name)
                deep = True
            if child is None or child.inode != (found.st_dev, found.st_ino):
                self._watcher.mark(directory, name, dirty.SCANNED | dirty.DIRECTORY)
                return
            if deep:
                self.add(child, deep=True)
        elif found.st_nlink > 1:
            self._watcher.note_linked(directory, name, found)
        if entry is None:
            if not self._is_adopted(directory, name, found):
                self._watcher.mark(directory, name, dirty.SCANNED)
        elif not self._same(found, entry):
            self._watcher.mark(directory, name, dirty.SCANNED)

    def _same(self, found: os.stat_result, entry: Entry) -> bool:
        """Whether nothing can have changed. The device's number may, by a reboot."""
        m, i = entry.metadata, entry.identity
        if (
            found.st_ctime_ns != i.ctime_ns
            or found.st_ino != i.ino
            or found.st_dev != i.dev
            or found.st_mtime_ns != m.mtime_ns
            or stat.S_IMODE(found.st_mode) != m.mode
            or found.st_uid != m.uid
            or found.st_gid != m.gid
            or type_of(found) is not m.type
        ):
            return False
        if m.type is ObjectType.FILE:
            if found.st_size != m.size:
                return False
            if entry.is_unread and entry.origin != self._adopted_at:
                return False
            if entry.is_unread and self.adoption is not None:
                return True  # nobody can have fetched it before the adoption is over
        return self._racy_after is None or i.ctime_ns < self._racy_after
