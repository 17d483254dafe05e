"""ObjectReader: the present state of one object as changes, for whoever asks by path.

Used to answer a standby's request for whole objects. Capture itself uses the same parts with what
it remembers of the file, to send less.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Final, Self

from staqraft.capture.content import ZEROS, is_small, pieces, read_small
from staqraft.capture.objects import (
    ObjectState,
    identity_of,
    look,
    open_below,
    open_file,
    read_state,
    state_of_open,
    type_of,
)
from staqraft.capture.signatures import WORTH_BYTES, Memory, block_hashes, block_size
from staqraft.config.schema import Tree
from staqraft.index import FileIdentity, content_hasher, is_reserved
from staqraft.journal.record import Change, Chunk, Inline, ObjectType, Remove, Staged, Upsert

_TOO_LONG: Final = ""
Told = Callable[[ObjectState, bytes, Memory | None], None]
"""State, digest, and for larger files what is worth remembering of the content."""


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
        self._inode = 0
        self._really_at = ""

    def read(
        self, tree: str, path: bytes, *, stage: int = 0, told: Told | None = None
    ) -> Iterator[Change]:
        """As ObjectReader.read. `told` of a file that held still while it was read."""
        directory, _, name = path.rpartition(b"/")
        if is_reserved(path) or (path and name in (b"", b".", b"..")):
            yield Remove()
            return
        fd = self._open(tree, directory)
        if fd is None:
            yield Remove()
            return
        yield from _read(fd, name, stage, told)

    def inode_above(self) -> int:
        """Of the directory in which the last object was read; 0 if there was none."""
        return self._inode if self._fd >= 0 else 0

    def identity(self, tree: str, path: bytes) -> FileIdentity | None:
        """By which the object there is known; None if there is none. Raises OSError."""
        directory, _, name = path.rpartition(b"/")
        fd = self._open(tree, directory)
        found = None if fd is None else look(fd, name)
        return None if found is None else identity_of(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        fd, self._fd, self._place = self._fd, -1, None
        if fd >= 0:
            os.close(fd)

    def _open(self, tree: str, directory: bytes) -> int | None:
        if self._place == (tree, directory) and _where(self._fd) == self._really_at != _TOO_LONG:
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
            self._inode = os.fstat(found).st_ino
            self._really_at = _where(found)
        return found


def _where(fd: int) -> str:
    """Where an open directory is by now: another path once it, or one above it, was moved."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - it is asked for each object
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _TOO_LONG  # then each object's directory is opened anew


def _read(directory_fd: int, name: bytes, stage: int, told: Told | None) -> Iterator[Change]:
    opened = None
    if told is not None:  # then it was a file
        opened = open_file(directory_fd, name)
    if opened is None:
        found = look(directory_fd, name)
        if found is None:
            yield Remove()
            return
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
            if told is not None and small.stable:
                worth = len(small.data) >= WORTH_BYTES
                memory = Memory.of(small.data, small.digest) if worth else None
                told(small.state, small.digest, memory)
            yield Upsert(metadata=metadata, digest=small.digest, content=Inline(small.data))
        else:
            yield from _read_large(fd, stage, told)
    finally:
        os.close(fd)


def _read_large(fd: int, stage: int, told: Told | None) -> Iterator[Change]:
    state = state_of_open(fd)
    block = block_size(state.metadata.size)
    hasher, hashes, size = content_hasher(), bytearray(), 0
    yield Chunk(stage=stage, offset=0, data=b"")  # there may be nothing but holes
    for piece in pieces(fd, state.metadata.size, block):
        data = piece.data or memoryview(ZEROS)[: piece.length]
        hasher.update(data)
        if told is not None:
            hashes += block_hashes(data, block)
        size = piece.offset + piece.length
        if piece.data:
            yield Chunk(stage=stage, offset=piece.offset, data=piece.data)
    digest = hasher.digest()
    held_still = identity_of(os.fstat(fd)) == state.identity and size == state.metadata.size
    if told is not None and held_still:
        told(state, digest, Memory(digest, size, block, hashes, hasher))
    yield Upsert(metadata=state.with_size(size), digest=digest, content=Staged(stage))
