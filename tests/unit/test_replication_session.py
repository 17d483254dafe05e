"""The window, the order of batches, and compression: all without a network."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staqraft.errors import JournalCorrupt
from staqraft.model import ORIGIN, Epoch, EpochStart, Position
from staqraft.replication import frame
from staqraft.replication.plan import RefusalKind
from staqraft.replication.session import (
    BATCH_BYTES,
    CATCH_UP_BYTES,
    WINDOW_RECORDS,
    BatchHead,
    ReceiveOrder,
    SendWindow,
)
from staqraft.wire.v1 import replication_pb2 as pb

MIB = 1 << 20


def at(seq: int, epoch: int = 2) -> Position:
    return Position(Epoch(epoch), seq)


def window(window_bytes: int = 4 * MIB) -> SendWindow:
    return SendWindow(after=at(10), window_bytes=window_bytes)


def streams(w: SendWindow) -> bool:
    return w.streaming


def test_small_batches_when_it_keeps_up_large_ones_when_it_is_behind() -> None:
    w = window()
    assert w.budget == BATCH_BYTES
    w.on_sent(last=at(20), records=10, raw_bytes=BATCH_BYTES)
    assert w.budget == CATCH_UP_BYTES
    w.on_sent(last=at(21), records=1, raw_bytes=500)
    assert w.budget == BATCH_BYTES


def test_a_full_window_waits_for_an_acknowledgement() -> None:
    w = window(2 * MIB)
    w.on_sent(last=at(11), records=1, raw_bytes=MIB)
    w.on_sent(last=at(12), records=1, raw_bytes=MIB)
    assert w.full
    assert w.budget == 0
    assert w.on_ack(durable=at(11), applied=ORIGIN) is None
    assert not w.full


def test_the_window_is_bounded_in_records_too() -> None:
    w = window()
    w.on_sent(last=at(10 + WINDOW_RECORDS), records=WINDOW_RECORDS, raw_bytes=5)
    assert w.full


def test_streaming_begins_when_everything_was_had_once_and_ends_with_a_full_window() -> None:
    w = window(2 * MIB)
    assert not streams(w)
    w.nothing_to_send()
    assert streams(w)
    w.on_sent(last=at(11), records=1, raw_bytes=MIB)
    assert streams(w), "being behind by a batch is what streaming looks like"
    w.on_sent(last=at(12), records=1, raw_bytes=MIB)
    assert not streams(w)
    w.on_ack(durable=at(12), applied=ORIGIN)
    assert not streams(w), "there may be more in the journal"
    w.nothing_to_send()
    assert streams(w)


@pytest.mark.parametrize("durable", [at(9), at(13), at(12, 3)])
def test_an_acknowledgement_that_cannot_be_is_noticed(durable: Position) -> None:
    w = window()
    w.on_sent(last=at(12), records=2, raw_bytes=100)
    wrong = w.on_ack(durable=durable, applied=ORIGIN)
    assert wrong is not None
    assert f"it acknowledged {durable}, but had 2:10 and was sent up to 2:12" in wrong.reason


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, MIB)), max_size=30), st.data())
def test_what_is_acknowledged_is_no_longer_on_its_way(
    batches: list[tuple[int, int]], data: st.DataObject
) -> None:
    w = window(1 << 40)
    ends = [10]
    for records, size in batches:
        ends.append(ends[-1] + records)
        w.on_sent(last=at(ends[-1]), records=records, raw_bytes=size)
    for seq in sorted(data.draw(st.lists(st.integers(10, ends[-1]), max_size=5))):
        assert w.on_ack(durable=at(seq), applied=ORIGIN) is None
    assert w.on_ack(durable=at(ends[-1]), applied=ORIGIN) is None
    w.nothing_to_send()
    assert streams(w)
    assert not w.full


STARTS = (EpochStart(epoch=Epoch(1), seq=1), EpochStart(epoch=Epoch(2), seq=6))


def order(after: Position) -> ReceiveOrder:
    return ReceiveOrder(epoch=Epoch(2), epoch_starts=STARTS, after=after)


def head(first: Position, last: Position, *, records: int = 0, size: int = 10) -> BatchHead:
    count = records or last.seq - first.seq + 1
    return BatchHead(first=first, last=last, records=count, raw_bytes=size)


def test_batches_follow_each_other_over_an_epoch() -> None:
    o = order(at(3, 1))
    assert o.on_batch(head(at(4, 1), at(8))) is None
    assert o.on_batch(head(at(9), at(9))) is None
    assert o.expected_after == at(9)


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        (head(at(5, 1), at(5, 1)), RefusalKind.BAD_FRAME),  # a gap
        (head(at(3, 1), at(4, 1)), RefusalKind.BAD_FRAME),  # again
        (head(at(4, 1), at(5, 1), records=3), RefusalKind.BAD_FRAME),
        (head(at(4, 1), at(4, 1), size=0), RefusalKind.BAD_FRAME),
        (head(at(4, 1), at(4, 1), size=1 << 30), RefusalKind.BAD_FRAME),
        (head(at(4, 1), at(8, 3)), RefusalKind.BAD_FRAME),  # an epoch to come
        (head(at(4, 1), at(6, 1)), RefusalKind.STALE_EPOCH),  # epoch 1 ended with record 5
        (head(at(4, 0), at(4, 0)), RefusalKind.BAD_FRAME),
    ],
)
def test_what_does_not_follow_is_refused(batch: BatchHead, kind: RefusalKind) -> None:
    o = order(at(3, 1))
    wrong = o.on_batch(batch)
    assert wrong is not None
    assert wrong.kind is kind
    assert o.expected_after == at(3, 1)


def test_a_heartbeat_of_another_epoch_ends_the_session() -> None:
    o = order(at(3, 1))
    assert o.on_heartbeat(Epoch(2), at(9)) is None
    assert o.offered == at(9)
    wrong = o.on_heartbeat(Epoch(1), at(9))
    assert wrong is not None
    assert wrong.kind is RefusalKind.STALE_EPOCH


TEXT = b"all mail is alike " * 5000
NOISE = random.Random(1).randbytes(90_000)


@pytest.mark.parametrize("policy", ["auto", "always", "never"])
@pytest.mark.parametrize("data", [TEXT, NOISE, b"x", TEXT[:300], NOISE[:5000]])
def test_data_comes_back_and_never_grows(data: bytes, policy: str) -> None:
    codec, packed = frame.compress(data, policy)
    assert len(packed) <= len(data)
    assert frame.decompress(codec, len(data), packed) == data


def test_the_policy_is_kept() -> None:
    assert frame.compress(TEXT, "auto")[0] == pb.CODEC_LZ4
    assert frame.compress(TEXT, "never")[0] == pb.CODEC_NONE
    assert frame.compress(NOISE, "auto") == (pb.CODEC_NONE, NOISE)
    hidden = NOISE[:40_000] + bytes(1000) + NOISE[40_000:]  # the probe does not see the zeros
    assert frame.compress(hidden, "auto")[0] == pb.CODEC_NONE
    assert frame.compress(hidden, "always")[0] == pb.CODEC_LZ4


@given(st.sampled_from(pb.Codec.values()), st.integers(-5, 1 << 26), st.binary(max_size=200))
def test_whatever_comes_is_unpacked_or_refused(codec: pb.Codec, size: int, data: bytes) -> None:
    with contextlib.suppress(JournalCorrupt):
        assert len(frame.decompress(codec, size, data)) == size
