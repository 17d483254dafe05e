"""Records and frames as bytes: there and back, and nothing that is not a frame passes for one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.records import deliveries, delivery
from staqraft.errors import JournalCorrupt
from staqraft.journal import frames
from staqraft.journal.frames import Damage, Frame, Gap
from staqraft.journal.record import (
    Chunk,
    Delta,
    HardLinkTo,
    Inline,
    MailKind,
    Metadata,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Staged,
    Upsert,
)
from staqraft.journal.record_codec import (
    decode,
    decode_checked,
    encode,
    encode_at,
    encode_from,
)
from staqraft.model import Epoch, Position
from staqraft.wire.v1 import types_pb2 as pb

U64 = st.integers(0, 2**64 - 1)
positions = st.builds(Position, U64.map(Epoch), U64)
metadata = st.builds(
    Metadata,
    type=st.sampled_from(ObjectType),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**80), 2**80),
    size=U64,
    symlink_target=st.binary(max_size=20),
    rdev=U64,
    xattrs=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=2).map(tuple),
)
extents = st.lists(st.tuples(U64, st.binary(max_size=9)), max_size=3).map(tuple)
content = st.one_of(
    st.none(),
    st.builds(Inline, st.binary(max_size=50)),
    st.builds(Delta, st.binary(max_size=16), extents),
    st.builds(Staged, U64),
    st.builds(MovedFrom, st.binary(max_size=20)),
    st.builds(HardLinkTo, st.binary(max_size=20)),
)
changes = st.one_of(
    st.builds(Upsert, metadata=metadata, digest=st.binary(max_size=16), content=content),
    st.builds(Remove),
    st.builds(Chunk, stage=U64, offset=U64, data=st.binary(max_size=50)),
)
records = st.builds(
    Record,
    tree=st.text(max_size=9),
    path=st.binary(max_size=40),
    change=changes,
    position=positions,
    before=st.binary(max_size=16),
    mail=st.none() | st.sampled_from(MailKind),
    wall_ms=st.integers(-(2**63), 2**63 - 1),
)


@given(st.lists(records, max_size=4))
def test_every_record_comes_back_as_it_was(some: list[Record]) -> None:
    assert list(decode(b"".join(encode(record) for record in some))) == some


@given(records, positions)
def test_the_position_is_read_without_reading_the_record(record: Record, place: Position) -> None:
    data = encode_at(record, place)
    assert frames.frame_at(data, 0) == Frame(place, len(data))
    assert frames.position_of(data, 0) == place
    assert next(decode(data)).position == place


@given(st.binary(max_size=200), st.integers(0, 50))
def test_any_bytes_are_judged_without_an_exception(data: bytes, offset: int) -> None:
    assert isinstance(frames.frame_at(data, offset), Frame | Gap | Damage)


@given(records, st.data())
def test_a_flipped_bit_is_never_taken_for_a_record(record: Record, data: st.DataObject) -> None:
    whole = bytearray(encode(record))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert not isinstance(frames.frame_at(bytes(whole), 0), Frame)


def test_zeros_are_not_written_yet_and_a_cut_frame_is_partial() -> None:
    data = encode(delivery(1, 50))
    assert frames.frame_at(bytes(64), 0) is Gap.EMPTY
    assert frames.frame_at(data, len(data)) is Gap.END
    for cut in range(1, len(data)):
        assert frames.frame_at(data[:cut], 0) is Gap.PARTIAL


def test_a_scan_stops_at_a_gap_in_the_numbers_and_at_an_epoch_that_falls() -> None:
    def run(*places: tuple[int, int]) -> frames.Run:
        some = [encode_at(delivery(1, 10), Position(Epoch(e), s)) for e, s in places]
        return frames.scan(b"".join(some), 0, Position(Epoch(1), 4))

    assert run((1, 5), (2, 6), (2, 7)).last == Position(Epoch(2), 7)
    assert run((1, 5), (2, 6), (2, 7)).stop is Gap.END
    skipped = run((1, 5), (1, 7))
    assert (skipped.records, skipped.last) == (1, Position(Epoch(1), 5))
    assert frames.describe(skipped.stop) == "record 1:7 cannot follow 1:5"
    fell = run((2, 5), (1, 6))
    assert frames.describe(fell.stop) == "record 1:6 cannot follow 2:5"


@pytest.mark.parametrize("begin", [0, 1, 100, 127, 128, 16_250, 16_383, 2_097_000, 2**35 - 100])
def test_numbers_in_a_row_have_the_same_prefixes_as_one_by_one(begin: int) -> None:
    epoch = Epoch(300)
    found = itertools.islice(frames.position_prefixes(epoch, begin), 300)
    wanted = [frames.position_prefix(Position(epoch, begin + n)) for n in range(300)]
    assert list(found) == wanted


def test_records_that_a_scan_found_good_are_decoded_without_another_look() -> None:
    some = list(deliveries(100, 60))
    data = b"".join(encode_from(some, Epoch(2), 100))
    run = frames.scan(data, 0, Position(Epoch(2), 99))
    assert (run.records, run.end) == (len(some), len(data))
    assert list(decode_checked(data)) == list(decode(data))
    assert [r.position.seq for r in decode_checked(data)] == list(range(100, 100 + len(some)))


def test_damaged_records_are_reported_with_their_place() -> None:
    data = b"".join(encode(record) for record in deliveries(1, 2))
    first = frames.length_at(data, 0)
    damaged = data[: first + 30] + b"\xff" + data[first + 31 :]
    with pytest.raises(JournalCorrupt, match=f"byte {first} of {len(data)}.*checksum"):
        list(decode(damaged))


def test_a_record_that_is_too_large_is_refused() -> None:
    record = delivery(1, frames.MAX_FRAME_BYTES)
    with pytest.raises(ValueError, match="larger than a journal frame may be"):
        encode(record)


@settings(max_examples=30)
@given(
    head=st.builds(
        Record,
        tree=st.text(max_size=9),
        path=st.binary(max_size=200),
        change=st.builds(Chunk, stage=U64, offset=U64, data=st.just(b"")),
        position=positions,
        before=st.binary(max_size=16),
        mail=st.none() | st.sampled_from(MailKind),
        wall_ms=st.integers(-(2**63), 2**63 - 1),
    ),
    size=st.integers(64 << 10, 70 << 10),
)
def test_a_large_piece_is_what_protobuf_makes_of_it(head: Record, size: int) -> None:
    assert isinstance(head.change, Chunk)
    record = replace(head, change=replace(head.change, data=b"x" * size))
    frame = encode(record)
    message = pb.Record.FromString(frame[frames.HEADER_BYTES :])
    message.ClearField("position")
    before = frames.HEADER_BYTES + len(frames.position_prefix(record.position))
    assert frame[before:] == message.SerializeToString()
    assert [*decode(frame), *decode_checked(frame)] == [record, record]


def test_a_large_piece_that_another_version_wrote_is_read_by_protobuf() -> None:
    piece = Chunk(stage=3, offset=1 << 20, data=bytes(64 << 10))
    record = Record(tree="web", path=b"large", change=piece, position=Position(Epoch(1), 5))
    body = encode(record)[frames.HEADER_BYTES :]
    begin = frames.position_prefix(record.position)
    rest = body[len(begin) :]
    unknown = b"\xa2\x06\x03new"  # field 100 with three bytes
    for other in (begin + unknown + rest, begin + rest + unknown):
        assert list(decode(frames.seal(other))) == [record]
