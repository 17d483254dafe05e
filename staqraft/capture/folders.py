"""Directories' own metadata, and that each stands in the index before what is in it."""

from __future__ import annotations

import errno
import os

from staqraft.capture import mailbox
from staqraft.capture.directories import Directory
from staqraft.capture.ledger import Ledger
from staqraft.capture.objects import read_state
from staqraft.capture.structure import Dirty
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry
from staqraft.journal.record import MailKind, Metadata, ObjectType


class Folders:
    """Used by the capture thread only."""

    def __init__(self, watcher: Watcher, ledger: Ledger) -> None:
        self._watcher = watcher
        self._ledger = ledger
        self._index = ledger.index
        self._known: set[tuple[str, bytes]] = set()

    def begin(self) -> None:
        """A new batch: what was known of directories may have changed."""
        self._known.clear()

    def compare(self, place: Dirty, path: bytes, entry: Entry | None) -> None:
        """Journals how a directory's own metadata differs from `entry`.

        Raises FileNotFoundError if nothing is where the map has it: it is gone, or something above
        it was renamed and that is still to be told.
        """
        fd = self._watcher.open(place.directory)
        if fd is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        state = read_state(fd, place.name)
        if state is None or state.metadata.type is not ObjectType.DIRECTORY:
            return  # gone or replaced meanwhile: that is an event of its own
        tree = place.tree
        if entry is None and (tree, path) in self._known:
            self._ledger.flush()  # it went ahead of something in it
            entry = self._index.get(tree, path)
        if entry is None or entry.metadata != state.metadata:
            mail = self.appeared(tree, path, state.metadata) if entry is None else None
            self._ledger.upsert(tree, path, state.metadata, state.identity, before=entry, mail=mail)
            self._known.add((tree, path))
        elif entry.identity != state.identity:
            self._ledger.refresh(tree, entry, state.identity)

    def ensure_parents(self, place: Dirty) -> None:
        """Journals the directories above a place that the index does not have, from the root.

        Raises OSError if one cannot be read.
        """
        missing: list[Directory] = []
        at: Directory | None = place.directory
        while at is not None and (at.tree, at.path) not in self._known:
            known = self._index.get(at.tree, at.path)
            if known is not None and known.metadata.type is ObjectType.DIRECTORY:
                self._known.add((at.tree, at.path))
                break
            missing.append(at)
            at = at.parent
        for directory in reversed(missing):
            self.compare(Dirty(directory, b"", 0, place.first_ms), directory.path, None)

    def appeared(
        self, tree: str, path: bytes, metadata: Metadata, *, moved_from: bytes | None = None
    ) -> MailKind | None:
        """What it means to mail users that an object came to a path."""
        profile = self._watcher.trees[tree].profile
        return mailbox.appeared(profile, path, metadata.type, moved_from=moved_from)
