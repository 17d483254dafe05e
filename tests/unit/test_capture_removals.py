"""Too much vanishes at once: nothing more is removed until somebody says that it was meant."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.capturing import Captured, capturing
from staqraft.capture.removals import Removals
from staqraft.config.schema import RemovalLimit
from staqraft.journal.record import Remove

LIMIT = RemovalLimit(percent=30, within_ms=600_000)
HOUR_MS = 3_600_000


class Asked:
    """A guard of tree `t` with a clock of its own."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.guard = Removals({"t": LIMIT, "free": RemovalLimit()}, lambda: self.now_ms)

    def remove(self, objects: int, *, of: int) -> bool:
        return self.guard.may_go("t", objects, of)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_a_share_may_go_and_more_is_held(asked: Asked) -> None:
    assert asked.remove(290, of=1000)
    assert asked.remove(10, of=710)
    assert not asked.remove(1, of=700)
    assert "more than 30 % of its 1,000 objects vanished" in asked.guard.problem("t")


def test_what_is_counted_while_it_still_seems_to_be_there_does_not_make_the_tree_larger(
    asked: Asked,
) -> None:
    assert all(asked.remove(1, of=1000) for _ in range(300))
    assert not asked.remove(1, of=1000)


def test_who_asked_once_holds_everything_until_the_answer(asked: Asked) -> None:
    assert not asked.remove(400, of=1000)
    asked.now_ms = HOUR_MS
    assert not asked.remove(1, of=1000), "half of it removed is neither what was nor what is"
    asked.guard.allow("t")
    assert asked.guard.problem("t") == ""
    assert asked.remove(400, of=1000)


def test_what_went_long_ago_does_not_count(asked: Asked) -> None:
    for _ in range(10):
        assert asked.remove(200, of=1000)
        asked.now_ms += LIMIT.within_ms


def test_an_answer_is_good_for_the_time_of_the_limit(asked: Asked) -> None:
    asked.guard.allow("t")
    assert asked.remove(900, of=1000)
    asked.now_ms = LIMIT.within_ms
    assert not asked.remove(90, of=100)


def test_a_small_tree_is_not_asked_about_each_file(asked: Asked) -> None:
    assert asked.remove(9, of=10)


def test_a_tree_without_a_limit_is_never_asked_about(asked: Asked) -> None:
    assert not asked.guard.guards("free")
    assert asked.guard.may_go("free", 1000, 1000)


# --- by a real capture ---------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for number in range(10):
        (tree / f"d{number}" / "deep").mkdir(parents=True)
        for name in range(10):
            (tree / f"d{number}" / "deep" / f"{name}").write_bytes(b"%d" % name)
    return tree


@pytest.fixture
def captured(root: Path, tmp_path: Path) -> Iterator[Captured]:
    with capturing(root, tmp_path / "state", tmp_path / "run", removals=LIMIT) as it:
        it.check()
        yield it


def question(captured: Captured) -> str:
    return "".join(captured.capture.status().problems)


def on_the_standby(captured: Captured) -> int:
    return len(captured.replica.objects)


def test_a_standby_keeps_what_vanished_until_somebody_says_that_it_was_meant(
    captured: Captured, root: Path
) -> None:
    for number in range(8):
        shutil.rmtree(root / f"d{number}")
    (root / "d9" / "new").write_bytes(b"what is written still travels")
    captured.settle()
    assert on_the_standby(captured) > 1 + 120 * 7 // 10, "no more than 30 % went"
    assert captured.replica.objects[b"d9/new"].data == b"what is written still travels"
    assert "staqctl removals allow t" in question(captured)
    captured.capture.allow_removals("t")
    captured.capture.step(0)
    captured.check()
    assert question(captured) == ""


def test_a_directory_counts_with_all_that_was_in_it(captured: Captured, root: Path) -> None:
    elsewhere = root.with_name("elsewhere")
    elsewhere.mkdir()
    for number in range(4):  # each is one event
        (root / f"d{number}").rename(elsewhere / f"d{number}")
    captured.settle()
    assert "vanished" in question(captured)
    assert b"d3/deep/9" in captured.replica.objects
    removed = {r.path for r in captured.replica.records if isinstance(r.change, Remove)}
    assert removed == {b"d0", b"d1", b"d2"}


def test_what_is_renamed_or_comes_back_has_not_vanished(captured: Captured, root: Path) -> None:
    for number in range(10):
        (root / f"d{number}").rename(root / f"renamed{number}")
        for name in range(10):
            path = root / f"renamed{number}" / "deep" / f"{name}"
            path.rename(path.with_name(f"{name}:2,S"))
    captured.check()
    assert question(captured) == ""


def test_a_question_survives_a_restart(root: Path, tmp_path: Path) -> None:
    with capturing(root, tmp_path / "s", tmp_path / "run", removals=LIMIT) as first:
        for number in range(8):
            (root / f"d{number}").rename(tmp_path / f"d{number}")
        first.settle()
        kept = on_the_standby(first)
    for number in range(8, 10):
        shutil.rmtree(root / f"d{number}" / "deep")
    with capturing(root, tmp_path / "s", tmp_path / "run", removals=LIMIT, earlier=first) as second:
        assert "staqctl removals allow t" in question(second)
        assert on_the_standby(second) > kept * 7 // 10
