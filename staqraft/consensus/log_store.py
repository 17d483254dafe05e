"""Raft's log, term and vote on disk: SQLite in WAL mode, synced at each commit.

The Raft library works on the list in memory and calls the methods with its own (camel case) names
as it pleases; `persist` makes the disk equal to memory in one transaction, and nothing that
promises anything is sent before it returned. A volume without space makes it raise `StoreFull`
and leaves the disk as it was: memory is ahead, so the caller is to stand still, send nothing, and
call again until it succeeds.

Two rules of Raft that the library leaves out stand here. Entries that it cuts off although the
leader's message does not contradict them come back (`settle`): an entry that was acknowledged is
never lost to a late message. And a snapshot makes the log shorter but never empties it: what
follows the snapshot stays.

Every row has a checksum, indexes have no gap, and the store belongs to one node of one cluster.
Anything else is `StoreCorrupt` at opening. It is not repaired: a log that lost entries or its vote
must not take part, because it would vote twice or miss what it has acknowledged.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, overload

from staqraft.consensus import generations
from staqraft.consensus.codec import Entry, check_entry_command
from staqraft.consensus.errors import BadMessage, StoreCorrupt
from staqraft.errors import ConsensusError, StoreFull
from staqraft.model import Generation, NodeId

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, command BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1), cluster TEXT NOT NULL, node TEXT NOT NULL,
    term INTEGER NOT NULL, vote TEXT, commit_index INTEGER NOT NULL, generation TEXT,
    crc INTEGER NOT NULL
);
"""
_NO_SPACE: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_WAL_PAGES: Final = 256  # checkpoint so often that the WAL stays about 1 MiB


