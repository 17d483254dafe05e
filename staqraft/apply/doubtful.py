"""What the applier is not sure of: looked at again later, and believed by nobody until then."""

from __future__ import annotations

from dataclasses import replace

from staqraft.apply.matching import NOT_SURE_NS, is_same
from staqraft.apply.observe import look
from staqraft.apply.places import Places
from staqraft.apply.unsettled import Unsettled
from staqraft.index import Index
from staqraft.journal.record import Metadata, ObjectType, Record, Upsert
from staqraft.model import ORIGIN, Position

_NEVER = bytes(16)  # a digest that no content has


class Doubtful:
    """Notes it in the index and among the unsettled."""

    def __init__(self, index: Index, unsettled: Unsettled, places: Places) -> None:
        self._index = index
        self._unsettled = unsettled
        self._places = places
        self.compared = ORIGIN  # where following began
        self.compared_until = ORIGIN  # where the active was when the last fetch ended
        self._fetching = False
        self.cleaned: set[tuple[str, bytes]] = set()  # directories of which it removed something

    def suspect(self, tree: str, path: bytes) -> None:
        """Whatever is or comes here is not believed until it was fetched anew."""
        expected = Metadata(type=ObjectType.FILE, mode=0, uid=0, gid=0, mtime_ns=0)
        change = Upsert(metadata=expected, digest=_NEVER)
        self.not_sure(Record(tree=tree, path=path, change=change))

    def was_not_there(self, tree: str, path: bytes) -> None:
        """The active had nothing here when it was asked: it may have moved it, and not told yet."""
        if not self._unsettled.has(tree, path):
            self.suspect(tree, path)
        if path:  # a root is never removed
            self._unsettled.add_gone(tree, path)

    def fetch_begins(self) -> None:
        """Objects are fetched by their paths, which records that are on their way may change."""
        if self._index.position >= self.compared_until:
            self.cleaned.clear()  # the comparison is long past
        self._fetching = True

    def fetched_until(self, until: Position) -> None:
        """It is over, and these records were told until then. Never called: it may be any."""
        self._fetching = False
        self.compared_until = max(self.compared_until, until)

    def note_if_mixed(self, record: Record, source: bytes) -> None:
        """A directory moves that may have, in part, what its successor at this place has.

        It moved while it was compared, or while something in it was fetched anew: what was asked
        for after that was told of the successor.
        """
        upsert, tree = record.change, record.tree
        if (
            not isinstance(upsert, Upsert)
            or upsert.metadata.type is not ObjectType.DIRECTORY
            or not self.compared < record.position
            or not (self._fetching or record.position <= self.compared_until)
        ):
            return
        below = source + b"/"
        cleaned = any(
            known == tree and (path == source or path.startswith(below))
            for known, path in self.cleaned
        )
        later = (e.origin >= record.position for e in self._index.subtree(tree, source))
        if cleaned or any(later):
            self._unsettled.add_hollow(tree, source)

    def suspect_relics(self, record: Record) -> None:
        """A directory went, and the one that is here is a later one, which was fetched.

        What records put into it since the comparison, and before this, was meant for the former.
        """
        entry = self._index.get(record.tree, record.path)
        if entry is None or entry.metadata.type is not ObjectType.DIRECTORY:
            return
        for below in list(self._index.subtree(record.tree, record.path)):
            if self.compared < below.origin < record.position:
                self.suspect(record.tree, below.path)

    def suspect_other_names(self, record: Record) -> None:
        """A file fetched anew gets an inode of its own, and its other names would keep the old."""
        entry = self._index.get(record.tree, record.path)
        if entry is None or entry.metadata.type is not ObjectType.FILE:
            return
        names = self._index.names_of(record.tree, entry.identity.dev, entry.identity.ino)
        for name in names:
            if name != record.path:
                self.suspect(record.tree, name)

    def not_sure(self, record: Record) -> None:
        """To be looked at again, by a scan too: it may come before this is settled, or instead."""
        self._unsettled.add(record)
        entry = self._index.get(record.tree, record.path)
        if entry is not None and entry.identity.ctime_ns != NOT_SURE_NS:
            identity = replace(entry.identity, ctime_ns=NOT_SURE_NS)
            self._index.put(record.tree, replace(entry, identity=identity))

    def lost_directories(self) -> list[Record]:
        """Directories whose content is elsewhere or unknown: only a comparison helps."""
        lost = [
            record
            for record in self._unsettled.records()
            if self.is_lost_directory(record) or self._is_unknown_directory(record)
        ]
        return lost + self._unsettled.hollow()

    def is_lost_directory(self, record: Record) -> bool:
        """The index has a directory here and another one, or none, is on the disk.

        Its content is elsewhere (a crash after a move) or lost; another directory in its place
        would let the index believe in objects that are not there.
        """
        entry = self._index.get(record.tree, record.path)
        if entry is None or entry.metadata.type is not ObjectType.DIRECTORY:
            return False
        at = self._places.find(record.tree, record.path)
        found = look(*at) if at else None
        return found is None or not is_same(entry, found)

    def _is_unknown_directory(self, record: Record) -> bool:
        """The directory, or the one above, is not indexed: there is more in it than is told."""
        above = record.path.rpartition(b"/")[0]
        if above and self._index.get(record.tree, above) is None:
            return True
        upsert = record.change
        return (
            isinstance(upsert, Upsert)
            and upsert.metadata.type is ObjectType.DIRECTORY
            and self._index.get(record.tree, record.path) is None
        )

    def paths(self, tree: str) -> list[bytes]:
        """What has to be fetched to settle everything, with directories that are missing above."""
        paths: set[bytes] = set()
        for record in self._unsettled.records():
            if record.tree != tree:
                continue
            paths.add(record.path)
            above = record.path.rpartition(b"/")[0]
            while above and self._index.get(tree, above) is None:
                paths.add(above)
                above = above.rpartition(b"/")[0]
        return sorted(paths)
