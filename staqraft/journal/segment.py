"""A segment file: its name, its header, and the sparse index beside it.

Names are `<generation>-<first seq>.seg`, both in hexadecimal of fixed width, so that a sorted
listing is the order of the records. A reset begins a new generation; files of an older one are
leftovers. A segment is made as a temporary file with its header, synced, then renamed: a segment
that has its name has a whole header.

The sparse index `*.idx` is a hint that saves reading up to a whole segment when a reader seeks. It
is never synced and never trusted: each entry has a CRC, and the frame it points at is checked.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from staqraft.errors import JournalCorrupt
from staqraft.journal import frames
from staqraft.model import Epoch, GroupId, Position

HEADER_BYTES = 512
_MAGIC = b"STAQJRN1"
_FIXED = Struct("<8sIQQQqHH")  # magic, crc, generation, previous epoch and seq, wall ms, lengths
_CRC_AT = 8
_MAX_NAMES_BYTES = HEADER_BYTES - _FIXED.size
_FIRST_RECORD_BYTES = 64  # holds any frame's head and position
_NAME = re.compile(r"([0-9a-f]{8})-([0-9a-f]{16})\.seg")
_ENTRY = Struct("<QQQI")  # epoch and seq of a record, where its frame ends, crc of these
INDEX_EVERY_BYTES = 256 << 10


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """What a segment's file name says."""

    generation: int
    first_seq: int

    def segment(self, directory: Path) -> Path:
        """The file with the records."""
        return directory / f"{self.generation:08x}-{self.first_seq:016x}.seg"

    def index(self, directory: Path) -> Path:
        """The file with the sparse index."""
        return directory / f"{self.generation:08x}-{self.first_seq:016x}.idx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a segment says of itself. `previous` is the record before its first."""

    generation: int
    cluster: str
    group: GroupId
    previous: Position
    created_ms: int  # wall clock: ages must survive a reboot

    @property
    def name(self) -> Name:
        """The name that the segment must have."""
        return Name(self.generation, self.previous.seq + 1)


def listing(directory: Path) -> list[Name]:
    """The segments of the newest generation, in order. A missing directory has none."""
    names = every_segment(directory)
    return [name for name in names if name.generation == names[-1].generation]


def every_segment(directory: Path) -> list[Name]:
    """The segments of all generations, in order."""
    try:
        entries = [entry.name for entry in os.scandir(directory)]
    except FileNotFoundError:
        return []
    matches = (_NAME.fullmatch(entry) for entry in entries)
    return sorted(Name(int(m[1], 16), int(m[2], 16)) for m in matches if m)


def record_bytes(directory: Path, name: Name) -> int:
    """Bytes of records in a segment; none when it was trimmed meanwhile."""
    try:
        return max(0, name.segment(directory).stat().st_size - HEADER_BYTES)
    except FileNotFoundError:
        return 0


def pack(header: Header) -> bytes:
    """The header's bytes. ValueError when the names are too long to fit."""
    cluster, group = header.cluster.encode(), header.group.encode()
    if len(cluster) + len(group) > _MAX_NAMES_BYTES:
        text = f"cluster and group name together are longer than {_MAX_NAMES_BYTES} bytes"
        raise ValueError(text)
    previous = header.previous
    numbers = (header.generation, previous.epoch, previous.seq, header.created_ms)
    fixed = _FIXED.pack(_MAGIC, 0, *numbers, len(cluster), len(group))
    blank = (fixed + cluster + group).ljust(HEADER_BYTES, b"\0")
    crc = zlib.crc32(blank).to_bytes(4, "little")
    return blank[:_CRC_AT] + crc + blank[_CRC_AT + 4 :]


def unpack(data: bytes, path: Path) -> Header:
    """The header in `data`; JournalCorrupt, naming `path`, when it is not one."""
    if len(data) < HEADER_BYTES or data[: len(_MAGIC)] != _MAGIC:
        text = f"{path} does not begin with a journal segment's header"
        raise JournalCorrupt(text)
    _, crc, generation, epoch, seq, created_ms, cluster_bytes, group_bytes = _FIXED.unpack_from(
        data
    )
    blank = data[:_CRC_AT] + bytes(4) + data[_CRC_AT + 4 : HEADER_BYTES]
    if zlib.crc32(blank) != crc or cluster_bytes + group_bytes > _MAX_NAMES_BYTES:
        text = f"{path}: the segment header's checksum does not match"
        raise JournalCorrupt(text)
    names = data[_FIXED.size : _FIXED.size + cluster_bytes + group_bytes]
    return Header(
        generation=generation,
        cluster=names[:cluster_bytes].decode(errors="replace"),
        group=GroupId(names[cluster_bytes:].decode(errors="replace")),
        previous=Position(Epoch(epoch), seq),
        created_ms=created_ms,
    )


def create(directory: Path, header: Header) -> int:
    """Makes the segment durable under its name and returns a descriptor to write and read it."""
    path = header.name.segment(directory)
    scratch = path.with_suffix(".new")
    fd = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if os.pwrite(fd, pack(header), 0) != HEADER_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))  # noqa: TRY301
        os.fsync(fd)
        scratch.rename(path)
        sync_directory(directory)
    except OSError:
        os.close(fd)
        scratch.unlink(missing_ok=True)
        raise
    return fd


def read_header(fd: int, path: Path) -> Header:
    """The header of an open segment."""
    return unpack(os.pread(fd, HEADER_BYTES, 0), path)


def first_record(path: Path) -> Position:
    """The position of the segment's first record, whose checksum is not looked at here."""
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES + _FIRST_RECORD_BYTES)
    found = frames.position_of(data, HEADER_BYTES)
    if found is None:
        text = f"{path}: its first record does not begin with its position"
        raise JournalCorrupt(text)
    return found


def sync_directory(directory: Path) -> None:
    """Makes names that were made or removed durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def pack_entry(position: Position, end: int) -> bytes:
    """An index entry: the frame of the record at `position` ends at offset `end`."""
    numbers = (position.epoch, position.seq, end)
    return _ENTRY.pack(*numbers, zlib.crc32(repr(numbers).encode()))


def nearest_entry(path: Path, seq: int) -> tuple[Position, int] | None:
    """The last entry at or before record `seq`; None when there is none that can be believed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    best: tuple[Position, int] | None = None
    for epoch, found, end, crc in _ENTRY.iter_unpack(
        data[: len(data) // _ENTRY.size * _ENTRY.size]
    ):
        if zlib.crc32(repr((epoch, found, end)).encode()) == crc and found <= seq:
            best = (Position(Epoch(epoch), found), end)
    return best
