"""The names of files: which the index knows, which are there, and that they are one file.

On the other side names are links to one file once they were told to be (`HardLinkTo`). A change in
place is a change under all of them; a whole new content replaces the file under one name only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from staqraft.capture import dirty, mailbox
from staqraft.capture.ledger import Ledger
from staqraft.capture.objects import ObjectState, look, type_of
from staqraft.capture.structure import Dirty
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry
from staqraft.journal.record import Content, HardLinkTo, MailKind, Metadata, ObjectType


class Links:
    """Used by the capture thread only."""

    def __init__(self, watcher: Watcher, ledger: Ledger, now_ms: Callable[[], int]) -> None:
        self.told_others = False  # entries of other places than the one compared were changed
        self._watcher = watcher
        self._ledger = ledger
        self._index = ledger.index
        self._now_ms = now_ms

    def places_of(self, tree: str, dev: int, ino: int, *, flags: int) -> Iterator[Dirty]:
        """Where the index knows an inode to be."""
        return self.places(tree, self._index.names_of(tree, dev, ino), flags=flags)

    def places(self, tree: str, paths: Iterable[bytes], *, flags: int) -> Iterator[Dirty]:
        """Places of paths whose directories are watched."""
        for path in paths:
            parent, _, name = path.rpartition(b"/")
            directory = self._watcher.directories.find(tree, parent)
            if directory is not None:
                yield Dirty(directory, name, flags, self._now_ms())

    def look_at_others(self, place: Dirty) -> None:
        """Marks the other names of what is at a place that is left out, if nothing else tells.

        What is done under a name that is gone again is missed here (`Elsewhere`).
        """
        if self._watcher.sees_all_names:
            return
        now = None
        with suppress(OSError):  # whatever is wrong with it, it is left out
            fd = self._watcher.open(place.directory)
            now = None if fd is None else look(fd, place.name)
        if now is not None and now.st_nlink > 1:
            for other in self.places_of(place.tree, now.st_dev, now.st_ino, flags=dirty.CONTENT):
                self._watcher.put_back(other)

    def look_at(self, tree: str, path: bytes) -> os.stat_result | None:
        """What stands at a path, by the directory map; None if nothing is to be seen there."""
        parent, _, name = path.rpartition(b"/")
        directory = self._watcher.directories.find(tree, parent)
        fd = self._watcher.open(directory) if directory is not None else None
        return None if fd is None else look(fd, name)

    def inode_at(self, tree: str, path: bytes) -> int | None:
        """Which inode stands at a path; None if nothing is to be seen there."""
        now = self.look_at(tree, path)
        return None if now is None else now.st_ino

    def has_left(self, tree: str, path: bytes, found: os.stat_result) -> bool:
        """Whether a file that was just found elsewhere is not at this path any more.

        A directory that cannot be opened is not therefore gone: above it something may have been
        renamed, which is still to be told. Then only a file with a single name has left for
        certain.
        """
        parent, _, name = path.rpartition(b"/")
        directory = self._watcher.directories.find(tree, parent)
        if directory is None:
            return True
        fd = self._watcher.open(directory)
        if fd is None:
            return found.st_nlink == 1 or self._watcher.is_gone(directory)
        there = look(fd, name)
        return there is None or there.st_ino != found.st_ino

    def all_are_there(self, tree: str, entry: Entry) -> bool:
        """Whether a change in place is told to all the names that it will have on the other side.

        A name that the index has and the disk has not is about to be told of. Until then the
        other side's file has it, so that file is replaced, not changed.
        """
        i = entry.identity
        names = self._index.names_of(tree, i.dev, i.ino)
        return len(names) <= 1 or all(self.inode_at(tree, name) == i.ino for name in names)

    def are_broken(self, tree: str, state: ObjectState, entry: Entry) -> bool:
        """Whether a name got an inode of its own, so that its content must travel anew."""
        old = entry.identity
        return (
            old.ino != state.identity.ino and len(self._index.names_of(tree, old.dev, old.ino)) > 1
        )

    def upsert(
        self,
        tree: str,
        path: bytes,
        state: ObjectState,
        metadata: Metadata,
        entry: Entry | None,
        *,
        digest: bytes = b"",
        content: Content | None = None,
        mail: MailKind | None = None,
    ) -> None:
        """Journals the state of a file, and tells its other names."""
        self._ledger.upsert(
            tree, path, metadata, state.identity,
            before=entry, digest=digest, content=content, mail=mail,
        )  # fmt: skip
        if state.links > 1:
            self.relink(tree, path)

    def link(
        self, place: Dirty, path: bytes, now: os.stat_result, entry: Entry | None
    ) -> Entry | None:
        """Makes the place another name of an inode that the index knows; its entry then."""
        self._ledger.flush()
        for name in self._index.names_of(place.tree, now.st_dev, now.st_ino):
            if name == path or self.inode_at(place.tree, name) != now.st_ino:
                continue
            other = self._index.get(place.tree, name)
            if other is None or other.metadata.type is not type_of(now):
                continue
            if other.metadata.type is ObjectType.FILE and not other.digest:
                continue
            profile = self._watcher.trees[place.tree].profile
            self._ledger.upsert(
                place.tree, path, other.metadata, other.identity,
                before=entry, digest=other.digest, content=HardLinkTo(name),
                mail=mailbox.appeared(profile, path, other.metadata.type, moved_from=None),
            )  # fmt: skip
            self._ledger.flush()
            return self._index.get(place.tree, path)
        return None

    def relink(self, tree: str, path: bytes) -> None:
        """Tells the other names of a file that they are links to this one.

        The other side may have replaced the file under this name, or been told of the names at
        times when they could not be known to be one file; or it changed the file under all of its
        names. A name that is gone here is told too: it is still there, until its end is told.
        """
        self._ledger.flush()
        entry = self._index.get(tree, path)
        if entry is None or (entry.metadata.type is ObjectType.FILE and not entry.digest):
            return
        i = entry.identity
        for name in self._index.names_of(tree, i.dev, i.ino):
            other = self._index.get(tree, name)
            if name == path or other is None or other.metadata.type is not entry.metadata.type:
                continue  # a directory had this number, and that it is gone is still to be told
            self.told_others = True
            self._ledger.upsert(
                tree, name, entry.metadata, i,
                before=other, digest=entry.digest, content=HardLinkTo(path),
            )  # fmt: skip
