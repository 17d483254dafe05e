"""The reconcile: from nothing, a few differences, parted histories, interruptions."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from fakes.source_tree import TREE, FakeActive, SourceTree, nothing_excluded
from fakes.standby import Standby, run_directly
from lab.compare import differences, manifest
from staqraft.apply.quarantine import Quarantine
from staqraft.apply.reconcile import Reconciler, RunOnDisk
from staqraft.apply.safety import RootMissing
from staqraft.errors import ReplicationError
from staqraft.index import STAGING_NAME, Index, SharedHistory
from staqraft.model import Epoch, EpochStart, Position

T = TypeVar("T")
NOW_MS = 1_700_000_000_000
SHARED = SharedHistory.of([EpochStart(epoch=Epoch(1), seq=1), EpochStart(epoch=Epoch(2), seq=500)])
J0 = Position(Epoch(2), 900)


class Pair:
    """A source tree as the active, and a standby that reconciles with it."""

    def __init__(self, base: Path) -> None:
        self.source = SourceTree(base / "source")
        self.active = FakeActive(self.source, Index.open(base / "active.sqlite"), J0)
        self.standby = Standby(base / "standby")
        self.quarantine = Quarantine(base / "quarantine", lambda: NOW_MS)
        self.reconciler = self.attempt()

    def attempt(
        self, *, run_on_disk: RunOnDisk = run_directly, clock_ms: Callable[[], int] = lambda: 0
    ) -> Reconciler:
        self.reconciler = Reconciler(
            applier=self.standby.applier,
            active=self.active,
            quarantine=self.quarantine,
            shared=SHARED,
            excluded={TREE: nothing_excluded},
            run_on_disk=run_on_disk,
            clock_ms=clock_ms,
        )
        return self.reconciler

    def assert_equal(self) -> None:
        found = differences(manifest(self.source.path), manifest(self.standby.path))
        assert not found, "\n".join(map(str, found[:10]))

    def close(self) -> None:
        self.standby.close()
        self.active.index.close()
        self.source.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    made.source.live(random.Random(7), 150)
    yield made
    made.close()


async def test_a_first_copy_brings_everything(pair: Pair) -> None:
    position = await pair.attempt().run()
    assert position == J0 == pair.standby.index.position
    pair.assert_equal()
    assert pair.quarantine.list() == []
    progress = pair.reconciler.progress
    assert progress.done == progress.total > 0
    assert progress.fetched == progress.to_fetch > 0
    assert progress.bytes == progress.bytes_to_fetch > 0


async def test_of_what_the_active_has_not_read_only_what_differs_is_fetched(pair: Pair) -> None:
    """A first copy over a standby that somebody filled before."""
    await pair.attempt().run()
    index = pair.active.index
    files = [e for e in index.subtree(TREE, b"") if e.digest]
    changed, same = files[0].path, files[1].path
    (pair.source.path / os.fsdecode(changed)).write_bytes(b"something else")
    await pair.active.begin()
    for entry in list(index.subtree(TREE, b"")):
        if entry.digest:
            index.put(TREE, replace(entry, digest=b""))
    pair.active.scan = False  # it stays unread
    pair.active.fetched.clear()
    await pair.attempt().run()
    pair.assert_equal()
    assert {changed, same} <= set(pair.active.described)
    assert changed in pair.active.fetched
    assert same not in pair.active.fetched


async def test_ten_differences_cost_their_depth(pair: Pair) -> None:
    for number in range(30):
        pair.source.mkdir(b"wide%d" % number)
        for inner in range(10):
            pair.source.write(b"wide%d/f%d" % (number, inner), b"%d" % inner)
    await pair.attempt().run()
    pair.active.listed.clear()
    pair.active.fetched.clear()
    pair.source.write(b"wide3/f4", b"other")
    pair.source.remove(b"wide5/f6")
    pair.source.touch(b"wide7/f8", 0o600, 99)
    await pair.attempt().run()
    pair.assert_equal()
    assert sorted(pair.active.listed) == [b"", b"wide3", b"wide5", b"wide7"]
    assert len(pair.active.fetched) <= 8


async def test_what_differs_in_its_metadata_comes_without_its_content(pair: Pair) -> None:
    for name in (b"file", b"twice", b"apart"):
        pair.source.write(name, b"the same content")
    await pair.attempt().run()
    (pair.standby.path / "apart").unlink()  # a name of another file here, and not there
    (pair.standby.path / "apart").hardlink_to(pair.standby.path / "twice")
    for name in (b"file", b"twice", b"apart"):
        pair.source.touch(name, 0o600, 99)
    pair.active.fetched.clear()
    await pair.attempt().run()
    pair.assert_equal()
    assert pair.active.without_content == [b"file"]
    assert {b"twice", b"apart"} <= set(pair.active.fetched)


async def test_what_the_active_cannot_read_keeps_nothing_else_from_being_copied(pair: Pair) -> None:
    pair.source.mkdir(b"dir")
    for path in (b"lost", b"dir/lost", b"other", b"dir/other"):
        pair.source.write(path, b"content of " + path)
    pair.active.unreadable = {b"lost", b"dir/lost"}
    with pytest.raises(ReplicationError, match="cannot read b'lost'"):
        await pair.attempt().run()
    assert (pair.standby.path / "dir" / "other").exists(), "not even what comes later"
    pair.active.fetched.clear()
    pair.active.unreadable.clear()
    pair.standby.restart()
    await pair.attempt().run()
    pair.assert_equal()
    assert not {b"other", b"dir/other"} & set(pair.active.fetched), "they were durable"


async def test_nothing_different_costs_one_digest(pair: Pair) -> None:
    await pair.attempt().run()
    pair.active.listed.clear()
    await pair.attempt().run()
    assert pair.active.listed == []


async def test_a_returning_nodes_own_versions_go_to_quarantine(pair: Pair) -> None:
    pair.source.write(b"both", b"the active's")
    pair.source.write(b"same", b"equal on both")
    await pair.attempt().run()
    (pair.standby.path / "both").write_bytes(b"the standby's own")
    (pair.standby.path / "only-here").write_bytes(b"not sent")
    (pair.standby.path / "deep").mkdir()
    (pair.standby.path / "deep" / "er").write_bytes(b"not sent either")
    (pair.standby.path / "same").write_bytes(b"equal on both")

    await pair.attempt().run()

    pair.assert_equal()
    kept = {item.path: item for item in pair.quarantine.list()}
    assert sorted(kept) == [b"both", b"deep/er", b"only-here"]
    assert kept[b"both"].kept_at.read_bytes() == b"the standby's own"
    assert kept[b"deep/er"].kept_at.read_bytes() == b"not sent either"
    assert kept[b"only-here"].size == len(b"not sent")
    assert pair.reconciler.progress.quarantined == 3
    (directory,) = pair.quarantine.directory.iterdir()
    lines = (directory / "manifest.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {
        "the active has another version",
        "the active does not have it",
    }


async def test_versions_of_a_parted_history_go_to_quarantine_and_old_ones_do_not(
    pair: Pair,
) -> None:
    pair.source.write(b"old", b"1")
    pair.source.write(b"parted", b"1")
    await pair.attempt().run()
    mine = SourceTree(pair.standby.path)
    for path, seq in ((b"old", 400), (b"parted", 700)):  # epoch 1 is shared up to 499
        mine.records.clear()
        mine.write(path, b"written here")
        mine.seq = seq - 1
        mine.tell_file(path)
        entry = pair.standby.index.get(TREE, path)
        assert entry is not None
        pair.standby.index.remove(TREE, path)
        pair.standby.apply([mine.records[-1]])
        pair.standby.applier.commit(mine.records[-1].position)
    mine.close()
    await pair.attempt().run()
    pair.assert_equal()
    assert [(kept.path, kept.epoch) for kept in pair.quarantine.list()] == [(b"parted", 1)]


async def test_after_a_reconcile_nothing_is_called_own(pair: Pair) -> None:
    await pair.attempt().run()
    entries = list(pair.standby.index.subtree(TREE, b""))
    assert entries
    assert all(SHARED.has(entry.origin) for entry in entries)


@pytest.mark.parametrize("killed", [False, True])
async def test_an_interrupted_reconcile_goes_on_where_it_was(pair: Pair, killed: bool) -> None:
    pair.source.live(random.Random(8), 150)
    attempts = 0
    while True:
        attempts += 1
        pair.active.break_after_objects = 12
        try:
            await pair.attempt().run()
        except ReplicationError:
            if killed:
                pair.standby.restart()
            assert attempts < 40, "it starts from zero again and again"
            continue
        break
    assert attempts > 2
    pair.assert_equal()
    assert pair.quarantine.list() == []


async def test_looking_at_its_own_files_from_scratch_goes_on_where_it_was_killed(
    pair: Pair,
) -> None:
    await pair.attempt().run()
    pair.standby.index.clear(TREE)
    pair.standby.index.commit(pair.standby.index.position)
    whole = pair.active.index.totals(TREE).objects
    known = 0

    def clock_ms() -> int:  # no time passes but for what was not known yet
        return 3000 * pair.standby.index.totals(TREE).objects

    for _ in range(3):  # each is killed somewhere in the middle
        with pytest.raises(Killed):
            await pair.attempt(run_on_disk=Killing(after=whole // 2), clock_ms=clock_ms).run()
        pair.standby.restart()
        before, known = known, pair.standby.index.totals(TREE).objects
        assert before < known < whole
    await pair.attempt().run()
    pair.assert_equal()
    assert pair.quarantine.list() == []


class Killed(Exception):
    """The process was."""


class Killing:
    """The disk thread of a process that does not live for long."""

    def __init__(self, after: int) -> None:
        self._left = after

    async def __call__(self, work: Callable[[], T]) -> T:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return work()


async def test_a_root_that_is_not_mounted_loses_nothing(pair: Pair) -> None:
    await pair.attempt().run()
    pair.standby.path.rename(pair.standby.base / "elsewhere")
    pair.standby.path.mkdir()
    with pytest.raises(RootMissing, match="mounted or restored"):
        await pair.attempt().run()
    assert pair.standby.index.root(TREE).objects > 10


async def test_an_emptied_root_is_refused_until_it_is_accepted(pair: Pair) -> None:
    await pair.attempt().run()
    pair.standby.close()
    pair.standby.path.rename(pair.standby.base / "elsewhere")
    pair.standby.path.mkdir()
    pair.standby.reopen_without_staging()
    with pytest.raises(RootMissing, match="mkdir"):
        await pair.attempt().run()
    (pair.standby.path / STAGING_NAME.decode()).mkdir(mode=0o700)
    await pair.attempt().run()
    pair.assert_equal()


async def test_what_the_patterns_leave_out_is_kept_when_it_is_in_the_way(pair: Pair) -> None:
    def excluded(path: bytes, _is_directory: bool) -> bool:
        return path.rpartition(b"/")[2].startswith(b"own")

    pair.source.mkdir(b"with")
    pair.source.write(b"with/own-1", b"the active's patterns were changed already")
    for path in ("with/own-1", "own-2", "only-here/deep/own-3"):
        (pair.standby.path / path).parent.mkdir(parents=True, exist_ok=True)
        (pair.standby.path / path).write_bytes(b"this node's")
    pair.attempt()._excluded = {TREE: excluded}
    await pair.reconciler.run()
    kept = {item.path: item.kept_at.read_bytes() for item in pair.quarantine.list()}
    assert kept == dict.fromkeys((b"with/own-1", b"only-here/deep/own-3"), b"this node's")
    assert (pair.standby.path / "own-2").read_bytes() == b"this node's"
    assert (pair.standby.path / "with/own-1").read_bytes().startswith(b"the active's")


def test_a_quarantine_on_another_filesystem_keeps_content_and_metadata(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second filesystem")
    source = SourceTree(tmp_path / "tree")
    source.write(b"f", b"content")
    source.touch(b"f", 0o640, 77)
    with tempfile.TemporaryDirectory(dir=shm) as elsewhere:
        quarantine = Quarantine(Path(elsewhere), lambda: NOW_MS)
        kept = quarantine.keep(source.root, b"f", reason="test", epoch=Epoch(3))
        assert kept is not None
        assert kept.kept_at.read_bytes() == b"content"
        assert kept.kept_at.stat().st_mtime_ns == 77
        assert not (source.path / "f").exists()
        assert Quarantine(Path(elsewhere), lambda: NOW_MS).count() == 1
    source.close()
