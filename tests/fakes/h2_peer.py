"""What a gRPC server says to the one call of a connection, frame by frame."""

from __future__ import annotations

import struct

SETTINGS, DATA, HEADERS, RESET, PING, GOAWAY, WINDOW, CONTINUATION = 4, 0, 1, 3, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One of any kind."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def settings(**values: int) -> bytes:
    """`window` is what the client may send in the call."""
    keys = {"table": 1, "window": 4}
    return frame(
        SETTINGS, 0, 0, b"".join(struct.pack(">HI", keys[k], v) for k, v in values.items())
    )


def headers(*fields: tuple[str, str], last: bool = False, status: bytes = b"\x88") -> bytes:
    """`status`: the first field as it is encoded; by default 200."""
    block = b"\x20" + status
    for name, value in fields:
        block += b"\x40" + bytes((len(name),)) + name.encode()
        block += bytes((len(value),)) + value.encode()
    return frame(HEADERS, END_HEADERS | (END_STREAM if last else 0), 1, block)


def message(content: bytes) -> bytes:
    """As it stands in the data of a call."""
    return struct.pack(">BI", 0, len(content)) + content


def data(content: bytes) -> bytes:
    """A message in one frame."""
    return frame(DATA, 0, 1, message(content))


def frames_of(content: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each."""
    found = []
    while content:
        size = int.from_bytes(content[:3], "big")
        stream = int.from_bytes(content[5:9], "big")
        found.append((content[3], content[4], stream, content[9 : 9 + size]))
        content = content[9 + size :]
    return found
