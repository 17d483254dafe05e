"""The host name that a TLS client asks for, read from its first bytes (RFC 8446 4.1.2, RFC 6066 3).

PURE, and total: whatever the bytes are, the answer is a name, "not yet" or `NotTls`. Nothing is
believed because of it: it only says which cluster's server is to make the handshake.
"""

from __future__ import annotations

from typing import Final

MAX_HELLO_BYTES: Final = 16 << 10

_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0  # the extension, and in it the kind of name
_FIXED_BYTES: Final = 34  # version and random


class NotTls(ValueError):
    """These bytes are no client's greeting, or one without a host name."""


class _Reader:
    """Cuts pieces off a complete greeting; NotTls where it is shorter than it says."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise NotTls("the greeting is shorter than it says")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def rest(self) -> bytes:
        return self.take(self.left)

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def vector(self, length_bytes: int) -> _Reader:
        return _Reader(self.take(self.number(length_bytes)))


def server_name(data: bytes) -> str | None:
    """The name in the greeting; None while more bytes are needed. NotTls when there is none."""
    greeting = _handshake_message(data)
    if greeting is None:
        return None
    reader = _Reader(greeting)
    reader.take(_FIXED_BYTES)
    reader.vector(1)  # session
    reader.vector(2)  # ciphers
    reader.vector(1)  # compressions
    if reader.left == 0:
        raise NotTls("the client does not say whom it wants to reach")
    extensions = reader.vector(2)
    while extensions.left:
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind == _SERVER_NAME:
            return _host_name(content)
    raise NotTls("the client does not say whom it wants to reach")


def _host_name(extension: _Reader) -> str:
    names = extension.vector(2)
    if names.number(1) != _SERVER_NAME:
        raise NotTls("the client asks for something that is no host name")
    try:
        return names.vector(2).rest().decode("ascii").lower()
    except UnicodeDecodeError:
        raise NotTls("the client asks for a name that is no host name") from None


def _handshake_message(data: bytes) -> bytes | None:
    """The greeting's body, put together from its records; None while it is not complete."""
    message = b""
    at = 0
    while True:
        header = data[at : at + _RECORD_HEADER]
        if header and header[0] != _HANDSHAKE:
            raise NotTls("this is not TLS")
        length = int.from_bytes(header[3:5], "big")
        body = data[at + _RECORD_HEADER : at + _RECORD_HEADER + length]
        message += body
        if message and message[0] != _CLIENT_HELLO:
            raise NotTls("this is not a client's greeting")
        whole = int.from_bytes(message[1:4], "big")
        if whole > MAX_HELLO_BYTES:
            raise NotTls("the greeting is too long")
        if len(message) >= _MESSAGE_HEADER and len(message) - _MESSAGE_HEADER >= whole:
            return message[_MESSAGE_HEADER : _MESSAGE_HEADER + whole]
        if len(header) < _RECORD_HEADER or len(body) < length:
            if len(data) >= MAX_HELLO_BYTES:
                raise NotTls("the greeting is too long")
            return None
        if length == 0:
            raise NotTls("an empty record")
        at += _RECORD_HEADER + length
