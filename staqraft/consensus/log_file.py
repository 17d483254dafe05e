"""The file of the Raft log: SQLite in WAL mode with a mark beside it, written in transactions.

A transaction is synced when `write` returns. What is read at opening is either exactly what the
last transaction left, or `StoreCorrupt`: each row has a checksum, indexes have no gap, the state
row says where the entries begin and end, and the mark says how many transactions there were
(`log_mark`). Nothing is repaired.

Not found: all files put back together from an old copy. A node's log is never restored.
"""

from __future__ import annotations

import errno
import sqlite3
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from staqraft.consensus import generations
from staqraft.consensus.codec import Entry, check_entry_command
from staqraft.consensus.durable import make_directory
from staqraft.consensus.errors import BadMessage, StoreCorrupt
from staqraft.consensus.log_mark import LogMark
from staqraft.errors import ConsensusError, Outdated, StoreFull
from staqraft.model import Generation, NodeId

SCHEMA_VERSION: Final = 1
_MAKE_ENTRIES: Final = """
CREATE TABLE entries (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, command BLOB NOT NULL, crc INTEGER NOT NULL
)
"""
_MAKE_STATE: Final = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), cluster TEXT NOT NULL, node TEXT NOT NULL,
    term INTEGER NOT NULL, vote TEXT, commit_index INTEGER NOT NULL, generation TEXT,
    first_index INTEGER NOT NULL, last_index INTEGER NOT NULL, number INTEGER NOT NULL,
    crc INTEGER NOT NULL
)
"""
_SET_STATE: Final = """
INSERT OR REPLACE INTO state
    (one, cluster, node, term, vote, commit_index, generation, first_index, last_index, number, crc)
    VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_GET_STATE: Final = """
SELECT cluster, node, term, vote, commit_index, generation, first_index, last_index, number, crc
FROM state
"""
_PAGE_BYTES: Final = 1024
_WAL_PAGES: Final = 1024  # checkpoint so often that the WAL stays about 1 MiB
_CACHE_KIB: Final = 64
_NO_SPACE: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_IN_USE: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_NOT_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
)


@dataclass(slots=True)
class Stored:
    """What the file holds. `number` counts its transactions."""

    entries: list[Entry] = field(default_factory=list)
    term: int = 0
    vote: NodeId | None = None
    commit_index: int = 1
    generation: Generation | None = None  # None: the first
    number: int = 0


