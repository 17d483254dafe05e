"""A standby in memory: carries out journal records and is stricter than any real one.

Every record must find the state that it expects (`before`), every delta its base, every move its
source, and every content must have the digest that it claims.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from staqraft.capture.objects import read_state
from staqraft.index import content_digest, state_digest
from staqraft.journal.record import (
    Chunk,
    Delta,
    HardLinkTo,
    Inline,
    Metadata,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Staged,
    Upsert,
)


@dataclass(slots=True)
class Inode:
    """What several names may share."""

    metadata: Metadata
    data: bytes = b""
    digest: bytes = b""


class Replica:
    """One tree as told by records."""

    def __init__(self, tree: str) -> None:
        self.tree = tree
        self.objects: dict[bytes, Inode] = {}
        self.content_bytes = 0  # that travelled
        self.records: list[Record] = []
        self._told: dict[bytes, bytes] = {}  # the state of each name as last told
        self._stages: dict[int, list[Chunk]] = {}

    def apply(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.tree == self.tree:
                self.records.append(record)
                self._apply(record)

    def _apply(self, record: Record) -> None:
        path, change = record.path, record.change
        if isinstance(change, Chunk):
            assert record.position.seq >= change.stage
            self._stages.setdefault(change.stage, []).append(change)
            self.content_bytes += len(change.data)
            return
        if record.before != self._told.get(path, b""):
            what = type(change.content if isinstance(change, Upsert) else change).__name__
            raise AssertionError(f"{record.position} {what} of {path!r} expects another state")
        match change:
            case Remove():
                assert path in self.objects
                self._remove(path)
            case Upsert():
                self._upsert(path, change)
                self._told[path] = state_digest(change.metadata, change.digest)

    def _remove(self, path: bytes) -> None:
        for name in [n for n in self.objects if n == path or n.startswith(path + b"/")]:
            del self.objects[name], self._told[name]

    def _upsert(self, path: bytes, change: Upsert) -> None:
        if path:
            parent = self.objects[path.rpartition(b"/")[0]]
            assert parent.metadata.type is ObjectType.DIRECTORY, (path, change)
        there = self.objects.get(path)
        m = change.metadata
        if there is not None:
            is_directory = m.type is ObjectType.DIRECTORY
            was_directory = there.metadata.type is ObjectType.DIRECTORY
            assert is_directory == was_directory, "a directory is removed before it is replaced"
        match change.content:
            case MovedFrom(path=source):
                self._move(source, path)
                inode = self.objects[path]
                assert inode.digest == change.digest
                inode.metadata = m
            case HardLinkTo(path=other):
                inode = self.objects[other]
                assert inode.digest == change.digest
                inode.metadata = m
                self.objects[path] = inode
            case None:
                if there is None or there.metadata.type is not m.type:
                    assert m.type is not ObjectType.FILE, "a new file has content"
                    self.objects[path] = Inode(m)
                else:
                    assert there.digest == change.digest, "only metadata changed"
                    there.metadata = m
            case Delta(base=base, extents=extents):
                assert there is not None
                assert there.digest == base, "a delta finds its base"
                data = bytearray(there.data[: m.size].ljust(m.size, b"\0"))
                for offset, piece in extents:
                    data[offset : offset + len(piece)] = piece
                    self.content_bytes += len(piece)
                there.data, there.metadata = bytes(data), m
                there.digest = self._checked(there.data, change, m)
            case Inline(data=content):
                self.content_bytes += len(content)
                self.objects[path] = Inode(m, content, self._checked(content, change, m))
            case Staged(stage=stage):
                data = bytearray(m.size)
                for chunk in self._stages.pop(stage, []):
                    data[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
                content = bytes(data)
                self.objects[path] = Inode(m, content, self._checked(content, change, m))

    def _move(self, source: bytes, target: bytes) -> None:
        assert source in self.objects, (source, target)
        self._remove(target)
        below = [n for n in self.objects if n == source or n.startswith(source + b"/")]
        for name in below:
            self.objects[target + name[len(source) :]] = self.objects.pop(name)
            self._told[target + name[len(source) :]] = self._told.pop(name)

    @staticmethod
    def _checked(data: bytes, change: Upsert, metadata: Metadata) -> bytes:
        assert len(data) == metadata.size
        if change.digest:
            assert content_digest(data) == change.digest
        return change.digest


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it is compared: metadata, digest, and with which names it shares an inode."""

    metadata: Metadata
    digest: bytes
    shared_with: frozenset[bytes]


def tree_state(root: Path, *, left_out: frozenset[bytes] = frozenset()) -> dict[bytes, Seen]:
    """What is on disk, by path, read without any of the code that is tested but the stat."""
    found: dict[bytes, tuple[Metadata, bytes, tuple[int, int]]] = {}
    start = os.fsencode(root)
    for base, directories, files in os.walk(start):
        directories[:] = [d for d in directories if not d.startswith(b".staqraft-")]
        here = os.path.relpath(base, start)
        prefix = b"" if here == b"." else here + b"/"
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        names = [b"", *directories, *files] if base == start else [*directories, *files]
        for name in names:
            path = prefix + name
            if path in left_out:
                continue
            state = read_state(fd, name)
            assert state is not None
            digest = b""
            if state.metadata.type is ObjectType.FILE:
                with open(os.path.join(base, name), "rb") as file:  # noqa: PTH118, PTH123
                    digest = content_digest(file.read())
            inode = (state.identity.dev, state.identity.ino)
            found[path] = (state.metadata, digest, inode)
        os.close(fd)
    return _shared(found)


def _shared(found: dict[bytes, tuple[Metadata, bytes, tuple[int, int]]]) -> dict[bytes, Seen]:
    names: dict[tuple[int, int], set[bytes]] = {}
    for path, (metadata, _, inode) in found.items():
        if metadata.type is not ObjectType.DIRECTORY:
            names.setdefault(inode, set()).add(path)
    return {
        path: Seen(metadata, digest, frozenset(names.get(inode, {path})))
        for path, (metadata, digest, inode) in found.items()
    }


def replica_state(replica: Replica) -> dict[bytes, Seen]:
    """The same of a replica."""
    return _shared({p: (i.metadata, i.digest, (0, id(i))) for p, i in replica.objects.items()})
