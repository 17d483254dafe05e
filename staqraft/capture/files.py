"""Files and other leaves: what of them has to travel.

In order of preference: nothing, metadata, a link to another name, an append, the blocks that
changed, the whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from staqraft.capture import dirty, mailbox
from staqraft.capture.content import Small, is_small, read_at, read_small
from staqraft.capture.folders import Folders
from staqraft.capture.ledger import Ledger
from staqraft.capture.objects import (
    ObjectState,
    identity_of,
    look,
    open_file,
    read_state,
    state_of_open,
    type_of,
)
from staqraft.capture.signatures import WORTH_BYTES, Memories, Memory
from staqraft.capture.structure import Dirty
from staqraft.capture.transfer import Transfer
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry, FileIdentity, content_digest
from staqraft.journal.record import (
    CHUNK_BYTES,
    Content,
    Delta,
    HardLinkTo,
    Inline,
    MailKind,
    Metadata,
    ObjectType,
)

_MAYBE_REWRITTEN: Final = (
    dirty.CONTENT | dirty.CLOSED | dirty.CREATED | dirty.SCANNED | dirty.COMPARE
)
_RETRY_MS: Final = 20
_UNPLACED_MS: Final = 50
_QUIET_MS: Final = 2_000
_SUSPECT_MS: Final = 60_000
_WORTH_A_DELTA: Final = 4096

File = tuple[str, int, int]  # tree, device, inode


@dataclass(slots=True)
class _Suspect:
    """A large file of which only the end was looked at, or whose times are no proof."""

    first_ms: int
    last_ms: int


class Files:
    """Used by the capture thread only."""

    def __init__(
        self,
        watcher: Watcher,
        ledger: Ledger,
        folders: Folders,
        now_ms: Callable[[], int],
        memories: Memories | None = None,
    ) -> None:
        self._watcher = watcher
        self._ledger = ledger
        self._folders = folders
        self._index = ledger.index
        self._now_ms = now_ms
        self._memories = memories or Memories()
        self._transfers: dict[File, tuple[Transfer, Iterator[None]]] = {}
        self._suspects: dict[File, _Suspect] = {}
        self.told_others = False  # entries of other places than the one compared were changed
        self.thorough = False  # a barrier waits: look at all of a file, not only at its end

    # --- one place ---------------------------------------------------------------------------

    def compare(self, place: Dirty, path: bytes, now: os.stat_result, entry: Entry | None) -> None:
        """Journals how what stands at a place (no directory) differs from `entry`."""
        flags = place.flags
        if now.st_nlink > 1:
            self._watcher.note_linked(place.directory, place.name)
        if now.st_nlink > 1 and (entry is None or entry.identity.ino != now.st_ino):
            linked = self._link(place, path, now, entry)
            if linked is not None:
                entry = linked
                flags &= ~(_MAYBE_REWRITTEN & ~dirty.CONTENT)
        if type_of(now) is not ObjectType.FILE:
            self._plain(place, path, entry)
            return
        if (place.tree, now.st_dev, now.st_ino) in self._transfers:
            self._transfers[place.tree, now.st_dev, now.st_ino][0].find_at(place)
            return
        rewritten = bool(flags & _MAYBE_REWRITTEN)
        if entry is not None and not rewritten and _untouched(now, entry):
            return
        fd = self._open(place)
        if fd is None:
            self._later(place, _RETRY_MS)
            return
        keep = False
        try:
            keep = self._file(place, path, fd, entry, rewritten=rewritten)
        finally:
            if not keep:
                os.close(fd)

    def places_of(self, tree: str, dev: int, ino: int, *, flags: int) -> Iterator[Dirty]:
        """Where the index knows an inode to be."""
        for path in self._index.names_of(tree, dev, ino):
            parent, _, name = path.rpartition(b"/")
            directory = self._watcher.directories.find(tree, parent)
            if directory is not None:
                yield Dirty(directory, name, flags, self._now_ms())

    def inode_at(self, tree: str, path: bytes) -> int | None:
        """Which inode stands at a path, by the directory map; None if nothing does."""
        parent, _, name = path.rpartition(b"/")
        directory = self._watcher.directories.find(tree, parent)
        fd = self._watcher.open(directory) if directory is not None else None
        now = look(fd, name) if fd is not None else None
        return None if now is None else now.st_ino

    def _open(self, place: Dirty) -> int | None:
        fd = self._watcher.open(place.directory)
        return None if fd is None else open_file(fd, place.name)

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
        if entry is not None and self._breaks_links(place.tree, state, entry):
            self._ledger.remove(place.tree, path, entry)
            entry = None
        self._upsert(place.tree, path, state, state.metadata, entry)

    def _file(
        self, place: Dirty, path: bytes, fd: int, entry: Entry | None, *, rewritten: bool
    ) -> bool:
        """Whether the descriptor was kept, by a transfer."""
        state = state_of_open(fd)
        if entry is not None and not rewritten and _same_content(state, entry):
            self._metadata(place, path, state, entry)
            return False
        small = read_small(fd) if is_small(state) else None
        if small is not None:
            self._small(place, path, small, entry)
            return False
        return self._large(place, path, fd, state, entry)

    def _metadata(self, place: Dirty, path: bytes, state: ObjectState, entry: Entry) -> None:
        """The content is as known."""
        if entry.metadata != state.metadata:
            self._upsert(place.tree, path, state, state.metadata, entry, digest=entry.digest)
        elif entry.identity != state.identity:
            self._ledger.refresh(place.tree, entry, state.identity)

    def _small(self, place: Dirty, path: bytes, small: Small, entry: Entry | None) -> None:
        state, data = small.state, small.data
        if not small.stable:
            later = Dirty(place.directory, place.name, dirty.SCANNED, place.first_ms)
            self._later(later, _RETRY_MS)
        known = entry is not None and entry.metadata.type is ObjectType.FILE
        breaks = known and entry is not None and self._breaks_links(place.tree, state, entry)
        metadata = state.with_size(len(data))
        if known and entry is not None and entry.digest == small.digest and not breaks:
            if entry.metadata == metadata:
                if entry.identity != state.identity:
                    self._ledger.refresh(place.tree, entry, state.identity)
            else:
                self._upsert(place.tree, path, state, metadata, entry, digest=small.digest)
            return
        file = _file_of(place.tree, state.identity)
        in_place = known and entry is not None and entry.identity.ino == state.identity.ino
        content: Content = Inline(data)
        if in_place and entry is not None and self._all_names_are_there(place.tree, entry):
            memory = self._memories.get(file, entry.digest)
            content = _small_delta(data, entry, memory) or content
        mail = None
        profile = self._watcher.trees[place.tree].profile
        if entry is None or not in_place:
            mail = mailbox.appeared(profile, path, ObjectType.FILE, moved_from=None)
        else:
            grew = len(data) > entry.metadata.size
            mail = mailbox.changed(profile, path, ObjectType.FILE, grew=grew)
        if len(data) >= WORTH_BYTES:
            self._memories.keep(file, Memory.of(data, small.digest))
        self._upsert(
            place.tree, path, state, metadata, entry,
            digest=small.digest, content=content, mail=mail,
        )  # fmt: skip

    def _all_names_are_there(self, tree: str, entry: Entry) -> bool:
        """Whether a change in place is told to all the names that it will have on the other side.

        A name that the index has and the disk has not is about to be told of. Until then the
        other side's file has it, so that file is replaced, not changed.
        """
        i = entry.identity
        names = self._index.names_of(tree, i.dev, i.ino)
        return len(names) <= 1 or all(self.inode_at(tree, name) == i.ino for name in names)

    def _breaks_links(self, tree: str, state: ObjectState, entry: Entry) -> bool:
        """Whether a name got an inode of its own, so that its content must travel anew."""
        old = entry.identity
        return (
            old.ino != state.identity.ino and len(self._index.names_of(tree, old.dev, old.ino)) > 1
        )

    def _upsert(
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
        self._ledger.upsert(
            tree, path, metadata, state.identity,
            before=entry, digest=digest, content=content, mail=mail,
        )  # fmt: skip
        if state.links > 1:
            self.relink(tree, path)

    # --- hard links ---------------------------------------------------------------------------

    def _link(
        self, place: Dirty, path: bytes, now: os.stat_result, entry: Entry | None
    ) -> Entry | None:
        """Makes the place another name of an inode that the index knows; its entry then."""
        self._ledger.flush()
        for name in self._index.names_of(place.tree, now.st_dev, now.st_ino):
            if name == path or self.inode_at(place.tree, name) != now.st_ino:
                continue
            other = self._index.get(place.tree, name)
            if other is None or (other.metadata.type is ObjectType.FILE and not other.digest):
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
            if name != path:
                self.told_others = True
                self._ledger.upsert(
                    tree, name, entry.metadata, i,
                    before=self._index.get(tree, name),
                    digest=entry.digest, content=HardLinkTo(path),
                )  # fmt: skip

    # --- large files --------------------------------------------------------------------------

    def _large(
        self, place: Dirty, path: bytes, fd: int, state: ObjectState, entry: Entry | None
    ) -> bool:
        file = _file_of(place.tree, state.identity)
        known = (
            entry
            if entry is not None
            and entry.metadata.type is ObjectType.FILE
            and entry.digest
            and entry.identity.ino == state.identity.ino
            and self._all_names_are_there(place.tree, entry)
            else None
        )
        memory = self._memory(place.tree, path, file, known)
        hurry = not self.thorough and not place.flags & dirty.COMPARE
        if known is not None and memory is not None and hurry:
            if self._append(place, path, fd, state, known, memory):
                return False
            if _untouched_content(state, known) and not place.flags & dirty.CONTENT:
                self._metadata(place, path, state, known)
                self._suspect(file)  # a mapping may have changed it without a trace
                return False
        transfer = Transfer(place, fd, state, known, memory, self._now_ms())
        self._transfers[file] = (transfer, transfer.run(self._ledger))
        return True

    def _memory(self, tree: str, path: bytes, file: File, known: Entry | None) -> Memory | None:
        if known is None:
            return None
        memory = self._memories.get(file, known.digest)
        if memory is None and (packed := self._index.signatures(tree, path)) is not None:
            memory = Memory.unpack(packed)
            if memory is not None and memory.digest != known.digest:
                memory = None
        return memory

    def _append(
        self,
        place: Dirty,
        path: bytes,
        fd: int,
        state: ObjectState,
        entry: Entry,
        memory: Memory,
    ) -> bool:
        """Sends the new end of a file that grew, if what was just before it is as it was.

        What is further ahead is looked at when the file is quiet, or a barrier wants to know.
        """
        more = state.metadata.size - memory.size
        if not 0 < more <= CHUNK_BYTES:
            return False
        offset = max(0, memory.size // memory.block - 1) * memory.block
        data = read_at(fd, offset, state.metadata.size - offset)
        grown = memory.extended(offset, data)
        if grown is None or grown.size <= memory.size:
            return False
        file = _file_of(place.tree, state.identity)
        self._memories.keep(file, grown)
        tail = data[memory.size - offset :]
        profile = self._watcher.trees[place.tree].profile
        self._upsert(
            place.tree, path, state, state.with_size(grown.size), entry,
            digest=grown.digest, content=Delta(entry.digest, ((memory.size, tail),)),
            mail=mailbox.changed(profile, path, ObjectType.FILE, grew=True),
        )  # fmt: skip
        self._suspect(file)
        return True

    def _suspect(self, file: File) -> None:
        now = self._now_ms()
        known = self._suspects.get(file)
        self._suspects[file] = _Suspect(known.first_ms if known else now, now)

    # --- transfers ----------------------------------------------------------------------------

    @property
    def transfers(self) -> int:
        """Large files on their way."""
        return len(self._transfers)

    @property
    def active(self) -> set[Transfer]:
        """Which."""
        return {transfer for transfer, _ in self._transfers.values()}

    def step(self, until_ms: int) -> None:
        """Carries transfers on, in turn, until the time is up. Raises JournalFull."""
        while self._transfers and self._now_ms() <= until_ms:
            waiting = True
            for file, (transfer, slices) in list(self._transfers.items()):
                if transfer.waited and self._now_ms() < transfer.look_again_ms:
                    continue
                waiting = False
                if next(slices, self) is self:
                    self._finish(file, transfer)
            if waiting:
                return

    def recheck(self, *, everything: bool) -> None:
        """Looks at all of each suspect that is quiet, or has been one for long; or at every one."""
        now = self._now_ms()
        for file, suspect in list(self._suspects.items()):
            due = now - suspect.last_ms >= _QUIET_MS or now - suspect.first_ms >= _SUSPECT_MS
            if file not in self._transfers and (everything or due):
                del self._suspects[file]
                for place in self.places_of(*file, flags=dirty.SCANNED | dirty.COMPARE):
                    self._watcher.put_back(place)

    @property
    def suspects(self) -> int:
        """Files of which only a part was looked at."""
        return len(self._suspects)

    def give_up(self) -> None:
        """Drops all transfers (the journal is full, or capture stops); their places are dirty."""
        for transfer, _ in self._transfers.values():
            transfer.close()
            for place in (transfer.place, *transfer.others):
                again = Dirty(place.directory, place.name, dirty.SCANNED, place.first_ms)
                self._watcher.put_back(again)
        self._transfers.clear()

    def _finish(self, file: File, transfer: Transfer) -> None:
        place = transfer.place
        known = self._watcher.directories.has(place.directory)
        fd = self._watcher.open(place.directory) if known else None
        now = look(fd, place.name) if fd is not None else None
        if now is None or now.st_ino != transfer.state.identity.ino:
            if transfer.waited:  # no rename told where it went: what comes, comes anew
                self._drop(file, transfer)
                for other in transfer.others:
                    self._watcher.put_back(other)
                return
            transfer.waited = True
            transfer.look_again_ms = self._now_ms() + _UNPLACED_MS
            return
        path = place.path
        entry = self._index.get(place.tree, path)
        base_is_there = transfer.base is None or (
            entry is not None
            and entry.digest == transfer.base.digest
            and self._all_names_are_there(place.tree, entry)
        )
        if base_is_there and transfer.memory is not None:
            self._journal(path, transfer, entry)
        changed = not base_is_there or identity_of(now) != transfer.state.identity
        took = self._now_ms() - transfer.begun_ms
        self._drop(file, transfer)
        for other in transfer.others:
            self._watcher.put_back(other)
        if changed or transfer.again:
            later = Dirty(place.directory, place.name, dirty.SCANNED, place.first_ms)
            self._later(later, max(_UNPLACED_MS, 3 * took))

    def _journal(self, path: bytes, transfer: Transfer, entry: Entry | None) -> None:
        place, memory = transfer.place, transfer.memory
        assert memory is not None, "the transfer ran to its end"
        metadata = transfer.state.with_size(transfer.size)
        profile = self._watcher.trees[place.tree].profile
        mail = (
            mailbox.appeared(profile, path, ObjectType.FILE, moved_from=None)
            if entry is None
            else mailbox.changed(
                profile, path, ObjectType.FILE, grew=transfer.size > entry.metadata.size
            )
        )
        if entry is not None and entry.metadata.type is ObjectType.DIRECTORY:
            self._ledger.remove(place.tree, path, entry)
            entry = None
        self._folders.begin()
        self._folders.ensure_parents(place)
        unchanged = entry is not None and transfer.content is None and entry.metadata == metadata
        if unchanged and entry is not None:
            self._ledger.refresh(place.tree, entry, transfer.state.identity)
        else:
            self._upsert(
                place.tree, path, transfer.state, metadata, entry,
                digest=memory.digest, content=transfer.content, mail=mail,
            )  # fmt: skip
        file = _file_of(place.tree, transfer.state.identity)
        suspect = self._suspects.get(file)
        if suspect is not None and suspect.last_ms <= transfer.begun_ms:
            del self._suspects[file]
        tree, packed = place.tree, memory.pack()
        self._ledger.note(lambda: self._index.set_signatures(tree, path, packed))
        self._memories.keep(file, memory)

    def _drop(self, file: File, transfer: Transfer) -> None:
        del self._transfers[file]
        transfer.close()

    def _later(self, place: Dirty, delay_ms: int) -> None:
        self._watcher.postpone(place, self._now_ms() + delay_ms)


def _file_of(tree: str, identity: FileIdentity) -> File:
    return tree, identity.dev, identity.ino


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
    return entry.identity.ino == state.identity.ino and _untouched_content(state, entry)


def _untouched_content(state: ObjectState, entry: Entry) -> bool:
    return (
        entry.metadata.type is ObjectType.FILE
        and bool(entry.digest)
        and entry.metadata.size == state.metadata.size
        and entry.metadata.mtime_ns == state.metadata.mtime_ns
    )


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
