"""A tree on an imaginary active: changes it and tells each change as journal records."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from staqraft.apply.inspect import Inspector, State
from staqraft.apply.localscan import scan_tree
from staqraft.apply.observe import digest_at, look, metadata_at
from staqraft.apply.reconcile import Opening, PartlyUnreadable
from staqraft.apply.safety import TreeRoot
from staqraft.errors import ReplicationError
from staqraft.index import Entry, Index, Listed
from staqraft.journal.record import (
    Chunk,
    Content,
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
from staqraft.model import Epoch, Position

TREE = "web"


def nothing_excluded(_path: bytes, _is_directory: bool) -> bool:
    return False


class SourceTree:
    """The active's tree. Every method that changes something appends to `records`."""

    def __init__(self, path: Path, epoch: int = 1) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.root = TreeRoot(TREE, path)
        self.root.make_staging()
        self.records: list[Record] = []
        self._known: set[bytes] = set()
        self.epoch = Epoch(epoch)
        self.seq = 0

    def close(self) -> None:
        self.root.close()

    # --- telling -----------------------------------------------------------------------------

    def state(self, path: bytes) -> tuple[Metadata, bytes] | None:
        try:
            directory, name = self.root.parent(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = look(directory, name)
        if found is None:
            return None
        metadata = metadata_at(directory, name, found)
        is_file = metadata.type is ObjectType.FILE
        return metadata, digest_at(directory, name) if is_file else b""

    def tell(self, path: bytes, content: Content | None = None) -> None:
        """Records the state of a path as it is now."""
        found = self.state(path)
        assert found is not None
        self._add(path, Upsert(metadata=found[0], digest=found[1], content=content))

    def tell_file(self, path: bytes) -> None:
        self.tell(path, Inline((self.path / os.fsdecode(path)).read_bytes()))

    def tell_parent(self, path: bytes) -> None:
        self.root.release()
        self.tell(path.rpartition(b"/")[0])

    def tell_whole(self, path: bytes) -> None:
        """As a fetch does: the object with its content."""
        found = self.state(path)
        if found is None:
            self._add(path, Remove())
        elif found[0].type is ObjectType.FILE:
            self.tell_file(path)
        else:
            self.tell(path)

    def _add(self, path: bytes, change: Upsert | Remove | Chunk) -> None:
        self.seq += 1
        record = Record(
            tree=TREE,
            path=path,
            change=change,
            position=Position(self.epoch, self.seq),
            before=b"there" if path in self._known else b"",
        )
        self.records.append(record)
        self._keep_known(record)

    def _keep_known(self, record: Record) -> None:
        """Which paths were told of and are there."""
        match record.change:
            case Remove():
                self._known.discard(record.path)
            case Upsert(content=MovedFrom(path=source)):
                below = {p for p in self._known if p == source or p.startswith(source + b"/")}
                self._known -= below
                self._known |= {record.path + p[len(source) :] for p in below}
                self._known.add(record.path)
            case Upsert():
                self._known.add(record.path)
            case Chunk():
                pass

    # --- changing ----------------------------------------------------------------------------

    def _full(self, path: bytes) -> bytes:
        return os.fsencode(self.path) + b"/" + path

    def write(self, path: bytes, data: bytes) -> None:
        """A new file, made aside and renamed into place."""
        temporary = self._full(path) + b".new"
        with open(temporary, "wb") as file:  # noqa: PTH123 - paths are bytes here
            file.write(data)
        os.replace(temporary, self._full(path))  # noqa: PTH105
        self.tell_file(path)
        self.tell_parent(path)

    def write_staged(self, path: bytes, data: bytes, piece: int = 5000) -> None:
        """The same, told in chunks."""
        with open(self._full(path), "wb") as file:  # noqa: PTH123
            file.write(data)
        stage = self.seq + 1
        for at in range(0, len(data), piece):
            self._add(path, Chunk(stage=stage, offset=at, data=data[at : at + piece]))
        self.tell(path, Staged(stage))
        self.tell_parent(path)

    def change(self, path: bytes, offset: int, data: bytes) -> None:
        """Changes a file in place."""
        before = self.state(path)
        assert before is not None
        with open(self._full(path), "r+b") as file:  # noqa: PTH123
            file.seek(offset)
            file.write(data)
        self.tell(path, Delta(before[1], ((offset, data),)))

    def touch(self, path: bytes, mode: int, mtime_ns: int) -> None:
        os.chmod(self._full(path), mode)  # noqa: PTH101
        os.utime(self._full(path), ns=(mtime_ns, mtime_ns))
        self.tell(path)

    def mkdir(self, path: bytes) -> None:
        os.mkdir(self._full(path))  # noqa: PTH102
        self.tell(path)
        self.tell_parent(path)

    def symlink(self, path: bytes, target: bytes) -> None:
        os.symlink(target, self._full(path))  # noqa: PTH211
        self.tell(path)
        self.tell_parent(path)

    def link(self, path: bytes, other: bytes) -> None:
        os.link(self._full(other), self._full(path))
        self.tell(path, HardLinkTo(other))
        self.tell_parent(path)

    def move(self, source: bytes, target: bytes) -> None:
        os.rename(self._full(source), self._full(target))  # noqa: PTH104
        self.root.release()
        self.tell(target, MovedFrom(source))
        self.tell_parent(source)
        self.tell_parent(target)

    def remove(self, path: bytes) -> None:
        full = self._full(path)
        if os.path.isdir(full) and not os.path.islink(full):  # noqa: PTH112, PTH114
            for name in sorted(os.listdir(full)):  # noqa: PTH208
                self.remove(path + b"/" + name)
            os.rmdir(full)  # noqa: PTH106
        else:
            os.unlink(full)  # noqa: PTH108
        self.root.release()
        self._add(path, Remove())
        self.tell_parent(path)

    # --- random life -------------------------------------------------------------------------

    def live(self, dice: random.Random, steps: int) -> None:
        """Random changes of all kinds, as a busy server makes them."""
        for _ in range(steps):
            dice.choice(
                (
                    self._random_write,
                    self._random_write,
                    self._random_change,
                    self._random_change,
                    self._random_move,
                    self._random_move,
                    self._random_remove,
                    self._random_mkdir,
                    self._random_link,
                    self._random_touch,
                )
            )(dice)

    def _paths(self, kind: Callable[[bytes], bool]) -> list[bytes]:
        found = []
        base = os.fsencode(self.path)
        for where, directories, files in os.walk(base):
            if b".staqraft-staging" in directories:
                directories.remove(b".staqraft-staging")
            found += [os.path.join(where, n) for n in (*directories, *files)]  # noqa: PTH118
        return sorted(full[len(base) + 1 :] for full in found if kind(full))

    def _files(self) -> list[bytes]:
        return self._paths(lambda p: os.path.isfile(p) and not os.path.islink(p))  # noqa: PTH113, PTH114

    def _directories(self) -> list[bytes]:
        return [b"", *self._paths(lambda p: os.path.isdir(p) and not os.path.islink(p))]  # noqa: PTH112, PTH114

    def _free(self, dice: random.Random) -> bytes:
        directory = dice.choice(self._directories())
        taken = set(self._paths(lambda _p: True))
        while True:
            name = b"%c%d" % (dice.choice(b"abcd"), dice.randrange(40))
            path = directory + b"/" + name if directory else name
            if path not in taken:
                return path

    def _random_write(self, dice: random.Random) -> None:
        files = self._files()
        path = dice.choice(files) if files and dice.random() < 0.3 else self._free(dice)
        data = dice.randbytes(dice.randrange(1, 20_000))
        if dice.random() < 0.2 and path not in files:
            self.write_staged(path, data)
        else:
            self.write(path, data)

    def _random_change(self, dice: random.Random) -> None:
        files = [f for f in self._files() if os.stat(self._full(f)).st_nlink == 1]  # noqa: PTH116
        if files:
            path = dice.choice(files)
            size = os.stat(self._full(path)).st_size  # noqa: PTH116
            at = dice.choice((size, dice.randrange(size + 1)))
            self.change(path, at, dice.randbytes(dice.randrange(1, 4096)))

    def _random_move(self, dice: random.Random) -> None:
        movable = self._paths(lambda _p: True)
        if not movable:
            return
        source = dice.choice(movable)
        files = [f for f in self._files() if f != source]
        onto = files and source in self._files() and dice.random() < 0.3
        target = dice.choice(files) if onto else self._free(dice)
        same = onto and os.path.samefile(self._full(source), self._full(target))  # noqa: PTH121
        if not target.startswith(source + b"/") and not same:
            self.move(source, target)

    def _random_remove(self, dice: random.Random) -> None:
        paths = self._paths(lambda _p: True)
        if paths and dice.random() < 0.6:
            self.remove(dice.choice(paths))

    def _random_mkdir(self, dice: random.Random) -> None:
        self.mkdir(self._free(dice))

    def _random_link(self, dice: random.Random) -> None:
        files = self._files()
        if files and dice.random() < 0.5:
            self.link(self._free(dice), dice.choice(files))
        else:
            self.symlink(self._free(dice), b"../somewhere/else")

    def _random_touch(self, dice: random.Random) -> None:
        files = [f for f in self._files() if os.stat(self._full(f)).st_nlink == 1]  # noqa: PTH116
        if files:
            self.touch(dice.choice(files), dice.choice((0o600, 0o4755)), dice.randrange(10**18))


class FakeActive:
    """An active's TreeService over a SourceTree, without a network. Can break on purpose."""

    def __init__(self, source: SourceTree, index: Index, position: Position) -> None:
        self.source = source
        self.index = index
        self.position = position
        self.break_after_objects: int | None = None
        self.listed: list[bytes] = []
        self.fetched: list[bytes] = []
        self.without_content: list[bytes] = []
        self.described: list[bytes] = []
        self.unreadable: set[bytes] = set()
        self.scan = True  # at the begin of a comparison

    async def begin(self) -> Opening:
        if self.scan:
            scan_tree(self.source.root, self.index, nothing_excluded)
            self.source.root.release()
        return Opening(position=self.position, trees={TREE: self.index.root(TREE)})

    async def list_directories(
        self, tree: str, paths: Sequence[bytes]
    ) -> AsyncIterator[tuple[bytes, list[Listed] | None]]:
        for path in paths:
            self.listed.append(path)
            yield path, self.index.listing(tree, path)

    async def describe(
        self, tree: str, paths: Sequence[bytes], *, children: bool, deep: bool
    ) -> AsyncIterator[dict[bytes, State]]:
        assert not children
        self.described += paths
        roots = {tree: self.source.path}
        inspector = Inspector(roots, self.index, {tree: nothing_excluded}, deep=deep)
        found = {path: inspector.object(tree, path) for path in paths}
        inspector.close()
        yield {path: state for path, state in found.items() if state is not None}

    async def fetch(
        self, tree: str, paths: Sequence[bytes], have: Sequence[bytes] = ()
    ) -> AsyncIterator[list[Record]]:
        lost = None
        for path, digest in zip_longest(paths, have, fillvalue=b""):
            if self.break_after_objects is not None:
                if self.break_after_objects == 0:
                    raise ReplicationError("the connection broke")
                self.break_after_objects -= 1
            if path in self.unreadable:
                lost = PartlyUnreadable(f"the active cannot read {path!r}")
                continue
            if (entry := self._with_one_name(tree, path)) is not None and entry.digest == digest:
                self.without_content.append(path)
                change = Upsert(metadata=entry.metadata, digest=entry.digest)
                yield [Record(tree=tree, path=path, change=change)]
                continue
            self.fetched.append(path)
            yield self.whole(tree, path)
        if lost is not None:
            raise lost

    def _with_one_name(self, tree: str, path: bytes) -> Entry | None:
        entry = self.index.get(tree, path)
        if entry is None or not entry.digest:
            return None
        names = self.index.names_of(tree, entry.identity.dev, entry.identity.ino)
        return entry if len(names) == 1 else None

    def whole(self, tree: str, path: bytes) -> list[Record]:
        teller = SourceTree.__new__(SourceTree)
        teller.path, teller.root = self.source.path, self.source.root
        teller.records, teller.epoch, teller.seq, teller._known = [], Epoch(1), 0, set()
        teller.root.release()
        names = []
        entry = self.index.get(tree, path)
        if entry is not None and entry.metadata.type is ObjectType.FILE:
            names = self.index.names_of(tree, entry.identity.dev, entry.identity.ino)
        if len(names) > 1 and names[0] != path:
            teller.tell(path, HardLinkTo(names[0]))
        else:
            teller.tell_whole(path)
            for name in names[1:]:
                if (self.source.path / os.fsdecode(name)).exists():
                    teller.tell(name, HardLinkTo(path))
        return [replace(record, position=Position()) for record in teller.records]
