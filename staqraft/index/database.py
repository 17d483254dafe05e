"""The SQLite file below the index: opening it, finding it damaged, naming its errors."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from staqraft.index.errors import IndexDamaged, IndexFull, IndexProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SCHEMA_VERSION: Final = 1
# A root has parent -tree and no name.
_SCHEMA: Final = """
CREATE TABLE trees (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    objects INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, tree INTEGER NOT NULL, parent INTEGER NOT NULL, name BLOB NOT NULL,
    type INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL, target BLOB, rdev INTEGER NOT NULL,
    xattrs BLOB, digest BLOB, dev INTEGER NOT NULL, ino INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL, origin_epoch INTEGER NOT NULL, origin_seq INTEGER NOT NULL);
CREATE UNIQUE INDEX entries_by_name ON entries (parent, name);
CREATE INDEX entries_by_inode ON entries (ino, dev, tree);
CREATE TABLE digests (id INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE TABLE signatures (id INTEGER PRIMARY KEY, blocks BLOB NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_PRAGMAS: Final = (
    "PRAGMA auto_vacuum=INCREMENTAL",  # has effect on a new file only
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA cache_size=-16000",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA busy_timeout=5000",
)


class Database:
    """One connection with explicit transactions; SQLite's errors come out as ours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failures = 0  # of statements: whoever remembers rows has to look again
        self.given_up = False  # SQLite ended a transaction by itself, and with it what was written
        self._writing = False
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=256
        )

    def prepare(self) -> None:
        """Settings, schema, and a check of the file if it was not closed cleanly."""
        for pragma in _PRAGMAS:
            self.run(pragma)
        (version,) = self.one("PRAGMA user_version") or (0,)
        if version == 0:
            self.run("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";")[:-1]:
                self.run(statement)
            self.run(f"PRAGMA user_version={SCHEMA_VERSION}")
            self.run("COMMIT")
        elif version != SCHEMA_VERSION:
            raise IndexDamaged(
                f"index {self.path} has schema {version}, this software knows {SCHEMA_VERSION}"
            )
        clean = self.one("SELECT value FROM meta WHERE key='closed-cleanly'")
        if version and clean is None:
            verdict = self.one("PRAGMA quick_check(1)")
            if verdict != ("ok",):
                raise IndexDamaged(f"index {self.path} fails SQLite's check: {verdict}")

    @property
    def in_transaction(self) -> bool:
        """Whether something waits for a commit."""
        return self._connection.in_transaction

    def run(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Executes one statement."""
        try:
            done = self._connection.execute(sql, values)
        except sqlite3.DatabaseError as error:
            raise self._named(error) from error
        self._writing = self._connection.in_transaction
        return done

    def change(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Executes a statement that writes, in the transaction that the next commit ends."""
        if not self._connection.in_transaction:
            self.run("BEGIN IMMEDIATE")
        return self.run(sql, values)

    def change_all(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """The same for each of many rows."""
        if not self._connection.in_transaction:
            self.run("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(sql, rows)
        except sqlite3.DatabaseError as error:
            raise self._named(error) from error

    def one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, if any."""
        try:
            row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._named(error) from error
        return row

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._named(error) from error

    def script(self, sql: str) -> None:
        """Runs a statement to its end that works in steps and returns nothing."""
        try:
            self._connection.executescript(sql)
        except sqlite3.DatabaseError as error:
            raise self._named(error) from error

    def sync(self) -> None:
        """Everything committed is on the disk; a commit alone outlives a kill, not a power cut."""
        try:
            number = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(number)
            finally:
                os.close(number)
        except OSError as error:
            raise IndexFull(
                f"index {self.path} cannot be made durable ({error}); check its volume"
            ) from error

    def close(self) -> None:
        """Closes the file; what was not committed is forgotten."""
        self._connection.close()

    def _named(self, error: sqlite3.DatabaseError) -> IndexProblem:
        self.failures += 1
        if self._writing and not self._connection.in_transaction:  # as it does when a disk is full
            self._writing, self.given_up = False, True
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            damage_marker(self.path).touch()
            return IndexDamaged(
                f"index {self.path} is damaged ({error}); it is moved aside and rebuilt by a scan "
                "of the trees when this process starts again"
            )
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return IndexFull(
                f"index {self.path} cannot be written ({error}); free space on its volume"
            )
        return IndexProblem(f"index {self.path}: {error}")


def damage_marker(path: Path) -> Path:
    """The file that says: the database beside it was found damaged."""
    return path.with_name(path.name + ".damaged")


def move_aside(path: Path) -> Path:
    """Renames a damaged database out of the way and says where it is now."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    damage_marker(path).unlink(missing_ok=True)
    return target


def open_database(path: Path) -> tuple[Database, str]:
    """The database, and a sentence when it had to be made anew in place of a damaged one."""
    said = ""
    if damage_marker(path).exists() and path.exists():
        said = _set_aside(path, "it was found damaged while in use")
    database = Database(path)
    try:
        database.prepare()
    except IndexDamaged as error:
        database.close()
        said = _set_aside(path, str(error.__cause__ or error))
        database = Database(path)
        database.prepare()
    except BaseException:
        database.close()
        raise
    return database, said


def _set_aside(path: Path, why: str) -> str:
    kept = move_aside(path)
    return (
        f"the index was damaged ({why}); it is kept as {kept} and a new one is built by a scan of "
        "the trees; nothing needs to be done"
    )
