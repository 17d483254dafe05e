"""A large file on its way into the journal, a slice at a time, so that small changes pass it.

Either whole (chunks, then one upsert that refers to them), or compared with what is remembered of
it block by block (deltas). What is journalled is what was read: the digest is that of the bytes
that travelled. If the file changed meanwhile, its place is dirty again and the next transfer
sends the difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from staqraft.capture.content import ZEROS, Piece, pieces
from staqraft.capture.ledger import Ledger
from staqraft.capture.objects import ObjectState
from staqraft.capture.signatures import BLOCK_BYTES, Memory, block_hashes, block_size
from staqraft.capture.structure import Dirty
from staqraft.index import Entry, content_hasher
from staqraft.journal.record import CHUNK_BYTES, Content, Delta, Staged

_ZERO_BLOCKS: Final = block_hashes(ZEROS, BLOCK_BYTES)


class Transfer:
    """Owns `fd`. `memory` is what is known of the content that `entry` describes, if anything.

    Without it, a file that grew is first checked for having only grown.
    """

    def __init__(
        self,
        place: Dirty,
        fd: int,
        state: ObjectState,
        entry: Entry | None,
        memory: Memory | None,
        begun_ms: int,
    ) -> None:
        self.place = place
        self.fd = fd
        self.state = state
        self.entry = entry
        self.begun_ms = begun_ms
        self.again = False  # it changed while it was read
        self.others: list[Dirty] = []  # places of it that are looked at when this is done
        self.look_again_ms = 0
        self.waited = False  # its name was not there at the end; its new one may be on its way
        self.memory: Memory | None = None  # of the new content, at the end
        self.size = 0
        self.content: Content | None = None
        self.base: Entry | None = None  # the entry that `content` builds upon
        self._known = memory
        self._hasher = content_hasher()
        self._hashes = bytearray()
        self._block = memory.block if memory else block_size(state.metadata.size)

    @property
    def file(self) -> tuple[str, int, int]:
        """Tree, device, inode."""
        return self.place.tree, self.state.identity.dev, self.state.identity.ino

    def find_at(self, place: Dirty) -> None:
        """An event says that the file is at this place: renamed, or another name of it."""
        self.again = True
        if (place.directory, place.name) != (self.place.directory, self.place.name):
            self.others.append(self.place)
        self.place = place

    def close(self) -> None:
        """Done or given up."""
        os.close(self.fd)

    def run(self, ledger: Ledger) -> Iterator[None]:
        """Reads and journals all but the last record; yields between slices."""
        if self._known is not None:
            yield from self._compare(ledger, self._known)
        elif self._may_have_grown():
            yield from self._grown_or_whole(ledger)
        else:
            yield from self._whole(ledger)
        digest = self._hasher.digest()
        self.memory = Memory(digest, self.size, self._block, self._hashes, self._hasher)

    def _may_have_grown(self) -> bool:
        entry = self.entry
        return (
            entry is not None
            and len(entry.digest) > 0
            and entry.identity.ino == self.state.identity.ino
            and 0 < entry.metadata.size < self.state.metadata.size
            and self.state.metadata.size - entry.metadata.size <= CHUNK_BYTES
        )

    def _whole(self, ledger: Ledger) -> Iterator[None]:
        stage = ledger.next_seq
        empty = True
        for piece in pieces(self.fd, self.state.metadata.size, self._block):
            self._take(piece)
            if piece.data:
                if empty:
                    stage, empty = ledger.next_seq, False
                ledger.chunk(self.place.tree, self.place.path, stage, piece.offset, piece.data)
            yield
        if empty:  # nothing but holes: the stage begins all the same
            stage = ledger.next_seq
            ledger.chunk(self.place.tree, self.place.path, stage, 0, b"")
        self.content = Staged(stage)

    def _grown_or_whole(self, ledger: Ledger) -> Iterator[None]:
        """Hashes what was there; if it is unchanged only the rest travels, else everything."""
        assert self.entry is not None, "only a known file can have grown"
        old = self.entry.metadata.size
        prefix = content_hasher()
        for piece in pieces(self.fd, old, self._block):
            prefix.update(piece.data or memoryview(ZEROS)[: piece.length])
            yield
        if prefix.digest() != self.entry.digest:
            yield from self._whole(ledger)
            return
        extents: list[tuple[int, bytes]] = []
        for piece in pieces(self.fd, self.state.metadata.size, self._block):
            self._take(piece)
            end = piece.offset + piece.length
            if end > old:
                data = piece.data or bytes(piece.length)
                skip = max(0, old - piece.offset)
                extents.append((piece.offset + skip, data[skip:]))
            yield
        self.base = self.entry
        self.content = Delta(self.entry.digest, tuple(extents))

    def _compare(self, ledger: Ledger, known: Memory) -> Iterator[None]:
        """Extents that differ. More than fits in a record goes ahead with an unknown digest."""
        assert self.entry is not None, "a memory is of what an entry describes"
        base = self.entry
        extents: list[tuple[int, bytes]] = []
        gathered = 0
        for piece in pieces(self.fd, self.state.metadata.size, self._block):
            begin = len(self._hashes)
            self._take(piece)
            fresh = self._hashes[begin:]
            first = piece.offset // self._block * 8
            if fresh != known.hashes[first : first + len(fresh)]:
                found, _ = known.changed(piece.offset, piece.data or bytes(piece.length))
                more = sum(len(data) for _, data in found)
                if gathered and gathered + more > CHUNK_BYTES:
                    there = self._still_there(ledger, base)
                    if there is None:
                        self._begin_anew()
                        yield from self._whole(ledger)
                        return
                    base = self._ahead(ledger, there, extents)
                    extents, gathered = [], 0
                extents += found
                gathered += more
            yield
        self.base = base
        same = not extents and self.size == known.size and base is self.entry
        self.content = None if same else Delta(base.digest, tuple(extents))

    def _still_there(self, ledger: Ledger, base: Entry) -> Entry | None:
        """What the index has in place of `base`, if half a change of it can be told.

        Something else may have come to its place since; and its other names cannot be told.
        """
        ledger.flush()
        there = ledger.index.get(self.place.tree, self.place.path)
        if (
            self.state.links > 1
            or there is None
            or there.digest != base.digest
            or there.identity.ino != base.identity.ino
        ):
            return None
        return there

    def _begin_anew(self) -> None:
        self._hasher, self._hashes, self.size = content_hasher(), bytearray(), 0

    def _ahead(self, ledger: Ledger, base: Entry, extents: list[tuple[int, bytes]]) -> Entry:
        path = self.place.path
        metadata = self.state.metadata
        ledger.upsert(
            self.place.tree,
            path,
            metadata,
            self.state.identity,
            before=base,
            content=Delta(base.digest, tuple(extents)),
        )
        ledger.flush()
        entry = ledger.index.get(self.place.tree, path)
        assert entry is not None, "it was put just now"
        return entry

    def _take(self, piece: Piece) -> None:
        """Adds a piece, which begins at a block, to the hash and the signatures."""
        if piece.data:
            self._hasher.update(piece.data)
            self._hashes += block_hashes(piece.data, self._block)
        else:
            zeros = memoryview(ZEROS)[: piece.length]
            self._hasher.update(zeros)
            whole = self._block == BLOCK_BYTES and piece.length % BLOCK_BYTES == 0
            count = piece.length // BLOCK_BYTES * 8
            self._hashes += _ZERO_BLOCKS[:count] if whole else block_hashes(zeros, self._block)
        self.size = piece.offset + piece.length
