"""Records whose result is not sure yet; kept in the index, so that a crash does not forget them."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Self

from staqraft.errors import JournalCorrupt
from staqraft.index import FileIdentity, Index
from staqraft.journal.record import Chunk, Record, Upsert
from staqraft.journal.record_codec import decode, encode

_META_KEY = "unsettled"


class Unsettled:
    """The last record of each object that has to be looked at again, by tree and path."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, bytes], Record] = {}
        self._saved = False

    @classmethod
    def load(cls, index: Index) -> Self:
        """What the last commit left."""
        made = cls()
        text = index.meta(_META_KEY)
        if text:
            try:
                frames = base64.b64decode(text, validate=True)
            except ValueError as error:
                raise JournalCorrupt(f"what is unsettled cannot be read: {error}") from error
            for record in decode(frames):
                made.add(record)
            made._saved = True
        return made

    def disown(self, index: Index) -> None:
        """For a node that becomes active: capture is to read anew what is not sure."""
        nobody = FileIdentity(dev=0, ino=0, ctime_ns=0)
        for record in self.records():
            entry = index.get(record.tree, record.path)
            if entry is not None:
                index.put(record.tree, replace(entry, identity=nobody))
        self.clear()
        self.save(index)

    def save(self, index: Index) -> None:
        """Keeps it with the index's next commit."""
        if not self._records and not self._saved:
            return
        frames = b"".join(encode(record) for record in self.records())
        index.set_meta(_META_KEY, base64.b64encode(frames).decode() if frames else None)
        self._saved = bool(frames)

    def __len__(self) -> int:
        return len(self._records)

    def has(self, tree: str, path: bytes) -> bool:
        """Whether the object is among them."""
        return (tree, path) in self._records

    def records(self) -> list[Record]:
        """All, parents before children."""
        return [self._records[key] for key in sorted(self._records)]

    def add(self, record: Record) -> None:
        """Remembers the newest that is known of the object."""
        if not isinstance(record.change, Chunk):
            self._records[record.tree, record.path] = _slim(record)

    def discard(self, tree: str, path: bytes) -> None:
        """The object is as it should be."""
        self._records.pop((tree, path), None)

    def discard_below(self, tree: str, path: bytes) -> None:
        """The object is gone, with everything below it."""
        for key in self._at_or_below(tree, path):
            del self._records[key]

    def move(self, tree: str, source: bytes, target: bytes) -> None:
        """The object was renamed, with everything below it."""
        self.discard_below(tree, target)
        for key in self._at_or_below(tree, source):
            record = self._records.pop(key)
            path = target + record.path[len(source) :]
            self._records[tree, path] = self.at(record, path)

    @staticmethod
    def at(record: Record, path: bytes) -> Record:
        """The same expectation of an object that is elsewhere now."""
        return replace(record, path=path)

    def clear(self) -> None:
        """Nothing is unsettled any more."""
        self._records.clear()

    def _at_or_below(self, tree: str, path: bytes) -> list[tuple[str, bytes]]:
        if not self._records:
            return []
        below = path + b"/" if path else b""
        return [
            k for k in self._records if k[0] == tree and (k[1] == path or k[1].startswith(below))
        ]


def _slim(record: Record) -> Record:
    """Without content: only the state that is expected is needed later."""
    if isinstance(record.change, Upsert) and record.change.content is not None:
        return replace(record, change=replace(record.change, content=None))
    return record
