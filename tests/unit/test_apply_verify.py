"""A comparison of two disks that go on changing: what is a finding, and what is only late."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fakes.grounds import mounted
from fakes.source_tree import SourceTree
from staqraft.apply.inspect import Inspector, State, aspects
from staqraft.apply.localscan import scan_tree
from staqraft.apply.verify import Result, States, Verifier
from staqraft.cli.verify import render_finding
from staqraft.index import Index, TreeSummary
from staqraft.journal.record import Metadata, ObjectType
from staqraft.model import Epoch, Position
from staqraft.wire.v1 import data_worker_pb2 as pb

TREE = "t"
FILE = Metadata(type=ObjectType.FILE, mode=0o644, uid=1, gid=2, mtime_ns=3, size=4)
DIRECTORY = State(metadata=replace(FILE, type=ObjectType.DIRECTORY, size=0))


def a_file(digest: bytes = b"1") -> State:
    return State(metadata=FILE, digest=digest)


@dataclass
class Disks:
    """Both replicas' disks; `then` says what happens at each barrier."""

    active: States
    standby: States
    then: list[Callable[[Disks], None]] = field(default_factory=list)
    barriers: int = 0

    async def barrier(self) -> tuple[Position, dict[str, TreeSummary]]:
        self.barriers += 1
        if self.barriers <= len(self.then):
            self.then[self.barriers - 1](self)
        summary = TreeSummary(digest=b"", objects=len(self.active), bytes=7)
        return Position(Epoch(1), self.barriers), {TREE: summary}

    async def applied(self, position: Position) -> None:
        assert position.seq == self.barriers

    async def describe(
        self, tree: str, paths: Sequence[bytes], *, children: bool, deep: bool
    ) -> AsyncIterator[States]:
        found = await (self._below if children else self._at)(self.active, paths)
        for path, state in found.items():
            yield {path: state}

    async def children(self, tree: str, paths: Sequence[bytes]) -> States:
        return await self._below(self.standby, paths)

    async def objects(self, tree: str, paths: Sequence[bytes]) -> States:
        return await self._at(self.standby, paths)

    async def _at(self, disk: States, paths: Sequence[bytes]) -> States:
        return {path: disk[path] for path in paths if path in disk}

    async def _below(self, disk: States, paths: Sequence[bytes]) -> States:
        return {p: s for p, s in disk.items() if p and p.rpartition(b"/")[0] in paths}

    async def verify(self) -> Result:
        self.verifier = Verifier(self, self, [TREE], deep=False)
        return await self.verifier.run()


def disks(**files: State) -> Disks:
    both = {b"": DIRECTORY, b"d": DIRECTORY}
    both |= {b"d/" + name.encode(): state for name, state in files.items()}
    return Disks(dict(both), dict(both))


async def test_equal_disks_are_equal() -> None:
    both = disks(x=a_file(), y=a_file(b"2"))
    assert await both.verify() == Result()
    assert both.barriers == 1
    assert both.verifier.progress.objects == both.verifier.progress.objects_total == 4


async def test_what_stays_different_is_found_with_what_differs() -> None:
    both = disks(x=a_file(), y=a_file(), gone=a_file(), z=a_file())
    both.standby[b"d/x"] = State(metadata=replace(FILE, mode=0, mtime_ns=9), digest=b"other")
    others = replace(FILE, gid=9, xattrs=((b"user.a", b"b"),))
    both.standby[b"d/z"] = replace(a_file(), metadata=others)
    both.standby[b"extra"] = DIRECTORY
    both.standby[b"extra/below"] = a_file()
    del both.standby[b"d/gone"]
    found = (await both.verify()).findings
    assert {finding.path: finding.aspects for finding in found} == {
        b"d/x": ("content", "mode", "mtime"),
        b"d/z": ("owner", "xattrs"),
        b"d/gone": ("missing",),
        b"extra": ("extra",),
        b"extra/below": ("extra",),
    }


async def test_what_the_standby_had_not_applied_yet_is_no_finding() -> None:
    both = disks(x=a_file())
    both.active[b"d/x"] = a_file(b"new")
    both.active[b"d/made"] = a_file()

    def applied(now: Disks) -> None:
        now.standby = dict(now.active)

    both.then = [lambda _: None, applied]
    assert await both.verify() == Result()