class LogFile:
    """The file, open. One thread at a time, and one process."""

    def __init__(
        self, connection: sqlite3.Connection, mark: LogMark, path: Path, cluster: str, node: NodeId
    ) -> None:
        self._db = connection
        self._mark = mark
        self._path = path
        self._cluster = cluster
        self._node = node
        self._number = 0

    @classmethod
    def open(cls, path: Path, cluster: str, node: NodeId) -> tuple[LogFile, Stored]:
        """Opens or makes it. StoreCorrupt, StoreFull, or ConsensusError with what to do."""
        try:
            make_directory(path.parent)
            mark = _open_mark(path)
        except OSError as error:
            raise _os_failure(path, error) from error
        try:
            # The ticker's thread uses it after the opening thread; never two at once.
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        except sqlite3.Error as error:
            mark.close()
            raise ConsensusError(f"cannot open the Raft log {path}: {error}") from error
        file = cls(db, mark, path, cluster, node)
        try:
            file._prepare()
            stored = file._load()
        except (sqlite3.Error, UnicodeError) as error:  # that: of a sentence of SQLite's own
            file.close()
            raise file._explain(error, reading=True) from error
        except BaseException:
            file.close()
            raise
        return file, stored

    def write(self, stored: Stored, *, replace_from: int | None, forget_before: int | None) -> None:
        """Makes the file hold what is in `stored`, in one transaction, synced.

        Entries differ from `replace_from` on and are gone before `forget_before`; None: they are
        not touched. StoreFull or ConsensusError: call again; the file has all of it or nothing.
        """
        first, last = stored.entries[0][1], stored.entries[-1][1]
        number = self._number + 1
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if replace_from is not None:
                self._write_entries(stored.entries[max(0, replace_from - first) :], replace_from)
            if forget_before is not None:
                self._db.execute("DELETE FROM entries WHERE idx < ?", (forget_before,))
            row = (
                self._cluster,
                self._node,
                stored.term,
                stored.vote,
                min(stored.commit_index, last),
                generations.to_text(stored.generation) if stored.generation else None,
                first,
                last,
                number,
            )
            self._db.execute(_SET_STATE, (*row, _state_crc(row)))
            self._db.execute("COMMIT")
        except (sqlite3.Error, UnicodeError) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._explain(error, reading=False) from error
        self._number = stored.number = number
        try:
            self._mark.advance(number)
        except OSError as error:
            raise _os_failure(self._path, error) from error

    def close(self) -> None:
        """Closes the files."""
        self._mark.close()
        self._db.close()

    # --- opening --------------------------------------------------------------------------------

    def _prepare(self) -> None:
        # Before anything that reads: a second daemon is refused, and without a memory-mapped index
        # file beside the log a full volume cannot kill us with SIGBUS.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        # A renewal changes three pages. Small ones spare the disk, and the memory of a witness
        # that has hundreds of these open. An existing log keeps its own.
        self._db.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
        self._db.execute(f"PRAGMA journal_size_limit={4 << 20}")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise Outdated(
                f"the Raft log {self._path} was written by a newer version of this software (layout"
                f" {version}, known here: {SCHEMA_VERSION}). It is not touched: install that"
                f" version on {self._node} again"
            )
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_MAKE_ENTRIES)
            self._db.execute(_MAKE_STATE)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._db.execute("COMMIT")

    def _load(self) -> Stored:
        for (finding,) in self._db.execute("PRAGMA quick_check(1)"):
            if finding != "ok":
                raise self._corrupt(str(finding))
        stored = Stored()
        rows = self._db.execute("SELECT idx, term, command, crc FROM entries ORDER BY idx")
        for index, term, command, crc in rows:
            stored.entries.append(self._check_row(stored.entries, index, term, command, crc))
        state = self._db.execute(_GET_STATE).fetchone()
        if state is not None:
            self._check_state(stored, state)
        elif stored.entries:
            raise self._corrupt("its term and vote are gone")
        marked = self._mark.number
        assert marked is not None, "a spoiled mark was let in"
        if stored.number < marked:
            raise self._corrupt(
                f"{marked} transactions were written to it, but it ends with number"
                f" {stored.number}: what the others were told in between is forgotten"
            )
        self._number = stored.number
        return stored

    def _check_row(
        self, before: list[Entry], index: object, term: object, command: object, crc: object
    ) -> Entry:
        if not (isinstance(index, int) and isinstance(term, int) and isinstance(command, bytes)):
            raise self._corrupt(f"entry {index} has values of a wrong type")
        entry = (command, index, term)
        if index < 1 or term < 0 or crc != _entry_crc(entry):
            raise self._corrupt(f"entry {index} does not match its checksum")
        if before and index != before[-1][1] + 1:
            raise self._corrupt(f"entries {before[-1][1] + 1} to {index - 1} are missing")
        if before and term < before[-1][2]:
            raise self._corrupt(f"entry {index} has an older term than the one before it")
        try:
            check_entry_command(command)
        except Outdated as error:
            raise Outdated(
                f"the Raft log {self._path} is not touched: entry {index} is {error}"
            ) from error
        except BadMessage as error:
            raise ConsensusError(
                f"entry {index} of the Raft log {self._path} cannot be read: {error}"
            ) from error
        return entry

    def _check_state(self, stored: Stored, row: Sequence[object]) -> None:
        *values, crc = row
        cluster, node, term, vote, commit_index, generation, first, last, number = values
        if crc != _state_crc(values):
            raise self._corrupt("its term and vote do not match their checksum")
        if (cluster, node) != (self._cluster, self._node):
            raise ConsensusError(
                f"the Raft log {self._path} belongs to node {node} of cluster {cluster}, not to"
                f" {self._node} of {self._cluster}: a log is never copied to another node; move the"
                " directory away and this node learns everything from the others"
            )
        assert isinstance(term, int), "the checksum is right, the type is not"
        assert isinstance(commit_index, int), "the checksum is right, the type is not"
        assert isinstance(number, int), "the checksum is right, the type is not"
        entries = stored.entries
        if not entries or entries[-1][1] != last or term < entries[-1][2]:
            raise self._corrupt("its end is missing")
        if entries[0][1] != first:
            raise self._corrupt("its beginning is missing")
        stored.term, stored.commit_index, stored.number = term, commit_index, number
        stored.vote = None if vote is None else NodeId(str(vote))
        if generation is not None:
            stored.generation = self._read_generation(str(generation))

    def _read_generation(self, text: str) -> Generation:
        try:
            return generations.from_text(text)
        except ValueError as error:
            raise self._corrupt(f"its generation cannot be read ({error})") from error

    # --- within ---------------------------------------------------------------------------------

    def _write_entries(self, entries: list[Entry], start: int) -> None:
        self._db.execute("DELETE FROM entries WHERE idx >= ?", (start,))
        self._db.executemany(
            "INSERT INTO entries (idx, term, command, crc) VALUES (?, ?, ?, ?)",
            (
                (index, term, command, _entry_crc((command, index, term)))
                for command, index, term in entries
            ),
        )

    def _corrupt(self, what: str) -> StoreCorrupt:
        return corrupt(self._path, what)

    def _explain(self, error: sqlite3.Error | UnicodeError, *, reading: bool) -> ConsensusError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _NO_SPACE:
            return _no_space(self._path, error)
        if code in _IN_USE:
            return ConsensusError(
                f"the Raft log {self._path} is in use: is another staqraftd running with this"
                " configuration?"
            )
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or (
            # Our statements are right, so the schema or a text that they meet is not.
            reading and code not in _NOT_ALLOWED
        ):
            return self._corrupt(str(error))
        return ConsensusError(f"the Raft log {self._path} cannot be used: {error}")


