"""The short way for a file that is renamed to where nothing is.

It does what the general way would do, with fewer questions, and only where the answers are known
beforehand: neither index nor disk have anything at the place, and a file that has the change time
that the index knows was not touched by anybody. In every other case it does nothing and says so,
and the general way is taken. New files have a way of their own (`newfiles`).
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from typing import Final

from staqraft.apply import metadata as meta
from staqraft.apply.observe import identity_of, look
from staqraft.apply.places import Places
from staqraft.apply.safety import check_path
from staqraft.apply.touched import TouchedDirectories
from staqraft.index import Entry, Index
from staqraft.journal.record import Delta, MovedFrom, ObjectType, Record, Remove, Upsert

_FEW: Final = 2  # are asked for one by one as cheaply


class Quick:
    """`apply` returns True when the record is done, False when nothing was."""

    def __init__(
        self,
        places: Places,
        index: Index,
        touched: TouchedDirectories,
    ) -> None:
        self._places = places
        self._index = index
        self._touched = touched

    def apply(self, record: Record) -> bool:
        """Raises OSError, MissingParent, PathEscape."""
        upsert = record.change
        if not isinstance(upsert, Upsert) or not isinstance(upsert.content, MovedFrom):
            return False
        if self._index.get(record.tree, record.path) is not None:
            return False
        check_path(upsert.content.path)
        self._touched.add_parent(record.tree, record.path)
        return self._rename(record, upsert, upsert.content.path)

    def _rename(self, record: Record, upsert: Upsert, source: bytes) -> bool:
        """A file that nobody touched goes where neither index nor disk have anything."""
        tree = record.tree
        known = self._index.get(tree, source)
        if (
            known is None
            or known.metadata.type is not ObjectType.FILE
            or known.digest != upsert.digest
        ):
            return False
        here, there = self._places.find(tree, source), self._places.find(tree, record.path)
        found = look(*here) if here else None
        if (
            here is None
            or there is None
            or found is None
            or identity_of(found) != known.identity
            or look(*there) is not None
        ):
            return False
        os.rename(here[1], there[1], src_dir_fd=here[0], dst_dir_fd=there[0])
        self._touched.add_parent(tree, source)
        try:
            if known.metadata != upsert.metadata:
                meta.write_at(*there, upsert.metadata)
            found = os.stat(there[1], dir_fd=there[0], follow_symlinks=False)
        except OSError:
            self._index.move(tree, source, record.path)  # which it did, whatever else is wrong
            raise
        entry = Entry(
            path=record.path,
            metadata=upsert.metadata,
            digest=upsert.digest,
            identity=identity_of(found),
            origin=record.position,
        )
        self._index.move(tree, source, record.path, entry)
        return True


def foresee(index: Index, trees: Container[str], records: Iterable[Record]) -> None:
    """Records that are applied next: the index looks up together what each would ask for."""
    wanted: dict[str, list[bytes]] = {}
    for record in records:
        if record.tree not in trees:
            continue  # which is refused when it is applied
        match record.change:
            case Upsert(content=MovedFrom(path=source)):
                wanted.setdefault(record.tree, []).extend((record.path, source))
            case Remove() | Upsert(content=None) | Upsert(content=Delta()):
                wanted.setdefault(record.tree, []).append(record.path)
    for tree, paths in wanted.items():
        if len(paths) > _FEW:
            index.foresee(tree, paths)
