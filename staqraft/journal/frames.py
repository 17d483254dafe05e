"""Frames in a run of bytes: seal one, find where the good ones end, and why they end (PURE).

A frame is `length u32 | crc32 u32 | body`, little-endian; the CRC is over length and body, so a run
of zeros is never a frame: eight zero bytes mean "not written yet". The body is a protobuf Record
whose first bytes are its position, as `record_codec` puts them there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from struct import Struct

from staqraft.model import Epoch, Position

_HEADER = Struct("<II")
HEADER_BYTES = _HEADER.size
MAX_FRAME_BYTES = 16 << 20
_NOTHING = bytes(HEADER_BYTES)
_POSITION_TAG = 0x0A  # field 1 of Record, a message
_EPOCH_TAG = 0x08  # field 1 of Position, a varint
_SEQ_TAG = 0x10  # field 2 of Position, a varint
_MAX_VARINT_BYTES = 10
_LOW_BYTES = [bytes((byte,)) for byte in range(0x100)]


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame with a right checksum: its record's position and where it ends."""

    position: Position
    end: int


class Gap(Enum):
    """Why there is no frame where one could be, without anything being wrong."""

    END = "the data ends here"
    EMPTY = "nothing is written here yet"
    PARTIAL = "the frame goes on behind the data"


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that no writer of ours leaves. `end`: where the frame would end, 0 if unknown."""

    reason: str
    end: int = 0


def describe(fault: Gap | Damage) -> str:
    """The fault in words."""
    return fault.value if isinstance(fault, Gap) else fault.reason


def seal(*parts: bytes) -> bytes:
    """The body, in its parts, as a frame. ValueError when it is larger than a frame may be."""
    size = sum(map(len, parts))
    if size + HEADER_BYTES > MAX_FRAME_BYTES:
        text = f"a record of {size} bytes is larger than a journal frame may be"
        raise ValueError(text)
    crc = zlib.crc32(size.to_bytes(4, "little"))
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((_HEADER.pack(size, crc), *parts))


def position_prefix(position: Position) -> bytes:
    """The bytes with which the body of a record at `position` begins."""
    epoch, seq = varint(position.epoch), varint(position.seq)
    size = 2 + len(epoch) + len(seq)
    return b"".join((bytes((_POSITION_TAG, size, _EPOCH_TAG)), epoch, bytes((_SEQ_TAG,)), seq))


def position_prefixes(epoch: Epoch, seq: int) -> Iterator[bytes]:
    """`position_prefix` of `seq` and each number that follows, without end; cheaper."""
    while True:
        whole = position_prefix(Position(epoch, seq))
        block, low = seq >> 7, seq & 0x7F
        rest = varint(block) if block else b""
        head = whole[: len(whole) - len(rest) - 1]
        for byte in _LOW_BYTES[low:0x80] if not block else _LOW_BYTES[0x80 + low :]:
            yield head + byte + rest
        seq = (block + 1) << 7


def frame_at(data: bytes | memoryview, offset: int) -> Frame | Gap | Damage:
    """What stands at `offset`. Never raises, whatever the bytes are."""
    available = len(data) - offset
    if available < HEADER_BYTES:
        return Gap.END if available <= 0 else Gap.PARTIAL
    length, crc = _HEADER.unpack_from(data, offset)
    if length == 0 and crc == 0:
        return Gap.EMPTY
    if length + HEADER_BYTES > MAX_FRAME_BYTES:
        return Damage(f"a frame cannot be {length} bytes long")
    start = offset + HEADER_BYTES
    end = start + length
    if end > len(data):
        return Gap.PARTIAL
    view = memoryview(data)
    if zlib.crc32(view[start:end], zlib.crc32(view[offset : offset + 4])) != crc:
        return Damage("the checksum does not match", end)
    position = _position_at(data, start, end)
    if position is None:
        return Damage("the record does not begin with its position", end)
    return Frame(position, end)


def position_of(data: bytes | memoryview, offset: int) -> Position | None:
    """The position that the frame at `offset` claims, unchecked; its end need not be there."""
    return _position_at(data, offset + HEADER_BYTES, len(data))


def length_at(data: bytes | memoryview, offset: int) -> int:
    """How long the frame at `offset` claims to be, header included; 0 if that cannot be known."""
    if len(data) - offset < HEADER_BYTES:
        return 0
    length: int = _HEADER.unpack_from(data, offset)[0]
    return length + HEADER_BYTES if length + HEADER_BYTES <= MAX_FRAME_BYTES else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The good, contiguous frames from an offset on: how many, where they end, and why there."""

    first: Position
    last: Position  # with no records: what came before
    records: int
    end: int
    stop: Gap | Damage