async def test_what_changes_while_it_is_looked_at_is_looked_at_again() -> None:
    both = disks(x=a_file())
    both.active[b"d/x"] = a_file(b"1st")

    def changed_again(now: Disks) -> None:
        now.standby[b"d/x"] = now.active[b"d/x"]
        now.active[b"d/x"] = a_file(b"2nd")

    def at_rest(now: Disks) -> None:
        now.standby[b"d/x"] = now.active[b"d/x"]

    both.then = [lambda _: None, changed_again, at_rest]
    assert await both.verify() == Result()


async def test_what_was_done_and_undone_between_two_looks_is_no_finding() -> None:
    """A second name, say, that only the standby still had when it was looked at."""
    both = disks(x=a_file())
    both.active[b"d/x"] = a_file(b"as it was")

    def done_and_undone(now: Disks) -> None:
        now.standby[b"d/x"] = replace(a_file(b"as it was"), names=2)

    def told(now: Disks) -> None:
        now.standby[b"d/x"] = now.active[b"d/x"]

    both.then = [lambda _: None, done_and_undone, told]
    assert await both.verify() == Result()


async def test_what_never_rests_is_said_and_is_no_difference() -> None:
    both = disks(x=a_file())
    both.active[b"d/x"] = a_file(b"new")

    def changed(now: Disks) -> None:
        now.active[b"d/x"] = a_file(b"version %d" % now.barriers)

    both.then = [changed] * 20
    assert await both.verify() == Result(restless=[(TREE, b"d/x")])


async def test_damage_is_a_finding_on_whichever_side() -> None:
    damaged = replace(a_file(b"rotten"), corrupt=True)
    both = disks(x=a_file(), y=a_file())
    both.active[b"d/x"] = damaged
    both.standby[b"d/y"] = damaged
    found = {finding.path: finding for finding in (await both.verify()).findings}
    assert found[b"d/x"].theirs == damaged
    assert found[b"d/y"].mine == damaged


def test_names_of_one_file_and_types_are_compared() -> None:
    assert aspects(a_file(), replace(a_file(), names=2)) == ("links",)
    assert aspects(a_file(), DIRECTORY) == ("type",)
    assert aspects(None, None) == ()


def test_a_finding_in_a_line() -> None:
    finding = pb.VerifyFinding(tree="web", path=b"caf\xe9\n", aspects=["content", "mtime"])
    assert render_finding(finding, "b") == r"web:caf\xe9\n  differs in content, mtime"
    finding.corrupt_on = "a"
    assert "never repaired from a damaged one" in render_finding(finding, "b")
    finding.corrupt_on, finding.repaired = "b", True
    line = render_finding(finding, "b")
    assert line.endswith("check the disk of b; repaired")


def backing_file(disk: Path) -> Path:
    device = disk.stat().st_dev
    loop = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop/backing_file")
    return Path(loop.read_text().removesuffix("\n").removesuffix(" (deleted)"))


def test_a_bit_that_turned_on_the_disk_is_found_by_reading_only(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4")
    with mounted("ext4", tmp_path / "disk", megabytes=32) as disk:
        source = SourceTree(disk / "tree")
        content = os.urandom(64 << 10)
        source.write(b"f", content)
        source.write(b"g", b"whole")
        index = Index.open(tmp_path / "index.sqlite")
        scan_tree(source.root, index, lambda _path, _is_directory: False)
        os.sync()
        image = backing_file(disk)
        at = image.read_bytes().index(content)
        with image.open("r+b") as raw:
            raw.seek(at + 12345)
            raw.write(bytes([content[12345] ^ 1]))

        def states(*, deep: bool) -> dict[bytes, State]:
            trees, out = {source.root.name: source.path}, {source.root.name: lambda _p, _d: False}
            inspector = Inspector(trees, index, out, deep=deep, cold=True)
            try:
                return dict(inspector.children(source.root.name, b""))
            finally:
                inspector.close()

        assert not states(deep=False)[b"f"].corrupt, "nobody wrote, so nothing was read"
        assert states(deep=True)[b"f"].corrupt
        assert not states(deep=True)[b"g"].corrupt
        (source.path / "f").write_bytes(b"by another hand")
        assert not states(deep=True)[b"f"].corrupt, "what was written is no damage"
        source.close()
        index.close()
