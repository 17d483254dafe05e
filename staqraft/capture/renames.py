"""Files that were renamed: told as such, without their content.

An inode that the index knows elsewhere, where it no longer is, has been renamed. What was done to
it besides may have been told under any of its names, also under one that nobody looks at any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from staqraft.capture import dirty
from staqraft.capture.folders import Folders
from staqraft.capture.ledger import Ledger
from staqraft.capture.links import Links
from staqraft.capture.moves import order_moves
from staqraft.capture.names import Inode, Names
from staqraft.capture.objects import identity_of, type_of, xattrs_at
from staqraft.capture.structure import PARKING, Dirty
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry
from staqraft.journal.record import MovedFrom, ObjectType

REWRITTEN: Final = dirty.CONTENT | dirty.CLOSED | dirty.CREATED | dirty.SCANNED | dirty.ATTRIBUTES


@dataclass(slots=True)
class Found:
    """A place, what stands there now (None: nothing of ours), and what the index has of it."""

    place: Dirty
    path: bytes
    now: os.stat_result | None
    entry: Entry | None


class Renames:
    """Used by the capture thread, once a batch: `begin`, then `journal`."""

    def __init__(self, watcher: Watcher, ledger: Ledger, links: Links, folders: Folders) -> None:
        self.in_passing = 0  # what was done under names that files had only for a moment
        self._watcher = watcher
        self._ledger = ledger
        self._index = ledger.index
        self._links = links
        self._folders = folders
        self._names = Names(self._index)

    def begin(self) -> None:
        """A new batch: nothing is known of it."""
        self.in_passing = 0
        self._names.forget()

    def names_of(self, tree: str, dev: int, ino: int) -> list[bytes]:
        """Asked when it is found gone under one name, and again when it is found under another."""
        return self._names.of(tree, dev, ino)

    def foresee(self, found: Iterable[Found]) -> None:
        """That will be asked of what came to these places, or left them."""
        self._names.foresee(inode for item in found for inode in _in_question(item))

    def journal(self, found: list[Found]) -> list[Found]:
        """Journals files whose inode the index knows under a path where it no longer is."""
        by_tree: dict[str, dict[bytes, tuple[Found, bytes]]] = {}
        flags = {(item.place.tree, item.path): item.place.flags for item in found}
        gone = {(item.place.tree, item.path) for item in found if item.now is None}
        for item in found:
            now, entry = item.now, item.entry
            if now is None or type_of(now) is not ObjectType.FILE:
                continue
            if entry is not None and entry.identity.ino == now.st_ino:
                if item.place.flags & dirty.NAMED:  # as another for a while, or a new one
                    item.place = replace(item.place, flags=item.place.flags | dirty.CLOSED)
                continue
            source = self._left_behind(item, now, gone)
            onto_directory = (
                entry is not None and entry.metadata.type is ObjectType.DIRECTORY
            )  # the source may be below it: then as a new file
            if source is not None and not onto_directory and self._has_parents(item):
                # What was done to it under its former name is to be looked at under the new one.
                done = flags.get((item.place.tree, source), 0)
                done |= self._watcher.flags_of(item.place.tree, source)  # which is held back
                done = done & REWRITTEN & ~dirty.CREATED | self.in_passing
                if done:
                    item.place = replace(item.place, flags=item.place.flags | done)
                by_tree.setdefault(item.place.tree, {})[item.path] = (item, source)
        self._names.forget()  # from here on the index changes
        for tree, moves in by_tree.items():
            touched = self._perform_moves(tree, moves)
            for item in found:
                if item.place.tree == tree and item.path in touched:
                    item.entry = self._index.get(tree, item.path)
        return [item for moves in by_tree.values() for item, _ in moves.values()]

    def _has_parents(self, item: Found) -> bool:
        """Journals what is missing above a place. False: it cannot be reached just now."""
        try:
            self._folders.ensure_parents(item.place)
        except OSError:
            return False  # said, or tried again, when the place itself is compared
        return True

    def _perform_moves(self, tree: str, moves: dict[bytes, tuple[Found, bytes]]) -> set[bytes]:
        """Journals the moves in an order that works. Returns all paths that took part."""
        targets: dict[bytes, bytes] = {}  # each source once
        for target, (_, source) in moves.items():
            targets.setdefault(source, target)
        plan = {target: source for source, target in targets.items()}
        touched: set[bytes] = set()
        for source, target in order_moves(plan, _parking):
            if source in touched or target in touched:
                self._ledger.flush()  # the index must show what stands there by now
            item = moves[target][0] if target in moves else None
            self._file_moved(tree, source, target, item)
            touched |= {source, target}
        self._ledger.flush()
        return touched

    def _left_behind(
        self, item: Found, now: os.stat_result, gone: set[tuple[str, bytes]]
    ) -> bytes | None:
        """Under which path the index knows the inode of a new name, if it is not there any more.

        `gone`: where nothing was just now.
        """
        tree = item.place.tree
        for name in self.names_of(tree, now.st_dev, now.st_ino):
            if name == item.path:
                continue
            entry = self._index.get(tree, name)
            if entry is None or not entry.digest or entry.metadata.type is not ObjectType.FILE:
                continue
            if (tree, name) not in gone and not self._links.has_left(tree, name, now):
                return None  # still there: another name of it
            # A number may have been given to a new file: believe it if it was renamed for certain,
            # or if it is also of the same size and time. (Content is compared as events demand.)
            renamed = item.place.flags & dirty.NAMED and not item.place.flags & dirty.CREATED
            m = entry.metadata
            alike = now.st_size == m.size and now.st_mtime_ns == m.mtime_ns
            return name if renamed or alike else None
        return None

    def _file_moved(self, tree: str, source: bytes, target: bytes, item: Found | None) -> None:
        entry = self._index.get(tree, source)
        if entry is None:
            return
        before = self._index.get(tree, target)
        identity = entry.identity
        if item is not None and item.now is not None and self._same_but_name(entry, item):
            identity = identity_of(item.now)
        self._ledger.upsert(
            tree,
            target,
            entry.metadata,
            identity,
            before=before,
            digest=entry.digest,
            content=MovedFrom(source),
            mail=self._folders.appeared(tree, target, entry.metadata, moved_from=source),
        )

    def _same_but_name(self, entry: Entry, item: Found) -> bool:
        """Whether a rename is all that happened to the file up to when it was looked at.

        The rename alone gave it a new change time. What is told later of what was done before the
        look would find that time known: so all that it may tell of is compared now.
        """
        now, m, place = item.now, entry.metadata, item.place
        if (
            now is None
            or place.flags & REWRITTEN
            or now.st_ino != entry.identity.ino
            or now.st_size != m.size
            or now.st_mtime_ns != m.mtime_ns
            or (now.st_mode & 0o7777, now.st_uid, now.st_gid) != (m.mode, m.uid, m.gid)
            or now.st_nlink != 1
        ):
            return False
        fd = self._watcher.open(place.directory)
        return fd is not None and xattrs_at(fd, place.name) == m.xattrs


def _in_question(item: Found) -> Iterator[Inode]:
    now, entry, tree = item.now, item.entry, item.place.tree
    if now is not None and entry is not None and now.st_ino == entry.identity.ino:
        return
    if entry is not None and entry.metadata.type is ObjectType.FILE:
        yield tree, entry.identity.dev, entry.identity.ino
    if now is not None and type_of(now) is ObjectType.FILE:
        yield tree, now.st_dev, now.st_ino


def _parking(source: bytes) -> bytes:
    directory, slash, name = source.rpartition(b"/")
    return directory + slash + PARKING + name[:200]
