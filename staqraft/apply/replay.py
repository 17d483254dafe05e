"""After a kill: brings the index up to what the disk already holds, without touching the trees."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from staqraft.apply.matching import NOT_SURE_NS
from staqraft.apply.observe import identity_of, look, type_of
from staqraft.apply.safety import TreeRoot
from staqraft.apply.unsettled import Unsettled
from staqraft.index import Entry, FileIdentity, Index, MissingParent
from staqraft.journal.record import Chunk, Delta, MovedFrom, ObjectType, Record, Remove, Upsert

_UNKNOWN = FileIdentity(dev=0, ino=0, ctime_ns=0)


class IndexReplay:
    """`note` each record that is done, `note_if_moved` the next one, then `finish`."""

    def __init__(
        self,
        roots: dict[str, TreeRoot],
        index: Index,
        unsettled: Unsettled,
        is_doubtful: Callable[[Record], bool],
    ) -> None:
        self._roots = roots
        self._is_doubtful = is_doubtful
        self._index = index
        self._unsettled = unsettled
        self._noted: dict[tuple[str, bytes], Record] = {}
        self._verify: set[tuple[str, bytes]] = set()

    def note(self, record: Record) -> None:
        """Does to the index what applying the record did."""
        if record.tree not in self._roots or isinstance(record.change, Chunk):
            return
        entry = self._index.get(record.tree, record.path)
        if entry is not None and entry.origin >= record.position:
            return
        try:
            match record.change:
                case Remove():
                    self._index.remove(record.tree, record.path)
                    self._unsettled.discard_below(record.tree, record.path)
                    self._forget(record.tree, record.path)
                case Upsert() as upsert:
                    self._upsert(record, upsert)
        except MissingParent:
            self._unsettled.add(record)

    def note_if_moved(self, record: Record) -> None:
        """For the first record not known to be done: a move whose rename was done is noted."""
        upsert = record.change
        if not isinstance(upsert, Upsert) or not isinstance(upsert.content, MovedFrom):
            return
        source = upsert.content.path
        if (
            self._index.get(record.tree, source) is not None
            and self._look(record.tree, source) is None
            and self._look(record.tree, record.path) is not None
        ):
            self.note(record)
            self._verify.add((record.tree, record.path))

    def finish(self) -> None:
        """Looks at each object that was noted: what it is now, and whether that can be right."""
        for (tree, path), record in self._noted.items():
            entry = self._index.get(tree, path)
            if entry is None:
                continue
            found = self._look(tree, path)
            metadata = entry.metadata
            right = found is not None and type_of(found) is metadata.type
            if right and found is not None and metadata.type is ObjectType.FILE:
                right = (found.st_size, found.st_mtime_ns) == (metadata.size, metadata.mtime_ns)
            sure = right and (tree, path) not in self._verify
            if found is not None:
                identity = identity_of(found)
                if not sure:
                    identity = replace(identity, ctime_ns=NOT_SURE_NS)
                self._index.put(tree, replace(entry, identity=identity))
            if not sure:
                self._unsettled.add(record)
        for root in self._roots.values():
            root.release()

    def _look(self, tree: str, path: bytes) -> os.stat_result | None:
        try:
            return look(*self._roots[tree].parent(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _upsert(self, record: Record, upsert: Upsert) -> None:
        tree, path = record.tree, record.path
        identity = _UNKNOWN
        if isinstance(upsert.content, MovedFrom):
            source = upsert.content.path
            moved = self._index.get(tree, source)
            if moved is not None:
                identity = moved.identity
                self._index.move(tree, source, path)
            self._unsettled.move(tree, source, path)
            self._move(tree, source, path)
        self._index.put(
            tree,
            Entry(
                path=path,
                metadata=upsert.metadata,
                digest=upsert.digest,
                identity=identity,
                origin=record.position,
            ),
        )
        self._unsettled.discard(tree, path)
        self._noted[tree, path] = record
        if isinstance(upsert.content, Delta) or self._is_doubtful(record):
            self._verify.add((tree, path))

    def _forget(self, tree: str, path: bytes) -> None:
        for key in self._at_or_below(tree, path):
            self._noted.pop(key, None)
            self._verify.discard(key)

    def _move(self, tree: str, source: bytes, target: bytes) -> None:
        self._forget(tree, target)
        for key in self._at_or_below(tree, source):
            to = (tree, target + key[1][len(source) :])
            record = self._noted.pop(key)
            self._noted[to] = Unsettled.at(record, to[1])
            if key in self._verify:
                self._verify.discard(key)
                self._verify.add(to)

    def _at_or_below(self, tree: str, path: bytes) -> list[tuple[str, bytes]]:
        below = path + b"/"
        return [k for k in self._noted if k[0] == tree and (k[1] == path or k[1].startswith(below))]
