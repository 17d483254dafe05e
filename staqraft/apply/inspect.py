"""What stands on this node's disk now, whatever its index says: to verify, and to scrub.

The index only saves reading: the content of a file that is the very inode, unchanged since, that
the index knows has the digest that the index knows. Reading it all the same (`deep`) finds what
nobody wrote: a disk that gives back something else than it was given.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from staqraft.apply.localscan import Excluded
from staqraft.apply.observe import identity_of, look, metadata_at
from staqraft.apply.safety import MountedInside, TreeRoot, opened_anew
from staqraft.index import Entry, FileIdentity, Index, content_hasher, is_reserved
from staqraft.journal.record import Metadata, ObjectType

_READ_BYTES: Final = 1 << 20
_TRIES: Final = 3
# It went away, or became something else, between two calls.
_GONE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EINVAL, errno.ELOOP, errno.ENXIO}
)
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_WHO_THREAD: Final = 1
_IDLE_CLASS: Final = 3 << 13

_libc = ctypes.CDLL(None, use_errno=True)

Pace = Callable[[int], None]  # told how many bytes were read; may wait, or raise to end it


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An object as it is now."""

    metadata: Metadata
    digest: bytes = b""
    names: int = 1  # of a file, in its tree
    corrupt: bool = False  # its content changed though nobody wrote to it
    restless: bool = False  # it changed each time while it was read: the digest is missing
    identity: FileIdentity | None = field(default=None, compare=False)  # of what was read


class Inspector:
    """Looks at trees. One thread at a time; `close` it. Raises RootMissing, OSError."""

    def __init__(
        self,
        trees: Mapping[str, Path],
        index: Index,
        excluded: Mapping[str, Excluded],
        *,
        deep: bool,
        pace: Pace = lambda _: None,
        cold: bool = False,
    ) -> None:
        """`cold`: what is read is not kept in memory, and is read from the disk if that can be."""
        self._trees = trees
        self._index = index
        self._excluded = excluded
        self._deep = deep
        self._pace = pace
        self._cold = cold
        self._roots: dict[str, TreeRoot] = {}

    def close(self) -> None:
        """Lets go of the trees."""
        for root in self._roots.values():
            root.close()
        self._roots.clear()

    def children(self, tree: str, path: bytes) -> Iterator[tuple[bytes, State]]:
        """What is in a directory, sorted by name; nothing if there is no such directory."""
        root = self._root(tree)
        try:
            number = root.directory(path)
            with opened_anew(number) as fresh:
                names = sorted(os.fsencode(name) for name in os.listdir(fresh))  # noqa: PTH208 - of an open one
        except (FileNotFoundError, NotADirectoryError, MountedInside):
            return
        for name in names:
            child = path + b"/" + name if path else name
            state = self._object(root, child)
            if state is not None:
                yield child, state
        root.release()

    def object(self, tree: str, path: bytes) -> State | None:
        """What stands at a path; None if nothing that is replicated does."""
        root = self._root(tree)
        try:
            return self._object(root, path)
        except (FileNotFoundError, NotADirectoryError, MountedInside):
            return None
        finally:
            root.release()

    def _root(self, tree: str) -> TreeRoot:
        root = self._roots.get(tree)
        if root is None:
            root = self._roots[tree] = TreeRoot(tree, self._trees[tree])
            root.require_staging()
        root.require_present()
        return root

    def _object(self, root: TreeRoot, path: bytes) -> State | None:
        if is_reserved(path):
            return None
        directory, name = root.parent(path)
        found = look(directory, name)
        if found is None or found.st_dev != os.fstat(root.fd).st_dev:
            return None  # what is mounted inside of a tree is not of it
        is_directory = stat.S_ISDIR(found.st_mode)
        if path and self._excluded[root.name](path, is_directory):
            return None
        try:
            metadata = metadata_at(directory, name, found)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        if metadata.type is not ObjectType.FILE:
            return State(metadata=metadata)
        entry = self._index.get(root.name, path)
        names = 1
        if found.st_nlink > 1:
            names = max(1, len(self._index.names_of(root.name, found.st_dev, found.st_ino)))
        if entry is not None and entry.is_unread:
            entry = None  # it says nothing of the content
        known = entry is not None and entry.identity == identity_of(found)
        if known and entry is not None and not self._deep:
            self._pace(0)
            return State(metadata=metadata, digest=entry.digest, names=names)
        return self._content(directory, name, metadata, names, entry)

    def _content(
        self, directory: int, name: bytes, metadata: Metadata, names: int, entry: Entry | None
    ) -> State | None:
        for _ in range(_TRIES):
            try:
                number = os.open(name, _READ, dir_fd=directory)
            except OSError as error:
                if error.errno in _GONE:
                    return None
                raise
            before = identity_of(os.fstat(number))
            try:
                digest = self._digest(number)
                after = identity_of(os.fstat(number))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                # The disk has lost it.
                return State(metadata=metadata, names=names, corrupt=True, identity=before)
            finally:
                os.close(number)
            found = look(directory, name)
            if found is None or not stat.S_ISREG(found.st_mode):
                return None
            if before == after == identity_of(found):
                return State(
                    metadata=metadata_at(directory, name, found),
                    digest=digest,
                    names=names,
                    corrupt=_is_corrupt(entry, after, digest),
                    identity=after,
                )
        return State(metadata=metadata, names=names, restless=True)

    def _digest(self, number: int) -> bytes:
        if self._cold:
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        hasher = content_hasher()
        at = 0
        while piece := os.read(number, _READ_BYTES):
            hasher.update(piece)
            if self._cold:
                os.posix_fadvise(number, at, len(piece), os.POSIX_FADV_DONTNEED)
            at += len(piece)
            self._pace(len(piece))
        return hasher.digest()


def _is_corrupt(entry: Entry | None, now: FileIdentity, digest: bytes) -> bool:
    return entry is not None and entry.identity == now and entry.digest != digest


def aspects(theirs: State | None, mine: State | None) -> tuple[str, ...]:
    """What of an object is not the same on this node (`mine`) as it should be; none: it is."""
    if theirs is None or mine is None:
        return () if theirs is mine else (("missing",) if mine is None else ("extra",))
    a, b = theirs.metadata, mine.metadata
    if a.type is not b.type:
        return ("type",)
    content = (theirs.digest, a.size, a.symlink_target, a.rdev)
    differing = (
        ("content", content != (mine.digest, b.size, b.symlink_target, b.rdev)),
        ("mode", a.mode != b.mode),
        ("owner", (a.uid, a.gid) != (b.uid, b.gid)),
        ("mtime", a.mtime_ns != b.mtime_ns),
        ("xattrs", a.xattrs != b.xattrs),
        ("links", theirs.names != mine.names),
    )
    return tuple(name for name, differs in differing if differs)


def read_when_idle() -> None:
    """Lets the disk accesses of the calling thread give way to all others, if the kernel can."""
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        _libc.syscall(number, _WHO_THREAD, 0, _IDLE_CLASS)
