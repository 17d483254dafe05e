"""What the disk does not give back (btrfs sums it): the rest goes on, and no barrier lies."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.capturing import Captured, capturing
from fakes.grounds import mounted
from fakes.patience import LONG_MS
from fakes.spoilt import spoil
from staqraft.capture.errors import Uncaptured
from staqraft.capture.unread import AGAIN_MS
from staqraft.capture.watcher import MakeSource


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    try:
        with mounted("btrfs", tmp_path_factory.mktemp("sums") / "btrfs", megabytes=128) as made:
            yield made
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
def base(ground: Path) -> Iterator[Path]:
    made = ground / "base"
    (made / "tree").mkdir(parents=True)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("size", [9_000, 3 << 20], ids=["small", "large"])
def test_an_unreadable_file_holds_up_nothing_but_the_barriers_that_must_be_true(
    base: Path, state: Path, backend: MakeSource, size: int
) -> None:
    tree, outside = base / "tree", base / "outside"
    with capturing(tree, state, state / "run", backends=[backend]) as captured:
        captured.check()
        outside.write_bytes(os.urandom(size))
        spoil(outside)
        outside.rename(tree / "lost")
        (tree / "other").write_bytes(b"other")
        with pytest.raises(Uncaptured, match="'lost' cannot be read"):
            captured.capture.barrier(20_000, complete=True)
        captured.capture.barrier(20_000)
        told = list(captured.new_records())
        assert b"other" in {record.path for record in told}
        captured.replica.apply(told)
        assert "'lost' cannot be read" in "".join(captured.capture.status().problems)

        (tree / "lost").unlink()
        captured.ahead_ms += 60_000
        captured.capture.step(0)
        assert captured.capture.status().problems == ()
        captured.capture.barrier(20_000, complete=True)
        captured.check()


def test_a_file_that_is_replaced_is_read_again(
    base: Path, state: Path, backend: MakeSource
) -> None:
    tree, outside = base / "tree", base / "outside"
    with capturing(tree, state, state / "run", backends=[backend]) as captured:
        outside.write_bytes(os.urandom(2 << 20))
        spoil(outside)
        outside.rename(tree / "lost")
        with pytest.raises(Uncaptured):
            captured.capture.barrier(20_000, complete=True)
        (base / "restored").write_bytes(b"from the backup")
        (base / "restored").rename(tree / "lost")
        captured.capture.barrier(20_000, complete=True)
        captured.check()


def test_a_barrier_is_not_answered_while_a_root_is_gone(
    base: Path, state: Path, backend: MakeSource
) -> None:
    tree = base / "tree"
    for number in range(20):
        (tree / f"f{number}").write_bytes(b"%d" % number)
    with capturing(tree, state, state / "run", backends=[backend]) as captured:
        captured.check()
        (tree / "f3").write_bytes(b"the last that was written")
        tree.rename(base / "elsewhere")
        assert "is missing" in captured.capture.roots.problem("t"), "so nothing in it is gone"
        with pytest.raises(Uncaptured, match="tree t"):
            captured.capture.barrier(20_000, complete=True)
        tree.mkdir()
        assert "is another directory" in captured.capture.roots.problem("t")
        tree.rmdir()
        (base / "elsewhere").rename(tree)
        assert captured.capture.roots.problem("t") == ""
        captured.ahead_ms += 60_000
        captured.capture.step(0)
        captured.capture.barrier(20_000, complete=True)
        captured.check()


def test_a_directory_that_cannot_be_listed_holds_up_nothing_but_such_barriers(
    root: Path, state: Path, backend: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in it is taken for removed; it is listed again when its disk gives it back."""
    (root / "sick").mkdir()
    (root / "sick" / "file").write_bytes(b"in there")
    sick = (root / "sick").stat()
    real = os.scandir

    def scandir(at: Any) -> Any:
        # A path or a descriptor, which no Path is.
        if broken and os.path.samestat(os.stat(at), sick):  # noqa: PTH116
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(at)

    broken = False
    monkeypatch.setattr(os, "scandir", scandir)
    with capturing(root, state, state / "run", backends=[backend]) as captured:
        captured.check()
        broken = True
        (root / "sick" / "new").write_bytes(b"told by an event all the same")
        captured.capture.scan("t")
        (root / "other" / "file").write_bytes(b"goes on")
        with pytest.raises(Uncaptured, match=r"'sick' cannot be read \(Input/output error\)"):
            captured.capture.barrier(20_000, complete=True)
        assert "'sick' cannot be read" in "".join(captured.capture.status().problems)
        captured.settle()
        assert captured.replica.objects.keys() >= {b"sick/file", b"sick/new", b"other/file"}

        broken = False
        captured.ahead_ms += 60_000
        captured.capture.barrier(20_000, complete=True)
        captured.capture.step(0)
        assert captured.capture.status().problems == ()
        captured.check()


def test_a_file_on_which_somebody_holds_a_lease(captured: Captured, root: Path) -> None:
    """Samba does, for a client that writes; it is read when the lease is given up."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # by which the kernel asks for it
    number = os.open(root / "note", os.O_RDWR)
    try:
        try:
            fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            pytest.skip(f"no lease can be had here: {error}")
        os.write(number, b"by the client")
        with pytest.raises(Uncaptured, match="holds a lease on it, as Samba does"):
            captured.capture.barrier(LONG_MS, complete=True)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        captured.ahead_ms += 2 * AGAIN_MS
        captured.check()
        assert captured.capture.status().problems == ()
    finally:
        os.close(number)
        signal.signal(signal.SIGIO, before)
