"""A reader of a journal that another process may be writing, trimming or resetting, without a lock.

A position is found by the segment's name, then by the nearest hint (the sparse index, or the
writer's note of its last sync), then from frame to frame. It is never searched for by its bytes: a
user's file may hold bytes that look like a frame.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from staqraft.errors import JournalCorrupt
from staqraft.journal import frames, segment, state
from staqraft.journal.frames import Damage, Gap
from staqraft.journal.segment import Name
from staqraft.model import ORIGIN, Position

_STEP_BYTES = 1 << 20
_LOOK_AGAIN = 8  # a listing can be outdated at once; more often than this in a row it cannot


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Whole, checked frames: the records `first` to `last`."""

    first: Position
    last: Position
    records: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """What follows the cursor's place is not in the journal (now): trimmed, reset or parted."""

    first: Position
    last: Position
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt:
    """The record behind `after` is damaged. `reason` is a sentence for people."""

    after: Position
    reason: str


class _Moved(Exception):
    """The directory changed while it was looked at."""


class Cursor:
    """Reads what follows `after`, record by record, over segments. Not for two threads at once."""

    def __init__(self, directory: Path, after: Position) -> None:
        self._directory = directory
        self._after = after
        self._fd = -1
        self._name = Name(0, 0)
        self._offset = 0

    @property
    def after(self) -> Position:
        """The last record that was read."""
        return self._after

    def read(self, max_bytes: int) -> Frames | Trimmed | Corrupt | None:
        """The next frames, at least one and else at most `max_bytes`; None: nothing new yet."""
        for _ in range(_LOOK_AGAIN):
            try:
                return self._read(max_bytes)
            except _Moved:
                self.close()
        return None

    def bytes_left(self) -> int:
        """What there is behind the last record that was read, in this segment and the next ones."""
        if self._fd < 0:
            return 0
        names = [name for name in segment.listing(self._directory) if name > self._name]
        if not names:
            return max(0, _written(self._directory, self._name) - self._offset)
        here = max(0, os.fstat(self._fd).st_size - self._offset)
        last = max(0, _written(self._directory, names[-1]) - segment.HEADER_BYTES)
        return here + last + sum(segment.record_bytes(self._directory, n) for n in names[:-1])

    def close(self) -> None:
        """Lets go of the open segment; reading again finds it again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, max_bytes: int) -> Frames | Trimmed | Corrupt | None:
        while True:
            if self._fd < 0:
                outcome = self._locate()
                if self._fd < 0:
                    return outcome
            data, run = self._take(max_bytes)
            status = os.fstat(self._fd)
            if status.st_nlink == 0 and self._was_reset():
                raise _Moved
            if run.records:
                self._offset += run.end
                self._after = run.last
                return Frames(
                    first=run.first, last=run.last, records=run.records, data=data[: run.end]
                )
            if status.st_nlink == 0 or status.st_size < self._offset:
                raise _Moved
            if run.stop is not Gap.END and self._was_synced(run.stop):
                # Looked at while it was being written? Now it is not any more.
                again = self._take(max_bytes)[1]
                if again.records == 0 and again.stop is not Gap.END:
                    return self._damaged(again.stop)
                continue
            if isinstance(run.stop, Damage):
                return None  # a torn tail, which the next writer will cut
            following = Name(self._name.generation, self._after.seq + 1)
            if following == self._name or not following.segment(self._directory).exists():
                return None
            # The writer rolls only behind its last record: look once more, now that it has rolled.
            again = self._take(max_bytes)[1]
            if again.records == 0:
                if again.stop is not Gap.END:
                    return self._damaged(again.stop)
                self.close()

    def _take(self, max_bytes: int) -> tuple[bytes, frames.Run]:
        data = os.pread(self._fd, max_bytes, self._offset)
        run = frames.scan(data, 0, self._after)
        while run.records == 0 and run.stop is Gap.PARTIAL:
            wanted = frames.length_at(data, 0) or frames.HEADER_BYTES
            more = os.pread(self._fd, wanted, self._offset)
            if len(more) <= len(data):
                break  # the rest is not written yet
            data = more
            run = frames.scan(data, 0, self._after)
        return data, run

    def _was_reset(self) -> bool:
        """Why the open segment has no name any more: a reset, or else it was only trimmed."""
        names = segment.listing(self._directory)
        return not names or names[-1].generation != self._name.generation

    def _was_synced(self, found: Gap | Damage) -> bool:
        """Whether the writer has synced what should stand here: then it cannot be a torn tail."""
        noted = state.read(self._directory)
        if noted is None:
            return isinstance(found, Damage)
        synced = Name(noted.generation, noted.first_seq)
        return synced > self._name or (synced == self._name and noted.end > self._offset)

    def _damaged(self, fault: Gap | Damage) -> Corrupt:
        path = self._name.segment(self._directory)
        reason = (
            f"{path}, byte {self._offset}: the record behind {self._after} is damaged "
            f"({frames.describe(fault)}); the replicas have to be compared. Check the disk."
        )
        return Corrupt(after=self._after, reason=reason)

    # --- finding the place -----------------------------------------------------------------------

    def _locate(self) -> Trimmed | Corrupt | None:
        """Opens the segment at the cursor's place; the result says why it could not be opened."""
        names = segment.listing(self._directory)
        if not names:
            return None
        wanted = self._after.seq + 1
        if wanted < names[0].first_seq:
            return self._trimmed("trimmed or reset")
        name = max(n for n in names if n.first_seq <= wanted)
        path = name.segment(self._directory)
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise _Moved from None
        try:
            previous = segment.read_header(fd, path).previous
        except JournalCorrupt as error:
            os.close(fd)
            return Corrupt(after=self._after, reason=str(error))
        self._fd, self._name = fd, name
        found = self._seek(previous)
        if isinstance(found, int):
            self._offset = found
            return None
        self.close()
        return found

    def _seek(self, previous: Position) -> int | Trimmed | Corrupt | None:
        """The offset behind the cursor's record; None when that record is not written yet."""
        if previous.seq == self._after.seq:
            if previous == self._after:
                return segment.HEADER_BYTES
            return self._trimmed(f"record {self._after.seq} is {previous} here")
        reached, offset = self._hint(previous)
        while reached.seq < self._after.seq:
            data = os.pread(self._fd, _STEP_BYTES, offset)
            at = 0
            while reached.seq < self._after.seq:
                head = data[at : at + 64]
                length, found = frames.length_at(data, at), frames.position_of(head, 0)
                if not length or found is None or found.seq != reached.seq + 1:
                    break
                reached, at = found, at + length
            if at == 0:
                return self._unreached(data, reached, offset)
            offset += at
        if reached != self._after:
            return self._trimmed(f"record {self._after.seq} is {reached} here")
        return offset

    def _hint(self, previous: Position) -> tuple[Position, int]:
        """A known place at or before the cursor's."""
        best = (previous, segment.HEADER_BYTES)
        noted = state.read(self._directory)
        if (
            noted is not None
            and (noted.generation, noted.first_seq) == (self._name.generation, self._name.first_seq)
            and best[0].seq < noted.last.seq <= self._after.seq
        ):
            best = (noted.last, noted.end)
        entry = segment.nearest_entry(self._name.index(self._directory), self._after.seq)
        if entry is not None and best[0].seq < entry[0].seq:
            best = entry
        return best

    def _unreached(self, data: bytes, reached: Position, offset: int) -> Corrupt | None:
        """The way to the cursor's record ends early: at the journal's end, or at damage."""
        stop = frames.frame_at(data, 0)
        names = segment.listing(self._directory)
        if self._name not in names:
            raise _Moved  # reset or trimmed since it was listed
        if isinstance(stop, Gap) and self._name == names[-1]:
            return None
        path = self._name.segment(self._directory)
        reason = (
            f"{path}, byte {offset}: no way from record {reached} to {self._after}; the replicas "
            "have to be compared. Check the disk."
        )
        return Corrupt(after=self._after, reason=reason)

    def _trimmed(self, why: str) -> Trimmed:
        first, last = bounds(self._directory)
        reason = f"the journal in {self._directory} holds {first} to {last}: {why}"
        return Trimmed(first=first, last=last, reason=reason)


