"""One gRPC call with messages both ways, over HTTP/2, from the client's side.

PURE: bytes of the connection go in and out. A library's channel takes a hundred KiB and threads of
its own; a witness has hundreds of connections with one call each that is never over. So this knows
what such a call needs and no more: frames (RFC 9113), the headers of gRPC as literals (RFC 7541,
with a dynamic table of size 0), flow control, and answers to pings.

Bounded, whoever is on the other side: a frame by `FRAME_BYTES`, what waits to be read by
`WINDOW_BYTES` and one message, a message by what the caller allows. Credit for more is given when
somebody wants to read. What is not HTTP/2 ends the call with a reason.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

FRAME_BYTES: Final = 16 << 10
WINDOW_BYTES: Final = 256 << 10
_FIRST_WINDOW: Final = 65_535
_LARGEST_WINDOW: Final = (1 << 31) - 1
_MOST_HEADER_BYTES: Final = 16 << 10
_PREFIX: Final = struct.Struct(">BI")  # of a gRPC message: compressed or not, length
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_STREAM: Final = 1

_DATA, _HEADERS, _RESET, _SETTINGS, _PUSH = 0, 1, 3, 4, 5
_PING, _GOAWAY, _WINDOW, _CONTINUATION = 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW = 1, 2, 4
_STATUSES: Final = {8: "200", 9: "204", 10: "206", 11: "304", 12: "400", 13: "404", 14: "500"}


class _Broken(ValueError):
    """What came is not what a gRPC server says."""


class Call:
    """`receive` what comes, `take` what is to be sent, `send` and `next_message` for the owner."""

    __slots__ = (
        "_block",
        "_body",
        "_credit",
        "_incoming",
        "_initial_window",
        "_messages",
        "_most",
        "_outgoing",
        "_owed",
        "_unsent",
        "_windows",
        "ended",
        "frames",
    )

    def __init__(self, authority: str, path: str, *, most_bytes: int) -> None:
        """A call of `path`; no message from the other side may have more than `most_bytes`."""
        self.ended = ""  # why nothing more will come
        self.frames = 0  # that came
        self._most = most_bytes
        self._incoming = bytearray()
        self._outgoing = bytearray(_PREFACE)
        self._block: tuple[bytearray, bool] | None = None  # headers that go on; the last ones?
        self._body = bytearray()
        self._messages: deque[bytes] = deque()
        self._unsent = bytearray()  # until there is a window
        self._initial_window = _FIRST_WINDOW
        self._windows = [_FIRST_WINDOW, _FIRST_WINDOW]  # of the connection, of the call
        self._credit = WINDOW_BYTES  # that the other side has
        self._owed = 0  # of it, what it has used
        wishes = ((_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW, WINDOW_BYTES))
        self._frame(_SETTINGS, 0, 0, b"".join(struct.pack(">HI", *wish) for wish in wishes))
        self._grant(0, WINDOW_BYTES - _FIRST_WINDOW)
        self._frame(_HEADERS, _END_HEADERS, _STREAM, _request(authority, path))

    # --- the owner ------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Bytes that wait until the other side wants more."""
        return len(self._unsent)

    @property
    def says(self) -> bool:
        """Whether there is something to `take`."""
        return bool(self._outgoing)

    @property
    def news(self) -> bool:
        """Whether `next_message` has one, would ask for more, or will never have any."""
        return bool(self._messages or self.ended) or self._owed >= WINDOW_BYTES // 2

    def send(self, message: bytes) -> None:
        """Queues a message."""
        self._unsent += _PREFIX.pack(0, len(message)) + message
        self._send_data()

    def next_message(self) -> bytes | None:
        """The next message, in order; None: not yet, and the other side may send more."""
        if self._messages:
            return self._messages.popleft()
        if self._owed >= WINDOW_BYTES // 2 and not self.ended:
            self._grant(0, self._owed)
            self._grant(_STREAM, self._owed)
            self._credit += self._owed
            self._owed = 0
        return None

    # --- the connection -------------------------------------------------------------------------

    def take(self) -> bytes:
        """What is to be written to the connection now."""
        taken = bytes(self._outgoing)
        self._outgoing.clear()
        return taken

    def receive(self, data: bytes) -> None:
        """What was read from the connection; `ended` says when it was the last."""
        if self.ended:
            return
        self._incoming += data
        try:
            self._take_frames()
        except _Broken as error:
            self.ended = f"it does not speak gRPC: {error}"

    def _take_frames(self) -> None:
        at, whole = 0, self._incoming
        while len(whole) - at >= 9 and not self.ended:  # noqa: PLR2004 - a frame's header
            length = int.from_bytes(whole[at : at + 3], "big")
            if length > FRAME_BYTES:
                raise _Broken(f"a frame of {length} bytes")
            if len(whole) - at < 9 + length:
                break
            kind, flags = whole[at + 3], whole[at + 4]
            stream = int.from_bytes(whole[at + 5 : at + 9], "big") & _LARGEST_WINDOW
            payload = bytes(whole[at + 9 : at + 9 + length])
            at += 9 + length
            self.frames += 1
            self._take_frame(kind, flags, stream, payload)
        del whole[:at]

    def _take_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if (kind == _CONTINUATION) != (self._block is not None):
            raise _Broken("headers in disorder")
        match kind:
            case _ if kind == _DATA and stream == _STREAM:
                self._take_data(flags, payload)
            case _ if kind == _HEADERS and stream == _STREAM:
                self._block = (bytearray(_inner(flags, payload)), bool(flags & _END_STREAM))
                self._take_block(flags)
            case _ if kind == _CONTINUATION and self._block is not None:
                self._block[0].extend(payload)
                self._take_block(flags)
            case _ if kind == _RESET and stream == _STREAM:
                self.ended = f"the call was reset ({_number(payload, 0)})"
            case _ if kind == _SETTINGS and not flags & _ACK:
                self._take_settings(payload)
            case _ if kind == _PING and not flags & _ACK:
                if len(payload) != 8:  # noqa: PLR2004 - by its definition
                    raise _Broken("a ping of a wrong size")
                self._frame(_PING, _ACK, 0, payload)
            case _ if kind == _GOAWAY and (_number(payload, 0) < _STREAM or _number(payload, 4)):
                said = payload[8:108].decode("ascii", "replace")
                self.ended = f"the connection is ended: {said or _number(payload, 4)}"
            case _ if kind == _WINDOW and stream in {0, _STREAM}:
                self._windows[stream] += _number(payload, 0) & _LARGEST_WINDOW
                if self._windows[stream] > _LARGEST_WINDOW:
                    raise _Broken("a window out of range")
                self._send_data()
            case _ if kind in {_DATA, _HEADERS, _PUSH}:
                raise _Broken("an answer that nobody asked for")
            case _:
                pass  # of no concern to a single call

    def _take_data(self, flags: int, payload: bytes) -> None:
        self._credit -= len(payload)
        self._owed += len(payload)
        if self._credit < 0:
            raise _Broken("more than it was asked for")
        self._body += _inner(flags & ~_PRIORITY, payload)
        at, body = 0, self._body
        while len(body) - at >= _PREFIX.size:
            compressed, length = _PREFIX.unpack_from(body, at)
            if compressed or length > self._most:
                raise _Broken(f"a message of {length} bytes" if not compressed else "compression")
            end = at + _PREFIX.size + length
            if len(body) < end:
                break
            self._messages.append(bytes(body[at + _PREFIX.size : end]))
            at = end
        del body[:at]
        if flags & _END_STREAM:
            self.ended = "the peer ended it"

    def _take_block(self, flags: int) -> None:
        assert self._block is not None, "called with headers"
        block, last = self._block
        if len(block) > _MOST_HEADER_BYTES:
            raise _Broken("too many headers")
        if not flags & _END_HEADERS:
            return
        self._block = None
        fields = dict(_fields(bytes(block)))
        status = fields.get(":status", "200")
        if last:
            said = unquote(fields.get("grpc-message", ""))[:500]
            self.ended = said or f"the peer ended it (status {fields.get('grpc-status', status)})"
        elif status != "200":
            self.ended = f"it answers with HTTP status {status}"

    def _take_settings(self, payload: bytes) -> None:
        if len(payload) % 6:
            raise _Broken("settings of a wrong size")
        for key, value in struct.iter_unpack(">HI", payload):
            if key == _INITIAL_WINDOW:
                if value > _LARGEST_WINDOW:
                    raise _Broken("a window out of range")
                self._windows[_STREAM] += value - self._initial_window
                self._initial_window = value
        self._frame(_SETTINGS, _ACK, 0, b"")
        self._send_data()

    def _send_data(self) -> None:
        while self._unsent:
            size = min(len(self._unsent), FRAME_BYTES, *self._windows)
            if size <= 0:
                return
            self._frame(_DATA, 0, _STREAM, bytes(self._unsent[:size]))
            del self._unsent[:size]
            self._windows[0] -= size
            self._windows[_STREAM] -= size

    def _grant(self, stream: int, count: int) -> None:
        self._frame(_WINDOW, 0, stream, count.to_bytes(4, "big"))

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        header = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        self._outgoing += header + payload


