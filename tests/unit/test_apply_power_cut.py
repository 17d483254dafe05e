"""A power cut on the standby: its journal has all, its trees have anything between, and then all.

The volume is a real ext4 filesystem, shut down without its log being written. Random fsyncs on the
way make its log hold more or less of what was done, with and without the data.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes.fragile_disk import FragileDisk, fragile_disk
from fakes.source_tree import SourceTree
from fakes.standby import Standby
from lab.compare import differences, manifest
from staqraft.journal.record import Chunk, Record

SEEDS = int(os.environ.get("STAQRAFT_POWER_CUT_SEEDS", "12"))
MOUNTED = (
    "commit=300",
    "commit=300,data=writeback",
    "commit=300,data=writeback,nodelalloc",
    "commit=300,data=journal",
)


class Rig:
    """A source on a sound disk, and a standby on a fragile one that has its records durable."""

    def __init__(self, disk: FragileDisk, base: Path, dice: random.Random) -> None:
        self.disk = disk
        self.dice = dice
        self.source = SourceTree(base / "source")
        self.source.tell(b"")
        self.standby = Standby(disk.mountpoint)
        self.done = 0
        self.boots = 0

    @property
    def records(self) -> list[Record]:
        return self.source.records

    def apply(self, until: int, *, disturbed: bool = False) -> None:
        """Up to record number `until`, with syncs in between as other programs make them."""
        for record in self.records[self.done : until]:
            self.standby.applier.apply(record)
            if disturbed and self.dice.random() < 0.15:
                self.sync_something()
        self.done = max(self.done, until)

    def sync_something(self) -> None:
        """One object, and with it ext4's log up to now, without the others' data."""
        paths = [p for p in sorted(self.standby.path.rglob("*")) if not p.is_symlink()]
        files = [p for p in paths if p.is_file() or p.is_dir()]
        number = os.open(self.dice.choice(files) if files else self.standby.path, os.O_RDONLY)
        if self.dice.random() < 0.3:
            os.fsync(number)
        else:
            os.fdatasync(number)
        os.close(number)

    def commit(self) -> list[Record]:
        wrong = self.standby.applier.settle() if self.dice.random() < 0.7 else []
        position = (
            self.records[self.done - 1].position if self.done else self.standby.index.position
        )
        self.standby.applier.commit(position)
        return wrong

    def cut(self) -> None:
        """The power goes and comes: what a new boot does first."""
        self.standby.abandon()
        self.disk.cut()
        self.boots += 1
        self.standby.boot(f"boot {self.boots}")
        position = self.standby.index.position
        self.done = sum(record.position <= position for record in self.records)
        self.standby.applier.roll_back(self.records[self.done :])

    def finish(self) -> list[Record]:
        self.apply(len(self.records))
        wrong = self.standby.applier.settle()
        self.standby.applier.commit(self.records[-1].position)
        return wrong

    def assert_equal(self) -> None:
        found = differences(manifest(self.source.path), manifest(self.standby.path))
        assert not found, "\n".join(map(str, found[:10]))
        entries = {b"", *(entry.path for entry in self.standby.index.subtree("web", b""))}
        ours = {os.fsencode(p.relative_to(self.source.path)) for p in self.source.path.rglob("*")}
        assert entries == {p for p in ours if b".staqraft-staging" not in p} | {b""}
        staging = self.standby.path / ".staqraft-staging"
        assert [p.name for p in staging.iterdir()] == []

    def close(self) -> None:
        self.standby.abandon()
        self.source.close()


def rig_on(stack: ExitStack, base: Path, dice: random.Random, options: str = MOUNTED[0]) -> Rig:
    disk = stack.enter_context(fragile_disk(base, options))
    rig = Rig(disk, base, dice)
    stack.callback(rig.close)
    return rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        yield rig_on(stack, tmp_path, random.Random(1))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_power_cuts_at_any_time_cost_nothing(tmp_path: Path, seed: int) -> None:
    """STAQRAFT_POWER_CUT_SEEDS=1000 scripts/test -k power_cuts_at_any_time runs more of them."""
    dice = random.Random(seed)
    with ExitStack() as stack:
        rig = rig_on(stack, tmp_path, dice, dice.choice(MOUNTED))
        rig.source.live(dice, 40)
        for _ in range(dice.randrange(1, 4)):
            rig.source.live(dice, dice.randrange(5, 60))
            total = len(rig.records)
            rig.apply(dice.randrange(rig.done, total + 1))
            rig.commit()
            rig.apply(dice.randrange(rig.done, total + 1), disturbed=True)
            rig.cut()
            if dice.random() < 0.4:  # the next one while it is still at it, perhaps killed before
                rig.apply(dice.randrange(rig.done, total + 1), disturbed=True)
                if dice.random() < 0.5:
                    rig.done = rig.standby.restart(rig.records, in_the_middle=dice.random() < 0.5)
                    rig.apply(dice.randrange(rig.done, total + 1), disturbed=True)
                if dice.random() < 0.5:
                    rig.commit()
                rig.apply(dice.randrange(rig.done, total + 1), disturbed=True)
                rig.cut()
        wrong = rig.finish()
        assert [record.path for record in wrong] == []
        rig.assert_equal()


def _inline(source: SourceTree) -> None:
    source.write(b"mbox", b"new content")


def _delta(source: SourceTree) -> None:
    source.change(b"mbox", 50_000, b"appended" * 1000)
    source.change(b"mbox", 100, b"in the middle")


def _metadata(source: SourceTree) -> None:
    source.touch(b"mbox", 0o600, 12345)
    source.touch(b"d", 0o711, 12345)


def _remove(source: SourceTree) -> None:
    source.remove(b"d/f")
    source.remove(b"d")


def _move_onto(source: SourceTree) -> None:
    source.move(b"d/f", b"mbox")


def _moves_in_a_circle(source: SourceTree) -> None:
    source.move(b"mbox", b"aside")
    source.move(b"d/f", b"mbox")
    source.move(b"aside", b"d/f")
    source.change(b"d/f", 10, b"changed")


def _directory_moves(source: SourceTree) -> None:
    source.move(b"d", b"e")
    source.move(b"e/f", b"e/g")
    source.mkdir(b"n")
    source.move(b"e/g", b"n/g")
    source.move(b"n", b"e/n")
    source.change(b"e/n/g", 0, b"changed")


def _directory_replaced(source: SourceTree) -> None:
    source.move(b"d/f", b"kept")
    source.remove(b"d")
    source.write(b"d", b"a file now")
    source.remove(b"d")
    source.mkdir(b"d")
    source.move(b"kept", b"d/f")


def _links(source: SourceTree) -> None:
    source.link(b"d/second", b"mbox")
    source.remove(b"mbox")
    source.link(b"mbox", b"d/second")
    source.symlink(b"way", b"mbox")
    source.remove(b"d/f")
    source.link(b"d/f", b"mbox")


def _link_in_a_directory_that_moves(source: SourceTree) -> None:
    source.link(b"d/second", b"mbox")
    source.link(b"a", b"mbox")
    source.mkdir(b"e")
    source.move(b"a", b"aside")
    source.move(b"d", b"e/d")


def _staged(source: SourceTree) -> None:
    source.write_staged(b"mbox", b"0123456789" * 3000)
    source.change(b"mbox", 5, b"changed")
    source.move(b"mbox", b"d/mbox")


KINDS = (
    _inline,
    _delta,
    _metadata,
    _remove,
    _move_onto,
    _moves_in_a_circle,
    _directory_moves,
    _directory_replaced,
    _links,
    _link_in_a_directory_that_moves,
    _staged,
)


@pytest.mark.parametrize("logged", [True, False], ids=["logged", "not logged"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_every_kind_of_record_can_be_cut_off_at_every_place(
    tmp_path: Path, kind: Callable[[SourceTree], None], *, logged: bool
) -> None:
    """Committed up to each record of the kind, done up to the last; in the log, without data."""
    with ExitStack() as stack:
        rig = rig_on(stack, tmp_path, random.Random(1), MOUNTED[1])
        source = rig.source
        source.write(b"mbox", bytes(range(256)) * 200)
        source.mkdir(b"d")
        source.write(b"d/f", b"x" * 10_000)
        before = len(rig.records)
        kind(source)
        for committed in range(before, len(rig.records)):
            rig.apply(committed)
            assert rig.commit() == [] or committed > before
            rig.apply(len(rig.records))
            if logged:
                number = os.open(rig.standby.path, os.O_RDONLY)
                os.fsync(number)
                os.close(number)
            rig.cut()
        assert rig.finish() == []
        rig.assert_equal()
        assert rig.standby.applier.healed == 0


def test_a_stage_that_was_begun_before_the_commit_is_found_again(rig: Rig) -> None:
    rig.source.write(b"f", b"x")
    rig.source.write_staged(b"big", b"0123456789" * 3000)
    staged = next(n for n, r in enumerate(rig.records) if isinstance(r.change, Chunk))
    rig.source.change(b"big", 5, b"changed")
    rig.source.remove(b"big")
    rig.source.write(b"big", b"small")
    rig.apply(staged + 3)
    rig.commit()
    rig.apply(len(rig.records) - 2)
    rig.standby.sync()
    rig.cut()
    rig.apply(len(rig.records) - 6)
    assert rig.finish() == []
    rig.assert_equal()


def test_content_that_cannot_be_made_sure_is_named(rig: Rig) -> None:
    """A base that another hand damaged: the journal has only the pieces."""
    rig.source.write(b"mbox", b"a" * 50_000)
    rig.source.write(b"other", b"b")
    rig.apply(len(rig.records))
    rig.commit()
    with (rig.standby.path / "mbox").open("r+b") as file:
        file.write(b"tampered")
    rig.source.change(b"mbox", 50_000, b"appended")
    rig.apply(len(rig.records))
    rig.cut()
    assert [record.path for record in rig.finish()] == []
    (rig.standby.path / "mbox").write_bytes(b"tampered" + b"a" * 49_992 + b"appended")
    rig.standby.sync()
    rig.source.touch(b"mbox", 0o600, 5)
    rig.apply(len(rig.records))
    rig.cut()
    assert [record.path for record in rig.finish()] == [b"mbox"]


def test_the_first_boot_after_it_may_be_killed_at_any_record(rig: Rig) -> None:
    rig.source.live(random.Random(8), 15)
    rig.apply(len(rig.records) // 2)
    rig.commit()
    rig.apply(len(rig.records), disturbed=True)
    rig.cut()
    for until in range(rig.done + 1, len(rig.records) + 1):
        rig.apply(until)
        rig.done = rig.standby.restart(rig.records, in_the_middle=until % 2 == 0)
        rig.apply(until)
    assert rig.finish() == []
    rig.assert_equal()
