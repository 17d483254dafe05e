"""Whatever a peer or a disk gives: it is read and means the same again, or it is a typed error.

`scripts/fuzz` goes on with the same for as long as it is given.
"""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.decoders import DECODERS, Decoder, attempt, mutated
from fakes.recorded_disk import environment
from staqraft.consensus.bounds import check_fields
from staqraft.consensus.codec import MAX_COMMAND_BYTES, decode_proposal
from staqraft.consensus.errors import BadMessage
from staqraft.errors import JournalCorrupt
from staqraft.replication.frame import decompress
from staqraft.replication.session import MAX_BATCH_BYTES
from staqraft.wire.v1 import raft_pb2, replication_pb2

decoders = pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
TRIES = 600


@decoders
def test_what_is_right_is_read_and_means_the_same_again(decoder: Decoder) -> None:
    for example in decoder.examples:
        assert attempt(decoder, decoder.sealed(example)) or decoder.name == "writer's note"


@decoders
def test_something_happened_to_what_was_right(decoder: Decoder) -> None:
    rng = random.Random(decoder.name)
    accepted = 0
    for _ in range(TRIES):
        spoiled = mutated(rng.choice(decoder.examples), rng)
        attempt(decoder, spoiled)
        accepted += attempt(decoder, decoder.sealed(spoiled))
    assert accepted < 2 * TRIES


@decoders
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200))
def test_noise(decoder: Decoder, data: bytes) -> None:
    attempt(decoder, data)
    attempt(decoder, decoder.sealed(data))


# --- memory ---------------------------------------------------------------------------------------


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


MANY = 200_000
BOMBS = {
    "events": field(5, field(3, b"") * MANY),
    "groups": field(5, field(1, b"") * MANY),
    "in-sync members": field(5, field(1, field(6, b"") * MANY)),
    "beginnings of epochs": field(5, field(1, field(8, b"") * MANY)),
    "positions within": field(5, field(3, field(8, b"\x08\x01")) * MANY),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_a_message_is_made_of_is_counted_before_it_is_read(bomb: str) -> None:
    descriptor = raft_pb2.Snapshot.DESCRIPTOR
    check_fields(BOMBS[bomb], descriptor, limit=4 * MANY)
    with pytest.raises(BadMessage, match="more than 100000 fields"):
        check_fields(BOMBS[bomb], descriptor, limit=100_000)


@pytest.mark.parametrize("tail", [b"\xff" * 11, field(5, b"x")[:-1], b"\x03", b"\x80"])
def test_fields_are_counted_in_what_is_cut_off_or_strange(tail: bytes) -> None:
    descriptor = raft_pb2.Snapshot.DESCRIPTOR
    large = field(2, bytes(300_000))
    check_fields(large, descriptor)
    with pytest.raises(BadMessage):
        check_fields(large + tail, descriptor)


def test_fields_of_every_wire_type_are_passed_over() -> None:
    every = b"\x08\x96\x01" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + field(2, bytes(300_000))
    check_fields(every, raft_pb2.Snapshot.DESCRIPTOR, limit=4)
    with pytest.raises(BadMessage, match="more than 3 fields"):
        check_fields(every, raft_pb2.Snapshot.DESCRIPTOR, limit=3)


def test_a_command_is_refused_by_its_length_alone() -> None:
    with pytest.raises(BadMessage, match="are allowed"):
        decode_proposal(bytes(MAX_COMMAND_BYTES + 1))


@pytest.mark.parametrize("announced", [0, -1, MAX_BATCH_BYTES + 1, 1 << 40])
def test_a_batch_does_not_unpack_to_more_than_a_batch(announced: int) -> None:
    with pytest.raises(JournalCorrupt, match="cannot have"):
        decompress(replication_pb2.CODEC_LZ4, announced, b"\xff" * 100)


BOMB_FOR_A_CHILD = """
import resource
from fakes.decoders import BadMessage, CLUSTER
from staqraft.consensus.codec import decode_snapshot
bomb = b"\\x2a\\x80\\x80\\x80\\x10" + b"\\x1a\\x00" * (16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_snapshot(CLUSTER, bomb)
except BadMessage:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
ALLOWED_KIB = 64 << 10  # the input itself has half of that


def test_the_largest_snapshot_of_empty_messages_needs_no_memory_to_refuse() -> None:
    argv = [sys.executable, "-c", BOMB_FOR_A_CHILD]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment())
    assert int(done.stdout) < ALLOWED_KIB, "without the guard it is two gigabytes"