def _number(payload: bytes, at: int) -> int:
    if len(payload) < at + 4:
        raise _Broken("a frame that is too short")
    return int.from_bytes(payload[at : at + 4], "big")


def _inner(flags: int, payload: bytes) -> bytes:
    """The payload without its padding and priority."""
    begin, padding = 0, 0
    if flags & _PADDED:
        begin, padding = 1, payload[0] if payload else 0
    if flags & _PRIORITY:
        begin += 5
    if begin + padding > len(payload):
        raise _Broken("more padding than there is")
    return payload[begin : len(payload) - padding]


# --- headers --------------------------------------------------------------------------------------


def _request(authority: str, path: str) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "staqraft"),
    )
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    assert len(data) < 127, "a longer one has its length in several bytes"  # noqa: PLR2004
    return bytes((len(data),)) + data


def _fields(block: bytes) -> Iterator[tuple[str, str]]:
    """Names and values; of the fixed table only the statuses, compressed texts as "?"."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            index, at = _integer(block, at, 7)
            if index in _STATUSES:
                yield ":status", _STATUSES[index]
            continue
        if first & 0xE0 == 0x20:  # noqa: PLR2004 - the size of the table that we do not have
            _, at = _integer(block, at, 5)
            continue
        index, at = _integer(block, at, 6 if first & 0x40 else 4)
        if index:
            name = ":status" if index in _STATUSES else ""
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        yield name, value


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    for shift in range(0, 28, 7):
        if at >= len(block):
            break
        value += (block[at] & 0x7F) << shift
        at += 1
        if block[at - 1] < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, at
    raise _Broken("headers that are cut off")


def _string(block: bytes, at: int) -> tuple[str, int]:
    if at >= len(block):
        raise _Broken("headers that are cut off")
    compressed = block[at] & 0x80
    length, at = _integer(block, at, 7)
    if at + length > len(block):
        raise _Broken("headers that are cut off")
    text = "?" if compressed else block[at : at + length].decode("ascii", "replace")
    return text, at + length
