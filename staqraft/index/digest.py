"""Digests of content and of one object's state. Both replicas must compute them alike.

The layout is a wire format: changing it makes every object of a pair with mixed versions compare
different, so it changes only with a new protocol version.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import xxhash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from staqraft.journal.record import Metadata

DIGEST_BYTES: Final = 16
_FIXED = struct.Struct("<BIQQqQQ")
_LENGTH = struct.Struct("<I")


def content_digest(data: bytes | bytearray | memoryview) -> bytes:
    """xxh3_128 (16 bytes) of a regular file's content."""
    return xxhash.xxh3_128_digest(data)


def content_hasher() -> xxhash.xxh3_128:
    """The same, for content that is read piece by piece: `update`, then `digest`."""
    return xxhash.xxh3_128()


def pack_xattrs(xattrs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Names and values, each behind its length."""
    parts: list[bytes] = []
    for name, value in xattrs:
        parts += (_LENGTH.pack(len(name)), name, _LENGTH.pack(len(value)), value)
    return b"".join(parts)


def unpack_xattrs(packed: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """What `pack_xattrs` was given. ValueError for anything else."""
    texts: list[bytes] = []
    at = 0
    while at < len(packed):
        if len(packed) - at < _LENGTH.size:
            raise ValueError("extended attributes that are cut off")
        (length,) = _LENGTH.unpack_from(packed, at)
        at += _LENGTH.size
        if len(packed) - at < length:
            raise ValueError("extended attributes that are cut off")
        texts.append(packed[at : at + length])
        at += length
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def state_digest(metadata: Metadata, digest: bytes) -> bytes:
    """16 bytes over all that one object is: metadata and content digest, without its name."""
    m = metadata
    try:
        fixed = _FIXED.pack(m.type, m.mode, m.uid, m.gid, m.mtime_ns, m.size, m.rdev)
    except struct.error:  # before 1677, or after 2262
        fixed = _FIXED.pack(m.type, m.mode, m.uid, m.gid, 0, m.size, m.rdev) + b"%d" % m.mtime_ns
    return xxhash.xxh3_128_digest(
        b"".join(
            (
                fixed,
                _LENGTH.pack(len(m.symlink_target)),
                m.symlink_target,
                _LENGTH.pack(len(digest)),
                digest,
                pack_xattrs(m.xattrs) if m.xattrs else b"",
            )
        )
    )


def linked_state(state: bytes, names: int) -> bytes:
    """The state that is compared: that of a file with several names says how many."""
    return state if names <= 1 else xxhash.xxh3_128_digest(state + _LENGTH.pack(names))
