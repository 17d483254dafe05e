"""Subtree digests: computed when asked, cached on disk, invalidated from a change up to the root.

Invariant: where a directory has a cached digest, all directories below it have theirs. So an
invalidation can stop at the first directory without one, and `_absent` remembers such
directories to spare the database during bursts of changes in one place.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import xxhash

from staqraft.index.digest import linked_state, state_digest
from staqraft.index.entry import COLUMN_COUNT, COLUMNS, FileIdentity, Listed, metadata_of, signed
from staqraft.journal.record import ObjectType

if TYPE_CHECKING:
    from staqraft.index.database import Database

_ABSENT_KEPT = 100_000
_LENGTH = struct.Struct("<I")
_LIST = (
    f"SELECT {COLUMNS}, name, id, CASE type WHEN 1 THEN "  # noqa: S608 (constants only)
    "(SELECT count(*) FROM entries o WHERE o.ino=e.ino AND o.dev=e.dev AND o.tree=e.tree) "
    "ELSE 1 END FROM entries e WHERE parent=? ORDER BY name"
)


class Comparison:
    """The digests of the directories of an index."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._absent: set[int] = set()

    def reset(self) -> None:
        """Forgets what was remembered in memory (after a rollback)."""
        self._absent.clear()

    def invalidate(self, directory: int) -> None:
        """Something directly in this directory changed. A number below zero is above a root."""
        while directory > 0 and directory not in self._absent:
            if self._db.one("SELECT 1 FROM digests WHERE id=?", (directory,)) is None:
                self._remember_absent(directory)
                return
            self._db.change("DELETE FROM digests WHERE id=?", (directory,))
            self._remember_absent(directory)
            row = self._db.one("SELECT parent FROM entries WHERE id=?", (directory,))
            directory = row[0] if row else 0

    def invalidate_links(self, tree: int, identity: FileIdentity) -> None:
        """A name of this inode came: the other names are compared by their number."""
        self.invalidate_inode(tree, signed(identity.ino), signed(identity.dev))

    def invalidate_inode(self, tree: int, ino: int, dev: int) -> None:
        """A name of this inode came or went."""
        for (parent,) in self._db.all(
            "SELECT DISTINCT parent FROM entries WHERE ino=? AND dev=? AND tree=?", (ino, dev, tree)
        ):
            self.invalidate(parent)

    def forget(self, directory: int) -> None:
        """The directory itself is gone or is none any more."""
        self._db.change("DELETE FROM digests WHERE id=?", (directory,))
        self._absent.discard(directory)

    def tree_digest(self, tree: int) -> bytes:
        """Digest of a whole tree, its root's own state included; b"" if it is not there."""
        rows = self._rows(-tree)
        return self._digest_of(rows) if rows else b""

    def listing(self, directory: int) -> list[Listed]:
        """The directory's entries with their states and subtree digests."""
        return [
            Listed(
                name=row[COLUMN_COUNT],
                type=ObjectType(row[0]),
                state=b"" if _is_unread(row) else _state(row),
                subtree=self._subtree(row),
                size=row[5],
            )
            for row in self._rows(directory)
        ]

    def _rows(self, directory: int) -> list[tuple[Any, ...]]:
        return self._db.all(_LIST, (directory,))

    def _subtree(self, row: tuple[Any, ...]) -> bytes:
        if row[0] != ObjectType.DIRECTORY:
            return b""
        number = row[COLUMN_COUNT + 1]
        self._compute(number)
        return self._cached(number) or b""

    def _cached(self, directory: int) -> bytes | None:
        row = self._db.one("SELECT digest FROM digests WHERE id=?", (directory,))
        return None if row is None else row[0]

    def prepare(self, tree: int, directories: int) -> bool:
        """Computes so many of the tree's missing digests at most. True: none is missing."""
        roots = [row[COLUMN_COUNT + 1] for row in self._rows(-tree)]
        return all(self._compute(root, directories) for root in roots)

    def _compute(self, directory: int, at_most: int | None = None) -> bool:
        """Computes the missing digests at and below a directory, deepest first. True: all."""
        if self._cached(directory) is not None:
            return True
        stack, done = [directory], 0
        while stack:
            if at_most is not None and done >= at_most:
                return False
            rows = self._rows(stack[-1])
            missing = [
                row[COLUMN_COUNT + 1]
                for row in rows
                if row[0] == ObjectType.DIRECTORY and self._cached(row[COLUMN_COUNT + 1]) is None
            ]
            if missing:
                stack += missing
                continue
            number = stack.pop()
            digest = self._digest_of(rows)
            self._db.change("REPLACE INTO digests VALUES (?,?)", (number, digest))
            self._absent.discard(number)
            done += 1
        return True

    def _digest_of(self, rows: list[tuple[Any, ...]]) -> bytes:
        hasher = xxhash.xxh3_128()
        for row in rows:
            name = row[COLUMN_COUNT]
            hasher.update(_LENGTH.pack(len(name)))
            hasher.update(name)
            hasher.update(_state(row))
            hasher.update(self._subtree(row))
        return hasher.digest()

    def _remember_absent(self, directory: int) -> None:
        if len(self._absent) >= _ABSENT_KEPT:
            self._absent.clear()
        self._absent.add(directory)


def _is_unread(row: tuple[Any, ...]) -> bool:
    return row[0] == ObjectType.FILE and not row[9]


def _state(row: tuple[Any, ...]) -> bytes:
    content = row[9] or b""
    if _is_unread(row):  # like no other replica's, so that what is above it compares different
        content = b"unread %d %d" % (row[11], row[12])
    state = state_digest(metadata_of(row), content)
    return linked_state(state, row[COLUMN_COUNT + 2])
