"""A standby's trees without a network: roots, index, applier, and how to heal it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from fakes.source_tree import TREE
from staqraft.apply.applier import Applier
from staqraft.apply.safety import TreeRoot, sync_filesystem
from staqraft.apply.watermark import Watermark
from staqraft.index import Index
from staqraft.journal.record import Record
from staqraft.model import Position

T = TypeVar("T")


class Standby:
    """One tree and its index; `restart` is what a kill -9 and a new start do."""

    def __init__(self, base: Path, state: Path | None = None) -> None:
        self.base = state or base
        self.path = base / "tree"
        self.path.mkdir(parents=True, exist_ok=True)
        self._boot = "this boot"
        self._open()

    def boot(self, name: str) -> None:
        """Opens all anew in another boot."""
        self._boot = name
        self._open()

    def abandon(self) -> None:
        """As a power cut leaves it: no last words to the index."""
        self.index._db.close()
        self.watermark.close()
        self.root.close()

    def _open(self) -> None:
        self.root = TreeRoot(TREE, self.path)
        self.root.make_staging()
        self.index = Index.open(self.base / "index.sqlite")
        self.watermark = Watermark(self.base / "applied", self._boot)
        self.applier = Applier({TREE: self.root}, self.index, self.watermark)

    def sync(self) -> None:
        """All of its filesystem is durable, its log included."""
        sync_filesystem(self.root.fd)

    def apply(self, records: Iterable[Record]) -> None:
        """As it follows its journal: runs of new files together."""
        todo = list(records)
        while todo:
            done = self.applier.make_new(todo)
            if not done:
                self.applier.apply(todo[0])
            del todo[: done or 1]

    def apply_and_commit(self, records: Iterable[Record]) -> list[Record]:
        todo = list(records)
        self.apply(todo)
        wrong = self.applier.settle()
        self.applier.commit(todo[-1].position if todo else self.index.position)
        return wrong

    def restart(self, journal: Sequence[Record] = (), *, in_the_middle: bool = False) -> int:
        """Killed: what the index had not committed is forgotten, what is on disk stays.

        `in_the_middle`: the last record was executed and not marked as done. Returns how many
        records of the journal are done.
        """
        if in_the_middle and self.watermark.position.seq > 1:
            done = self.watermark.position
            self.watermark.set(Position(done.epoch, done.seq - 1))
        self.close()
        self._open()
        known = [r for r in journal if r.position > self.index.position]
        self.applier.replay_index(known)
        done = max(self.watermark.position, self.index.position)
        return sum(record.position <= done for record in journal)

    def reopen_without_staging(self) -> None:
        """As a process that starts on a tree that it had set up before."""
        self.root = TreeRoot(TREE, self.path)
        self.index = Index.open(self.base / "index.sqlite")
        self.watermark = Watermark(self.base / "applied", "this boot")
        self.applier = Applier({TREE: self.root}, self.index, self.watermark)

    def close(self) -> None:
        self.index.close()
        self.watermark.close()
        self.root.close()


async def run_directly(work: Callable[[], T]) -> T:
    """Stands in for the disk thread."""
    return work()


NOWHERE = Position()