def _written(directory: Path, name: Name) -> int:
    """Where the last frame of the newest segment ends; behind it there may be room."""
    noted = state.read(directory)
    known = noted is not None and Name(noted.generation, noted.first_seq) == name
    end = noted.end if noted is not None and known else segment.HEADER_BYTES
    try:
        fd = os.open(name.segment(directory), os.O_RDONLY)
    except FileNotFoundError:
        return 0  # trimmed or reset meanwhile
    try:
        while (
            length := frames.length_at(os.pread(fd, frames.HEADER_BYTES, end), 0)
        ) > frames.HEADER_BYTES:
            end += length
    finally:
        os.close(fd)
    return end


def bounds(directory: Path) -> tuple[Position, Position]:
    """The first and the last record, without the lock. An empty journal: the next one and `last`.

    JournalCorrupt when a segment's header cannot be read. A missing journal has (0:1, 0:0).
    """
    for _ in range(_LOOK_AGAIN):
        try:
            return _bounds(directory)
        except FileNotFoundError:
            continue  # trimmed or reset in between: look again
    text = f"the journal in {directory} changes faster than it can be looked at"
    raise JournalCorrupt(text)


def _bounds(directory: Path) -> tuple[Position, Position]:
    names = segment.listing(directory)
    if not names:
        return Position(ORIGIN.epoch, 1), ORIGIN
    previous, _ = _previous(directory, names[0])
    before, path = _previous(directory, names[-1])
    noted = state.read(directory)
    offset = segment.HEADER_BYTES
    if noted and (noted.generation, noted.first_seq) == (names[-1].generation, names[-1].first_seq):
        before, offset = noted.last, noted.end
    with path.open("rb") as file:
        file.seek(offset)
        last = frames.scan(file.read(), 0, before).last
    if last.seq == previous.seq:
        return Position(last.epoch, last.seq + 1), last
    return segment.first_record(names[0].segment(directory)), last


def _previous(directory: Path, name: Name) -> tuple[Position, Path]:
    path = name.segment(directory)
    with path.open("rb") as file:
        return segment.unpack(file.read(segment.HEADER_BYTES), path).previous, path