def scan(data: bytes | memoryview, offset: int, previous: Position) -> Run:
    """Walks over the frames that follow record `previous`: seq + 1 each, epochs never falling."""
    first, last, records = previous, previous, 0
    while True:
        offset, more = _same_epoch(data, offset, last)
        if more:
            first = first if records else Position(last.epoch, last.seq + 1)
            last, records = Position(last.epoch, last.seq + more), records + more
        found = frame_at(data, offset)
        if not isinstance(found, Frame):
            return Run(first=first, last=last, records=records, end=offset, stop=found)
        position = found.position
        if position.seq != last.seq + 1 or position.epoch < last.epoch:
            damage = Damage(f"record {position} cannot follow {last}", found.end)
            return Run(first=first, last=last, records=records, end=offset, stop=damage)
        if records == 0:
            first = position
        last, offset, records = position, found.end, records + 1


def _same_epoch(data: bytes | memoryview, offset: int, previous: Position) -> tuple[int, int]:
    """Where the good frames that follow in the same epoch end, and how many they are.

    Nearly all do, so their positions are compared with what they must be and not read.
    """
    view, size, records = memoryview(data), len(data), 0
    for prefix in position_prefixes(previous.epoch, previous.seq + 1):
        start = offset + HEADER_BYTES
        if start > size:
            break
        length, crc = _HEADER.unpack_from(view, offset)
        end = start + length
        if (
            end > size
            or length < len(prefix)
            or length + HEADER_BYTES > MAX_FRAME_BYTES
            or view[start : start + len(prefix)] != prefix
            or zlib.crc32(view[start:end], zlib.crc32(view[offset : offset + 4])) != crc
        ):
            break
        offset, records = end, records + 1
    return offset, records


def bodies(data: bytes) -> Iterator[memoryview]:
    """The bodies of frames that `scan` found to be good just now: nothing is checked again."""
    offset, end, view = 0, len(data), memoryview(data)
    while offset < end:
        start = offset + HEADER_BYTES
        offset = start + _HEADER.unpack_from(data, offset)[0]
        yield view[start:offset]


def goes_on(data: bytes | memoryview, run: Run) -> Position | None:
    """A good frame right behind the damage that ended `run`: then it is no torn tail."""
    if isinstance(run.stop, Damage) and run.stop.end:
        behind = frame_at(data, run.stop.end)
        if isinstance(behind, Frame) and behind.position.seq > run.last.seq:
            return behind.position
    return None


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _position_at(data: bytes | memoryview, start: int, end: int) -> Position | None:
    if end - start < 6 or data[start] != _POSITION_TAG or data[start + 2] != _EPOCH_TAG:  # noqa: PLR2004
        return None
    limit = start + 2 + data[start + 1]
    if limit > end:
        return None
    epoch, at = read_varint(data, start + 3, limit)
    if at >= limit or data[at] != _SEQ_TAG:
        return None
    seq, at = read_varint(data, at + 1, limit)
    return Position(Epoch(epoch), seq) if at == limit else None


def read_varint(data: bytes | memoryview, at: int, limit: int) -> tuple[int, int]:
    """The number and where it ends; an end behind `limit` says that there is none."""
    value = shift = 0
    while at < limit:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a varint has its top bit clear
            return value, at
        shift += 7
        if shift >= 7 * _MAX_VARINT_BYTES:
            break
    return 0, limit + 1
