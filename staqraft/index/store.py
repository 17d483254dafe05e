"""The index itself: entries by path, moves, hard links, comparison digests, commits."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from staqraft.index import sql
from staqraft.index.comparison import Comparison
from staqraft.index.database import Database, open_database
from staqraft.index.entry import (
    COLUMN_COUNT,
    Entry,
    Listed,
    Totals,
    TreeSummary,
    is_same_file,
    to_entry,
    to_row,
)
from staqraft.index.errors import IndexFull, MissingParent
from staqraft.index.history import SharedHistory
from staqraft.index.names import names_of
from staqraft.index.recent import Recent
from staqraft.journal.record import ObjectType
from staqraft.model import ORIGIN, Epoch, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_CACHED_DIRECTORIES = 50_000
_DIGESTS_AT_ONCE = 32  # some milliseconds
_PAUSE_S = 0.0005


class Index:
    """What a replica knows of a group's trees. See the package's docstring for its promises."""

    def __init__(self, database: Database, rebuilt: str) -> None:
        self.lock = threading.RLock()
        self.rebuilt = rebuilt
        self._rollbacks = 0
        self._db = database
        self._comparison = Comparison(database)
        self._trees: dict[str, int] = {}
        self._totals: dict[int, tuple[int, int]] = {}
        self._ids: dict[tuple[int, bytes], int] = {}
        self._places: dict[int, tuple[int, bytes]] = {}
        self._recent = Recent()
        self._changed_totals: set[int] = set()
        self._position = ORIGIN
        self._load()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens or makes the index. A damaged one is moved aside; `rebuilt` then says so."""
        path.parent.mkdir(parents=True, exist_ok=True)
        database, rebuilt = open_database(path)
        index = cls(database, rebuilt)
        database.change("DELETE FROM meta WHERE key='closed-cleanly'")
        database.run("COMMIT")
        return index

    # --- reading ---------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """The position of the last commit."""
        return self._position

    @property
    def forgotten(self) -> int:
        """How often what was put was forgotten before it was kept, by whoever's failure."""
        return self._rollbacks + self._db.given_up

    def get(self, tree: str, path: bytes) -> Entry | None:
        """The entry at a path."""
        with self.lock:
            place = self._place(tree, path)
            return self._entry(place, path) if place else None

    def foresee(self, tree: str, paths: Iterable[bytes]) -> None:
        """`get` will be asked for these: the database is asked once for each directory of them."""
        with self.lock:
            places = ((self._place(tree, path), path) for path in paths)
            self._recent.foresee(self._db, ((place, path) for place, path in places if place))

    def children(self, tree: str, path: bytes) -> list[Entry]:
        """The entries of a directory, sorted by name; empty if there is no such directory."""
        with self.lock:
            found = self._directory(self._tree(tree), path)
            return [] if found is None else [e for e, _ in self._children(found, path)]

    def directories(self, tree: str, path: bytes) -> list[bytes]:
        """The paths of the directories in a directory, sorted by name."""
        with self.lock:
            found = self._directory(self._tree(tree), path)
            rows = [] if found is None else self._db.all(sql.DIRECTORIES, (found,))
        prefix = path + b"/" if path else b""
        return [prefix + name for (name,) in rows]

    def subtree(self, tree: str, path: bytes) -> Iterator[Entry]:
        """Everything below a directory, without itself, parents first.

        Each directory is read when the iteration comes to it; changes in between are seen or not.
        """
        with self.lock:
            found = self._directory(self._tree(tree), path)
        pending = [] if found is None else [(found, path)]
        while pending:
            number, at = pending.pop()
            with self.lock:
                below = self._children(number, at)
            for entry, child in below:
                yield entry
                if entry.metadata.type is ObjectType.DIRECTORY:
                    pending.append((child, entry.path))

    def extent(self, tree: str, path: bytes) -> int:
        """How many objects are at a path and below it."""
        with self.lock:
            place = self._place(tree, path)
            found = self._find(place) if place else None
            return 0 if found is None else int(self._db.all(sql.COUNT_BELOW, (found[0],))[0][0])

    def names_of(self, tree: str, dev: int, ino: int) -> list[bytes]:
        """All paths in the tree that are names of this inode, sorted."""
        return self.names_of_all(tree, dev, (ino,))[ino]

    def names_of_all(self, tree: str, dev: int, inodes: Iterable[int]) -> dict[int, list[bytes]]:
        """The same for many inodes of a device: the database is asked for all of them together."""
        with self.lock:
            return names_of(self._db, self._places, self._tree(tree), dev, inodes)

    def listing(self, tree: str, path: bytes) -> list[Listed] | None:
        """A directory as replicas compare it, sorted by name; None if there is no directory."""
        with self.lock:
            found = self._directory(self._tree(tree), path)
            return None if found is None else self._comparison.listing(found)

    def root(self, tree: str) -> TreeSummary:
        """The tree's digest for a comparison, and how much it holds.

        Where many digests are missing it lets others at the index in between.
        """
        while True:
            with self.lock:
                if self._comparison.prepare(self._tree(tree), _DIGESTS_AT_ONCE):
                    break
            time.sleep(_PAUSE_S)  # a lock that is let go and taken at once is never got by others
        with self.lock:
            number = self._tree(tree)
            digest = self._comparison.tree_digest(number)
            totals = self.totals(tree)
            return TreeSummary(digest=digest, objects=totals.objects, bytes=totals.bytes)

    def totals(self, tree: str) -> Totals:
        """How much the tree holds; cheap."""
        with self.lock:
            objects, size = self._totals[self._tree(tree)]
            return Totals(objects=objects, bytes=size)

    # --- writing: nothing is kept before `commit` ---------------------------------------------

    def put(self, tree: str, entry: Entry) -> None:
        """Sets the entry at its path. What was below a directory that is none any more is removed.

        Raises MissingParent if its directory is not in the index.
        """
        with self.lock:
            number = self._tree(tree)
            parent, name = self._place_for_put(tree, number, entry.path)
            known = self._entry((parent, name), entry.path)
            if known is None:
                self._db.change(sql.INSERT, (*to_row(entry), number, parent, name))
                self._count(number, 1, entry.metadata.size)
            else:
                self._overwrite(number, (parent, name), known, entry)
            self._recent.keep((parent, name), entry)
            self._comparison.invalidate(parent)
            is_file = entry.metadata.type is ObjectType.FILE
            if is_file and not (known is not None and is_same_file(known, entry)):
                self._comparison.invalidate_links(number, entry.identity)

    def add_all(self, tree: str, entries: Sequence[Entry]) -> list[Entry]:
        """As `put` for many objects of one directory (or the root alone), new ones only.

        Returns those of which the index has something already. No file may have a second name.
        Raises MissingParent if the directory is not in the index.
        """
        with self.lock:
            number = self._tree(tree)
            parent, _ = self._place_for_put(tree, number, entries[0].path)
            new = {entry.path.rpartition(b"/")[2]: entry for entry in entries}
            found = self._db.all(sql.which_of(len(new)), (parent, *new))
            known = [new.pop(name) for (name,) in found]
            self._db.change_all(
                sql.INSERT, [(*to_row(entry), number, parent, name) for name, entry in new.items()]
            )
            for name in new:
                self._recent.forget((parent, name))
            self._count(number, len(new), sum(entry.metadata.size for entry in new.values()))
            self._comparison.invalidate(parent)
            return known

    def complete(self, tree: str, entries: Sequence[Entry]) -> None:
        """Unread files were read: their entries, if each is still of that inode and origin."""
        with self.lock:
            places = ((self._place(tree, entry.path), entry) for entry in entries)
            found = {place: entry for place, entry in places if place is not None}
            self._db.change_all(sql.COMPLETE, [sql.completed(*each) for each in found.items()])
            for place in found:
                self._recent.forget(place)
            for parent in {parent for parent, _ in found}:
                self._comparison.invalidate(parent)

    def remove(self, tree: str, path: bytes) -> None:
        """Forgets the entry and everything below it; harmless if there is none."""
        with self.lock:
            number = self._tree(tree)
            place = self._place(tree, path)
            known = self._entry(place, path) if place else None
            if place is None or known is None:
                return
            self._comparison.invalidate(place[0])
            if known.metadata.type is ObjectType.DIRECTORY:
                self._remove_below(number, place, itself=True)
                self._recent.clear()
            else:
                self._db.change(sql.FORGET_SIGNATURES, place)
                self._db.change(sql.REMOVE, place)
                self._count(number, -1, -known.metadata.size)
                if known.metadata.type is ObjectType.FILE:
                    self._comparison.invalidate_links(number, known.identity)
                self._recent.keep(place, None)

    def move(self, tree: str, source: bytes, target: bytes, then: Entry | None = None) -> None:
        """Renames an entry with everything below it; what stood at the target is forgotten.

        `then`: what is there afterwards, as `put` would set it. Raises MissingParent if the source
        or the target's directory is not in the index.
        """
        with self.lock:
            number = self._tree(tree)
            if source == target:
                return self.put(tree, then) if then is not None else None
            if not source or not target or target.startswith(source + b"/"):
                raise ValueError(f"cannot move {source!r} to {target!r}: one is above the other")
            place = self._place(tree, source)
            known = self._entry(place, source) if place else None
            if place is None or known is None:
                raise MissingParent(f"tree {tree}: {source!r} is not in the index, cannot be moved")
            parent, name = self._place_for_put(tree, number, target)
            below = target + b"/"
            if self._entry((parent, name), target) is not None:
                self.remove(tree, target)
                parent, name = self._place_for_put(tree, number, target)
            self._comparison.invalidate(place[0])
            self._comparison.invalidate(parent)
            if then is not None and is_same_file(known, then) and not source.startswith(below):
                self._db.change(sql.MOVE_AND_UPDATE, (*to_row(then), parent, name, *place))
                self._count(number, 0, then.metadata.size - known.metadata.size)
                self._recent.keep(place, None)
                self._recent.keep((parent, name), then)
                return None
            self._db.change(sql.MOVE, (parent, name, *place))
            if known.metadata.type is ObjectType.DIRECTORY:
                self._forget_places()
                self._recent.clear()
            else:
                self._recent.moved(place, (parent, name), target)
            return self.put(tree, then) if then is not None else None

    def signatures(self, tree: str, path: bytes) -> bytes | None:
        """The block signatures kept for a file, as `set_signatures` was given them."""
        with self.lock:
            place = self._place(tree, path)
            row = place and self._db.one(sql.SIGNATURES, place)
            return bytes(row[0]) if row else None

    def set_signatures(self, tree: str, path: bytes, blob: bytes | None) -> None:
        """Keeps opaque block signatures beside an entry; they move and vanish with it."""
        with self.lock:
            place = self._place(tree, path)
            found = self._find(place) if place else None
            if found is None:
                raise MissingParent(f"tree {tree}: {path!r} is not in the index")
            if blob is None:
                self._db.change("DELETE FROM signatures WHERE id=?", (found[0],))
            else:
                self._db.change("REPLACE INTO signatures VALUES (?,?)", (found[0], blob))

    def commit(self, position: Position, then: Callable[[], None] | None = None) -> None:
        """Keeps all that was put since the last commit, as of `position`. Raises IndexFull.

        With `then` it outlives a power cut, and that is called before the position is told.
        """
        with self.lock:
            if self._db.given_up:
                self.rollback()
                raise IndexFull(
                    f"index {self._db.path} could not be written, and what was put is forgotten;"
                    " free space on its volume"
                )
            try:
                if position != self._position:
                    self._db.change(*sql.set_meta("position", f"{position.epoch}:{position.seq}"))
                for number in self._changed_totals:
                    self._db.change(sql.COUNTED, (*self._totals[number], number))
                if self._db.in_transaction:
                    self._db.run("COMMIT")
            except IndexFull:
                self.rollback()
                raise
            self._changed_totals.clear()
        if then is not None:
            self.sync()
            then()
        self._position = position

    def sync(self) -> None:
        """What was committed outlives a power cut from now on. Raises IndexFull."""
        self._db.sync()

    def rollback(self) -> None:
        """Forgets everything since the last commit."""
        with self.lock:
            self._rollbacks += 1
            self._db.given_up = False
            if self._db.in_transaction:
                self._db.run("ROLLBACK")
            self._load()

    def adopt(self, tree: str, shared: SharedHistory, origin: Position) -> None:
        """Gives `origin` to every entry whose own is not of the shared history.

        For the end of a reconcile, when all of the tree is known to be the active's state.
        """
        with self.lock:
            self._db.change(*sql.adopt(self._tree(tree), shared, origin))
            self._recent.clear()

    def clear(self, tree: str) -> None:
        """Forgets everything about a tree."""
        self.remove(tree, b"")

    def meta(self, key: str) -> str | None:
        """A note kept beside the entries."""
        with self.lock:
            row = self._db.one("SELECT value FROM meta WHERE key=?", (key,))
            return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str | None) -> None:
        """Keeps (or with None forgets) a note; durable with the next commit."""
        with self.lock:
            self._db.change(*sql.set_meta(key, value))

    def compact(self) -> None:
        """Gives unused pages back to the filesystem. Commits must not be pending."""
        with self.lock:
            self._db.script("PRAGMA incremental_vacuum")
            self._db.all("PRAGMA optimize")
            self._db.all("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Closes the index; what was not committed is forgotten."""
        with self.lock:
            if self._db.in_transaction:
                self._db.run("ROLLBACK")
            self._db.change(*sql.set_meta("closed-cleanly", "yes"))
            self._db.run("COMMIT")
            self._db.close()

    # --- inside -----------------------------------------------------------------------------

    def _load(self) -> None:
        rows = self._db.all("SELECT id, name, objects, bytes FROM trees")
        self._trees = {name: number for number, name, _, _ in rows}
        self._totals = {number: (objects, size) for number, _, objects, size in rows}
        self._changed_totals.clear()
        self._forget_caches()
        epoch, seq = (self.meta("position") or "0:0").split(":")
        self._position = Position(Epoch(int(epoch)), int(seq))

    def _tree(self, tree: str) -> int:
        number = self._trees.get(tree)
        if number is None:
            number = self._db.change("INSERT INTO trees (name) VALUES (?)", (tree,)).lastrowid
            assert number is not None
            self._trees[tree] = number
            self._totals[number] = (0, 0)
        return number

    def _forget_caches(self) -> None:
        self._failures = self._db.failures
        self._forget_places()
        self._recent.clear()
        self._comparison.reset()

    def _entry(self, place: tuple[int, bytes], path: bytes) -> Entry | None:
        try:
            return self._recent.look(place)
        except KeyError:
            row = self._db.one(sql.GET, place)
            entry = to_entry(path, row) if row else None
            self._recent.keep(place, entry)
            return entry

    def _place(self, tree: str, path: bytes) -> tuple[int, bytes] | None:
        if self._failures != self._db.failures:
            self._forget_caches()  # SQLite may have given up what was not committed
        number = self._tree(tree)
        if not path:
            return -number, b""
        directory, _, name = path.rpartition(b"/")
        parent = self._directory(number, directory)
        return None if parent is None else (parent, name)

    def _place_for_put(self, tree: str, number: int, path: bytes) -> tuple[int, bytes]:
        place = self._place(tree, path)
        if place is None:
            raise MissingParent(f"tree {tree} ({number}): the directory of {path!r} is not indexed")
        return place

    def _find(self, place: tuple[int, bytes]) -> tuple[int, int] | None:
        return self._db.one(sql.FIND, place)

    def _directory(self, number: int, path: bytes) -> int | None:
        known = self._ids.get((number, path))
        if known is not None:
            return known
        below = [path]  # of what is known, from the bottom: without a recursion, however deep it is
        while known is None and path:
            path = path.rpartition(b"/")[0]
            known = self._ids.get((number, path))
            if known is None:
                below.append(path)
        parent = -number if known is None else known
        for directory in reversed(below):
            found = self._find((parent, directory.rpartition(b"/")[2]))
            if found is None or found[1] != ObjectType.DIRECTORY:
                return None
            if len(self._ids) >= _CACHED_DIRECTORIES:
                self._forget_places()
            parent = found[0]
            self._ids[number, directory] = parent
            self._places[parent] = (number, directory)
        return parent

    def _forget_places(self) -> None:
        self._ids.clear()
        self._places.clear()

    def _children(self, directory: int, path: bytes) -> list[tuple[Entry, int]]:
        prefix = path + b"/" if path else b""
        return [
            (to_entry(prefix + row[COLUMN_COUNT], row), row[COLUMN_COUNT + 1])
            for row in self._db.all(sql.CHILDREN, (directory,))
        ]

    def _count(self, number: int, objects: int, size: int) -> None:
        had = self._totals[number]
        self._totals[number] = (had[0] + objects, had[1] + size)
        self._changed_totals.add(number)

    def _overwrite(self, number: int, place: tuple[int, bytes], known: Entry, entry: Entry) -> None:
        was, now = known.metadata, entry.metadata
        if was.type is ObjectType.DIRECTORY and now.type is not ObjectType.DIRECTORY:
            self._remove_below(number, place, itself=False)
            self._recent.clear()
        old, new = known.identity, entry.identity
        if was.type is ObjectType.FILE and (old.ino, old.dev) != (new.ino, new.dev):
            self._comparison.invalidate_links(number, old)
        self._db.change(sql.UPDATE, (*to_row(entry), *place))
        self._count(number, 0, now.size - was.size)

    def _remove_below(self, number: int, place: tuple[int, bytes], *, itself: bool) -> None:
        """Removes the rows below that of a directory, perhaps with itself."""
        found = self._find(place)
        assert found is not None, "it was looked up just now"
        top = found[0]
        rows = self._db.all(sql.ALL_BELOW, (top,))
        gone = [row for row in rows if itself or row[0] != top]
        for row_id, kind, size, ino, dev in gone:
            self._db.change("DELETE FROM entries WHERE id=?", (row_id,))
            self._db.change("DELETE FROM signatures WHERE id=?", (row_id,))
            self._count(number, -1, -size)
            if kind == ObjectType.FILE:
                self._comparison.invalidate_inode(number, ino, dev)
        for row_id, kind, *_ in rows:
            if kind == ObjectType.DIRECTORY:
                self._comparison.forget(row_id)
                if (known := self._places.pop(row_id, None)) is not None:
                    self._ids.pop(known, None)
