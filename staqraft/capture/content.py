"""Reading files: small ones whole and stable, large ones piece by piece with their holes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from staqraft.capture.objects import ObjectState, identity_of, state_of_open
from staqraft.index import content_digest
from staqraft.journal.record import CHUNK_BYTES

INLINE_BYTES: Final = 1 << 20
_TRIES: Final = 3
_SECTOR: Final = 512
_SPARSE_SLACK: Final = 16 << 10  # what a filesystem may save without there being a hole to keep
ZEROS: Final = bytes(CHUNK_BYTES)


@dataclass(frozen=True, slots=True)
class Small:
    """A small file's content with the state that it was read in."""

    state: ObjectState
    data: bytes
    digest: bytes
    stable: bool  # nothing changed while it was read


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a file: bytes, or a hole of `length` (then `data` is empty)."""

    offset: int
    length: int
    data: bytes


def is_small(state: ObjectState) -> bool:
    """Whether the content travels in one record. A sparse file does not, to keep its holes."""
    size = state.metadata.size
    return size <= INLINE_BYTES and not is_sparse(state)


def is_sparse(state: ObjectState) -> bool:
    """Whether a file has holes worth keeping."""
    return state.blocks * _SECTOR + _SPARSE_SLACK < state.metadata.size


def read_small(fd: int, state: ObjectState) -> Small | None:
    """Reads a whole file until it holds still, at most three times; None if it became large.

    `state` was read from the open file just now.
    """
    for attempt in range(_TRIES):
        if state.metadata.size > INLINE_BYTES:
            return None
        data = read_at(fd, 0, state.metadata.size)  # if there is more by now, its state tells
        after = os.fstat(fd)  # its change time tells of extended attributes too
        stable = identity_of(after) == state.identity and len(data) == after.st_size
        if stable or attempt == _TRIES - 1:
            return Small(state, data, content_digest(data), stable)
        state = state_of_open(fd)
    raise AssertionError("the loop returns")


def read_at(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes from `offset`; fewer only at the end of the file."""
    data = os.pread(fd, length, offset)
    if len(data) in (0, length):
        return data
    parts = [data]
    got = len(data)
    while got < length and (data := os.pread(fd, length - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def pieces(fd: int, size: int, align: int) -> Iterator[Piece]:
    """The content up to `size` in runs of at most CHUNK_BYTES; ends early where the file ends.

    Each run begins at a multiple of `align`, which divides CHUNK_BYTES: a hole counts as far as
    it covers whole blocks of that size.
    """
    at = 0
    while at < size:
        begin, end = _next_data(fd, at, size)
        data_at = max(at, begin if begin == size else begin // align * align)
        data_end = min(size, -(-end // align) * align)
        while at < data_at:
            length = min(CHUNK_BYTES, data_at - at)
            yield Piece(at, length, b"")
            at += length
        while at < data_end:
            wanted = min(CHUNK_BYTES, data_end - at)
            data = read_at(fd, at, wanted)
            if data:
                yield Piece(at, len(data), data)
            if len(data) < wanted:
                return  # it was cut off while it was read: that was its end
            at += wanted


def _next_data(fd: int, at: int, size: int) -> tuple[int, int]:
    """Where the next data begins and ends; (size, size) when only a hole follows."""
    try:
        begin = os.lseek(fd, at, os.SEEK_DATA)
        return min(begin, size), min(os.lseek(fd, begin, os.SEEK_HOLE), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size, size
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return at, size  # a filesystem that does not tell: all of it is data
        raise
