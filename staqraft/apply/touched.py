"""Directories whose entries changed get the times back that the records gave them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from staqraft.apply.flags import unprotect
from staqraft.apply.matching import after_move
from staqraft.apply.safety import TreeRoot
from staqraft.index import Index
from staqraft.journal.record import MovedFrom, ObjectType, Record, Upsert


class TouchedDirectories:
    """Those of all trees since the last `restore_times`."""

    def __init__(self, roots: Mapping[str, TreeRoot], index: Index) -> None:
        self._roots = roots
        self._index = index
        self._paths: set[tuple[str, bytes]] = set()

    def add(self, tree: str, path: bytes) -> None:
        """A directory itself."""
        self._paths.add((tree, path))

    def add_parent(self, tree: str, path: bytes) -> None:
        """The directory that the object at `path` is in."""
        if path:
            self._paths.add((tree, path.rpartition(b"/")[0]))

    def add_all(self, directories: Iterable[tuple[str, bytes]]) -> None:
        """Pairs of tree and path."""
        self._paths.update(directories)

    def moved(self, source: bytes, target: bytes) -> None:
        """What is below `source` is below `target` now."""
        self._paths = {(tree, after_move(at, source, target)) for tree, at in self._paths}

    def by(self, record: Record) -> None:
        """Whatever a record changes, when it was executed before this was here to see it."""
        match record.change:
            case Upsert(content=MovedFrom(path=source)):
                self.moved(source, record.path)
                self.add_parent(record.tree, source)
            case Upsert(metadata=metadata) if metadata.type is ObjectType.DIRECTORY:
                self.add(record.tree, record.path)
        self.add_parent(record.tree, record.path)

    def restore_times(self) -> None:
        """Sets the times, and forgets."""
        for tree, path in self._paths:
            entry = self._index.get(tree, path)
            if entry is None or entry.metadata.type is not ObjectType.DIRECTORY:
                continue
            try:
                number = self._roots[tree].directory(path)
                _set_time(number, entry.metadata.mtime_ns)
            except FileNotFoundError:
                continue  # it is among the unsettled
        self._paths.clear()
        for root in self._roots.values():
            # Equal on both replicas, so that trees also compare equal to those who look at all.
            root.require_staging()
            os.utime(root.staging(), ns=(0, 0))


def _set_time(directory: int, mtime_ns: int) -> None:
    try:
        os.utime(directory, ns=(mtime_ns, mtime_ns))
    except PermissionError:
        if not unprotect(directory, b"."):
            raise
        os.utime(directory, ns=(mtime_ns, mtime_ns))
