"""What is told late: no barrier is wrong about it.

Places are held back here, as they are under load, so that the order in which they are looked at is
the worst one, on any machine.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.capturing import Captured, capturing
from fakes.changing import changes, set_attribute
from staqraft.capture import files, inotify_source, objects, renames
from staqraft.capture.content import Small, read_small
from staqraft.capture.dirty import Key
from staqraft.capture.objects import ObjectState
from staqraft.capture.watcher import MakeSource
from staqraft.index import FileIdentity

_libc = ctypes.CDLL(None, use_errno=True)
_EXCHANGE = 2
_LONG_MS = 10**9
_PATIENCE_MS = 30  # longer than a place is held back until its other events are read
_BIG = 8 << 20


def hold_back(captured: Captured, *names: str) -> None:
    """Whatever happens to these names in the root is looked at no sooner than for a barrier."""
    watcher = captured.capture.watcher
    key = watcher.directories.roots["t"].key
    for name in names:
        watcher.dirty.cool((key, name.encode()), captured.now_ms() + _LONG_MS)


def read_and_look(captured: Captured, times: int = 1) -> None:
    """All events so far are read; what is not held back is looked at, again and again."""
    captured.capture.watcher.barrier(30_000)
    for _ in range(times):
        captured.ahead_ms += _PATIENCE_MS
        captured.capture.step(0)


@contextmanager
def told_later(captured: Captured) -> Iterator[list[tuple[Key, bytes, int]]]:
    """What the kernel tells meanwhile is known afterwards: the thread that reads it is behind."""
    held: list[tuple[Key, bytes, int]] = []
    watcher = captured.capture.watcher
    watcher.barrier(30_000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(watcher.dirty, "add", held.extend)
        yield held
        watcher.barrier(30_000)
    watcher.dirty.add(held)


def contents(captured: Captured) -> set[bytes]:
    """Of the files that the replica has."""
    return {inode.data for inode in captured.replica.objects.values()}


@pytest.fixture
def top(captured: Captured, root: Path) -> Path:
    """A directory of which nobody knows yet that it has another name."""
    made = root / "top"
    (made / "sub" / "leaves").mkdir(parents=True)
    (made / "sub" / "old").mkdir()
    (made / "sub" / "file").write_bytes(b"a file")
    (made / "sub" / "goes").write_bytes(b"it goes")
    (made / "one").write_bytes(b"the first name")
    captured.check()
    hold_back(captured, "top", "moved")
    return made


def test_another_name_is_no_rename_though_the_first_cannot_be_seen(
    captured: Captured, root: Path, top: Path
) -> None:
    os.link(top / "one", root / "other" / "two")
    top.rename(root / "moved")
    read_and_look(captured)
    seen = captured.check()
    assert seen[b"moved/one"].shared_with == {b"moved/one", b"other/two"}


@pytest.mark.parametrize("back", [False, True], ids=["moved", "moved-and-back"])
@pytest.mark.parametrize("times", [1, 100], ids=["once", "until-it-gives-up"])
def test_whatever_is_done_below_a_directory_whose_rename_is_told_late(
    captured: Captured, root: Path, top: Path, times: int, back: bool
) -> None:
    moved = top.rename(root / "moved")
    sub = moved / "sub"
    (sub / "file").rename(sub / "renamed")
    (sub / "goes").unlink()
    (sub / "leaves").rename(root / "other" / "left")
    (sub / "old").rmdir()
    (sub / "new" / "deeper").mkdir(parents=True)
    (sub / "new" / "file").write_bytes(b"new")
    (root / "note").rename(sub / "new" / "note")
    os.link(root / "kept" / "file", sub / "link")
    sub.chmod(0o2770)
    (moved / "one").write_bytes(b"other content")
    read_and_look(captured, times)
    if back:
        moved.rename(top)
        read_and_look(captured)
    captured.check()


def test_a_large_file_below_a_directory_whose_rename_is_told_late(
    captured: Captured, root: Path, top: Path
) -> None:
    captured.tick_ms = 5  # a slow machine: a slice at a time
    (top / "big").write_bytes(os.urandom(_BIG))
    read_and_look(captured)
    assert captured.capture.status().transfers
    top.rename(root / "moved")
    read_and_look(captured, times=30)
    captured.tick_ms = 0
    captured.check()


def test_a_large_change_does_not_go_into_what_took_its_place(
    captured: Captured, root: Path
) -> None:
    """It is told in pieces, each a change of what the one before it made."""
    for name in ("a", "b"):
        (root / name).write_bytes(os.urandom(_BIG))
    captured.check()
    captured.tick_ms = 5
    with (root / "a").open("r+b") as file:
        file.write(os.urandom(_BIG))
    for _ in range(100):
        captured.capture.watcher.barrier(30_000)
        captured.ahead_ms += 1_000  # it is no longer too early to read it again
        captured.capture.step(0)
        if captured.capture.status().transfers:
            break
    hold_back(captured, "b")
    both = os.fsencode(root / "a"), os.fsencode(root / "b")
    assert _libc.renameat2(-100, both[0], -100, both[1], _EXCHANGE) == 0
    read_and_look(captured, times=30)
    captured.tick_ms = 0
    captured.check()


def test_what_was_written_before_a_rename_is_not_forgotten_with_the_old_name(
    captured: Captured, root: Path
) -> None:
    """Nothing but the event tells of it: size and time are as before."""
    before = (root / "note").stat()
    hold_back(captured, "note")
    with (root / "note").open("r+b") as file:
        file.write(b"A NOTE")
    os.utime(root / "note", ns=(before.st_atime_ns, before.st_mtime_ns))
    (root / "note").rename(root / "renamed")
    read_and_look(captured)
    captured.check()
    assert captured.replica.objects[b"renamed"].data == b"A NOTE"


@changes
def test_what_is_done_to_a_file_just_after_it_was_renamed(
    captured: Captured, root: Path, change: Callable[[Path], None]
) -> None:
    """It is looked at when its rename is known, and what was done to it since is not."""
    renamed = (root / "note").rename(root / "renamed")
    with told_later(captured):
        change(renamed)
        captured.capture.step(0)
    captured.check()


@changes
@pytest.mark.parametrize("looks", [0, 1, 5])
def test_what_is_done_to_a_file_before_it_leaves_its_directory_which_goes(
    captured: Captured, root: Path, change: Callable[[Path], None], looks: int
) -> None:
    """What is told of it is told of a place that is no more."""
    (root / "other" / "note").write_bytes(b"a note")
    captured.check()
    change(root / "other" / "note")
    captured.capture.watcher.barrier(30_000)
    with told_later(captured):
        (root / "other" / "note").rename(root / "left")
        (root / "other").rmdir()
        for _ in range(looks):
            captured.ahead_ms += _PATIENCE_MS
            captured.capture.step(0)
    captured.check()


def test_a_file_is_under_one_name_at_least_on_the_other_side(
    captured: Captured, root: Path
) -> None:
    """Its name is gone before it is told where it went; the active may be lost at that moment."""
    (root / "note").chmod(0o600)
    captured.capture.watcher.barrier(30_000)
    with told_later(captured):
        (root / "note").rename(root / "renamed")
        captured.capture.step(0)
        captured.replica.apply(captured.new_records())
        assert b"a note" in contents(captured)
    captured.check()


def test_a_file_that_replaces_one_that_is_left_alone_for_a_while(
    captured: Captured, root: Path
) -> None:
    """What changes again and again is looked at seldom, whatever is renamed to its name."""
    (root / "note.new").write_bytes(b"the new content")
    captured.check()
    hold_back(captured, "note")
    (root / "note.new").rename(root / "note")
    read_and_look(captured, times=2)
    captured.replica.apply(captured.new_records())
    assert b"the new content" in contents(captured)
    captured.check()


@pytest.mark.parametrize("way", [("kept", "other"), ("other", "kept")])
def test_what_was_renamed_when_events_were_lost_is_under_one_name_at_least(
    captured: Captured, root: Path, way: tuple[str, str]
) -> None:
    (root / way[0] / "mail").write_bytes(b"a mail")
    captured.check()
    with told_later(captured) as held:
        (root / way[0] / "mail").rename(root / way[1] / "mail")
        captured.capture.watcher.barrier(30_000)
        held.clear()
    captured.capture.watcher.dirty.overflow()
    captured.tick_ms = 3  # a slow machine: a slice at a time
    captured.capture.step(0)
    while captured.capture.status().scanning:
        captured.capture.step(0)
        captured.replica.apply(captured.new_records())
        assert b"a mail" in contents(captured)
    captured.tick_ms = 0
    captured.check()


def test_a_rename_of_which_only_the_first_half_is_to_be_read_yet(
    captured: Captured, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """inotify tells it by two events, and the one who reads may come between them."""
    told: list[list[tuple[Key, bytes, int]]] = []
    watcher = captured.capture.watcher
    tell = watcher.dirty.add

    def add(places: list[tuple[Key, bytes, int]]) -> None:
        told.append(places)
        tell(places)

    monkeypatch.setattr(inotify_source, "READ_BYTES", 60)  # one event at a time
    monkeypatch.setattr(watcher.dirty, "add", add)
    (root / "note").rename(root / "renamed")
    watcher.barrier(30_000)
    names = [{name for _, name, _ in places} for places in told]
    assert any(some >= {b"note", b"renamed"} for some in names)
    (root / "renamed").rename(root.parent / "left")
    captured.check()


def test_an_attribute_is_read_though_the_clock_stands_still(
    captured: Captured, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.13 all changes within some milliseconds have the same time."""

    def one_tick(found: os.stat_result) -> FileIdentity:
        return FileIdentity(dev=found.st_dev, ino=found.st_ino, ctime_ns=1)

    for module in (objects, files, renames):
        monkeypatch.setattr(module, "identity_of", one_tick)
    for value in (b"first", b"second"):
        os.setxattr(root / "note", "trusted.late", value)
        captured.check()


