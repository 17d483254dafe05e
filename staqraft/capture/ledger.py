"""The ledger: records for the journal and what each means for the index, kept in step.

Records are gathered and appended in one write; the index follows when the append succeeded, with
the position of each record as the origin of what it made. When the journal is full, neither has
changed, and the caller puts its places back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from staqraft.capture.ports import IndexPort, JournalPort
from staqraft.index import Entry, FileIdentity, relearn, state_digest
from staqraft.journal.record import (
    Change,
    Chunk,
    Content,
    Delta,
    Inline,
    MailKind,
    Metadata,
    MovedFrom,
    Record,
    Remove,
    Upsert,
)
from staqraft.model import Epoch, Position

_MAX_RECORDS: Final = 512
_MAX_BYTES: Final = 1 << 20
_RECORD_BYTES: Final = 200

Update = Callable[[Position], None]


class Ledger:
    """Used by the capture thread only. Methods that add may append. Raises JournalFull."""

    def __init__(
        self,
        journal: JournalPort,
        index: IndexPort,
        epoch: Epoch,
        wall_ms: Callable[[], int],
        on_journalled: Callable[[Position], None],
    ) -> None:
        self.index = index
        self.journalled = 0
        self.uncommitted = False
        self._journal = journal
        self._epoch = epoch
        self._wall_ms = wall_ms
        self._on_journalled = on_journalled
        self._records: list[Record] = []
        self._updates: list[tuple[int, Update]] = []  # behind how many records it follows
        self._bytes = 0
        self._told: list[Record] = []  # since the index's last commit, without content
        self._forgotten = index.forgotten

    @property
    def next_seq(self) -> int:
        """The number that the next record will have."""
        return self._journal.last.seq + 1 + len(self._records)

    def upsert(
        self,
        tree: str,
        path: bytes,
        metadata: Metadata,
        identity: FileIdentity,
        *,
        before: Entry | None,
        digest: bytes = b"",
        content: Content | None = None,
        mail: MailKind | None = None,
    ) -> None:
        """The object at `path` is now like this."""
        change = Upsert(metadata=metadata, digest=digest, content=content)
        index = self.index

        def update(position: Position) -> None:
            entry = Entry(
                path=path, metadata=metadata, digest=digest, identity=identity, origin=position
            )
            if isinstance(content, MovedFrom):
                index.move(tree, content.path, path, entry)
            else:
                index.put(tree, entry)

        self._add(tree, path, change, before, mail, update)

    def remove(self, tree: str, path: bytes, before: Entry, mail: MailKind | None = None) -> None:
        """The object at `path` is gone with all below it."""
        self._add(tree, path, Remove(), before, mail, lambda _: self.index.remove(tree, path))

    def chunk(self, tree: str, path: bytes, stage: int, offset: int, data: bytes) -> None:
        """A piece of a large file, to be referred to later."""
        change = Chunk(stage=stage, offset=offset, data=data)
        self._add(tree, path, change, None, None, None)

    def note(self, update: Callable[[], None]) -> None:
        """A change of the index that the other side need not know of, in its turn."""
        self._updates.append((len(self._records), lambda _: update()))

    def refresh(self, tree: str, entry: Entry, identity: FileIdentity) -> None:
        """The object is as it was; only its inode's number or change time is new."""
        fresh = Entry(
            path=entry.path,
            metadata=entry.metadata,
            digest=entry.digest,
            identity=identity,
            origin=entry.origin,
        )
        self.note(lambda: self.index.put(tree, fresh))

    def flush(self) -> None:
        """Appends what was gathered and brings the index up to it."""
        records, updates = self._records, self._updates
        if not records and not updates:
            return
        self.drop()
        first = self._journal.last.seq
        last = self._journal.append(records, self._epoch) if records else self._journal.last
        self.uncommitted = True
        self._told += [
            _slim(record, Position(last.epoch, first + number))
            for number, record in enumerate(records, 1)
            if not isinstance(record.change, Chunk)
        ]
        for behind, update in updates:
            update(Position(last.epoch, first + behind))
        self.journalled += len(records)
        if records:
            self._on_journalled(last)

    def drop(self) -> None:
        """Forgets what was gathered and not appended."""
        self._records, self._updates, self._bytes = [], [], 0

    def commit(self) -> Position:
        """Makes the journal durable, then the index as of it. Returns the position."""
        self.flush()
        position = self._journal.sync()
        self.index.commit(position)
        self._told.clear()
        self.uncommitted = False
        return position

    def make_room(self) -> None:
        """So that the next commit takes less long; now nobody waits for one."""
        if self._journal.wants_room:
            self._journal.make_room()

    @property
    def is_forgotten(self) -> bool:
        """Whether the index was rolled back, and the journal was not: by whomever."""
        return self.index.forgotten != self._forgotten

    def relearn(self) -> None:
        """The index learns again what it forgot. Raises IndexFull: once more, later."""
        self.index.rollback()  # what was put since is told, too
        forgotten = self.index.forgotten
        relearn(self.index, self._told)
        self._forgotten = forgotten

    def _add(
        self,
        tree: str,
        path: bytes,
        change: Change,
        before: Entry | None,
        mail: MailKind | None,
        update: Update | None,
    ) -> None:
        state = state_digest(before.metadata, before.digest) if before is not None else b""
        self._records.append(
            Record(
                tree=tree,
                path=path,
                change=change,
                before=state,
                mail=mail,
                wall_ms=self._wall_ms(),
            )
        )
        if update is not None:
            self._updates.append((len(self._records), update))
        self._bytes += _RECORD_BYTES + _size(change)
        if self._bytes >= _MAX_BYTES or len(self._records) >= _MAX_RECORDS:
            self.flush()


def _slim(record: Record, position: Position) -> Record:
    """What a record told, without the content that it carried."""
    change = record.change
    if isinstance(change, Upsert) and not isinstance(change.content, MovedFrom | None):
        change = Upsert(metadata=change.metadata, digest=change.digest)
    return Record(tree=record.tree, path=record.path, change=change, position=position)


def _size(change: Change) -> int:
    match change:
        case Chunk(data=data) | Upsert(content=Inline(data=data)):
            return len(data)
        case Upsert(content=Delta(extents=extents)):
            return sum(len(data) for _, data in extents)
        case _:
            return 0
