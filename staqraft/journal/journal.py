"""The writer of a group's journal. One process at a time, one thread at a time; it never waits.

Readers need no lock: a batch is written behind its own first eight bytes, which are written last,
so that a reader sees all of a batch or nothing of it, and a batch that found no space was never
there for anybody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from staqraft.config.schema import Journal as Limits
from staqraft.errors import JournalCorrupt, JournalError, JournalFull, StaleEpoch
from staqraft.journal import files, frames, recovery, segment, state
from staqraft.journal.record import Record
from staqraft.journal.record_codec import encode_from
from staqraft.journal.room import Room
from staqraft.journal.segment import Header
from staqraft.journal.state import WriterState
from staqraft.model import NO_EPOCH, Epoch, GroupId, Position

_LEAST_SEGMENTS = 4  # a journal is trimmed by whole segments: it must have some to give up


class Journal:
    """Appends records, makes them durable, gives up old ones. `notices`: what opening repaired."""

    def __init__(
        self,
        directory: Path,
        *,
        cluster: str,
        group: GroupId,
        limits: Limits,
        boot_id: str,
        now_ms: Callable[[], int],
        rebuild_after: Position | None = None,
    ) -> None:
        """Use `open` or `rebuild`."""
        self.directory = directory
        self.notices: tuple[str, ...] = ()
        self._cluster = cluster
        self._group = group
        self._limits = limits
        self._segment_bytes = min(limits.segment_bytes, limits.max_bytes // _LEAST_SEGMENTS)
        self._room = Room(self._segment_bytes)
        self._boot_id = boot_id
        self._now_ms = now_ms
        self._lock = self._state_fd = self._fd = self._index_fd = -1
        self._state = WriterState()
        self._headers: list[Header] = []
        self._sizes: dict[int, int] = {}  # by first seq
        self._indexed_end = 0
        self._end = 0
        self._first = Position()
        self._last = Position()
        self._synced = Position()
        self._hold: Position | None = None
        self._broken = ""
        try:
            self._lock = files.lock(directory)
            self._state_fd = state.open_file(directory)
            if rebuild_after is None:
                self._recover()
            else:
                self._start_behind_all_traces(rebuild_after)
        except OSError as error:
            self._release()
            raise files.in_words(error, directory) from error
        except JournalError:
            self._release()
            raise

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        cluster: str,
        group: GroupId,
        limits: Limits,
        boot_id: str,
        now_ms: Callable[[], int],
    ) -> Self:
        """Opens or makes the journal, cutting a torn tail. `now_ms` is wall clock, for ages.

        JournalBusy: another process writes it. JournalError: it is another cluster's.
        JournalCorrupt: see `rebuild`. JournalFull: not even an empty segment fits.
        """
        return cls(
            directory,
            cluster=cluster,
            group=group,
            limits=limits,
            boot_id=boot_id,
            now_ms=now_ms,
        )

    @classmethod
    def rebuild(
        cls,
        directory: Path,
        *,
        cluster: str,
        group: GroupId,
        limits: Limits,
        boot_id: str,
        now_ms: Callable[[], int],
        after: Position,
    ) -> Self:
        """After JournalCorrupt: gives up every record; the next one is numbered behind all traces.

        `after` is what the caller knows to be behind it (its index's position). The epoch counts as
        one whose tail was lost, and the other replica has to be compared.
        """
        return cls(
            directory,
            cluster=cluster,
            group=group,
            limits=limits,
            boot_id=boot_id,
            now_ms=now_ms,
            rebuild_after=after,
        )

    @property
    def first(self) -> Position:
        """The oldest record; when there is none, the place of the next one."""
        previous = self._headers[0].previous
        if self._first.seq != previous.seq + 1 and previous != self._last:
            self._first = segment.first_record(self._headers[0].name.segment(self.directory))
        return files.next_of(self._last) if previous == self._last else self._first

    @property
    def last(self) -> Position:
        """The newest record."""
        return self._last

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of all segments."""
        return sum(self._sizes.values())

    @property
    def lost_tail(self) -> bool:
        """Records of `lost_epoch` may be missing: it cannot go on. A newer epoch clears this."""
        return self._state.lost_epoch != NO_EPOCH

    @property
    def lost_epoch(self) -> Epoch:
        """The epoch that lost its tail, or 0."""
        return self._state.lost_epoch

    def append(self, records: Sequence[Record], epoch: Epoch) -> Position:
        """Numbers and writes the records; returns the last one's position. Not yet durable.

        JournalFull and StaleEpoch leave the journal unchanged; JournalError means that the disk
        failed and the journal must be opened anew.
        """
        if not records:
            return self._last
        self._check_epoch(epoch)
        seq = self._last.seq
        data = b"".join(encode_from(records, epoch, seq + 1))
        return self._write(data, Position(epoch, seq + len(records)))

    def append_frames(self, first: Position, last: Position, data: bytes) -> Position:
        """Writes frames that another journal made, after checking each of them.

        Errors as `append`; and JournalCorrupt, the journal unchanged too, when they are damaged or
        are not exactly `first` to `last`.
        """
        self._check_epoch(first.epoch)
        run = frames.scan(data, 0, self._last)
        if run.end != len(data) or run.records == 0 or (run.first, run.last) != (first, last):
            text = (
                f"records {first} to {last} were announced behind {self._last}, but {run.records} "
                f"good ones came, up to {run.last}, then: {frames.describe(run.stop)}"
            )
            raise JournalCorrupt(text)
        return self._write(data, last)

    def sync(self) -> Position:
        """Makes everything appended durable and returns the last position."""
        self._check_usable()
        if self._synced != self._last:
            self._datasync()
            self._room.synced(self._end - self._state.end)
            self._note()
        return self._last

    @property
    def wants_room(self) -> bool:
        """Whether `make_room` would make the next syncs shorter."""
        return not self._broken and self._room.is_wanted(self._end)

    def make_room(self) -> None:
        """Takes as long as a sync of a mebibyte: for a moment in which nobody waits for one.

        JournalError as `sync`. Without space there simply is no room.
        """
        self._check_usable()
        try:
            self._room.extend(self._fd, self._end)
        except OSError as error:
            self._broken = files.broken_text(self.directory, "syncing", error)
            raise JournalError(self._broken) from error

    def reset(self, last: Position) -> None:
        """Durably gives up every record: an empty journal whose next one is `last.seq` + 1."""
        self._check_usable()
        self._state = replace(self._state, lost_epoch=NO_EPOCH)
        try:
            self._start_generation(last)
        except OSError as error:
            raise files.in_words(error, self.directory) from error

    def roll(self) -> None:
        """Begins a new segment, so that readers find `last` without reading what is before it."""
        self._check_usable()
        if self._end == segment.HEADER_BYTES:
            return
        try:
            self._roll()
        except OSError as error:
            raise files.in_words(error, self.directory) from error

    def hold(self, position: Position | None) -> None:
        """Nothing behind `position` may be given up, even when the journal is full (None: all)."""
        self._hold = position

    def trim(self) -> None:
        """Gives up the oldest segments that are beyond the bounds of size and age."""
        oldest_ms = self._now_ms() - self._limits.max_age_ms
        while self._may_drop() and (
            self.bytes_on_disk > self._limits.max_bytes or self._headers[1].created_ms < oldest_ms
        ):
            self._drop_oldest()

    def close(self) -> None:
        """Makes everything durable and marks a clean stop. A broken journal is only let go."""
        try:
            if not self._broken:
                self.sync()
                self._room.cut(self._fd, self._end)
                self._note(clean=True)
                os.fsync(self._state_fd)
        finally:
            self._release()

    # --- writing ---------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._broken:
            raise JournalError(self._broken)

    def _check_epoch(self, epoch: Epoch) -> None:
        self._check_usable()
        newest = max(self._last.epoch, self._state.epoch)
        if epoch < newest:
            text = (
                f"records of epoch {epoch} were refused: the journal in {self.directory} has "
                f"already been written in epoch {newest}"
            )
            raise StaleEpoch(text)

    def _write(self, data: bytes, last: Position) -> Position:
        try:
            if last.epoch > self._state.epoch:
                self._open_epoch(last.epoch)
            if self._end >= self._segment_bytes:
                self._roll()
        except OSError as error:
            raise files.in_words(error, self.directory) from error
        self.trim()
        if self.bytes_on_disk + len(data) > self._limits.max_bytes and self._hold is not None:
            self._make_room(len(data))
        while not self._put(data):
            if not self._may_drop():
                raise JournalFull(files.full_text(self.directory))
            self._drop_oldest()
        self._end += len(data)
        self._sizes[self._headers[-1].name.first_seq] = self._end
        self._last = last
        if self._end - self._indexed_end >= segment.INDEX_EVERY_BYTES:
            self._index()
        return last

    def _put(self, data: bytes) -> bool:
        """Writes one batch, its first bytes last. False: no space, and nothing of it is left."""
        view = memoryview(data)
        head = frames.HEADER_BYTES
        try:
            if files.pwrite_all(self._fd, view[head:], self._end + head) and files.pwrite_all(
                self._fd, view[:head], self._end
            ):
                return True
        except OSError as error:
            self._undo(error)
            raise JournalError(self._broken) from error
        self._undo(None)
        return False

    def _undo(self, error: OSError | None) -> None:
        try:
            os.ftruncate(self._fd, self._end)
            self._room.begin(self._end)
        except OSError as second:
            error = error or second
        if error is not None:
            self._broken = files.broken_text(self.directory, "writing to", error)

    def _make_room(self, more: int) -> None:
        """Within the bound while something is held; a batch larger than the bound passes alone."""
        while self.bytes_on_disk + more > self._limits.max_bytes:
            if self._may_drop():
                self._drop_oldest()
            elif self._hold is None or self._hold.seq >= self._last.seq:
                return
            else:
                raise JournalFull(
                    f"the journal in {self.directory} has {self.bytes_on_disk} bytes, up to its "
                    f"bound of {self._limits.max_bytes}, and record {self._hold.seq + 1} is not "
                    "applied yet: see why applying is behind, or raise the journal's max_bytes"
                )

    def _datasync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            # The kernel may have thrown the unwritten pages away: only what is read back counts.
            self._broken = files.broken_text(self.directory, "syncing", error)
            raise JournalError(self._broken) from error
        self._synced = self._last

    def _note(self, *, clean: bool = False) -> None:
        name = self._headers[-1].name
        self._state = replace(
            self._state,
            clean=clean,
            generation=name.generation,
            first_seq=name.first_seq,
            end=self._end,
            last=self._last,
        )
        os.pwrite(self._state_fd, state.pack(self._state), 0)

    def _open_epoch(self, epoch: Epoch) -> None:
        """A new epoch is noted durably before its first record: its loss must not go unseen."""
        lost = self._state.lost_epoch
        self._state = replace(
            self._state, epoch=epoch, lost_epoch=lost if epoch <= lost else NO_EPOCH
        )
        os.pwrite(self._state_fd, state.pack(self._state), 0)
        os.fsync(self._state_fd)

    def _index(self) -> None:
        entry = segment.pack_entry(self._last, self._end)
        try:
            os.write(self._index_fd, entry)
        except OSError as error:
            # The index is only a hint that saves reading; without space there simply is less of it.
            if error.errno not in files.NO_SPACE:
                raise
        self._indexed_end = self._end

    # --- segments --------------------------------------------------------------------------------

    def _roll(self) -> None:
        self._room.cut(self._fd, self._end)
        self._datasync()
        header = self._header(self._headers[-1].generation, self._last)
        self._use(header, self._create(header), segment.HEADER_BYTES)
        self._note()
        # What a power cut leaves in room may look like damage before good records; behind a place
        # that is known to be durable it is a torn tail.
        os.fsync(self._state_fd)

    def _create(self, header: Header) -> int:
        while True:
            try:
                return segment.create(self.directory, header)
            except OSError as error:
                if error.errno not in files.NO_SPACE or not self._may_drop():
                    raise
                self._drop_oldest()

    def _start_generation(self, last: Position) -> None:
        old = segment.every_segment(self.directory)
        header = self._header(self._state.generation + 1, last)
        fd = segment.create(self.directory, header)
        self._headers.clear()
        self._sizes.clear()
        self._first, self._last, self._synced = Position(), last, last
        self._use(header, fd, segment.HEADER_BYTES)
        self._note()
        os.fsync(self._state_fd)
        for name in old:
            recovery.remove(self.directory, name)

    def _recover(self) -> None:
        found = recovery.recover(
            self.directory, cluster=self._cluster, group=self._group, boot_id=self._boot_id
        )
        if found is None:
            self._begin_without_segments()
            return
        self.notices = found.notices
        self._state = found.state
        *closed, current = found.headers
        for header in closed:
            self._headers.append(header)
            size = header.name.segment(self.directory).stat().st_size
            self._sizes[header.name.first_seq] = size
        self._last = found.last
        self._use(current, os.open(current.name.segment(self.directory), os.O_RDWR), found.end)
        self._datasync()
        self._note()
        os.fsync(self._state_fd)

    def _begin_without_segments(self) -> None:
        noted = state.read(self.directory) or WriterState()
        lost = noted.last.seq > 0
        if lost:
            text = f"record {noted.last} was written to {self.directory}, which has no segments"
            self.notices = (f"journal: {text}; it goes on behind that",)
        lost_epoch = noted.epoch if lost else noted.lost_epoch
        self._state = replace(noted, boot_id=self._boot_id, lost_epoch=lost_epoch)
        self._start_generation(noted.last)

    def _start_behind_all_traces(self, after: Position) -> None:
        trace = recovery.newest_trace(self.directory)
        last = Position(max(trace.epoch, after.epoch), max(trace.seq, after.seq))
        names = segment.every_segment(self.directory)
        generation = max((name.generation for name in names), default=0)
        self._state = WriterState(
            generation=generation, epoch=last.epoch, lost_epoch=last.epoch, boot_id=self._boot_id
        )
        self._start_generation(last)
        text = f"{self.directory} was damaged; its records were given up, it goes on behind {last}"
        self.notices = (f"journal: {text}",)

    def _header(self, generation: int, previous: Position) -> Header:
        return Header(
            generation=generation,
            cluster=self._cluster,
            group=self._group,
            previous=previous,
            created_ms=self._now_ms(),
        )

    def _use(self, header: Header, fd: int, end: int) -> None:
        self._close_segment()
        self._fd = fd
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._index_fd = os.open(header.name.index(self.directory), flags, 0o600)
        self._headers.append(header)
        self._end = self._indexed_end = end
        self._room.begin(end)
        self._sizes[header.name.first_seq] = end

    def _may_drop(self) -> bool:
        if len(self._headers) < 2:  # noqa: PLR2004 - the one that is being written stays
            return False
        return self._hold is None or self._headers[1].previous.seq <= self._hold.seq

    def _drop_oldest(self) -> None:
        header = self._headers.pop(0)
        del self._sizes[header.name.first_seq]
        recovery.remove(self.directory, header.name)

    def _close_segment(self) -> None:
        for fd in (self._fd, self._index_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._index_fd = -1

    def _release(self) -> None:
        self._close_segment()
        for fd in (self._state_fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._state_fd = self._lock = -1
        self._broken = self._broken or f"the journal in {self.directory} is closed"