@changes
def test_what_is_done_to_a_file_while_its_name_is_another(
    captured: Captured, root: Path, change: Callable[[Path], None]
) -> None:
    away = (root / "note").rename(root / "away")
    change(away)
    away.rename(root / "note")
    captured.check()


def test_a_file_that_got_the_number__of_a_directory_is_no_name_of_it(
    captured: Captured, root: Path
) -> None:
    """ext4 gives the number of what was removed to what comes next."""
    (root / "gone").mkdir()
    captured.check()
    hold_back(captured, "gone")
    (root / "gone").rmdir()
    for number in range(50):
        (root / f"new{number}").write_bytes(b"new")
        os.link(root / f"new{number}", root / "other" / f"link{number}")
    read_and_look(captured)
    captured.check()


# --- lost events -------------------------------------------------------------------------------


def forget_what_is_told(captured: Captured, path: Path, change: Callable[[Path], None]) -> None:
    """Events are lost, and the clock of the files is coarse: the change has the time of the last.

    Before Linux 6.13 that is so for all within some milliseconds.
    """
    with told_later(captured) as held:
        change(path)
        captured.capture.watcher.barrier(30_000)
        held.clear()
    entry = captured.index.get("t", os.fsencode(path.name))
    assert entry is not None
    captured.index.put("t", replace(entry, identity=objects.identity_of(path.stat())))
    captured.capture.watcher.dirty.overflow()


