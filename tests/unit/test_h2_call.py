"""A call of gRPC as its client speaks it, byte by byte."""

from __future__ import annotations

import random

import pytest

from fakes import h2_peer as peer
from staqraft.wire.h2_call import WINDOW_BYTES, Call

MOST = 1 << 20


@pytest.fixture
def call() -> Call:
    made = Call("a.test.staqraft", "/Service/Method", most_bytes=MOST)
    greeting = made.take()
    assert greeting.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    kinds = [kind for kind, *_ in peer.frames_of(greeting[24:])]
    assert kinds == [peer.SETTINGS, peer.WINDOW, peer.HEADERS]
    assert b"/Service/Method" in greeting
    made.receive(peer.settings(table=0))
    assert peer.frames_of(made.take()) == [(peer.SETTINGS, peer.ACK, 0, b"")]
    return made


def sent(call: Call) -> bytes:
    """The data that it sent since."""
    frames = peer.frames_of(call.take())
    assert all(stream == 1 for kind, _, stream, _ in frames if kind == peer.DATA)
    return b"".join(payload for kind, _, _, payload in frames if kind == peer.DATA)


def test_messages_go_both_ways_in_whatever_pieces_they_come(call: Call) -> None:
    call.send(b"hello")
    assert sent(call) == peer.message(b"hello")
    answer = peer.headers(("content-type", "application/grpc")) + peer.data(b"one")
    answer += peer.data(b"") + peer.data(b"x" * 9000)
    for byte in answer:
        call.receive(bytes((byte,)))
    assert [call.next_message() for _ in range(4)] == [b"one", b"", b"x" * 9000, None]
    assert not call.ended


def test_a_message_may_come_in_several_frames_with_padding(call: Call) -> None:
    whole = peer.message(b"abcdef")
    padded = bytes((3,)) + whole[4:] + bytes(3)
    call.receive(peer.frame(peer.DATA, 0, 1, whole[:4]))
    call.receive(peer.frame(peer.DATA, peer.PADDED, 1, padded))
    assert call.next_message() == b"abcdef"


def test_it_sends_no_more_than_the_other_side_wants(call: Call) -> None:
    call.receive(peer.settings(window=1000))
    call.send(b"y" * 5000)
    assert len(sent(call)) == 1000
    assert call.unsent == 5005 - 1000
    call.receive(peer.frame(peer.WINDOW, 0, 1, (4000).to_bytes(4, "big")))
    assert len(sent(call)) == 4000
    call.receive(peer.settings(window=1005))
    assert call.unsent == 0


def test_the_window_of_the_whole_connection_counts_too(call: Call) -> None:
    call.receive(peer.settings(window=1 << 20))
    call.send(bytes(100_000))
    assert len(sent(call)) == 65_535
    call.receive(peer.frame(peer.WINDOW, 0, 0, (1 << 20).to_bytes(4, "big")))
    assert call.unsent == 0


def test_more_is_asked_for_only_by_who_reads(call: Call) -> None:
    for _ in range(15):
        call.receive(peer.data(bytes(16_000)))
    assert not call.take(), "nobody has read anything"
    while call.next_message() is not None:
        assert not call.take(), "there is more to read"
    granted = [f for f in peer.frames_of(call.take()) if f[0] == peer.WINDOW]
    assert [stream for _, _, stream, _ in granted] == [0, 1]
    assert int.from_bytes(granted[0][3], "big") == 15 * 16_005


def test_who_sends_more_than_it_was_asked_for_is_left(call: Call) -> None:
    for _ in range(WINDOW_BYTES // 16_005 + 1):
        call.receive(peer.data(bytes(16_000)))
    assert "more than it was asked for" in call.ended


def test_pings_are_answered(call: Call) -> None:
    call.receive(peer.frame(peer.PING, 0, 0, b"12345678"))
    assert peer.frames_of(call.take()) == [(peer.PING, peer.ACK, 0, b"12345678")]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            peer.headers(("grpc-status", "7"), ("grpc-message", "node x%20may not"), last=True),
            "node x may not",
        ),
        (peer.headers(("grpc-status", "14"), last=True), "status 14"),
        (peer.headers(status=b"\x8d"), "HTTP status 404"),
        (peer.frame(peer.DATA, peer.END_STREAM, 1), "the peer ended it"),
        (peer.frame(peer.RESET, 0, 1, bytes(4)), "reset"),
        (peer.frame(peer.GOAWAY, 0, 0, bytes(8) + b"bye"), "bye"),
        (peer.frame(peer.DATA, 0, 3, b"x"), "nobody asked for"),
        (peer.frame(peer.DATA, 0, 1, b"\x01" + bytes(4)), "compression"),
        (peer.frame(peer.DATA, 0, 1, b"\0" + b"\x7f" * 4), "a message of"),
        (peer.frame(peer.CONTINUATION, 0, 1), "disorder"),
        (peer.frame(peer.PING, 0, 0, b"short"), "ping"),
        (peer.frame(peer.WINDOW, 0, 1, b"\x7f\xff\xff\xff"), "out of range"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a frame of"),
    ],
)
def test_the_end_of_a_call_has_a_reason(call: Call, said: bytes, reason: str) -> None:
    call.receive(said)
    assert reason in call.ended
    call.receive(peer.data(b"late"))
    assert call.next_message() is None


def test_a_server_that_is_going_to_stop_lets_the_call_go_on(call: Call) -> None:
    call.receive(peer.frame(peer.GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4)))
    assert not call.ended


def test_headers_that_never_end_are_not_kept(call: Call) -> None:
    call.receive(peer.frame(peer.HEADERS, 0, 1, bytes(16_000)))
    call.receive(peer.frame(peer.CONTINUATION, 0, 1, bytes(16_000)))
    assert "too many headers" in call.ended


@pytest.mark.parametrize("seed", range(20))
def test_noise_ends_the_call_or_is_nothing(seed: int) -> None:
    """Whole frames of random kinds and contents: nothing is raised, and memory stays bounded."""
    rng = random.Random(seed)
    call = Call("a.test.staqraft", "/Service/Method", most_bytes=1000)
    for _ in range(300):
        kind, flags = rng.randrange(11), rng.randrange(64)
        call.receive(peer.frame(kind, flags, rng.choice((0, 1)), rng.randbytes(rng.randrange(40))))
        call.next_message()
        assert len(call.take()) < 1 << 20
    assert call.ended
