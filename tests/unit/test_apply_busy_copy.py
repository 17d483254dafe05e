"""A comparison with an active that goes on changing: what follows makes the copy whole."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest

from fakes.source_tree import TREE, FakeActive, SourceTree, nothing_excluded
from fakes.standby import Standby, run_directly
from lab.compare import differences, manifest
from staqraft.apply.localscan import scan_tree
from staqraft.apply.quarantine import Quarantine
from staqraft.apply.reconcile import Opening, Reconciler
from staqraft.index import Index, Listed, SharedHistory
from staqraft.journal.record import ObjectType, Record, Upsert
from staqraft.model import Epoch, EpochStart, Position

SHARED = SharedHistory.of([EpochStart(epoch=Epoch(1), seq=1)])


class BusyActive(FakeActive):
    """Its trees change between any two answers, as `meanwhile` says."""

    def __init__(self, source: SourceTree, index: Index) -> None:
        super().__init__(source, index, Position())
        self.meanwhile: Callable[[], None] = lambda: None
        self._told = 0

    def note(self) -> None:
        """The index learns of what was recorded, as capture keeps it."""
        self.source.root.release()
        scan_tree(self.source.root, self.index, nothing_excluded)
        self.source.root.release()
        for record in self.source.records[self._told :]:
            entry = self.index.get(TREE, record.path)
            if entry is not None:
                self.index.put(TREE, replace(entry, origin=record.position))
        self._told = len(self.source.records)

    async def begin(self) -> Opening:
        self.note()
        self.position = Position(self.source.epoch, self.source.seq)
        return Opening(position=self.position, trees={TREE: self.index.root(TREE)})

    async def list_directories(
        self, tree: str, paths: Sequence[bytes]
    ) -> AsyncIterator[tuple[bytes, list[Listed] | None]]:
        for path in paths:
            self._live()
            async for answer in super().list_directories(tree, [path]):
                yield answer

    async def fetch(
        self, tree: str, paths: Sequence[bytes], have: Sequence[bytes] = ()
    ) -> AsyncIterator[list[Record]]:
        for path, digest in zip_longest(paths, have, fillvalue=b""):
            self._live()
            async for records in super().fetch(tree, [path], [digest]):
                yield [replace(record, position=self._origin(record.path)) for record in records]

    def _origin(self, path: bytes) -> Position:
        entry = self.index.get(TREE, path)
        return entry.origin if entry is not None else Position()

    def _live(self) -> None:
        self.meanwhile()
        self.note()


class Pair:
    def __init__(self, base: Path) -> None:
        self.source = SourceTree(base / "source")
        self.active = BusyActive(self.source, Index.open(base / "active.sqlite"))
        self.standby = Standby(base / "standby")
        self.quarantine = Quarantine(base / "quarantine", lambda: 0)

    async def compare(self) -> Position:
        """One comparison; nothing happens any more when it is over."""
        reconciler = Reconciler(
            applier=self.standby.applier,
            active=self.active,
            quarantine=self.quarantine,
            shared=SHARED,
            excluded={TREE: nothing_excluded},
            run_on_disk=run_directly,
            clock_ms=lambda: 0,
            has_own=False,
        )
        position = await reconciler.run()
        self.active.meanwhile = lambda: None
        return position

    async def follow(self, after: Position) -> None:
        """Applies what came meanwhile and heals, as the daemon does."""
        applier = self.standby.applier
        self.standby.apply_and_commit(r for r in self.source.records if r.position > after)
        for _ in range(6):
            if applier.doubtful.lost_directories():
                await self.compare()
            fetched = self.active.fetch(TREE, applier.doubtful.paths(TREE))
            for record in [record async for records in fetched for record in records]:
                applier.heal(record)
            applier.settle()
            applier.commit(Position(self.source.epoch, self.source.seq))
            if not applier.unsettled:
                return
        raise AssertionError(f"it never ends: {applier.unsettled.records()}")

    def assert_equal(self) -> None:
        self.source.root.release()
        found = differences(manifest(self.source.path), manifest(self.standby.path))
        assert not found, "\n".join(map(str, found[:10]))
        scan_tree(self.standby.root, self.standby.index, nothing_excluded)
        self.active.note()
        assert self.standby.index.root(TREE).digest == self.active.index.root(TREE).digest
        assert self.quarantine.list() == []

    def close(self) -> None:
        self.standby.close()
        self.active.index.close()
        self.source.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()


def once(work: Callable[[], None]) -> Callable[[], None]:
    """`work`, at the first call only."""
    todo = [work]
    return lambda: todo.pop()() if todo else None


@pytest.mark.parametrize("seed", range(int(os.environ.get("STAQRAFT_SEEDS", "12"))))
async def test_whatever_happens_while_it_is_compared(pair: Pair, seed: int) -> None:
    dice = random.Random(seed)
    pair.source.live(dice, 60)
    await pair.compare()
    pair.source.live(dice, 30)

    def meanwhile() -> None:
        if dice.random() < 0.3:
            pair.source.live(dice, 2)

    pair.active.meanwhile = meanwhile
    await pair.follow(await pair.compare())
    pair.assert_equal()


async def test_a_directory_that_moved_before_it_was_listed_keeps_what_is_in_it(pair: Pair) -> None:
    """Its move follows in the journal, where nothing is left to be moved."""
    pair.source.mkdir(b"box")
    pair.source.write(b"box/mail", b"content")
    pair.source.mkdir(b"other")

    def moves() -> None:
        pair.source.touch(b"box", 0o700, 5)
        pair.source.move(b"box", b"other/box")

    pair.active.meanwhile = once(moves)
    await pair.follow(await pair.compare())
    pair.assert_equal()


async def test_a_directory_that_moved_to_where_it_was_listed_already_is_compared(
    pair: Pair,
) -> None:
    for name in (b"a", b"z"):
        pair.source.mkdir(name)
    pair.source.mkdir(b"z/box")
    pair.source.write(b"z/box/mail", b"content")
    await pair.compare()
    pair.source.write(b"a/new", b"so that both are listed")
    pair.source.write(b"z/new", b"so that both are listed")
    listed: list[bytes] = []

    def moves() -> None:
        if not listed and b"a" in pair.active.listed and b"z" not in pair.active.listed[3:]:
            listed.append(b"z")
            pair.source.move(b"z/box", b"a/box")

    pair.active.listed.clear()
    pair.active.meanwhile = moves
    await pair.follow(await pair.compare())
    assert listed
    pair.assert_equal()


async def test_names_of_one_file_stay_names_of_one_file_when_one_is_fetched(pair: Pair) -> None:
    pair.source.write(b"one", b"content")
    pair.source.link(b"two", b"one")
    await pair.compare()
    applier = pair.standby.applier
    for record in pair.active.whole(TREE, b"one"):
        applier.apply(record, fetched=True)
    assert applier.settle() == []
    await pair.follow(Position(pair.source.epoch, pair.source.seq))
    pair.assert_equal()


async def test_what_was_not_sure_before_a_comparison_is_looked_at_by_it(pair: Pair) -> None:
    """The index says what a link should be; a comparison that believes it would call it equal."""
    pair.source.write(b"one", b"new content")
    pair.source.link(b"two", b"one")
    await pair.compare()
    (pair.standby.path / "one").unlink()
    (pair.standby.path / "one").write_bytes(b"old content")
    (pair.standby.path / "two").unlink()
    link = pair.active.whole(TREE, b"two")
    assert isinstance(link[0].change, Upsert)
    assert link[0].change.metadata.type is ObjectType.FILE
    pair.standby.applier.apply(link[0], fetched=True)
    pair.standby.applier.unsettled.clear()  # as when the process ends before it is noted
    await pair.follow(await pair.compare())
    found = differences(manifest(pair.source.path), manifest(pair.standby.path))
    assert not found, "\n".join(map(str, found[:10]))
