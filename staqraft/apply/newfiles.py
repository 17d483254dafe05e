"""Runs of new files, which is what a first copy and a busy mail server are made of.

Each is made without a name and linked into place when it is whole, so that the kernel refuses where
something stands; after a run its files come into the index together, with a question to it and a
statement for each directory. Whatever is not as simple as that ends the run: something stands
at the place, a directory is not there, the disk is full, something is unsettled. The general way
then begins with that very record, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from staqraft.apply.observe import identity_of
from staqraft.apply.places import Places
from staqraft.apply.touched import TouchedDirectories
from staqraft.apply.writer import TreeWriter
from staqraft.errors import PathEscape
from staqraft.index import Entry, Index
from staqraft.journal.record import Inline, ObjectType, Record, Upsert
from staqraft.model import Position

AT_ONCE: Final = 128


class NewFiles:
    """Of all trees of a group."""

    def __init__(
        self,
        writers: Mapping[str, TreeWriter],
        places: Places,
        index: Index,
        touched: TouchedDirectories,
    ) -> None:
        self._writers = writers
        self._places = places
        self._index = index
        self._touched = touched

    def make(self, records: Sequence[Record], done_up_to: Callable[[Position], None] | None) -> int:
        """How many of the records, from the first on, are done; `done_up_to` is told each time.

        Files that are made are in the index when this returns, or raises IndexFull.
        """
        run = _run(records[:AT_ONCE])
        if not run:
            return 0
        entries: dict[bytes, list[Entry]] = {}
        done = 0
        tree = run[0].tree
        writer = self._writers[tree]
        try:
            for record in run:
                entry = self._one(writer, record)
                if entry is None:
                    break
                entries.setdefault(record.path.rpartition(b"/")[0], []).append(entry)
                self._touched.add_parent(tree, record.path)
                if done_up_to is not None:
                    done_up_to(record.position)
                done += 1
        finally:
            for directory in entries.values():
                self._enter(tree, directory)
        return done

    def _one(self, writer: TreeWriter, record: Record) -> Entry | None:
        upsert = record.change
        assert isinstance(upsert, Upsert)
        assert isinstance(upsert.content, Inline)
        directory = record.path.rpartition(b"/")[0]
        try:
            above = self._index.get(record.tree, directory)
            if above is None or above.metadata.type is not ObjectType.DIRECTORY:
                return None
            at = self._places.at(record.tree, record.path)
            found = writer.make_file(at, upsert.content.data, upsert.metadata)
        except (OSError, OverflowError, ValueError, PathEscape):
            return None  # the general way meets it too, and knows what to do
        if found is None:
            return None
        return Entry(
            path=record.path,
            metadata=upsert.metadata,
            digest=upsert.digest,
            identity=identity_of(found),
            origin=record.position,
        )

    def _enter(self, tree: str, entries: Sequence[Entry]) -> None:
        for known in self._index.add_all(tree, entries):
            self._index.put(tree, known)  # it was gone from the disk, by another hand


def _run(records: Sequence[Record]) -> list[Record]:
    """Those that begin the records, are new files of one tree by what they say, and differ."""
    run: list[Record] = []
    paths: set[bytes] = set()
    for record in records:
        change = record.change
        if (
            not isinstance(change, Upsert)
            or not isinstance(change.content, Inline)
            or record.before
            or record.path in paths
            or record.tree != records[0].tree
        ):
            break
        paths.add(record.path)
        run.append(record)
    return run
