"""Records whose result is not sure yet; kept in the index, so that a crash does not forget them."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Self

from staqraft.errors import JournalCorrupt
from staqraft.index import FileIdentity, Index
from staqraft.journal.record import Chunk, Record, Remove, Upsert
from staqraft.journal.record_codec import decode, encode

_META_KEY = "unsettled"
_HOLLOW_KEY = "hollow"


class Unsettled:
    """The last record of each object that has to be looked at again, by tree and path.

    Beside them the hollow directories: of what is below them nothing is known, so that only a
    comparison can make them whole.

    Some of them are `gone`: the active had nothing there when it was asked. Either a record that is
    still to be applied tells so, or where it went; or nothing does, and it is to be removed.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[str, bytes], Record] = {}
        self._hollow: set[tuple[str, bytes]] = set()
        self._gone: set[tuple[str, bytes]] = set()  # until anything is told of them
        self._refused: dict[tuple[str, bytes], str] = {}
        self._saved = False

    @classmethod
    def load(cls, index: Index) -> Self:
        """What the last commit left."""
        made = cls()
        for record in _read(index, _META_KEY):
            made.add(record)
        made._hollow = {(record.tree, record.path) for record in _read(index, _HOLLOW_KEY)}
        made._saved = bool(made)
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
        if not self and not self._saved:
            return
        _write(index, _META_KEY, self.records())
        _write(index, _HOLLOW_KEY, self.hollow())
        self._saved = bool(self)

    def __len__(self) -> int:
        return len(self._records) + len(self._hollow)

    def has(self, tree: str, path: bytes) -> bool:
        """Whether the object is among them."""
        return (tree, path) in self._records

    def refuse(self, record: Record, why: str) -> None:
        """The filesystem of this node does not take it, and says why."""
        self._refused[record.tree, record.path] = why

    def refused(self) -> dict[tuple[str, bytes], str]:
        """Of which objects that is so still, and why."""
        self._refused = {at: why for at, why in self._refused.items() if at in self._records}
        return self._refused

    def records(self) -> list[Record]:
        """All, parents before children."""
        return [self._records[key] for key in sorted(self._records)]

    def add(self, record: Record) -> None:
        """Remembers the newest that is known of the object."""
        if not isinstance(record.change, Chunk):
            self._records[record.tree, record.path] = _slim(record)
            self._gone.discard((record.tree, record.path))

    def add_gone(self, tree: str, path: bytes) -> None:
        """Of what is among them: the active had nothing there just now."""
        assert self.has(tree, path), "who is not sure of it has said so"
        self._gone.add((tree, path))

    def gone(self) -> frozenset[tuple[str, bytes]]:
        """Of what the active had nothing, and nothing was told since."""
        return frozenset(self._gone)

    def add_hollow(self, tree: str, path: bytes) -> None:
        """A directory came here from a place where it was not: what is in it is not known."""
        self._hollow.add((tree, path))

    def hollow(self) -> list[Record]:
        """The hollow directories, as records that say no more than their place."""
        return [
            Record(tree=tree, path=path, change=Remove()) for tree, path in sorted(self._hollow)
        ]

    def discard(self, tree: str, path: bytes) -> None:
        """The object is as it should be."""
        self._records.pop((tree, path), None)
        self._gone.discard((tree, path))

    def discard_below(self, tree: str, path: bytes) -> None:
        """The object is gone, with everything below it."""
        for key in self._at_or_below(tree, path):
            self._records.pop(key, None)
            self._hollow.discard(key)
            self._gone.discard(key)

    def move(self, tree: str, source: bytes, target: bytes) -> None:
        """The object was renamed, with everything below it."""
        self.discard_below(tree, target)
        for key in self._at_or_below(tree, source):
            self._gone.discard(key)
            path = target + key[1][len(source) :]
            if key in self._hollow:
                self._hollow.discard(key)
                self._hollow.add((tree, path))
            if (record := self._records.pop(key, None)) is not None:
                self._records[tree, path] = self.at(record, path)

    @staticmethod
    def at(record: Record, path: bytes) -> Record:
        """The same expectation of an object that is elsewhere now."""
        return replace(record, path=path)

    def clear(self) -> None:
        """Nothing is unsettled any more."""
        self._records.clear()
        self._hollow.clear()
        self._gone.clear()

    def _at_or_below(self, tree: str, path: bytes) -> list[tuple[str, bytes]]:
        if not self:
            return []
        below = path + b"/" if path else b""
        known = self._records.keys() | self._hollow
        return [k for k in known if k[0] == tree and (k[1] == path or k[1].startswith(below))]


def _read(index: Index, key: str) -> list[Record]:
    text = index.meta(key)
    if not text:
        return []
    try:
        return list(decode(base64.b64decode(text, validate=True)))
    except ValueError as error:
        raise JournalCorrupt(f"what is unsettled cannot be read: {error}") from error


def _write(index: Index, key: str, records: list[Record]) -> None:
    frames = b"".join(encode(record) for record in records)
    index.set_meta(key, base64.b64encode(frames).decode() if frames else None)


def _slim(record: Record) -> Record:
    """Without content: only the state that is expected is needed later."""
    if isinstance(record.change, Upsert) and record.change.content is not None:
        return replace(record, change=replace(record.change, content=None))
    return record
