"""The host name in a TLS greeting: read from real ones, and nothing but NotTls from the rest."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staqraft.wire.client_hello import MAX_HELLO_BYTES, NotTls, server_name


def greeting(name: str | None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    if name is None:
        context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(message: bytes, size: int) -> bytes:
    """The same greeting, cut into TLS records of at most `size` bytes."""
    body = message[5:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(message[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


HELLO = greeting("w.alpha.staqraft")


def test_the_name_is_found_in_a_real_greeting() -> None:
    assert server_name(HELLO) == "w.alpha.staqraft"


def test_no_beginning_of_a_greeting_is_enough_and_none_is_refused() -> None:
    assert {server_name(HELLO[:length]) for length in range(len(HELLO))} == {None}


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_greeting_may_come_in_many_records(size: int) -> None:
    assert server_name(in_records(HELLO, size)) == "w.alpha.staqraft"


def test_a_client_that_does_not_say_whom_it_wants_is_refused() -> None:
    with pytest.raises(NotTls, match="whom it wants"):
        server_name(greeting(None))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
    ],
)
def test_what_is_no_greeting_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(NotTls):
        server_name(data)


@given(st.binary(max_size=300))
def test_any_bytes_end_as_a_name_or_not_tls(data: bytes) -> None:
    with contextlib.suppress(NotTls):
        server_name(data)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_any_damage_ends_as_a_name_or_not_tls(at: int, value: int) -> None:
    damaged = HELLO[:at] + bytes([value]) + HELLO[at + 1 :]
    with contextlib.suppress(NotTls):
        server_name(damaged)


def test_a_greeting_that_does_not_end_is_given_up() -> None:
    endless = b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\x00" * MAX_HELLO_BYTES
    with pytest.raises(NotTls):
        server_name(b"\x16\x03\x01\x00\x04\x01\x00\x40\x00" + endless[: 2 * MAX_HELLO_BYTES])
