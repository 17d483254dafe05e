"""What is seen on the standby, however a system puts it there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.data.watch import Blocks, Growing, Names


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Names]:
    """`new` is to hold `one` and `two`; there is `old`, which is to go."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "old").write_bytes(b"x")
    watch = Names({tmp_path / "new": ["one", "two"]})
    yield watch
    watch.close()


@pytest.mark.parametrize("how", ["renamed", "written", "linked"])
def test_a_file_is_seen_as_soon_as_it_is_whole(names: Names, tmp_path: Path, how: str) -> None:
    place, aside = tmp_path / "new" / "one", tmp_path / "aside"
    aside.write_bytes(b"whole")
    began = time.monotonic()
    if how == "renamed":
        aside.rename(place)
    elif how == "linked":
        os.link(aside, place)
    else:
        with place.open("wb", buffering=0) as file:
            names.step(0)
            assert "one" not in names.seen, "it is there, and empty"
            file.write(b"whole")
    names.step(0)
    assert began <= names.seen["one"] <= time.monotonic()
    assert not names.done


def test_it_is_done_when_what_is_to_go_is_gone_and_nothing_else_is_there(
    names: Names, tmp_path: Path
) -> None:
    for name in ("one", "two", "temporary"):
        (tmp_path / "new" / name).write_bytes(b"x")
    (tmp_path / "new" / "old").unlink()
    names.step(0)
    with_temporary = names.done
    (tmp_path / "new" / "temporary").unlink()
    names.step(0)
    assert (with_temporary, names.done) == (False, True)
    assert names.seen.keys() == {"one", "two"}


def test_blocks_at_the_end_count_when_their_content_is_there(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(b"start")
    watch = Growing(path, 5, [b"aaaa", b"bbbb"])
    path.write_bytes(b"startaaaa\0\0\0\0")
    watch.step(0)
    assert (len(watch.seen), watch.done) == (1, False)
    path.write_bytes(b"startaaaabbbb")
    watch.step(0)
    assert (len(watch.seen), watch.done) == (2, True)


def test_overwrites_are_done_when_all_are_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"aaaabbbb")
    watch = Blocks(path, {0: b"AAAA", 4: b"BBBB"})
    done = []
    for content in (b"aaaabbbb", b"AAAAbbbb", b"aaaaBBBB", b"AAAABBBB"):  # one changes back
        path.write_bytes(content)
        watch.step(0)
        done.append(watch.done)
    assert done == [False, False, False, True]
