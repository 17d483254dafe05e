"""Quarantine and back: nothing is lost, nothing is replaced unasked, everything is as it was."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.scratch import memory_directory
from fakes.small_disk import fill, small_disk
from lab.compare import differences, manifest
from staqraft.apply import quarantine as module
from staqraft.apply.manifest import MANIFEST, UNLISTED
from staqraft.apply.quarantine import Kept, Quarantine, QuarantineError
from staqraft.apply.restore import Restorer, Target
from staqraft.apply.safety import TreeRoot, open_beneath
from staqraft.model import Epoch

TREE = "web"
NOW_MS = 1_700_000_000_000
DAY_MS = 24 * 3600 * 1000
THREE = Epoch(3)
ACL = bytes.fromhex("02000000 01000600ffffffff 02000400e8030000 04000000ffffffff".replace(" ", ""))
ACL += bytes.fromhex("10000400ffffffff 20000000ffffffff".replace(" ", ""))

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and FIFOs' owners need root")


class Ground:
    """A tree, and a quarantine on its filesystem or on another."""

    def __init__(self, tree: Path, kept: Path) -> None:
        tree.mkdir(parents=True, exist_ok=True)
        self.now_ms = NOW_MS
        self.tree = tree
        self.root = TreeRoot(TREE, tree)
        self.root.make_staging()
        self.directory = kept
        self.quarantine = Quarantine(kept, lambda: self.now_ms)

    def keep(self, *paths: bytes) -> list[Kept]:
        found = [
            self.quarantine.keep(self.root, path, reason="test", epoch=THREE) for path in paths
        ]
        self.quarantine.close_batch()
        self.root.release()
        return [kept for kept in found if kept is not None]

    def restore(self, *kept: Kept, force: bool = False, to: Path | None = None) -> list[str]:
        restorer = Restorer(self.quarantine, {TREE: self.tree}, epoch=Epoch(4), force=force)
        try:
            return [
                restorer.restore(
                    item,
                    Target(root=restorer.root(TREE), path=item.path, shown=os.fsdecode(item.path))
                    if to is None
                    else Target(root=None, path=os.fsencode(to), shown=str(to)),
                )
                for item in kept
            ]
        finally:
            restorer.close()


@contextmanager
def another_filesystem(beside: Path) -> Iterator[Path]:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == beside.stat().st_dev:
        pytest.skip("no second filesystem")
    with tempfile.TemporaryDirectory(dir=shm) as directory:
        yield Path(directory)


@pytest.fixture(params=["one filesystem", "two filesystems"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if request.param == "one filesystem":
        yield Ground(tmp_path / "tree", tmp_path / "quarantine")
        return
    with another_filesystem(tmp_path) as elsewhere:
        yield Ground(tmp_path / "tree", elsewhere / "quarantine")


def one_of_everything(tree: Path) -> list[bytes]:
    """Objects of each kind in directories of their own, with all metadata that there is."""
    deep = tree / "customer" / "mail"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"content")
    os.setxattr(deep / "file", b"user.note", b"\0binary")
    os.setxattr(deep / "file", b"system.posix_acl_access", ACL)
    (deep / "suid").write_bytes(b"x")
    (deep / "suid").chmod(0o4750)
    with (deep / "sparse").open("wb") as sparse:
        sparse.truncate(8 << 20)
        sparse.seek(4 << 20)
        sparse.write(b"in the middle")
    os.link(deep / "file", deep / "other name")
    (deep / "link").symlink_to("nowhere/at all")
    os.mkfifo(deep / "fifo", 0o620)
    strange = os.fsencode(deep) + b"/caf\xe9\n\x1b[2J"
    Path(os.fsdecode(strange)).write_bytes(b"strange")
    names = sorted(os.fsencode(path.name) for path in deep.iterdir())
    for number, name in enumerate(names):
        path = os.fsencode(deep) + b"/" + name
        if os.geteuid() == 0:
            mode = os.lstat(path).st_mode
            os.chown(path, 1000 + number, 2000, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                Path(os.fsdecode(path)).chmod(stat.S_IMODE(mode))
        os.utime(path, ns=(1, 1_600_000_000_123_456_789 + number), follow_symlinks=False)
    deep.chmod(0o2770)
    (tree / "customer").chmod(0o711)
    return [b"customer/mail/" + name for name in names]


def test_everything_comes_back_as_it_was(ground: Ground) -> None:
    paths = one_of_everything(ground.tree)
    before = {path: seen for path, seen in manifest(ground.tree).items() if path in paths}
    modes = [(ground.tree / at).stat().st_mode for at in ("customer", "customer/mail")]
    kept = ground.keep(*paths)
    assert [item.path for item in kept] == paths
    (ground.tree / "customer/mail").rmdir()
    (ground.tree / "customer").rmdir()

    listed = ground.quarantine.list()
    assert sorted(item.path for item in listed) == sorted(paths)
    ground.restore(*listed)

    found = manifest(ground.tree)
    assert not differences(before, {path: found[path] for path in paths})
    assert [(ground.tree / at).stat().st_mode for at in ("customer", "customer/mail")] == modes
    mail = ground.tree / "customer/mail"
    assert (mail / "file").stat().st_ino == (mail / "other name").stat().st_ino
    assert (mail / "sparse").stat().st_blocks < 4096
    assert ground.quarantine.list() == []
    assert list(ground.directory.iterdir()) == []
    assert list((ground.tree / ".staqraft-staging").iterdir()) == []


def test_what_stands_there_is_replaced_only_when_that_was_said(ground: Ground) -> None:
    (ground.tree / "f").write_bytes(b"the loser's")
    os.utime(ground.tree / "f", ns=(0, 10**18))
    (kept,) = ground.keep(b"f")
    (ground.tree / "f").write_bytes(b"the active's, and newer")
    with pytest.raises(QuarantineError, match=r"f is there, newer than the one in quarantine"):
        ground.restore(kept)
    assert (ground.tree / "f").read_bytes() == b"the active's, and newer"
    os.utime(ground.tree / "f", ns=(0, 10**9))
    with pytest.raises(QuarantineError, match=r"older than the one .* --force"):
        ground.restore(kept)

    ground.now_ms += DAY_MS
    (said,) = ground.restore(kept, force=True)
    assert (ground.tree / "f").read_bytes() == b"the loser's"
    (replaced,) = ground.quarantine.list()
    assert replaced.id in said
    assert replaced.kept_at.read_bytes() == b"the active's, and newer"
    assert replaced.epoch == 4
    assert ground.quarantine.extent().objects == 1


def test_a_directory_is_never_replaced_and_nothing_is_below_a_file(ground: Ground) -> None:
    (ground.tree / "d").mkdir()
    (ground.tree / "d" / "f").write_bytes(b"x")
    (ground.tree / "e").write_bytes(b"y")
    below, plain = ground.keep(b"d/f", b"e")
    (ground.tree / "d").rmdir()
    (ground.tree / "d").write_bytes(b"a file now")
    (ground.tree / "e").mkdir()
    with pytest.raises(QuarantineError, match="is a directory now"):
        ground.restore(plain, force=True)
    with pytest.raises(QuarantineError, match="no directory stands above it"):
        ground.restore(below, force=True)
    assert len(ground.quarantine.list()) == 2


def test_a_symlink_above_leads_nowhere_else(ground: Ground) -> None:
    (ground.tree / "d").mkdir()
    (ground.tree / "d" / "f").write_bytes(b"x")
    (kept,) = ground.keep(b"d/f")
    outside = ground.tree.with_name("outside")
    outside.mkdir()
    (ground.tree / "d").rmdir()
    (ground.tree / "d").symlink_to(outside)
    with pytest.raises(QuarantineError):
        ground.restore(kept)
    assert list(outside.iterdir()) == []


def test_a_restore_that_died_at_its_end_is_finished_by_the_next(ground: Ground) -> None:
    paths = one_of_everything(ground.tree)
    kept = ground.keep(*paths)
    for item in kept:  # placed, and killed before it left the quarantine
        with tempfile.TemporaryDirectory(dir=ground.directory.parent) as aside:
            saved = Path(aside) / "saved"
            with module_copy(item.kept_at, saved):
                ground.restore(item)
                item.kept_at.parent.mkdir(parents=True, exist_ok=True)
                saved.rename(item.kept_at)
        (said,) = ground.restore(item)
        assert "was there already" in said
    assert ground.quarantine.list() == []


@contextmanager
def module_copy(source: Path, target: Path) -> Iterator[None]:
    directory = os.open(source.parent, os.O_RDONLY)
    try:
        module.copy_to((directory, os.fsencode(source.name)), source.lstat(), target)
        yield
    finally:
        os.close(directory)


def test_to_another_place(ground: Ground, tmp_path: Path) -> None:
    one_of_everything(ground.tree)
    (kept,) = ground.keep(b"customer/mail/file")
    with pytest.raises(QuarantineError, match="its directory does not exist"):
        ground.restore(kept, to=tmp_path / "missing" / "file")
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(QuarantineError, match=r"taken is there.*another place with --to"):
        ground.restore(kept, to=tmp_path / "taken", force=True)
    assert (tmp_path / "taken").read_bytes() == b"mine"
    ground.restore(kept, to=tmp_path / "rescued")
    assert (tmp_path / "rescued").read_bytes() == b"content"
    assert os.getxattr(tmp_path / "rescued", b"user.note") == b"\0binary"
    assert ground.quarantine.list() == []


def test_a_full_volume_is_said_and_costs_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "tree", 400) as tree:
        ground = Ground(tree, tmp_path / "quarantine")
        (tree / "f").write_bytes(os.urandom(200_000))
        (kept,) = ground.keep(b"f")
        ballast = fill(tree)
        with pytest.raises(QuarantineError, match="there is no space for 200000 bytes"):
            ground.restore(kept)
        assert kept.kept_at.stat().st_size == 200_000
        assert list((tree / ".staqraft-staging").iterdir()) == []
        ballast.unlink()
        ground.restore(kept)
        assert (tree / "f").stat().st_size == 200_000
        ground.root.close()


def test_a_full_quarantine_leaves_the_object_in_its_tree(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 400) as small:
        ground = Ground(tmp_path / "tree", small / "quarantine")
        (ground.tree / "f").write_bytes(os.urandom(600_000))
        with pytest.raises(QuarantineError, match=r"refuses it .No space left.*free space"):
            ground.keep(b"f")
        assert (ground.tree / "f").stat().st_size == 600_000
        assert ground.quarantine.list() == []


def test_a_damaged_manifest_hides_nothing(ground: Ground) -> None:
    paths = one_of_everything(ground.tree)
    kept = ground.keep(*paths)
    (batch,) = ground.directory.iterdir()
    lines = (batch / MANIFEST).read_bytes().splitlines(keepends=True)
    lines[0] = lines[0][:20] + b"\n"
    lines[1] = b"\xff\xfe[" * 50 + b"\n"
    lines[2] = json.dumps({"kept_at": "../../etc/passwd", "tree": 1}).encode() + b"\n"
    (batch / MANIFEST).write_bytes(b"".join(lines))
    again = Quarantine(ground.directory, lambda: NOW_MS)
    found = again.list()
    assert {item.id: item.path for item in found} == {item.id: item.path for item in kept}
    assert sorted(item.reason for item in found).count(UNLISTED) == 3
    assert {(item.tree, item.epoch, item.wall_ms) for item in found} == {(TREE, THREE, NOW_MS)}
    (batch / MANIFEST).unlink()
    assert {item.id for item in again.list()} == {item.id for item in kept}
    ground.restore(*again.list())
    assert sorted(ground.tree.rglob("*/file"))


def test_a_symlink_to_a_name_that_no_filesystem_takes_is_listed(ground: Ground) -> None:
    """Nobody follows it."""
    (ground.tree / "link").symlink_to("x" * 900)
    (kept,) = ground.keep(b"link")
    (ground.directory / kept.kept_at.relative_to(ground.directory).parts[0] / MANIFEST).unlink()
    assert [found.path for found in ground.quarantine.list()] == [b"link"]


def test_an_object_is_named_by_the_beginning_of_its_id(ground: Ground) -> None:
    for number in range(30):
        (ground.tree / f"f{number}").write_bytes(b"%d" % number)
    kept = ground.keep(*[b"f%d" % number for number in range(30)])
    assert len({item.id for item in kept}) == 30
    assert ground.quarantine.find([kept[3].id[:8].upper(), kept[3].id]) == [kept[3]]
    for wrong in ("", "zzzz", "0", kept[3].id + "0"):
        with pytest.raises(QuarantineError, match="'staqctl quarantine list'"):
            ground.quarantine.find([kept[1].id, wrong])


@needs_root
def test_a_path_that_is_too_long_for_the_quarantine(ground: Ground) -> None:
    """It may be as long as the tree's own paths, and stands below longer ones."""
    name = "n" * 250
    (ground.tree / name).write_bytes(b"a long name")
    here = os.open(ground.tree, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name + "d", dir_fd=here)
        below = os.open(name + "d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    number = os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(number, b"deep down")
    os.close(number)
    os.close(here)
    above = b"/".join([name.encode() + b"d"] * 20)

    kept = ground.keep(name.encode(), above + b"/f")

    assert [item.path for item in ground.quarantine.list()] == [item.path for item in kept]
    assert [item.kept_at.read_bytes() for item in kept] == [b"a long name", b"deep down"]
    shutil.rmtree(ground.tree / (name + "d"))
    (ground.tree / name).write_bytes(b"another")
    ground.restore(*kept, force=True)
    parent = open_beneath(ground.root.fd, above)
    number = os.open("f", os.O_RDONLY, dir_fd=parent)
    assert os.read(number, 100) == b"deep down"
    os.close(number)
    os.close(parent)
    assert (ground.tree / name).read_bytes() == b"a long name"
    assert [item.kept_at.read_bytes() for item in ground.quarantine.list()] == [b"another"]


def test_a_time_that_has_no_date(tmp_path: Path) -> None:
    with memory_directory() as memory:  # its years do not end
        ground = Ground(memory / "tree", tmp_path / "quarantine")
        (ground.tree / "f").write_bytes(b"own")
        (kept,) = ground.keep(b"f")
        (ground.tree / "f").write_bytes(b"of a far year")
        os.utime(ground.tree / "f", ns=(1, 10**21))
        with pytest.raises(QuarantineError, match=r"newer .* 1000000000000 s from 1970"):
            ground.restore(kept)


def test_dropping_is_for_good_and_leaves_no_empty_directories(ground: Ground) -> None:
    (ground.tree / "d").mkdir()
    for name in ("d/a", "d/b"):
        (ground.tree / name).write_bytes(b"1234")
    (old, _) = ground.keep(b"d/a", b"d/b")
    ground.now_ms += 30 * DAY_MS
    (ground.tree / "c").write_bytes(b"x")
    (new,) = ground.keep(b"c")
    assert ground.quarantine.extent() == module.Extent(objects=3, bytes=9)
    assert [item.path for item in ground.quarantine.older_than(29 * DAY_MS)] == [b"d/a", b"d/b"]
    assert ground.quarantine.older_than(31 * DAY_MS) == []
    ground.quarantine.drop(old)
    assert ground.quarantine.extent() == module.Extent(objects=2, bytes=5)
    for item in ground.quarantine.older_than(29 * DAY_MS):
        ground.quarantine.drop(item)
    assert ground.quarantine.list() == [new]
    assert len(list(ground.directory.iterdir())) == 1
