"""Compares dirty places with the index and journals what differs.

The order within a batch: directories that moved, files that moved, what is new or changed with
parents first, what is gone, and the times of directories last. So a mail that is renamed or copied
is on the other side at every moment under one name at least, and no directory's time is touched
after it was set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Concatenate, Final, ParamSpec

from staqraft.capture import dirty, mailbox
from staqraft.capture.errors import ObjectUnstable
from staqraft.capture.files import Files
from staqraft.capture.folders import Folders
from staqraft.capture.ledger import Ledger
from staqraft.capture.links import Links
from staqraft.capture.objects import GONE, look, type_of
from staqraft.capture.renames import REWRITTEN, Found, Renames
from staqraft.capture.roots import Roots
from staqraft.capture.scanner import Scanner
from staqraft.capture.structure import Dirty, Moved
from staqraft.capture.unread import Unread
from staqraft.capture.watcher import Batch, Watcher
from staqraft.index import Entry
from staqraft.journal.record import MovedFrom, ObjectType

_STRUCTURAL: Final = dirty.NAMED | dirty.CREATED | dirty.DIRECTORY
_GOING: Final = dirty.NAMED | dirty.DIRECTORY | dirty.LAST_CALL  # told, or waited for in vain
_RETRY_MS: Final = 20
_NAMES_MS: Final = 1_000
_TOGETHER: Final = 512  # places that the index is asked for at once
_FEW: Final = 2  # are asked for one by one as cheaply
_P = ParamSpec("_P")


class Differences:
    """Used by the capture thread. `roots` say whether removals are to be believed."""

    def __init__(
        self,
        watcher: Watcher,
        ledger: Ledger,
        scanner: Scanner,
        files: Files,
        links: Links,
        folders: Folders,
        roots: Roots,
        unread: Unread,
        report: Callable[[str, str], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._watcher = watcher
        self._ledger = ledger
        self._index = ledger.index
        self._scanner = scanner
        self._files = files
        self._links = links
        self._folders = folders
        self._roots = roots
        self._report = report
        self._now_ms = now_ms
        self._foreign: set[str] = set()  # reported as not ours
        self._unread = unread
        self._renames = Renames(watcher, ledger, links, folders)

    def journal(self, batch: Batch) -> None:
        """Journals everything in the batch. Raises JournalFull, IndexFull; then do it all again."""
        self._folders.begin()
        self._links.told_others = False
        for moved in batch.moved:
            self._directory_moved(moved)
        self._renames.begin()
        found = self._look([*batch.dirty, *self._other_names(batch.inodes)])
        renamed = self._renames.journal(found)
        present = sorted((f for f in found if f.now is not None and f.place.name), key=_by_path)
        last: list[Found] = []
        for item in present:
            self._guarded(item, self._present, last)
        for item in renamed:
            if item.now is not None and item.now.st_nlink > 1:
                self._links.relink(item.place.tree, item.path)
        self._ledger.flush()
        removed: set[tuple[str, bytes]] = set()
        for item in sorted((f for f in found if f.now is None), key=_by_path):
            self._gone(item, removed)
        self._ledger.flush()
        last += [f for f in found if f.now is not None and not f.place.name]
        for item in sorted(last, key=_by_path, reverse=True):
            if self._watcher.directories.has(item.place.directory):
                item.entry = self._index.get(item.place.tree, item.path)
                self._guarded(item, self._compare_folder)
        self._ledger.flush()

    def _guarded(
        self,
        item: Found,
        work: Callable[Concatenate[Found, _P], None],
        *more: _P.args,
        **kw: _P.kwargs,
    ) -> None:
        """One object that cannot be read is reported and tried again; the others go on."""
        try:
            work(item, *more, **kw)
        except (OSError, ObjectUnstable) as error:
            if isinstance(error, OSError) and error.errno in GONE:
                self._ask_again(item.place)  # it left in between, which is to be told
                return
            self._unread.failed(item.place, item.path, error)
        else:
            if item.now is None or not self._files.is_being_read(item.place.tree, item.now):
                self._unread.was_read(item.place.tree, item.path)

    def _look(self, places: Iterable[Dirty]) -> list[Found]:
        found: dict[tuple[str, bytes], Found] = {}
        parents: dict[int, Dirty] = {}
        wanted: list[tuple[Dirty, bytes]] = []
        for place in places:
            if place.name and place.flags & (_STRUCTURAL | dirty.SCANNED):
                parents.setdefault(
                    id(place.directory), Dirty(place.directory, b"", dirty.SCANNED, place.first_ms)
                )
            path = place.path
            if self._was_never_in(place, path):
                self._links.look_at_others(place)
            else:
                wanted.append((place, path))
        for at in range(0, len(wanted), _TOGETHER):
            some = wanted[at : at + _TOGETHER]
            self._foresee(some)
            for place, path in some:
                self._look_at(place, path, found)
        self._renames.foresee(found.values())
        for item in found.values():
            entry, now = item.entry, item.now
            if entry is not None and (now is None or now.st_ino != entry.identity.ino):
                self._mark_other_names(item.place.tree, entry)
        self._look_at_directories(parents.values(), found)
        return list(found.values())

    def _foresee(self, wanted: Sequence[tuple[Dirty, bytes]]) -> None:
        """The index will be asked for these places."""
        by_tree: dict[str, list[bytes]] = {}
        for place, path in wanted:
            by_tree.setdefault(place.tree, []).append(path)
        for tree, paths in by_tree.items():
            if len(paths) > _FEW:
                self._index.foresee(tree, paths)

    def _look_at(self, place: Dirty, path: bytes, found: dict[tuple[str, bytes], Found]) -> None:
        try:
            fd = self._watcher.open(place.directory)
            now = None if fd is None else look(fd, place.name)
        except OSError as error:
            self._unread.failed(place, path, error)
            return
        if fd is None:
            if place.directory.parent is not None:
                self._ask_again(place)  # it is gone, or moved and that is still to be told
            return
        gone, out = now is None, self._is_out(place, path, now)
        if not out and self._is_foreign(place, path, now):
            return  # whatever was here before is hidden, not gone
        now = None if out else now
        entry = self._index.get(place.tree, path)
        if gone and entry is not None and not place.flags & _GOING:
            # What took it away is told in a moment, and with that where it went.
            self._watcher.ask_again(place, self._now_ms() + _RETRY_MS)
            return
        if now is not None or entry is not None:
            found[place.tree, path] = Found(place, path, now, entry)
        elif gone:
            self._came_and_went(place)

    def _look_at_directories(
        self, parents: Iterable[Dirty], found: dict[tuple[str, bytes], Found]
    ) -> None:
        """Those whose times changed with what is in them."""
        for place in parents:
            path = place.directory.path
            if (place.tree, path) in found:
                continue
            fd = self._watcher.open(place.directory)
            now = None if fd is None else look(fd, b"")
            if now is not None:
                entry = self._index.get(place.tree, path)
                found[place.tree, path] = Found(place, path, now, entry)

    def _came_and_went(self, place: Dirty) -> None:
        """What was done under a name that is gone may have been done to another file."""
        self._watcher.lost_sight(place.flags)
        if not place.flags & dirty.CREATED:
            self._renames.in_passing |= place.flags & REWRITTEN

    def _was_never_in(self, place: Dirty, path: bytes) -> bool:
        """Whether a file is left out whatever it is: a message that is being written, mostly."""
        excludes = self._watcher.excludes[place.tree]
        return (
            not place.flags & (dirty.SCANNED | dirty.DIRECTORY)
            and bool(place.name)
            and place.directory.child(place.name) is None
            and excludes.excludes(path, is_directory=False)
        )

    def _other_names(self, inodes: Iterable[tuple[int, int]]) -> Iterator[Dirty]:
        """Places of objects of which an event told no name of ours."""
        for dev, ino in inodes:
            for tree in self._watcher.trees:
                yield from self._links.places_of(tree, dev, ino, flags=dirty.CONTENT)

    def _mark_other_names(self, tree: str, entry: Entry) -> None:
        """What was written under a name that is gone is to be seen under the others."""
        i = entry.identity
        if entry.metadata.type is ObjectType.FILE:
            names = self._renames.names_of(tree, i.dev, i.ino)
            if len(names) <= 1:
                return
            places = list(self._links.places(tree, names, flags=dirty.CONTENT))
            for place in places:
                if len(places) > 1 and place.path != entry.path:
                    self._watcher.put_back(place)

    def _ask_again(self, place: Dirty) -> None:
        """Puts off a place whose other events are still to be read.

        At last its directory is listed if it cannot be reached, since the scanner has more
        patience. What left a directory that can be opened is told by an event.
        """
        if not place.flags & dirty.LAST_CALL:
            self._watcher.ask_again(place)
            return
        self._watcher.give_up(place)
        if not self._watcher.can_open(place.directory):
            self._scanner.add(place.directory, deep=False)

    def _is_out(self, place: Dirty, path: bytes, now: os.stat_result | None) -> bool:
        """Whether what is there is left out on purpose."""
        if now is None:
            return False
        is_directory = type_of(now) is ObjectType.DIRECTORY
        return bool(path) and self._watcher.excludes[place.tree].excludes(
            path, is_directory=is_directory
        )

    def _is_foreign(self, place: Dirty, path: bytes, now: os.stat_result | None) -> bool:
        """Whether something is mounted at a place, or it is our own state; reported."""
        if now is None or not place.name:
            return False
        foreign = self._watcher.is_foreign(place.directory, place.name, now)
        if not foreign and not self._foreign:
            return False
        key = f"mount {place.tree} {path!r}"
        if foreign:
            self._foreign.add(key)
            self._report(
                key,
                f"tree {place.tree}: {os.fsdecode(path)!r} is a mount point, a btrfs subvolume or"
                " StaqRaft's own directory, and is not replicated; make it a tree of its own, or"
                " exclude it",
            )
        elif key in self._foreign:
            self._foreign.discard(key)
            self._report(key, "")
        return foreign

    # --- moves -----------------------------------------------------------------------------

    def _directory_moved(self, moved: Moved) -> None:
        tree = moved.directory.tree
        entry = self._index.get(tree, moved.source)
        parent = moved.target.rpartition(b"/")[0]
        above = self._index.get(tree, parent)
        if (
            entry is None
            or entry.metadata.type is not ObjectType.DIRECTORY
            or above is None
            or above.metadata.type is not ObjectType.DIRECTORY
            or moved.source.startswith(moved.target + b"/")
        ):
            self._scanner.add(moved.directory, deep=True)  # not known there: as new here
            return
        at_target = self._index.get(tree, moved.target)
        if at_target is not None:
            self._ledger.remove(tree, moved.target, at_target)
        self._ledger.upsert(
            tree,
            moved.target,
            entry.metadata,
            entry.identity,
            before=None,
            content=MovedFrom(moved.source),
            mail=self._folders.appeared(
                tree, moved.target, entry.metadata, moved_from=moved.source
            ),
        )
        self._ledger.flush()
        if self._watcher.excludes[tree].depends_on_place:
            self._scanner.add(moved.directory, deep=True)

    # --- what is there, what is gone --------------------------------------------------------

    def _present(self, item: Found, last: list[Found]) -> None:
        now, place, entry = item.now, item.place, item.entry
        assert now is not None, "only what is there"
        if not self._watcher.directories.has(place.directory):
            return  # its directory left while the batch was worked off
        if self._links.told_others:  # perhaps of this one
            self._ledger.flush()
            entry = item.entry = self._index.get(place.tree, item.path)
        is_directory = type_of(now) is ObjectType.DIRECTORY
        if entry is not None and is_directory != (entry.metadata.type is ObjectType.DIRECTORY):
            self._ledger.remove(place.tree, item.path, entry)
            self._ledger.flush()
            entry = item.entry = None
        if is_directory:
            was = place.directory.child(place.name)
            directory = self._watcher.attach(place.directory, place.name)
            if directory is None and place.flags & dirty.LAST_CALL:
                self._watcher.detach_at(place.directory, place.name)
                directory = self._watcher.attach(place.directory, place.name)
            if directory is None:  # its move is still to be told, or it is gone again
                flags = place.flags | dirty.DIRECTORY
                self._ask_again(Dirty(place.directory, place.name, flags, self._now_ms()))
                return
            if directory is not was:
                self._scanner.add(directory, deep=True)
            if entry is not None:
                last.append(item)
                return
            self._folders.ensure_parents(place)
            self._compare_folder(item)
            return
        if (stale := place.directory.child(place.name)) is not None:
            self._watcher.detach(stale)
        self._folders.ensure_parents(place)
        self._files.compare(place, item.path, now, entry)

    def _compare_folder(self, item: Found) -> None:
        self._folders.compare(item.place, item.path, item.entry)

    def _gone(self, item: Found, removed: set[tuple[str, bytes]]) -> None:
        place = item.place
        parent = item.path.rpartition(b"/")[0]
        if (place.tree, parent) in removed:
            removed.add((place.tree, item.path))
            return  # it went with its directory
        child = place.directory.child(place.name) if place.name else None
        if child is not None:  # it could not be looked for when the map was brought up to date
            self._scanner.add(place.directory, deep=False)
            return
        entry = self._index.get(place.tree, item.path) if item.entry is not None else None
        if entry is None:
            return
        names_due = self._watcher.dirty.names_due
        if names_due is not None and not place.flags & dirty.LAST_CALL:
            # It may be what came to such a name, with what was done to it on its way there.
            place = replace(place, flags=place.flags | self._renames.in_passing)
            self._watcher.ask_again(place, min(names_due, self._now_ms() + _NAMES_MS))
            return
        if not self._roots.may_remove(place.tree):
            self._watcher.postpone(place, self._now_ms() + 250 * _RETRY_MS)
            return
        if not self._roots.may_go(place.tree, item.path):
            removed.add((place.tree, item.path))  # what was below it is not to be asked about
            return
        profile = self._watcher.trees[place.tree].profile
        mail = mailbox.disappeared(profile, item.path, entry.metadata.type)
        self._ledger.remove(place.tree, item.path, entry, mail)
        removed.add((place.tree, item.path))


def _by_path(item: Found) -> tuple[str, bytes]:
    return item.place.tree, item.path
