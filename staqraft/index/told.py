"""What records told of an active's trees that the index has not kept: after a kill, or a full disk.

The journal is written first, so it may know of an object that the index has forgotten. Nobody would
notice that such an object is gone: the index does not miss it, and the standby keeps it for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from staqraft.index.entry import Entry, FileIdentity
from staqraft.index.errors import MissingParent
from staqraft.journal.record import Chunk, MovedFrom, Record, Remove, Upsert

_UNSEEN: Final = FileIdentity(dev=0, ino=0, ctime_ns=0)


class Learns(Protocol):
    """What is needed of an index."""

    def get(self, tree: str, path: bytes) -> Entry | None:
        """The entry at a path."""
        ...

    def put(self, tree: str, entry: Entry) -> None:
        """Keeps an entry."""
        ...

    def move(self, tree: str, source: bytes, target: bytes) -> None:
        """Renames an entry with everything below it."""
        ...

    def remove(self, tree: str, path: bytes) -> None:
        """Forgets an entry with everything below it."""
        ...


def relearn(index: Learns, records: Iterable[Record]) -> None:
    """The records behind the index's position, in order: it knows again what they told.

    Each object is to be looked at, as if it had never been seen. Raises IndexFull.
    """
    for record in records:
        match record.change:
            case Remove():
                index.remove(record.tree, record.path)
            case Upsert() as upsert:
                _put(index, record, upsert)
            case Chunk():
                pass


def _put(index: Learns, record: Record, upsert: Upsert) -> None:
    entry = Entry(
        path=record.path,
        metadata=upsert.metadata,
        digest=upsert.digest,
        identity=_UNSEEN,
        origin=record.position,
    )
    try:
        if isinstance(upsert.content, MovedFrom):
            source = upsert.content.path
            if index.get(record.tree, source) is not None:
                index.move(record.tree, source, record.path)
        index.put(record.tree, entry)
    except MissingParent:
        return  # it was moved away with what is above it, or was never told whole: a scan finds it
