"""Entries that were looked up or written lately, so that a burst asks the database once for each.

A change is looked up several times on its way (is it older than what stands here, what was its
state, where is its row), and most of those who ask get "nothing is there". Both answers are kept,
by place (number of the directory, name), within a bound. The index tells of every change of its
rows; what it cannot name cheaply (a directory with all below it) forgets everything.
"""

from __future__ import annotations

from typing import Final

from staqraft.index.entry import Entry
from staqraft.journal.record import ObjectType

_KEPT: Final = 8192

Place = tuple[int, bytes]


class Recent:
    """Used under the index's lock."""

    def __init__(self, kept: int = _KEPT) -> None:
        self.known: dict[Place, Entry | None] = {}  # a key with None: nothing is there
        self._kept = kept

    def keep(self, place: Place, entry: Entry | None) -> None:
        """What stands at a place now."""
        if len(self.known) >= self._kept:
            self.known.clear()  # the oldest one by one would cost a walk over those that went
        self.known[place] = entry

    def forget(self, place: Place) -> None:
        """What stands at a place is to be looked up."""
        self.known.pop(place, None)

    def moved(self, source: Place, target: Place, path: bytes) -> None:
        """What is no directory went from one place to the other, where its path is `path`."""
        was = self.known.get(source)
        if was is None or was.metadata.type is ObjectType.DIRECTORY:
            self.known.pop(target, None)
        else:
            moved = Entry(
                path=path,
                metadata=was.metadata,
                digest=was.digest,
                identity=was.identity,
                origin=was.origin,
            )
            self.keep(target, moved)
        self.keep(source, None)

    def clear(self) -> None:
        """Forgets everything."""
        self.known.clear()
