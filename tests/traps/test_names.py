"""Names of which nothing is told: of a moment, outside the trees, excluded. No barrier is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.capturing import Captured, capturing
from fakes.changing import changes
from staqraft.capture.inotify_source import InotifySource
from staqraft.capture.watcher import MakeSource

# --- names that tell nothing -----------------------------------------------------------------


def test_a_write_under_a_name_of_a_moment(captured: Captured, root: Path) -> None:
    os.link(root / "note", root / "brief")
    with (root / "brief").open("ab") as file:
        file.write(b", written under another name")
    (root / "brief").unlink()
    captured.check()


def test_a_write_under_a_name_that_leaves_with_its_directory(
    captured: Captured, root: Path, outside: Path
) -> None:
    os.link(root / "note", root / "other" / "link")
    captured.check()
    with (root / "other" / "link").open("ab") as file:
        file.write(b", written under another name")
    (root / "other").rename(outside / "gone")
    captured.check()


def test_a_write_under_a_name_that_left(captured: Captured, root: Path, outside: Path) -> None:
    os.link(root / "note", root / "other" / "link")
    captured.check()
    (root / "other" / "link").rename(outside / "link")
    captured.check()
    for words in (b", written outside", b", and once more"):
        with (outside / "link").open("ab") as file:
            file.write(words)
        captured.check()
    (outside / "link").unlink()
    captured.check()


def test_what_nothing_is_told_of_is_found_without_a_barrier_too(
    captured: Captured, root: Path, outside: Path
) -> None:
    os.link(root / "note", root / "other" / "link")
    captured.check()
    (root / "other" / "link").rename(outside / "link")
    captured.check()
    (outside / "link").chmod(0o604)
    captured.capture.watcher.barrier(30_000)  # what is told of it was read
    for _ in range(10):
        captured.ahead_ms += 31_000
        captured.capture.step(0)
    captured.replica.apply(captured.new_records())
    assert captured.replica.objects[b"note"].metadata.mode == 0o604


def test_files_with_several_names_cost_barriers_little(
    captured: Captured, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail server that copies by links has many: each is looked at once, if nothing was done."""
    asked: list[int] = []
    names_of = captured.index.names_of

    def counted(tree: str, dev: int, ino: int) -> list[bytes]:
        asked.append(ino)
        return names_of(tree, dev, ino)

    for number in range(20):
        (root / f"{number}").write_bytes(b"a mail")
        os.link(root / f"{number}", root / "other" / f"{number}")
    captured.check()
    captured.check()  # what was told of the links is over
    monkeypatch.setattr(captured.index, "names_of", counted)
    captured.check()
    assert not asked
    (root / "3").chmod(0o600)
    (root / "4").unlink()
    captured.check()


# --- names that are excluded ------------------------------------------------------------------


@pytest.fixture
def selective(root: Path, state: Path, backend: MakeSource) -> Iterator[Captured]:
    """What is called `*.tmp` is left out."""
    with capturing(root, state, state / "run", backends=[backend], exclude=("*.tmp",)) as it:
        it.check()
        yield it


@changes
@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
def test_a_file_that_has_an_excluded_name_for_a_while(
    selective: Captured, root: Path, change: Callable[[Path], None], seen: bool
) -> None:
    """It is removed from the other side if it was looked at then, and comes back whole."""
    away = (root / "note").rename(root / "note.tmp")
    if seen:
        selective.check(left_out=frozenset({b"note.tmp"}))
    change(away)
    away.rename(root / "note")
    selective.check()


@changes
def test_a_file_that_is_written_under_an_excluded_name_and_renamed(
    selective: Captured, root: Path, change: Callable[[Path], None]
) -> None:
    (root / "new.tmp").write_bytes(b"a note")
    change(root / "new.tmp")
    (root / "new.tmp").rename(root / "new")
    selective.check()


@changes
def test_another_name_that_is_excluded(
    selective: Captured, root: Path, change: Callable[[Path], None]
) -> None:
    os.link(root / "note", root / "note.tmp")
    selective.check(left_out=frozenset({b"note.tmp"}))
    change(root / "note.tmp")
    selective.check(left_out=frozenset({b"note.tmp"}))
    with (root / "note.tmp").open("ab") as file:
        file.write(b", and more")
    selective.check(left_out=frozenset({b"note.tmp"}))
    (root / "note.tmp").unlink()
    selective.check()


def test_another_name_that_is_excluded_and_of_a_moment(
    selective: Captured, root: Path, backend: MakeSource
) -> None:
    if backend is InotifySource:
        pytest.skip("inotify does not tell of which file the name was (see README)")
    os.link(root / "note", root / "note.tmp")
    with (root / "note.tmp").open("ab") as file:
        file.write(b", written under another name")
    (root / "note.tmp").unlink()
    selective.check()
