"""Files and other leaves: what of them has to travel.

In order of preference: nothing, metadata, a link to another name, an append, the blocks that
changed, the whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final

from staqraft.capture import dirty, mailbox
from staqraft.capture.content import INLINE_BYTES, Small, is_small, read_small
from staqraft.capture.large import LargeFiles, file_of, untouched_content
from staqraft.capture.ledger import Ledger
from staqraft.capture.links import Links
from staqraft.capture.locks import MailboxLocks
from staqraft.capture.objects import (
    ObjectState,
    identity_of,
    open_file,
    read_state,
    state_of_open,
    type_of,
)
from staqraft.capture.signatures import WORTH_BYTES, Memories, Memory
from staqraft.capture.structure import Dirty
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry, content_digest
from staqraft.journal.record import Content, Delta, Inline, ObjectType

_MAYBE_REWRITTEN: Final = (
    dirty.CONTENT | dirty.CLOSED | dirty.CREATED | dirty.SCANNED | dirty.COMPARE
)
_RETRY_MS: Final = 20
_WORTH_A_DELTA: Final = 4096
_PAUSE_MS: Final = 100  # after a MiB


class Files:
    """Used by the capture thread only."""

    def __init__(
        self,
        watcher: Watcher,
        ledger: Ledger,
        links: Links,
        large: LargeFiles,
        memories: Memories,
        locks: MailboxLocks,
        now_ms: Callable[[], int],
    ) -> None:
        self._locks = locks
        self._watcher = watcher
        self._ledger = ledger
        self._links = links
        self._large = large
        self._memories = memories
        self._now_ms = now_ms

    def is_being_read(self, tree: str, now: os.stat_result) -> bool:
        """Whether a large file is on its way."""
        return self._large.is_being_read((tree, now.st_dev, now.st_ino))

    def compare(self, place: Dirty, path: bytes, now: os.stat_result, entry: Entry | None) -> None:
        """Journals how what stands at a place (no directory) differs from `entry`."""
        flags = place.flags
        if now.st_nlink > 1:
            self._watcher.note_linked(place.directory, place.name, now)
        if now.st_nlink > 1 and (entry is None or entry.identity.ino != now.st_ino):
            linked = self._links.link(place, path, now, entry)
            if linked is not None:
                entry = linked
                flags &= ~(_MAYBE_REWRITTEN & ~dirty.CONTENT)
        if type_of(now) is not ObjectType.FILE:
            self._plain(place, path, entry)
            return
        if self._large.find_at(place, now.st_dev, now.st_ino):
            return
        rewritten = bool(flags & _MAYBE_REWRITTEN)
        told = rewritten or flags & dirty.ATTRIBUTES  # stat does not tell of extended attributes
        if entry is not None and not told and _untouched(now, entry):
            return
        opened = self._open(place)
        if opened is None:
            self._later(place, _RETRY_MS)
            return
        fd, state = opened
        keep = False
        try:
            if self._is_mbox(place, path):
                if not self._may_read(place, path, fd):
                    return
                state = state_of_open(fd)  # at rest
            keep = self._file(place, path, fd, state, entry, rewritten=rewritten)
        finally:
            if not keep:
                os.close(fd)
            elif self._is_mbox(place, path):  # it is read in slices: nobody is to wait for that
                self._locks.release(fd)

    def _open(self, place: Dirty) -> tuple[int, ObjectState] | None:
        fd = self._watcher.open(place.directory)
        return None if fd is None else open_file(fd, place.name)

    def _is_mbox(self, place: Dirty, path: bytes) -> bool:
        return self._watcher.trees[place.tree].profile == "mbox" and mailbox.is_mbox(path)

    def _may_read(self, place: Dirty, path: bytes, fd: int) -> bool:
        """Whether nobody holds this mailbox; else it is tried again soon."""
        directory = self._watcher.open(place.directory)
        if directory is None or self._locks.take(place, path, directory, fd):
            return True
        again = Dirty(place.directory, place.name, place.flags | dirty.SCANNED, place.first_ms)
        self._later(again, _RETRY_MS)
        return False

    def _later(self, place: Dirty, delay_ms: int) -> None:
        self._watcher.postpone(place, self._now_ms() + delay_ms)

    def _plain(self, place: Dirty, path: bytes, entry: Entry | None) -> None:
        """Symlinks, FIFOs, sockets, devices: all metadata."""
        fd = self._watcher.open(place.directory)
        state = None if fd is None else read_state(fd, place.name)
        if state is None or state.is_file or state.metadata.type is ObjectType.DIRECTORY:
            self._later(place, _RETRY_MS)
            return
        if entry is not None and entry.metadata == state.metadata:
            if entry.identity != state.identity:
                self._ledger.refresh(place.tree, entry, state.identity)
            return
        if entry is not None and self._links.are_broken(place.tree, state, entry):
            self._ledger.remove(place.tree, path, entry)
            entry = None
        self._links.upsert(place.tree, path, state, state.metadata, entry)

    def _file(
        self,
        place: Dirty,
        path: bytes,
        fd: int,
        state: ObjectState,
        entry: Entry | None,
        *,
        rewritten: bool,
    ) -> bool:
        """Whether the descriptor was kept, by a transfer."""
        if entry is not None and not rewritten and _same_content(state, entry):
            self._metadata(place, path, state, entry)
            return False
        small = read_small(fd, state) if is_small(state) else None
        if small is not None:
            self._small(place, path, small, entry)
            return False
        return self._large.compare(place, path, fd, state, entry)

    def _metadata(self, place: Dirty, path: bytes, state: ObjectState, entry: Entry) -> None:
        """The content is as known."""
        if entry.metadata != state.metadata:
            self._links.upsert(place.tree, path, state, state.metadata, entry, digest=entry.digest)
        elif entry.identity != state.identity:
            self._ledger.refresh(place.tree, entry, state.identity)

    def _small(self, place: Dirty, path: bytes, small: Small, entry: Entry | None) -> None:
        state, data = small.state, small.data
        if not small.stable:
            later = Dirty(place.directory, place.name, dirty.SCANNED, place.first_ms)
            self._later(later, _RETRY_MS)
            if self._is_mbox(place, path) and self._locks.try_again(place.tree, path):
                return  # somebody with a dot lock has begun to write to it
        known = entry is not None and entry.metadata.type is ObjectType.FILE
        breaks = known and entry is not None and self._links.are_broken(place.tree, state, entry)
        metadata = state.with_size(len(data))
        if known and entry is not None and entry.digest == small.digest and not breaks:
            if entry.metadata == metadata:
                if entry.identity != state.identity:
                    self._ledger.refresh(place.tree, entry, state.identity)
            else:
                self._links.upsert(place.tree, path, state, metadata, entry, digest=small.digest)
            return
        file = file_of(place.tree, state.identity)
        in_place = known and entry is not None and entry.identity.ino == state.identity.ino
        content: Content = Inline(data)
        if in_place and entry is not None and self._links.all_are_there(place.tree, entry):
            memory = self._memories.get(file, entry.digest)
            content = _small_delta(data, entry, memory) or content
        mail = None
        profile = self._watcher.trees[place.tree].profile
        if entry is None or not in_place:
            mail = mailbox.appeared(profile, path, ObjectType.FILE, moved_from=None)
        else:
            growth = len(data) - entry.metadata.size
            mail = mailbox.changed(profile, path, ObjectType.FILE, growth=growth)
        if len(data) >= WORTH_BYTES:
            self._memories.keep(file, Memory.of(data, small.digest))
        self._links.upsert(
            place.tree, path, state, metadata, entry,
            digest=small.digest, content=content, mail=mail,
        )  # fmt: skip
        pause_ms = len(data) * _PAUSE_MS // INLINE_BYTES
        if pause_ms:  # one that changes for ever is sent at a bounded rate
            self._watcher.dirty.cool((place.directory.key, place.name), self._now_ms() + pause_ms)


def _untouched(now: os.stat_result, entry: Entry) -> bool:
    """Whether the times and all else that stat tells are as known."""
    m, i = entry.metadata, entry.identity
    return (
        i == identity_of(now)
        and bool(entry.digest)
        and now.st_size == m.size
        and now.st_mtime_ns == m.mtime_ns
        and stat.S_IMODE(now.st_mode) == m.mode
        and (now.st_uid, now.st_gid) == (m.uid, m.gid)
    )


def _same_content(state: ObjectState, entry: Entry) -> bool:
    """Whether only metadata can have changed (no event said more)."""
    return entry.identity.ino == state.identity.ino and untouched_content(state, entry)


def _small_delta(data: bytes, entry: Entry, memory: Memory | None) -> Delta | None:
    """What changed in a small file that was changed in place, if that is worth it."""
    old = entry.metadata.size
    if old < _WORTH_A_DELTA or not entry.digest:
        return None
    if len(data) > old and content_digest(memoryview(data)[:old]) == entry.digest:
        return Delta(entry.digest, ((old, data[old:]),))
    if memory is None:
        return None
    extents, _ = memory.changed(0, data)
    if sum(len(piece) for _, piece in extents) > len(data) // 2:
        return None
    return Delta(entry.digest, tuple(extents))
