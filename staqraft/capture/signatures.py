"""What is remembered of a file's content, to send only what changed of it.

A signature is the xxh3_64 of each block (4 KiB, doubled until a file has at most a million of
them). Beside it the state of the content's hash at its end, so that an append costs what was
appended. A memory is only good for the content whose digest it carries.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import xxhash

from staqraft.index import content_hasher
from staqraft.journal.record import CHUNK_BYTES

BLOCK_BYTES: Final = 4096
HASH_BYTES: Final = 8
MAX_BLOCKS: Final = 1 << 20
WORTH_BYTES: Final = 64 << 10  # smaller files are cheaper to send than to remember
_HEADER: Final = struct.Struct("<16sQI")


def block_size(size: int) -> int:
    """The block for a file of so many bytes."""
    block = BLOCK_BYTES
    while size > block * MAX_BLOCKS and block < CHUNK_BYTES:
        block *= 2
    return block


def block_hashes(data: bytes | memoryview, block: int) -> bytes:
    """The hashes of the blocks of `data`, which begins at a block; the last may be shorter."""
    view = memoryview(data)
    digest = xxhash.xxh3_64_digest
    return b"".join([digest(view[at : at + block]) for at in range(0, len(view), block)])


@dataclass(slots=True)
class Memory:
    """A file's content as of `digest`. Without a hasher it came from the disk."""

    digest: bytes
    size: int
    block: int
    hashes: bytearray
    hasher: xxhash.xxh3_128 | None = None

    def pack(self) -> bytes:
        """For the index."""
        return _HEADER.pack(self.digest, self.size, self.block) + bytes(self.hashes)

    @classmethod
    def unpack(cls, packed: bytes) -> Memory | None:
        """What `pack` made; None if it is not whole."""
        if len(packed) < _HEADER.size:
            return None
        digest, size, block = _HEADER.unpack_from(packed)
        hashes = bytearray(packed[_HEADER.size :])
        if block < BLOCK_BYTES or len(hashes) != -(-size // block) * HASH_BYTES:
            return None
        return cls(digest, size, block, hashes)

    @classmethod
    def of(cls, data: bytes, digest: bytes) -> Memory:
        """Of a file that was read whole."""
        hasher = content_hasher()
        hasher.update(data)
        block = block_size(len(data))
        return cls(digest, len(data), block, bytearray(block_hashes(data, block)), hasher)

    def changed(self, offset: int, data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
        """What of `data`, read at `offset` (a block's begin), is new; and its hashes."""
        fresh = block_hashes(data, self.block)
        first = offset // self.block * HASH_BYTES
        if fresh == self.hashes[first : first + len(fresh)]:
            return [], fresh
        extents: list[tuple[int, bytes]] = []
        begin = -1
        for number in range(len(fresh) // HASH_BYTES):
            at = number * HASH_BYTES
            same = fresh[at : at + HASH_BYTES] == self.hashes[first + at : first + at + HASH_BYTES]
            if same and begin >= 0:
                extents.append((offset + begin, data[begin : number * self.block]))
                begin = -1
            elif not same and begin < 0:
                begin = number * self.block
        if begin >= 0:
            extents.append((offset + begin, data[begin:]))
        return extents, fresh

    def extended(self, offset: int, data: bytes) -> Memory | None:
        """The memory after an append, if that is what happened.

        `data` is the file's content from `offset`, a block's begin before its former end, to its
        new end. None if what was there before is not as remembered.
        """
        if self.hasher is None or offset % self.block or offset > self.size:
            return None
        old = self.size - offset
        first = offset // self.block * HASH_BYTES
        if block_hashes(data[:old], self.block) != self.hashes[first:]:
            return None
        hasher = self.hasher.copy()
        hasher.update(data[old:])
        hashes = self.hashes[:first]
        hashes += block_hashes(data, self.block)
        return Memory(hasher.digest(), offset + len(data), self.block, hashes, hasher)


class Memories:
    """The memories of files that changed lately, within a bound of bytes."""

    def __init__(self, max_bytes: int = 32 << 20) -> None:
        self._kept: OrderedDict[tuple[str, int, int], Memory] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes

    def get(self, file: tuple[str, int, int], digest: bytes) -> Memory | None:
        """The memory of a file (tree, device, inode), if it is of this content."""
        found = self._kept.get(file)
        if found is None or found.digest != digest:
            return None
        self._kept.move_to_end(file)
        return found

    def keep(self, file: tuple[str, int, int], memory: Memory) -> None:
        """Remembers, and forgets the longest unused beyond the bound."""
        self.forget(file)
        self._kept[file] = memory
        self._bytes += _cost(memory)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            self._bytes -= _cost(self._kept.popitem(last=False)[1])

    def forget(self, file: tuple[str, int, int]) -> None:
        """The file is no more."""
        if (known := self._kept.pop(file, None)) is not None:
            self._bytes -= _cost(known)


def _cost(memory: Memory) -> int:
    return len(memory.hashes) + 1024
