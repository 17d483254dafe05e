"""What can be on a disk after the power failed in the middle of recorded operations.

What was synced is there. Of the rest any part may be: each sector of a write by itself, a file's
new length without its content, names made or removed in a directory that was not synced. A
sector is whole or not there; a file's sync does not keep its name, as POSIX has it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fakes.recorded_disk import Link, Note, Operation, Sync, Truncate, Unlink, Write


@dataclass(slots=True)
class Tree:
    """Names and contents."""

    names: dict[Path, int] = field(default_factory=dict)
    folders: set[int] = field(default_factory=set)
    contents: dict[int, bytearray] = field(default_factory=dict)

    def copy(self) -> Tree:
        contents = {file: bytearray(content) for file, content in self.contents.items()}
        return Tree(dict(self.names), set(self.folders), contents)

    def do(self, operation: Operation) -> None:
        match operation:
            case Write(file=file, at=at, data=data):
                content = self.contents.setdefault(file, bytearray())
                content.extend(bytes(max(0, at + len(data) - len(content))))
                content[at : at + len(data)] = data
            case Truncate(file=file, size=size):
                content = self.contents.setdefault(file, bytearray())
                del content[size:]
                content.extend(bytes(size - len(content)))
            case Link(path=path, file=file, is_directory=is_directory, instead_of=old):
                if old is not None:
                    self.names.pop(old, None)
                self.names[path] = file
                if is_directory:
                    self.folders.add(file)
            case Unlink(path=path):
                self.names.pop(path, None)
            case Sync() | Note():
                pass

    def lay_out(self, old_root: Path, root: Path) -> None:
        """Makes the files below `root`. What is in a directory that has no name is lost."""
        root.mkdir(parents=True)
        for path, file in sorted(self.names.items()):
            to = root / path.relative_to(old_root)
            if not to.parent.is_dir():
                continue
            if file in self.folders:
                to.mkdir()
            else:
                to.write_bytes(self.contents.get(file, b""))


class Disk:
    """Takes operations one by one; `after_power_cut` is what may be there at this moment."""

    def __init__(self, root: Path) -> None:
        self.cached = Tree()  # what a process sees, also the next one if this one is killed
        self._durable = Tree()
        self._pending: list[Operation] = []
        self._root = root

    def do(self, operation: Operation) -> None:
        if isinstance(operation, Note):
            return
        self.cached.do(operation)
        if isinstance(operation, Sync):
            self._sync(operation.file)
        else:
            self._pending.append(operation)

    def _sync(self, file: int) -> None:
        names = {known: path for path, known in self.cached.names.items()}
        folder = self._root if file == 0 else names.get(file)
        kept: list[Operation] = []
        for one in self._pending:
            match one:
                case Write() | Truncate():
                    synced = one.file == file
                case Link() | Unlink():
                    synced = one.path.parent == folder
                case _:
                    raise AssertionError(one)
            if synced:
                self._durable.do(one)
            else:
                kept.append(one)
        self._pending = kept

    def after_power_cut(self, rng: random.Random) -> Iterator[Tree]:
        """Nothing of what was not synced; the last write torn; twice some of it at random."""
        yield self._durable.copy()
        if not self._pending:
            return
        torn = self._durable.copy()
        for one in self._pending[:-1]:
            torn.do(one)
        for piece in _pieces(self._pending[-1], 512):
            if rng.random() < 0.5:
                torn.do(piece)
        yield torn
        for share in (0.2, 0.8):
            some = self._durable.copy()
            sector = rng.choice((512, 4096))
            for one in self._pending:
                _some_of(some, one, sector, share, rng)
            yield some


def _some_of(tree: Tree, one: Operation, sector: int, share: float, rng: random.Random) -> None:
    if isinstance(one, Write) and rng.random() < share:
        # The length may be there without the content.
        content = tree.contents.setdefault(one.file, bytearray())
        content.extend(bytes(max(0, one.at + len(one.data) - len(content))))
    for piece in _pieces(one, sector):
        if rng.random() < share:
            tree.do(piece)


def _pieces(one: Operation, sector: int) -> Iterator[Operation]:
    """A write as the writes of its sectors; anything else is done or not."""
    if not isinstance(one, Write):
        yield one
        return
    at, end = one.at, one.at + len(one.data)
    while at < end:
        until = min(end, (at // sector + 1) * sector)
        yield Write(one.file, at, one.data[at - one.at : until - one.at])
        at = until
