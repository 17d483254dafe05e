"""ObjectReader: the present state of one object as changes, for whoever asks by path.

Used to answer a standby's request for whole objects. Capture itself uses the same parts with what
it remembers of the file, to send less.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from staqraft.capture.content import ZEROS, is_small, pieces, read_small
from staqraft.capture.objects import open_below, open_file, read_state, state_of_open
from staqraft.capture.signatures import BLOCK_BYTES
from staqraft.config.schema import Tree
from staqraft.index import Entry, FileIdentity, content_hasher, is_reserved
from staqraft.journal.record import Change, Chunk, Inline, ObjectType, Remove, Staged, Upsert


class ObjectReader:
    """Reads whole objects below the roots of trees; any thread may use it."""

    def __init__(self, trees: tuple[Tree, ...]) -> None:
        self._trees = {tree.name: tree for tree in trees}

    def read(
        self, tree: str, path: bytes, before: Entry | None = None, *, stage: int = 0
    ) -> Iterator[Change]:
        """The object's state: Upsert, or Chunks with `stage` and an Upsert, or Remove.

        Always whole, whatever `before` was: who asks has something else. Holds one chunk in
        memory at a time. Raises ObjectUnstable, OSError.
        """
        del before
        directory, _, name = path.rpartition(b"/")
        if is_reserved(path) or (path and name in (b"", b".", b"..")):
            yield Remove()
            return
        try:
            root = os.open(self._trees[tree].path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield Remove()
            return
        try:
            fd = open_below(root, directory)
        finally:
            os.close(root)
        if fd is None:
            yield Remove()
            return
        try:
            yield from _read(fd, name, stage)
        finally:
            os.close(fd)

    def identify(self, tree: str, path: bytes) -> FileIdentity | None:
        """Which inode stands at a path now."""
        directory, _, name = path.rpartition(b"/")
        root = os.open(self._trees[tree].path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_below(root, directory)
        finally:
            os.close(root)
        if fd is None:
            return None
        try:
            state = read_state(fd, name)
        finally:
            os.close(fd)
        return state.identity if state else None


def _read(directory_fd: int, name: bytes, stage: int) -> Iterator[Change]:
    state = read_state(directory_fd, name)
    if state is None:
        yield Remove()
        return
    if state.metadata.type is not ObjectType.FILE:
        yield Upsert(metadata=state.metadata)
        return
    fd = open_file(directory_fd, name)
    if fd is None:  # replaced meanwhile: by what, the next look says
        state = read_state(directory_fd, name)
        yield Remove() if state is None or state.is_file else Upsert(metadata=state.metadata)
        return
    try:
        state = state_of_open(fd)
        small = read_small(fd, state) if is_small(state) else None
        if small is not None:
            metadata = small.state.with_size(len(small.data))
            yield Upsert(metadata=metadata, digest=small.digest, content=Inline(small.data))
        else:
            yield from _read_large(fd, stage)
    finally:
        os.close(fd)


def _read_large(fd: int, stage: int) -> Iterator[Change]:
    state = state_of_open(fd)
    hasher, size = content_hasher(), 0
    yield Chunk(stage=stage, offset=0, data=b"")  # there may be nothing but holes
    for piece in pieces(fd, state.metadata.size, BLOCK_BYTES):
        hasher.update(piece.data or memoryview(ZEROS)[: piece.length])
        size = piece.offset + piece.length
        if piece.data:
            yield Chunk(stage=stage, offset=piece.offset, data=piece.data)
    yield Upsert(metadata=state.with_size(size), digest=hasher.digest(), content=Staged(stage))
