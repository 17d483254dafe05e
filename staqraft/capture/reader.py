"""ObjectReader: the present state of one object as changes, for whoever asks by path.

Used to answer a standby's request for whole objects. Capture itself uses the same parts with what
it remembers of the file, to send less.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

from staqraft.capture.content import ZEROS, is_small, pieces, read_small
from staqraft.capture.objects import (
    look,
    open_below,
    open_file,
    read_state,
    state_of_open,
    type_of,
)
from staqraft.capture.signatures import BLOCK_BYTES
from staqraft.config.schema import Tree
from staqraft.index import content_hasher, is_reserved
from staqraft.journal.record import Change, Chunk, Inline, ObjectType, Remove, Staged, Upsert


class ObjectReader:
    """Reads whole objects below the roots of trees; any thread may use it."""

    def __init__(self, trees: tuple[Tree, ...]) -> None:
        self._trees = {tree.name: tree for tree in trees}

    def read(self, tree: str, path: bytes, *, stage: int = 0) -> Iterator[Change]:
        """The object's state: Upsert, or Chunks with `stage` and an Upsert, or Remove.

        Always whole, whatever who asks has. Holds one chunk in memory at a time. Raises
        ObjectUnstable, OSError.
        """
        with self.reading() as one:
            yield from one.read(tree, path, stage=stage)

    def reading(self) -> Reading:
        """For one object after the other: those of one directory by the same descriptor."""
        return Reading(self._trees)


class Reading:
    """A context, for one thread at a time. Each object is read where its path leads by then."""

    def __init__(self, trees: dict[str, Tree]) -> None:
        self._trees = trees
        self._place: tuple[str, bytes] | None = None
        self._fd = -1
        self._really_at = ""

    def read(self, tree: str, path: bytes, *, stage: int = 0) -> Iterator[Change]:
        """As ObjectReader.read."""
        directory, _, name = path.rpartition(b"/")
        if is_reserved(path) or (path and name in (b"", b".", b"..")):
            yield Remove()
            return
        fd = self._open(tree, directory)
        if fd is None:
            yield Remove()
            return
        yield from _read(fd, name, stage)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        fd, self._fd, self._place = self._fd, -1, None
        if fd >= 0:
            os.close(fd)

    def _open(self, tree: str, directory: bytes) -> int | None:
        if self._place == (tree, directory) and _where(self._fd) == self._really_at:
            return self._fd
        self.__exit__()
        try:
            root = os.open(self._trees[tree].path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            found = open_below(root, directory)
        finally:
            os.close(root)
        if found is not None:
            self._place, self._fd = (tree, directory), found
            self._really_at = _where(found)
        return found


def _where(fd: int) -> str:
    """Where an open directory is by now: another path once it, or one above it, was moved."""
    return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - it is asked for each object


def _read(directory_fd: int, name: bytes, stage: int) -> Iterator[Change]:
    found = look(directory_fd, name)
    if found is None:
        yield Remove()
        return
    opened = None
    if type_of(found) is ObjectType.FILE:
        opened = open_file(directory_fd, name)
    if opened is None:  # perhaps replaced meanwhile: by what, the next look says
        state = read_state(directory_fd, name)
        yield Remove() if state is None or state.is_file else Upsert(metadata=state.metadata)
        return
    fd, state = opened
    try:
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
