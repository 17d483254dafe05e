"""What capture needs of the journal and the index, and what it tells its owner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from staqraft.index import Entry, Totals
from staqraft.journal.record import Record
from staqraft.model import Epoch, Position


class JournalPort(Protocol):
    """The writer's side of the journal; see staqraft.journal."""

    @property
    def last(self) -> Position:
        """The last record."""
        ...

    def append(self, records: Sequence[Record], epoch: Epoch) -> Position:
        """All or nothing. Raises JournalFull and leaves the journal as it was."""
        ...

    def sync(self) -> Position:
        """Makes what was appended durable."""
        ...

    @property
    def wants_room(self) -> bool:
        """Whether `make_room` would make the next syncs shorter."""
        ...

    def make_room(self) -> None:
        """For a moment in which nobody waits for a sync."""
        ...


class IndexPort(Protocol):
    """What capture uses of the index; see staqraft.index."""

    @property
    def forgotten(self) -> int:
        """How often what was put was forgotten before it was kept."""
        ...

    def rollback(self) -> None:
        """Forgets what was put since the last commit."""
        ...

    def get(self, tree: str, path: bytes) -> Entry | None:
        """The entry at a path."""
        ...

    def children(self, tree: str, path: bytes) -> list[Entry]:
        """The entries of a directory."""
        ...

    def names_of(self, tree: str, dev: int, ino: int) -> list[bytes]:
        """The paths of an inode."""
        ...

    def names_of_all(self, tree: str, dev: int, inodes: Iterable[int]) -> dict[int, list[bytes]]:
        """The same for many."""
        ...

    def foresee(self, tree: str, paths: Iterable[bytes]) -> None:
        """`get` will be asked for these."""
        ...

    def extent(self, tree: str, path: bytes) -> int:
        """How many objects are at a path and below it."""
        ...

    def totals(self, tree: str) -> Totals:
        """How much the tree holds."""
        ...

    def put(self, tree: str, entry: Entry) -> None:
        """Sets an entry."""
        ...

    def add_all(self, tree: str, entries: Sequence[Entry]) -> list[Entry]:
        """Sets the entries of objects in one directory; returns those that it has already."""
        ...

    def complete(self, tree: str, entries: Sequence[Entry]) -> None:
        """Enters what unread files hold."""
        ...

    def remove(self, tree: str, path: bytes) -> None:
        """Forgets an entry with all below it."""
        ...

    def move(self, tree: str, source: bytes, target: bytes, then: Entry | None = None) -> None:
        """Renames an entry with all below it, and sets it."""
        ...

    def signatures(self, tree: str, path: bytes) -> bytes | None:
        """The block signatures of a file."""
        ...

    def set_signatures(self, tree: str, path: bytes, blocks: bytes | None) -> None:
        """Keeps them."""
        ...

    def commit(self, position: Position) -> None:
        """Keeps all that was put."""
        ...

    def sync(self) -> None:
        """What is kept outlives a power cut."""
        ...

    def meta(self, key: str) -> str | None:
        """A note."""
        ...

    def set_meta(self, key: str, value: str | None) -> None:
        """Keeps a note."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureStatus:
    """What capture is doing, for status and metrics. Sizes in places, not bytes."""

    backend: str
    reason: str  # why not fanotify; "" if it is
    dirty: int
    scanning: int  # directories still to be compared
    scanned: int  # directories compared since the start
    transfers: int  # large files on their way
    journalled: int  # records since the start
    complete: bool  # every tree was compared since the start, or since events were lost
    problems: tuple[str, ...]  # sentences for people
