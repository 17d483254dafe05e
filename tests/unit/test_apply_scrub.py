"""Scrubbing: slow, behind everybody else, and sure before it says that something is wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock, Mock

import pytest

from fakes.source_tree import TREE, SourceTree
from staqraft.apply.inspect import Inspector, aspects
from staqraft.apply.localscan import scan_tree
from staqraft.apply.scrub import Looked, Pace, Stopped, confirmed, io_pressure, look_at
from staqraft.config.schema import Scrub
from staqraft.daemon.trees_common import Assignment, Common
from staqraft.daemon.trees_damage import DamageScrubber
from staqraft.index import Index
from staqraft.model import ORIGIN

MIB = 1 << 20


class Clock(threading.Event):
    """Waiting on it takes virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now_s += timeout or 0.0
        return self.is_set()


def test_it_reads_so_much_a_second_and_no_burst_after_a_rest() -> None:
    clock = Clock()
    pace = Pace(10 * MIB, clock, lambda: "", lambda: clock.now_s)
    for _ in range(100):
        pace(MIB)
    assert clock.now_s == pytest.approx(110, abs=0.1)
    clock.now_s += 1000
    before = clock.now_s
    for _ in range(100):
        pace(MIB)
    assert clock.now_s - before == pytest.approx(10, abs=0.1)


def test_it_pauses_while_others_need_the_disks_but_not_for_ever() -> None:
    clock = Clock()
    said: list[str] = []
    busy_until_s = 160.0

    def busy() -> str:
        said.append(pace.waits_for)
        return "busy" if clock.now_s < busy_until_s else ""

    pace = Pace(10 * MIB, clock, busy, lambda: clock.now_s)
    pace(1)
    assert 160 <= clock.now_s < 162
    assert "busy" in said
    assert pace.waits_for == ""

    busy_until_s = float("inf")
    clock.now_s += 10
    before = clock.now_s
    pace(1)
    assert clock.now_s - before == pytest.approx(1800, abs=2)
    before = clock.now_s
    for _ in range(30):
        pace(MIB)
    assert clock.now_s - before == pytest.approx(3, abs=0.1), "then it goes on for a while"


def test_it_ends_in_the_middle_of_a_pause() -> None:
    clock = Clock()
    pace = Pace(MIB, clock, lambda: "busy", lambda: clock.now_s)
    clock.set()
    with pytest.raises(Stopped):
        pace(1)


def test_the_kernels_word_on_who_waits_for_disks(tmp_path: Path) -> None:
    told = tmp_path / "io"
    assert io_pressure(told) == 0
    told.write_text("some avg10=12.34 avg60=1.00 avg300=0.00 total=99\nfull avg10=9.00 total=1\n")
    assert io_pressure(told) == 12.34


class Ground:
    """A tree and an index that is true to it."""

    def __init__(self, base: Path) -> None:
        self.source = SourceTree(base / "tree")
        self.index = Index.open(base / "index.sqlite")
        self.index_it()

    def index_it(self) -> None:
        scan_tree(self.source.root, self.index, lambda _p, _d: False)
        self.source.root.release()

    def inspector(self, *, deep: bool) -> Inspector:
        nothing = {TREE: lambda _path, _is_directory: False}
        return Inspector({TREE: self.source.path}, self.index, nothing, deep=deep)

    def look(self, path: bytes = b"") -> Looked:
        inspector = self.inspector(deep=True)
        try:
            return look_at(inspector, self.index, TREE, path, lambda _n: None)
        finally:
            inspector.close()

    def confirm(self, looked: Looked) -> dict[bytes, tuple[str, ...]]:
        plain = self.inspector(deep=False)
        try:
            found = {
                suspect.path: confirmed(self.source.root, plain, self.index, suspect)
                for suspect in looked.suspects
            }
        finally:
            plain.close()
        return {path: aspects(*states) for path, states in found.items() if states is not None}


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    made.source.mkdir(b"d")
    for name in (b"same", b"content", b"mode", b"gone", b"changed", b"linked"):
        made.source.write(b"d/" + name, name)
    made.index_it()
    yield made
    made.source.close()
    made.index.close()


def test_what_is_not_as_indexed_is_named(ground: Ground) -> None:
    assert ground.look(b"d").suspects == ()
    assert ground.look().directories == (b"d",)
    there = ground.source.path / "d"
    before = (there / "content").stat()
    (there / "content").write_bytes(b"CONTENT")
    os.utime(there / "content", ns=(0, before.st_mtime_ns))
    (there / "mode").chmod(0o600)
    (there / "gone").unlink()
    (there / "more").write_bytes(b"x")
    looked = ground.look(b"d")
    assert looked.objects == 6
    assert ground.confirm(looked) == {
        b"d/content": ("content",),
        b"d/mode": ("mode",),
        b"d/gone": ("missing",),
        b"d/more": ("extra",),
    }
    assert ground.confirm(ground.look()) == {b"d": ("mtime",)}


def test_a_tree_that_is_not_copied_yet_is_left_alone(ground: Ground) -> None:
    ground.index.clear(TREE)
    assert ground.look().suspects == ground.look(b"d").suspects == ()


def test_what_was_applied_since_the_first_look_is_no_finding(ground: Ground) -> None:
    """The records of these changes came while the directory was read."""
    there = ground.source.path / "d"
    (there / "changed").write_bytes(b"by a record")
    (there / "made").write_bytes(b"by another")
    (there / "gone").unlink()
    looked = ground.look(b"d")
    assert len(looked.suspects) == 3
    ground.index_it()
    assert ground.confirm(looked) == {}


def test_content_that_was_read_counts_only_while_the_file_rests(ground: Ground) -> None:
    there = ground.source.path / "d"
    (there / "changed").write_bytes(b"CHANGED")
    looked = ground.look(b"d")
    (there / "changed").write_bytes(b"changed")
    entry = ground.index.get(TREE, b"d/changed")
    assert entry is not None
    os.utime(there / "changed", ns=(0, entry.metadata.mtime_ns))
    assert ground.confirm(looked) == {}


def test_small_files_cost_more_than_their_bytes(ground: Ground) -> None:
    """Else a million of them take a third of a core."""
    inspector = ground.inspector(deep=True)
    paid: list[int] = []
    try:
        looked = look_at(inspector, ground.index, TREE, b"d", paid.append)
    finally:
        inspector.close()
    assert looked.objects == 6
    assert sum(paid) >= looked.objects * 64 << 10


async def test_an_actives_scrubber_gives_way_to_a_standby_that_compares() -> None:
    now_ms = 0
    common = SimpleNamespace(
        clock_ms=lambda: now_ms,
        group=SimpleNamespace(scrub=Scrub(io_pressure=100)),
        index=SimpleNamespace(meta=lambda _: None, position=ORIGIN),
        journal_end_or_nothing=lambda: ORIGIN,
    )
    scrubber = DamageScrubber(cast("Common", common), Assignment(), AsyncMock(), Mock())
    assert scrubber._busy() == ""
    scrubber.give_way()
    now_ms += 4_000
    assert "standby compares" in scrubber._busy()
    now_ms += 1_000
    assert scrubber._busy() == ""
