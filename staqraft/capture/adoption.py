"""Adoption: trees that were there before StaqRaft come into the index, and not through the journal.

A first start over trees with files would otherwise read and journal each of them, for a standby to
write it to its journal, too, and then to its trees. Instead the objects are entered as `stat` has
them, unread, and a standby gets them by the comparison that it begins with.

Why no standby can miss what was adopted, and no barrier can count it as there:

- The adoption has a position of its own, the first of the journal, and no record has it. A journal
  that lacks a record can be followed by nobody who is before it: every standby has to compare. The
  position is durable in the index, then in the journal, before the first object is adopted.
- A comparison begins with a barrier, a barrier returns when the first scan is done, and with that
  the adoption is over, durably (`finish`). So whoever compares finds all that was adopted; and what
  is found later, by this or another process, after a crash or a power cut, is journalled.
- It is bound to its epoch. A process that is killed meanwhile goes on with it in the same epoch; in
  another one what is left is journalled like everything else.
- An unread file (`Entry.is_unread`) never compares equal, whatever the other side has. Who fetches
  it, or asks what it holds, has it read, once, and what was read is entered (`Read`). An event in
  an unread file has it journalled whole, since nothing can be built upon it.
- Files with several names are left to the usual way, which tells that they are one.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Final

from staqraft.capture import dirty
from staqraft.capture.directories import Directory
from staqraft.capture.errors import ObjectUnstable
from staqraft.capture.objects import read_state, state_of
from staqraft.capture.ports import IndexPort
from staqraft.capture.signatures import Memory
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry, MissingParent
from staqraft.model import Epoch, Position

_ADOPTED_AT: Final = "capture.adopted-at"
_UNDER_WAY: Final = "capture.adoption-is-under-way"


@dataclass(frozen=True, slots=True)
class Read:
    """What an unread file turned out to hold. `memory`: to find what changes in it later."""

    tree: str
    entry: Entry
    memory: Memory | None


def begin(index: IndexPort, position: Position) -> None:
    """From now on, durably, what is not in the index is adopted with this origin."""
    index.set_meta(_ADOPTED_AT, f"{position.epoch}:{position.seq}")
    index.set_meta(_UNDER_WAY, "yes")
    index.commit(position)
    index.sync()


def origin(index: IndexPort) -> Position | None:
    """The origin of everything that was ever adopted here."""
    noted = index.meta(_ADOPTED_AT)
    if noted is None:
        return None
    epoch, seq = noted.split(":")
    return Position(Epoch(int(epoch)), int(seq))


def under_way(index: IndexPort, epoch: Epoch) -> bool:
    """Whether it was begun in this epoch and is not finished."""
    at = origin(index)
    return at is not None and at.epoch == epoch and index.meta(_UNDER_WAY) is not None


class Adoption:
    """Used by the capture thread, for the scanner."""

    def __init__(self, watcher: Watcher, index: IndexPort, origin: Position) -> None:
        self._watcher = watcher
        self._index = index
        self._origin = origin
        self._directory: Directory | None = None
        self._found: list[Entry] = []

    def take(self, directory: Directory, name: bytes, found: os.stat_result) -> bool:
        """Whether this object, which the index lacks, is adopted: at the next `enter`.

        False: it goes the usual way.
        """
        is_file = stat.S_ISREG(found.st_mode)
        if not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1:
            return False
        if self._watcher.is_foreign(directory, name, found):
            return False
        state = state_of(found, ())
        if not is_file:
            fd = self._watcher.open(directory)
            try:
                again = None if fd is None else read_state(fd, name)
            except (OSError, ObjectUnstable):
                return False
            if again is None or again.identity.ino != found.st_ino:
                return False
            state = again
        self._directory = directory
        self._found.append(
            Entry(
                path=directory.below(name),
                metadata=state.metadata,
                digest=b"",
                identity=state.identity,
                origin=self._origin,
            )
        )
        return True

    def enter(self) -> None:
        """What was taken comes into the index; the usual way if its directory is not there yet."""
        directory, found = self._directory, self._found
        self._directory, self._found = None, []
        if directory is None:
            return
        try:
            self._index.add_all(directory.tree, found)
        except MissingParent:
            for entry in found:
                name = entry.path.rpartition(b"/")[2]
                self._watcher.mark(directory, name, dirty.SCANNED | dirty.DIRECTORY)

    def finish(self) -> None:
        """All is adopted. Kept by the caller's commit and sync."""
        self._index.set_meta(_UNDER_WAY, None)