@changes
def test_lost_events_of_a_file_that_has_its_old_times(
    captured: Captured, root: Path, change: Callable[[Path], None]
) -> None:
    forget_what_is_told(captured, root / "note", change)
    captured.check()


def test_lost_events_of_what_came_to_the_root(captured: Captured, root: Path) -> None:
    """A directory that was opened earlier lists on btrfs what it held then."""
    captured.capture.scan("t")
    captured.check()
    with told_later(captured) as held:
        (root / "new").write_bytes(b"new")
        captured.capture.watcher.barrier(30_000)
        held.clear()
    captured.capture.watcher.dirty.overflow()
    assert b"new" in captured.check()


def test_lost_events_of_a_directory_that_has_its_old_times(captured: Captured, root: Path) -> None:
    forget_what_is_told(captured, root / "kept", set_attribute)
    captured.check()


def test_what_changed_since_the_trees_were_compared_is_not_read_again_by_each_comparison(
    root: Path, state: Path, backend: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(fd: int, found: ObjectState) -> Small | None:
        read.append(found.identity.ino)
        return read_small(fd, found)

    with capturing(root, state, state / "run", backends=[backend]) as first:
        first.check()
    again = capturing(root, state, state / "run", backends=[backend], earlier=first)
    with again as captured:
        (root / "new").write_bytes(b"new")
        captured.check()
        monkeypatch.setattr("staqraft.capture.files.read_small", counted)
        captured.capture.scan("t")
        captured.check()
        assert read == []
