"""Something is mounted inside of a standby's tree: it is not the tree's, and nobody touches it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.grounds import mounted
from fakes.source_tree import TREE, FakeActive, SourceTree, nothing_excluded
from fakes.standby import Standby, run_directly
from lab.compare import differences, manifest
from staqraft.apply.quarantine import Quarantine
from staqraft.apply.reconcile import Reconciler
from staqraft.apply.safety import MountedInside, open_beneath
from staqraft.index import Index, SharedHistory
from staqraft.model import Epoch, EpochStart, Position

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@contextmanager
def covered(path: Path, kind: str, beside: Path) -> Iterator[Path]:
    """Another filesystem, or another directory of the same one, at `path`; with a file in it."""
    elsewhere = beside / "elsewhere"
    elsewhere.mkdir()
    source = ("--bind", str(elsewhere)) if kind == "bind" else ("-t", "tmpfs", "tmpfs")
    done = subprocess.run(["mount", *source, str(path)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr!r}")
    try:
        (path / "somebody's").write_bytes(b"not the tree's")
        yield path / "somebody's"
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceTree]:
    made = SourceTree(tmp_path / "source")
    made.tell(b"")
    made.mkdir(b"site")
    made.mkdir(b"site/uploads")
    yield made
    made.close()


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Standby]:
    made = Standby(tmp_path / "standby")
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
async def test_a_comparison_does_not_take_it_for_the_trees(
    source: SourceTree, standby: Standby, tmp_path: Path, kind: str
) -> None:
    source.write(b"site/uploads/file", b"as it was")
    active = FakeActive(source, Index.open(tmp_path / "active.sqlite"), Position(Epoch(2), 900))
    quarantine = Quarantine(tmp_path / "quarantine", lambda: 0)

    async def compare() -> None:
        await Reconciler(
            applier=standby.applier,
            active=active,
            quarantine=quarantine,
            shared=SharedHistory.of((EpochStart(epoch=Epoch(1), seq=1),)),
            excluded={TREE: nothing_excluded},
            run_on_disk=run_directly,
            clock_ms=lambda: 0,
        ).run()

    await compare()
    with covered(standby.path / "site" / "uploads", kind, tmp_path) as foreign:
        with pytest.raises(MountedInside, match="'site/uploads' is, or is below, a mount point"):
            await compare()
        assert foreign.read_bytes() == b"not the tree's"
        assert quarantine.list() == []
    source.write(b"site/uploads/file", b"changed meanwhile")
    await compare()
    assert differences(manifest(source.path), manifest(standby.path)) == []
    active.index.close()


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("what", ["a new file below", "its removal"])
def test_applying_waits_until_it_is_gone(
    source: SourceTree, standby: Standby, tmp_path: Path, kind: str, what: str
) -> None:
    standby.apply_and_commit(source.records)
    before = len(source.records)
    if what == "a new file below":
        source.write(b"site/uploads/new", b"new")
    else:
        source.remove(b"site/uploads")
    with covered(standby.path / "site" / "uploads", kind, tmp_path) as foreign:
        with pytest.raises(MountedInside, match="Unmount it"):
            standby.apply(source.records[before:])
        assert foreign.read_bytes() == b"not the tree's"
    assert standby.apply_and_commit(source.records[before:]) == []
    assert differences(manifest(source.path), manifest(standby.path)) == []


def test_a_subvolume_is_not_the_trees_either(tmp_path: Path) -> None:
    if shutil.which("btrfs") is None:
        pytest.skip("there is no btrfs: scripts/bootstrap installs it")
    try:
        with mounted("btrfs", tmp_path / "disk") as disk:
            (disk / "tree").mkdir()
            made = ["btrfs", "-q", "subvolume", "create", str(disk / "tree" / "sub")]
            subprocess.run(made, check=True)
            root = os.open(disk / "tree", os.O_RDONLY | os.O_DIRECTORY)
            try:
                with pytest.raises(MountedInside, match="'sub' is, or is below"):
                    open_beneath(root, b"sub")
            finally:
                os.close(root)
    except RuntimeError as error:
        pytest.skip(str(error))
