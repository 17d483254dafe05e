"""Entries that were looked up or written lately, so that a burst asks the database once for each.

A change is looked up several times on its way (is it older than what stands here, what was its
state, where is its row), and most of those who ask get "nothing is there". Both answers are kept,
by place (number of the directory, name), within a bound: what was not asked for while as many
others were is forgotten. The index tells of every change of its
rows; what it cannot name cheaply (a directory with all below it) forgets everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staqraft.index import sql
from staqraft.index.entry import COLUMN_COUNT, Entry, to_entry
from staqraft.journal.record import ObjectType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from staqraft.index.database import Database

_AT_ONCE: Final = 256  # names in a question
_KEPT: Final = 8192  # and as many that are older

Place = tuple[int, bytes]


class Recent:
    """Used under the index's lock."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._young: dict[Place, Entry | None] = {}  # a key with None: nothing is there
        self._old: dict[Place, Entry | None] = {}  # what was young before, and not asked for since
        self._kept = kept

    def look(self, place: Place) -> Entry | None:
        """What stands at a place, None if nothing does. KeyError: that is not known."""
        try:
            return self._young[place]
        except KeyError:
            entry = self._old.pop(place)
            self.keep(place, entry)
            return entry

    def keep(self, place: Place, entry: Entry | None) -> None:
        """What stands at a place now."""
        if len(self._young) >= self._kept:
            self._young, self._old = {}, self._young
        self._young[place] = entry
        if self._old:
            self._old.pop(place, None)

    def foresee(self, database: Database, wanted: Iterable[tuple[Place, bytes]]) -> None:
        """Looks up what is not known yet of these places, whose paths stand beside them."""
        unknown: dict[int, list[tuple[bytes, bytes]]] = {}
        for place, path in wanted:
            if place not in self._young and place not in self._old:
                unknown.setdefault(place[0], []).append((place[1], path))
        for parent, places in unknown.items():
            for at in range(0, len(places), _AT_ONCE):
                some = dict(places[at : at + _AT_ONCE])
                rows = database.all(sql.get_all(len(some)), (parent, *some))
                found = {row[COLUMN_COUNT]: row for row in rows}
                for name, path in some.items():
                    row = found.get(name)
                    self.keep((parent, name), None if row is None else to_entry(path, row))

    def forget(self, place: Place) -> None:
        """What stands at a place is to be looked up."""
        self._young.pop(place, None)
        self._old.pop(place, None)

    def moved(self, source: Place, target: Place, path: bytes) -> None:
        """What is no directory went from one place to the other, where its path is `path`."""
        try:
            was = self.look(source)
        except KeyError:
            was = None
        if was is None or was.metadata.type is ObjectType.DIRECTORY:
            self.forget(target)
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
        self._young.clear()
        self._old.clear()