class LogStore:
    """The journal that the Raft library works on. One thread at a time."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, cluster: str, node: NodeId
    ) -> None:
        self._db = connection
        self._path = path
        self._cluster = cluster
        self._node = node
        self._entries: list[Entry] = []
        self._cut: list[Entry] = []  # what was cut off and may come back, in order
        self._dirty_from: int | None = None  # the disk may differ from this index on
        self._first_on_disk = 1
        self._term = 0
        self._vote: NodeId | None = None
        self._commit_index = 1
        self._generation: Generation | None = None  # None: the first
        self._state_dirty = False

    @classmethod
    def open(cls, path: Path, *, cluster: str, node: NodeId) -> LogStore:
        """Opens or makes the store. StoreCorrupt, StoreFull, or ConsensusError with what to do."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The ticker's thread uses it after the opening thread; never two at once.
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        except (OSError, sqlite3.Error) as error:
            raise ConsensusError(f"cannot open the Raft log {path}: {error}") from error
        store = cls(db, path, cluster, node)
        try:
            store._prepare()
            store._load()
        except sqlite3.Error as error:
            db.close()
            raise store._explain(error) from error
        except ConsensusError:
            db.close()
            raise
        return store

    # --- what the library calls -----------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        return self._entries[at]

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Appends an entry; equal to one that was just cut off, it is that one."""
        entry = (command, idx, term)
        while self._cut and self._cut[0][1] < idx:
            del self._cut[0]
        if self._cut and self._cut[0] == entry:
            self._entries.append(self._cut.pop(0))
            return
        self._cut.clear()
        self._entries.append(entry)
        self._dirty(idx)

    def clear(self) -> None:
        """The library makes room for a snapshot; what follows the snapshot comes back."""
        self._cut = self._entries
        self._entries = []

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        """Cuts off what begins at this place in the list; see `settle`."""
        self._cut = self._entries[entryFrom:] + self._cut
        del self._entries[entryFrom:]

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        """Forgets what a snapshot contains, up to this place in the list."""
        del self._entries[:entryTo]

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        """Remembered with the next transaction: after a restart a lower one is as good."""
        self._commit_index = raftCommitIndex

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """What was known to be committed."""
        return self._commit_index

    def setCurrentTerm(self, term: int, votedForNodeId: NodeId | None) -> None:  # noqa: N802, N803
        """Term and vote; on disk before anything is sent."""
        if (term, votedForNodeId) != (self._term, self._vote):
            self._term, self._vote = term, votedForNodeId
            self._state_dirty = True

    def getCurrentTerm(self) -> int:  # noqa: N802
        """The last term that was seen."""
        return self._term

    def getVotedForNodeId(self) -> NodeId | None:  # noqa: N802
        """Who has the vote of this term."""
        return self._vote

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Nothing here waits for a timer."""

    def _destroy(self) -> None:
        """The owner closes the store."""

    # --- what the owner calls -------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        """Index of the first entry; 1 for an empty log."""
        return self._entries[0][1] if self._entries else 1

    @property
    def last_index(self) -> int:
        """Index of the last entry; 0 for an empty log."""
        return self._entries[-1][1] if self._entries else 0

    @property
    def generation(self) -> Generation | None:
        """The group's generation, on disk with the next `persist`; None: still the first."""
        return self._generation

    @generation.setter
    def generation(self, generation: Generation | None) -> None:
        self._generation = generation
        self._state_dirty = True

    def settle(self) -> None:
        """The message is dealt with: what it cut off without contradicting it stands again."""
        if self._cut and self._entries and self._cut[0][1] <= self._entries[-1][1]:
            following = self._entries[-1][1] + 1
            self._cut = [entry for entry in self._cut if entry[1] >= following]
        if self._cut and self._entries and self._cut[0][1] == self._entries[-1][1] + 1:
            self._entries.extend(self._cut)
        self._cut = []

    def adopt_snapshot(self, previous: Entry, last: Entry) -> None:
        """Makes the log begin at the snapshot's two entries, at opening, keeping what follows.

        StoreCorrupt when the log begins after the snapshot: the snapshot is not the one that the
        log was shortened for.
        """
        if self._entries and self.first_index > previous[1]:
            raise StoreCorrupt(
                f"the Raft log {self._path} begins at {self.first_index}, but its snapshot ends at"
                f" {last[1]}: the two do not belong together. {self._advice()}"
            )
        self.clear()
        self.add(*previous)
        self.add(*last)
        self.settle()
        self._commit_index = max(self._commit_index, last[1])
        if last[2] > self._term:  # it was installed just before a crash; that vote is long over
            self._term, self._vote = last[2], None
        self._state_dirty = True

    def check_complete(self) -> None:
        """StoreCorrupt when the log was shortened, but there is no snapshot to begin with."""
        if self.first_index > 1:
            raise StoreCorrupt(
                f"the Raft log {self._path} begins at {self.first_index}, but the snapshot that it"
                f" was shortened for is gone. {self._advice()}"
            )

    def persist(self) -> None:
        """Makes the disk equal to memory, synced. StoreFull: the disk is as it was; call again."""
        self.settle()
        first = self.first_index
        trimmed = first > self._first_on_disk
        if self._dirty_from is None and not trimmed and not self._state_dirty:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if self._dirty_from is not None:
                self._write_entries(max(self._dirty_from, first))
            if trimmed:
                self._db.execute("DELETE FROM entries WHERE idx < ?", (first,))
            self._write_state()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._explain(error) from error
        self._dirty_from = None
        self._first_on_disk = first
        self._state_dirty = False

    def close(self) -> None:
        """Closes the file. What was not persisted is lost, as if it had never been received."""
        self._db.close()

    # --- within ---------------------------------------------------------------------------------

    def _dirty(self, index: int) -> None:
        self._dirty_from = index if self._dirty_from is None else min(self._dirty_from, index)

    def _prepare(self) -> None:
        # Before WAL: a second daemon is refused, and without a memory-mapped index file beside the
        # log a full volume cannot kill us with SIGBUS.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
        self._db.execute(f"PRAGMA journal_size_limit={4 << 20}")
        self._db.executescript(_SCHEMA)

    def _write_entries(self, start: int) -> None:
        self._db.execute("DELETE FROM entries WHERE idx >= ?", (start,))
        self._db.executemany(
            "INSERT INTO entries (idx, term, command, crc) VALUES (?, ?, ?, ?)",
            (
                (index, term, command, _entry_crc((command, index, term)))
                for command, index, term in self._entries[start - self.first_index :]
            ),
        )

    def _write_state(self) -> None:
        commit_index = min(self._commit_index, self.last_index)
        generation = generations.to_text(self._generation) if self._generation else None
        row = (self._cluster, self._node, self._term, self._vote, commit_index, generation)
        self._db.execute(
            "INSERT OR REPLACE INTO state"
            " (one, cluster, node, term, vote, commit_index, generation, crc)"
            " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            (*row, _state_crc(row)),
        )

    def _load(self) -> None:
        rows = self._db.execute("SELECT idx, term, command, crc FROM entries ORDER BY idx")
        for index, term, command, crc in rows:
            entry = self._check_row(index, term, command, crc)
            self._entries.append(entry)
        self._first_on_disk = self.first_index
        state = self._db.execute(
            "SELECT cluster, node, term, vote, commit_index, generation, crc FROM state"
        ).fetchone()
        if state is None:
            if self._entries:
                raise self._corrupt("its term and vote are gone")
            return
        self._check_state(state)

    def _check_row(self, index: object, term: object, command: object, crc: object) -> Entry:
        if not (isinstance(index, int) and isinstance(term, int) and isinstance(command, bytes)):
            raise self._corrupt(f"entry {index} has values of a wrong type")
        entry = (command, index, term)
        if crc != _entry_crc(entry):
            raise self._corrupt(f"entry {index} does not match its checksum")
        if self._entries and index != self.last_index + 1:
            raise self._corrupt(f"entries {self.last_index + 1} to {index - 1} are missing")
        if self._entries and term < self._entries[-1][2]:
            raise self._corrupt(f"entry {index} has an older term than the one before it")
        try:
            check_entry_command(command)
        except BadMessage as error:
            raise ConsensusError(
                f"entry {index} of the Raft log {self._path} cannot be read: {error}"
            ) from error
        return entry

    def _check_state(self, row: Sequence[object]) -> None:
        *values, crc = row
        cluster, node, term, vote, commit_index, generation = values
        if not (isinstance(term, int) and isinstance(commit_index, int)):
            raise self._corrupt("its term has a wrong type")
        if crc != _state_crc(values):
            raise self._corrupt("its term and vote do not match their checksum")
        if (cluster, node) != (self._cluster, self._node):
            raise ConsensusError(
                f"the Raft log {self._path} belongs to node {node} of cluster {cluster}, not to"
                f" {self._node} of {self._cluster}: a log is never copied to another node; move the"
                " directory away and this node learns everything from the others"
            )
        if not self._entries or commit_index > self.last_index or term < self._entries[-1][2]:
            raise self._corrupt("its end is missing")
        self._term, self._commit_index = term, commit_index
        self._vote = None if vote is None else NodeId(str(vote))
        if generation is not None:
            self._generation = self._read_generation(str(generation))

    def _read_generation(self, text: str) -> Generation:
        try:
            return generations.from_text(text)
        except ValueError as error:
            raise self._corrupt(f"its generation cannot be read ({error})") from error

    def _corrupt(self, what: str) -> StoreCorrupt:
        return StoreCorrupt(f"the Raft log {self._path} is damaged: {what}. {self._advice()}")

    def _advice(self) -> str:
        return (
            "Check the disk. While the other members run, stop this node, wait until they agree on"
            f" who is active, move {self._path.parent} away and start it again: it learns"
            " everything from them. Do that on one node at a time only"
        )

    def _explain(self, error: sqlite3.Error) -> ConsensusError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _NO_SPACE:
            return StoreFull(
                f"the Raft log {self._path} cannot be written ({error}): {self._node} neither votes"
                " nor acknowledges until there is space on the volume again"
            )
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return ConsensusError(
                f"the Raft log {self._path} is in use: is another staqraftd running with this"
                " configuration?"
            )
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return self._corrupt(str(error))
        return ConsensusError(f"the Raft log {self._path} cannot be used: {error}")


def _entry_crc(entry: Entry) -> int:
    command, index, term = entry
    return zlib.crc32(command, zlib.crc32(struct.pack("<QQ", index, term)))


def _state_crc(values: Sequence[object]) -> int:
    return zlib.crc32(repr(tuple(values)).encode())
