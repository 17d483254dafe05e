"""What the active shows and gives to a standby that compares: objects as they are on its disk."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from staqraft.apply.inspect import Inspector, State
from staqraft.capture import ObjectReader, Reading
from staqraft.capture.adoption import Read
from staqraft.capture.objects import ObjectState
from staqraft.capture.signatures import Memory
from staqraft.daemon.trees_common import Common
from staqraft.errors import ReplicationError
from staqraft.index import Entry
from staqraft.journal.record import Change, HardLinkTo, ObjectType, Record, Remove, Upsert
from staqraft.journal.record_codec import encode
from staqraft.model import ORIGIN, Position

_BATCH_BYTES: Final = 512 << 10
_NAMED: Final = 20
_DESCRIBED: Final = 500  # objects in a message
_DESCRIBE_S: Final = 0.5


class Suspect(Protocol):
    """Told of what was not read as it was written."""

    def __call__(self, tree: str, path: bytes, *, given: bool) -> None:
        """As DamageScrubber.suspect."""
        ...


class Unreadable(ReplicationError):
    """Something that a standby asked for cannot be read here."""

    grpc_status = "DATA_LOSS"


class Objects:
    """Any thread may ask. `was_read` is told what unread files turned out to hold."""

    def __init__(
        self,
        common: Common,
        suspect: Suspect,
        was_read: Callable[[list[Read]], None],
        root_problem: Callable[[str], str],
    ) -> None:
        """`root_problem`: why what is missing in a tree is not to be believed, or ""."""
        self._root_problem = root_problem
        self.adopted_at: Position | None = None
        self._common = common
        self._suspect = suspect
        self._was_read = was_read
        self._reader = ObjectReader(common.group.trees)
        # Never the number of a stage of an earlier process, whose pieces a standby may still have.
        self._stages = itertools.count(common.wall_ms() * 1000)

    async def describe(
        self, tree: str, paths: Sequence[bytes], *, children: bool, deep: bool
    ) -> AsyncGenerator[list[tuple[bytes, State]], None]:
        """What is on the disk now, some at a time; reads only when nobody else does."""
        common = self._common
        inspector = Inspector(
            {tree.name: tree.path for tree in common.group.trees},
            common.index,
            common.excluded(),
            deep=deep,
        )
        found = _described(inspector, tree, paths, children=children)
        try:
            while states := await common.inspect(partial(_some, found)):
                with self._unread() as unread:
                    for path, state in states:
                        self._note(unread, tree, path, state)
                yield states
        finally:
            await common.inspect(inspector.close)

    def whole(
        self, tree: str, paths: Sequence[bytes], have: Sequence[bytes] = ()
    ) -> Iterator[bytes]:
        """Frames of whole objects as they are now, in batches.

        Without the content of a file whose digest `have` has at the place of its path. Raises
        Unreadable when all others were given; StaqraftError.
        """
        batch: list[bytes] = []
        size = 0
        unreadable: list[str] = []
        self._common.index.foresee(tree, paths)
        with self._reader.reading() as reading, self._unread() as unread:
            for path, digest in itertools.zip_longest(paths, have[: len(paths)], fillvalue=b""):
                try:
                    for record in self._object(reading, unread, tree, path, digest):
                        frame = encode(record)
                        batch.append(frame)
                        size += len(frame)
                        if size >= _BATCH_BYTES:
                            yield b"".join(batch)
                            batch, size = [], 0
                except OSError as error:
                    if error.errno == errno.EIO:
                        self._suspect(tree, path, given=False)
                    unreadable.append(f"{os.fsdecode(path)!r} ({error.strerror})")
        if batch:
            yield b"".join(batch)
        if unreadable:
            raise self._unreadable(tree, unreadable)

    def _unreadable(self, tree: str, paths: Sequence[str]) -> Unreadable:
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        one = len(paths) == 1
        return Unreadable(
            f"{self._common.config.node} cannot read {', '.join(paths[:_NAMED])}{more} of tree"
            f" {tree}: check its disk, and restore {'the file' if one else 'them'} there from a"
            f" backup, or remove {'it' if one else 'them'}. Everything else is compared, and"
            f" {'it is' if one else 'they are'} tried again"
        )

    def _is_where_it_was(self, reading: Reading, tree: str, path: bytes) -> bool:
        """Whether the directory is still the one of which the journal tells so far.

        Another came to its place, and is not captured yet: what is in it belongs to no position
        that could be given. Who asks is told that there is nothing, and asks again when it has
        applied what is told meanwhile.
        """
        above = self._common.index.get(tree, path.rpartition(b"/")[0])
        return not path or (above is not None and above.identity.ino == reading.inode_above())

    def _compare(self, reading: Reading, tree: str, entry: Entry | None, change: Change) -> None:
        """What was sent is to be what was written; the disk may have given back something else."""
        if (
            entry is not None
            and not entry.is_unread
            and isinstance(change, Upsert)
            and entry.metadata.type is change.metadata.type is ObjectType.FILE
            and entry.digest != change.digest
            and reading.identity(tree, entry.path) == entry.identity
        ):
            self._suspect(tree, entry.path, given=True)

    def _is_unread(self, entry: Entry) -> bool:
        return entry.is_unread and entry.origin == self.adopted_at

    def _note(self, unread: list[Read], tree: str, path: bytes, state: State) -> None:
        entry = self._common.index.get(tree, path)
        if entry is None or not self._is_unread(entry) or state.identity != entry.identity:
            return
        if state.digest:
            known = replace(entry, metadata=state.metadata, digest=state.digest)
            unread.append(Read(tree, known, None))

    @contextmanager
    def _unread(self) -> Iterator[list[Read]]:
        """What turned out while others asked goes into the index."""
        found: list[Read] = []
        try:
            yield found
        finally:
            if found:
                self._was_read(found)

    def _object(
        self, reading: Reading, unread: list[Read], tree: str, path: bytes, have: bytes
    ) -> Iterator[Record]:
        index = self._common.index
        entry = index.get(tree, path)
        names: list[bytes] = []
        told = None
        if entry is not None and self._is_unread(entry):  # it had one name when it was adopted
            told = partial(_note, unread, tree, entry)
        elif entry is not None and entry.metadata.type is ObjectType.FILE:
            names = index.names_of(tree, entry.identity.dev, entry.identity.ino)
        # What is read has at least the record that the index knows of.
        origin = entry.origin if entry is not None else ORIGIN
        if entry is not None and len(names) > 1 and names[0] != path:
            yield _link(tree, path, names[0], entry)
            return
        if entry is not None and have and _is_had(reading, tree, entry, names, have):
            as_it_is = Upsert(metadata=entry.metadata, digest=entry.digest)
            yield Record(tree=tree, path=path, change=as_it_is, position=origin)
            return
        for change in reading.read(tree, path, stage=next(self._stages), told=told):
            if isinstance(change, Upsert) and not self._is_where_it_was(reading, tree, path):
                yield Record(tree=tree, path=path, change=Remove(), position=origin)
                return
            if isinstance(change, Remove) and (problem := self._root_problem(tree)):
                raise ReplicationError(problem)
            yield Record(tree=tree, path=path, change=change, position=origin)
            self._compare(reading, tree, entry, change)
        for name in names[1:]:  # there they may be names of what was here before
            if (other := index.get(tree, name)) is not None:
                yield _link(tree, name, path, other)


def _is_had(reading: Reading, tree: str, entry: Entry, names: Sequence[bytes], have: bytes) -> bool:
    """Whether who has this content has what the disk was given; it is not read then.

    So a disk that gives back something else spoils no copy that is good.
    """
    return (
        not entry.is_unread
        and entry.digest == have
        and list(names) == [entry.path]
        and reading.identity(tree, entry.path) == entry.identity
    )


def _note(
    unread: list[Read],
    tree: str,
    entry: Entry,
    state: ObjectState,
    digest: bytes,
    memory: Memory | None,
) -> None:
    """It holds this, if it is what was adopted."""
    if state.identity == entry.identity:
        known = Entry(  # `replace` takes twice as long, and this is done for each of many files
            path=entry.path,
            metadata=state.metadata,
            digest=digest,
            identity=entry.identity,
            origin=entry.origin,
        )
        unread.append(Read(tree, known, memory))


def _link(tree: str, path: bytes, to: bytes, entry: Entry) -> Record:
    link = Upsert(metadata=entry.metadata, digest=entry.digest, content=HardLinkTo(to))
    return Record(tree=tree, path=path, change=link, position=entry.origin)


def _described(
    inspector: Inspector, tree: str, paths: Sequence[bytes], *, children: bool
) -> Iterator[tuple[bytes, State]]:
    for path in paths:
        if children:
            yield from inspector.children(tree, path)
        elif (state := inspector.object(tree, path)) is not None:
            yield path, state


def _some(found: Iterator[tuple[bytes, State]]) -> list[tuple[bytes, State]]:
    """The next ones: so many, or as many as are read in a moment."""
    until = time.monotonic() + _DESCRIBE_S
    states: list[tuple[bytes, State]] = []
    for state in found:
        states.append(state)
        if len(states) >= _DESCRIBED or time.monotonic() >= until:
            break
    return states
