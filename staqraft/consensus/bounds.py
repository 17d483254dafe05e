"""How much memory a message would take, before it is parsed.

Two bytes of protobuf, an empty message in a repeated field, become more than a hundred in memory.
A snapshot of some tens of megabytes made of nothing else would take gigabytes.
"""

from __future__ import annotations

from typing import Any, Final

from staqraft.consensus.errors import BadMessage

MAX_FIELDS: Final = 1_000_000  # 256 groups with 1,000 epochs each, and a full history, have 0.8
_HARMLESS_BYTES: Final = 256 << 10
_FIXED: Final = {1: 8, 5: 4}  # wire types of a fixed length
_VARINT, _BYTES = 0, 2
_VARINT_BYTES: Final = 10


def check_fields(data: bytes, descriptor: Any, limit: int = MAX_FIELDS) -> None:
    """BadMessage when `data`, which is a message of this kind, has more fields than `limit`.

    `descriptor`: its kind's, of which protobuf has several implementations.
    """
    if len(data) <= _HARMLESS_BYTES:
        return
    count, stack = 0, [(0, len(data), descriptor)]
    while stack:
        at, end, kind = stack.pop()
        while at < end:
            count += 1
            if count > limit:
                raise BadMessage(f"a message of more than {limit} fields")
            tag, at = _varint(data, at)
            wire_type = tag & 7
            if wire_type == _VARINT:
                _, at = _varint(data, at)
            elif wire_type == _BYTES:
                length, start = _varint(data, at)
                at = start + length
                field = kind.fields_by_number.get(tag >> 3)
                if length and at <= end and field is not None and field.message_type is not None:
                    stack.append((at, end, kind))  # the rest of this one comes later
                    at, end, kind = start, at, field.message_type
            elif wire_type in _FIXED:
                at += _FIXED[wire_type]
            else:
                raise BadMessage(f"a field of wire type {wire_type}")
        if at > end:
            raise BadMessage("a message that is cut off")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at this place, and the place behind it."""
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, at
    raise BadMessage("a message that is cut off")