def corrupt(path: Path, what: str) -> StoreCorrupt:
    """The log at `path` is not what was written: what was found, and what to do."""
    return StoreCorrupt(f"the Raft log {path} is damaged: {what}. {advice(path)}")


def advice(path: Path) -> str:
    """The way out for a node that has lost its log."""
    return (
        "Check the disk. While the other members run, stop this node, wait until they agree on"
        f" who is active, move {path.parent} away and start it again: it learns"
        " everything from them. Do that on one node at a time only"
    )


def _open_mark(path: Path) -> LogMark:
    """The log's mark. It is durable before the log is made, so a log without one has lost it."""
    at = path.with_name("log.mark")
    mark = LogMark.open(at)
    there = [file.name for file in (path, path.with_name(path.name + "-wal")) if file.exists()]
    if mark is not None and mark.number is not None:
        if mark.number and path.name not in there:
            mark.close()
            raise corrupt(path, f"the file is gone, although {at} says that it was in use")
        return mark
    if mark is not None:
        mark.close()
    if there:
        what = "gone" if mark is None else "spoiled"
        raise corrupt(path, f"{at}, which says how far it had come, is {what}")
    return LogMark.make(at)


def _os_failure(path: Path, error: OSError) -> ConsensusError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
        return _no_space(path, error)
    return ConsensusError(f"cannot use the Raft log {path}: {error}")


def _no_space(path: Path, error: Exception) -> StoreFull:
    return StoreFull(
        f"the Raft log {path} cannot be written ({error}): this node neither votes"
        " nor acknowledges until its volume has space, and works, again"
    )


def _entry_crc(entry: Entry) -> int:
    command, index, term = entry
    return zlib.crc32(command, zlib.crc32(struct.pack("<QQ", index, term)))


def _state_crc(row: Sequence[object]) -> int:
    return zlib.crc32(repr(tuple(str(v) if isinstance(v, str) else v for v in row)).encode())
