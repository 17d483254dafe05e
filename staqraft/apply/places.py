"""Where a record's object goes, and room for it: what stands there is removed, or parked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from staqraft.apply.flags import unprotect
from staqraft.apply.localscan import Excluded, is_left_out
from staqraft.apply.matching import is_same
from staqraft.apply.observe import look, type_of
from staqraft.apply.safety import TreeRoot
from staqraft.apply.writer import Place, TreeWriter
from staqraft.errors import ApplyError
from staqraft.index import Index
from staqraft.journal.record import HardLinkTo, MovedFrom, ObjectType, Record, Upsert


class Places:
    """Of all trees of a group."""

    def __init__(
        self,
        roots: Mapping[str, TreeRoot],
        writers: Mapping[str, TreeWriter],
        index: Index,
        excluded: Mapping[str, Excluded],
    ) -> None:
        self._excluded = excluded
        self._roots = roots
        self._writers = writers
        self._index = index

    def at(self, tree: str, path: bytes) -> Place:
        """Directory and name. Raises FileNotFoundError, NotADirectoryError, PathEscape."""
        return self._roots[tree].parent(path)

    def find(self, tree: str, path: bytes) -> Place | None:
        """The same; None when there is no such directory."""
        try:
            return self.at(tree, path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make_room(self, tree: str, path: bytes, *, keep_files: bool = True) -> Place:
        """The place, free of what a rename could not replace."""
        at = self.at(tree, path)
        found = look(*at)
        if found is None:
            return at
        entry = self._index.get(tree, path)
        if keep_files and type_of(found) is not ObjectType.DIRECTORY and is_same(entry, found):
            return at
        self.clear(tree, path, at)
        return at

    def remove(self, tree: str, path: bytes) -> None:
        """Removes what stands at a path. What this node's patterns leave out is never touched."""
        at = self.find(tree, path)
        found = look(*at) if at is not None else None
        if at is None or found is None:
            return
        excluded = self._excluded.get(tree)
        is_directory = type_of(found) is ObjectType.DIRECTORY
        if excluded is None or not is_left_out(excluded, path, is_directory=is_directory):
            self.clear(tree, path, at)

    def clear(self, tree: str, path: bytes, at: Place) -> None:
        """Removes what stands at the place, or parks it if it is not what the index knows."""
        found = look(*at)
        if found is None:
            return
        if type_of(found) is ObjectType.DIRECTORY:
            self._roots[tree].forget(path)
        if is_same(self._index.get(tree, path), found):
            self._writers[tree].remove(at)
        else:
            self._writers[tree].park(at, found.st_ino)

    def unprotected(self, record: Record, work: Callable[[], None]) -> None:
        """Does what a record says; once more without chattr's protection if that forbids it.

        Raises ApplyError for what no call of the system takes, which no release of ours writes.
        """
        try:
            work()
        except (OverflowError, ValueError) as error:
            text = f"tree {record.tree}, {record.path!r}: a record that cannot be carried out"
            raise ApplyError(f"{text} ({error}): run the same release on both replicas") from error
        except PermissionError:
            if not self._unprotect(record):
                raise
            work()

    def _unprotect(self, record: Record) -> bool:
        """Takes chattr's protection off what a record is about; whether there was any."""
        paths = [record.path]
        match record.change:
            case Upsert(content=MovedFrom(path=other) | HardLinkTo(path=other)):
                paths.append(other)
        done = False
        for path in paths:
            at = self.find(record.tree, path)
            if at is not None:
                done |= unprotect(*at)
                done |= unprotect(at[0], b".")  # its directory
        return done
