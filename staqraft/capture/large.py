"""Large files: appends at once, everything else as a transfer beside the small changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from staqraft.capture import dirty, mailbox
from staqraft.capture.content import read_at
from staqraft.capture.folders import Folders
from staqraft.capture.ledger import Ledger
from staqraft.capture.links import Links
from staqraft.capture.objects import GONE, ObjectState, identity_of, look
from staqraft.capture.pace import LOOK_AGAIN_MS, File, Paces
from staqraft.capture.signatures import Memories, Memory
from staqraft.capture.structure import Dirty
from staqraft.capture.transfer import Transfer
from staqraft.capture.unread import Unread
from staqraft.capture.watcher import Watcher
from staqraft.index import Entry, FileIdentity
from staqraft.journal.record import CHUNK_BYTES, Delta, ObjectType

_UNPLACED_MS: Final = 50
_QUIET_MS: Final = 2_000
_SUSPECT_MS: Final = 60_000
_TORN_TIMES: Final = 3


@dataclass(slots=True)
class _Suspect:
    """A large file of which only the end was looked at, or whose times are no proof."""

    first_ms: int
    last_ms: int


class LargeFiles:
    """Used by the capture thread only."""

    def __init__(
        self,
        watcher: Watcher,
        ledger: Ledger,
        folders: Folders,
        links: Links,
        memories: Memories,
        unread: Unread,
        now_ms: Callable[[], int],
    ) -> None:
        self.thorough = False  # a barrier waits: look at all of a file, not only at its end
        self._watcher = watcher
        self._ledger = ledger
        self._folders = folders
        self._links = links
        self._index = ledger.index
        self._memories = memories
        self._unread = unread
        self._now_ms = now_ms
        self._transfers: dict[File, tuple[Transfer, Iterator[None]]] = {}
        self._suspects: dict[File, _Suspect] = {}
        self._torn: dict[File, int] = {}  # how often in a row it was rewritten while it was read
        self._paces = Paces(now_ms)

    def find_at(self, place: Dirty, dev: int, ino: int) -> bool:
        """Whether the file is on its way already; it is known to be at this place then."""
        found = self._transfers.get((place.tree, dev, ino))
        if found is not None:
            found[0].find_at(place)
        return found is not None

    def compare(
        self, place: Dirty, path: bytes, fd: int, state: ObjectState, entry: Entry | None
    ) -> bool:
        """Journals how a large file differs from `entry`, now or slice by slice.

        Whether it took `fd` over, which it has not when this was done at once.
        """
        file = file_of(place.tree, state.identity)
        known = (
            entry
            if entry is not None
            and entry.metadata.type is ObjectType.FILE
            and entry.digest
            and entry.identity.ino == state.identity.ino
            and self._links.all_are_there(place.tree, entry)
            else None
        )
        memory = self._memory(place.tree, path, file, known)
        hurry = not self.thorough and not place.flags & dirty.COMPARE
        if known is not None and memory is not None and hurry:
            if self._append(place, path, fd, state, known, memory):
                return False
            if untouched_content(state, known) and not place.flags & dirty.CONTENT:
                self._metadata(place, path, state, known)
                self._suspect(file)  # a mapping may have changed it without a trace
                return False
            if self._paces.is_too_early(file, place.flags):
                self._watcher.postpone(place, self._now_ms() + LOOK_AGAIN_MS)
                return False
        transfer = Transfer(place, fd, state, known, memory, self._now_ms())
        self._transfers[file] = (transfer, transfer.run(self._ledger))
        return True

    def _metadata(self, place: Dirty, path: bytes, state: ObjectState, entry: Entry) -> None:
        if entry.metadata != state.metadata:
            self._links.upsert(place.tree, path, state, state.metadata, entry, digest=entry.digest)
        elif entry.identity != state.identity:
            self._ledger.refresh(place.tree, entry, state.identity)

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
        file = file_of(place.tree, state.identity)
        self._memories.keep(file, grown)
        tail = data[memory.size - offset :]
        profile = self._watcher.trees[place.tree].profile
        self._links.upsert(
            place.tree, path, state, state.with_size(grown.size), entry,
            digest=grown.digest, content=Delta(entry.digest, ((memory.size, tail),)),
            mail=mailbox.changed(profile, path, ObjectType.FILE, growth=more),
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
                try:
                    done = next(slices, self) is self
                except OSError as error:
                    self._failed(file, transfer, error)
                    continue
                if done:
                    try:
                        self._finish(file, transfer)
                    except OSError as error:
                        self._failed(file, transfer, error)
            if waiting:
                return

    def _failed(self, file: File, transfer: Transfer, error: OSError) -> None:
        self._give_back(file, transfer)
        place = transfer.place
        again = Dirty(place.directory, place.name, dirty.SCANNED, place.first_ms)
        if error.errno in GONE:  # something above it was renamed, which is to be told
            self._watcher.put_back(again)
        else:
            self._unread.failed(again, place.path, error)

    def _give_back(self, file: File, transfer: Transfer) -> None:
        self._drop(file, transfer)
        for other in transfer.others:
            self._watcher.put_back(other)

    def is_being_read(self, file: File) -> bool:
        """Whether it is on its way."""
        return file in self._transfers

    def recheck(self, *, everything: bool) -> None:
        """Looks at all of each suspect that is quiet, or has been one for long; or at every one."""
        now = self._now_ms()
        for file, suspect in list(self._suspects.items()):
            due = now - suspect.last_ms >= _QUIET_MS or now - suspect.first_ms >= _SUSPECT_MS
            if file not in self._transfers and (everything or due):
                del self._suspects[file]
                self.compare_all_of(*file)

    def compare_all_of(self, tree: str, dev: int, ino: int) -> None:
        """Marks a file to be read to its end, whatever its times say."""
        for place in self._links.places_of(tree, dev, ino, flags=dirty.SCANNED | dirty.COMPARE):
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
                self._give_back(file, transfer)
                again = Dirty(place.directory, place.name, dirty.SCANNED, place.first_ms)
                if known and fd is None:  # it may be there still, behind something renamed
                    self._watcher.put_back(again)
                else:
                    self._watcher.give_up(again)
                return
            transfer.waited = True
            transfer.look_again_ms = self._now_ms() + _UNPLACED_MS
            return
        path = place.path
        entry = self._index.get(place.tree, path)
        base_is_there = transfer.base is None or (
            entry is not None
            and entry.digest == transfer.base.digest
            and self._links.all_are_there(place.tree, entry)
        )
        changed = not base_is_there or identity_of(now) != transfer.state.identity
        if base_is_there and transfer.memory is not None and not self._is_torn(transfer, now):
            self._journal(path, transfer, entry)
            self._unread.was_read(place.tree, path)
        took = self._now_ms() - transfer.begun_ms
        self._drop(file, transfer)
        for other in transfer.others:
            self._watcher.put_back(other)
        if changed or transfer.again:
            later = Dirty(place.directory, place.name, dirty.SCANNED, place.first_ms)
            self._watcher.postpone(later, self._now_ms() + self._paces.pause_ms(file, took))
        else:
            self._paces.held_still(file)

    def _is_torn(self, transfer: Transfer, now: os.stat_result) -> bool:
        """Whether a mailbox was rewritten while it was read: it is read again, some times.

        One that only grew was at rest up to where it was read.
        """
        place, identity = transfer.place, transfer.state.identity
        file = file_of(place.tree, identity)
        rewritten = identity_of(now) != identity and now.st_size <= transfer.size
        is_mbox = self._watcher.trees[place.tree].profile == "mbox"
        times = self._torn.pop(file, 0)
        if not (rewritten and is_mbox) or times >= _TORN_TIMES:
            return False
        self._torn[file] = times + 1
        return True

    def _journal(self, path: bytes, transfer: Transfer, entry: Entry | None) -> None:
        place, memory = transfer.place, transfer.memory
        assert memory is not None, "the transfer ran to its end"
        metadata = transfer.state.with_size(transfer.size)
        profile = self._watcher.trees[place.tree].profile
        mail = (
            mailbox.appeared(profile, path, ObjectType.FILE, moved_from=None)
            if entry is None
            else mailbox.changed(
                profile, path, ObjectType.FILE, growth=transfer.size - entry.metadata.size
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
            self._links.upsert(
                place.tree, path, transfer.state, metadata, entry,
                digest=memory.digest, content=transfer.content, mail=mail,
            )  # fmt: skip
        file = file_of(place.tree, transfer.state.identity)
        suspect = self._suspects.get(file)
        if suspect is not None and suspect.last_ms <= transfer.begun_ms:
            del self._suspects[file]
        tree, packed = place.tree, memory.pack()
        self._ledger.note(lambda: self._index.set_signatures(tree, path, packed))
        self._memories.keep(file, memory)

    def _drop(self, file: File, transfer: Transfer) -> None:
        del self._transfers[file]
        transfer.close()


def file_of(tree: str, identity: FileIdentity) -> File:
    """Which file it is."""
    return tree, identity.dev, identity.ino


def untouched_content(state: ObjectState, entry: Entry) -> bool:
    """Whether size and time are as known."""
    return (
        entry.metadata.type is ObjectType.FILE
        and bool(entry.digest)
        and entry.metadata.size == state.metadata.size
        and entry.metadata.mtime_ns == state.metadata.mtime_ns
    )
