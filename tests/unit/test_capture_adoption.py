"""Trees that were there before StaqRaft come into the index, and not through the journal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.capturing import Captured
from staqraft.capture import adoption
from staqraft.capture.adoption import Read
from staqraft.index import Entry, content_digest
from staqraft.journal.record import Inline, ObjectType, Record, Upsert
from staqraft.model import Epoch, Position

AT = Position(Epoch(1), 1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Older than a moment, with more objects in a directory than a slice of the scan."""
    root = tmp_path / "tree"
    (root / "mail" / "cur").mkdir(parents=True)
    for number in range(700):
        (root / "mail" / "cur" / f"m{number}").write_bytes(b"mail %d" % number)
    (root / "link").symlink_to("mail")
    (root / "one").write_bytes(b"two names")
    (root / "other").hardlink_to(root / "one")
    for path in root.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    return root


@pytest.fixture
def captured(tree: Path, tmp_path: Path) -> Iterator[Captured]:
    found = start(tree, tmp_path)
    yield found
    found.close()


def start(tree: Path, base: Path, *, first: bool = True) -> Captured:
    """As the first start of all does it; `first`: else what an earlier one left is used."""

    def prepare(captured: Captured) -> None:
        if first:
            adoption.begin(captured.index, AT)
            captured.journal.reset(AT)

    return Captured(tree, base / "state", base / "run", prepare=prepare)


def entry_of(captured: Captured, path: bytes) -> Entry:
    entry = captured.index.get("t", path)
    assert entry is not None, f"{path!r} is not in the index"
    return entry


def records(captured: Captured) -> list[Record]:
    captured.capture.barrier(20_000)
    return list(captured.new_records())


def test_what_is_there_is_entered_unread_and_not_journalled(captured: Captured) -> None:
    captured.capture.start()
    told = {record.path for record in records(captured)}
    assert told <= {b"one", b"other"}, "files with several names are told"
    assert captured.index.totals("t").objects == 1 + 2 + 700 + 1 + 2
    file = entry_of(captured, b"mail/cur/m5")
    assert file.is_unread
    assert file.origin == AT
    assert entry_of(captured, b"link").metadata.symlink_target == b"mail"
    assert entry_of(captured, b"mail").metadata.type is ObjectType.DIRECTORY
    assert not entry_of(captured, b"other").is_unread
    assert captured.index.position >= AT


def test_a_change_of_an_unread_file_is_journalled_whole(captured: Captured) -> None:
    captured.capture.start()
    records(captured)
    with (captured.root / "mail" / "cur" / "m5").open("ab") as file:
        file.write(b" and more")
    (captured.root / "mail" / "cur" / "m6").rename(captured.root / "moved")
    found = {r.path: r.change for r in records(captured)}
    grown, moved = found[b"mail/cur/m5"], found[b"moved"]
    assert isinstance(grown, Upsert)
    assert grown.content == Inline(b"mail 5 and more")
    assert isinstance(moved, Upsert)
    assert moved.content == Inline(b"mail 6"), "nobody knows what it held when it was adopted"
    assert not entry_of(captured, b"mail/cur/m5").is_unread


def test_what_is_new_after_the_first_scan_is_journalled(captured: Captured) -> None:
    captured.capture.start()
    records(captured)
    (captured.root / "new").mkdir()
    (captured.root / "new" / "file").write_bytes(b"x")
    assert {b"new", b"new/file"} <= {record.path for record in records(captured)}


def test_another_scan_leaves_unread_what_did_not_change(captured: Captured) -> None:
    captured.capture.start()
    records(captured)
    captured.ahead_ms += 10_000
    captured.capture.scan("t")
    assert not records(captured)
    assert entry_of(captured, b"mail/cur/m5").is_unread


def test_a_process_that_was_killed_goes_on_in_its_epoch(tree: Path, tmp_path: Path) -> None:
    one = start(tree, tmp_path)
    one.capture.start()
    one.tick_ms = 5  # one slice fits into a turn
    for _ in range(1_000):
        one.ahead_ms += 1_000  # and every turn is kept
        (tree / "changes").write_bytes(b"x")  # since there is something new to keep
        one.capture.step(0)
        if one.index.totals("t").objects >= 500:
            break
    assert one.capture.status().scanning, "it is killed in the middle"
    killed(one)
    two = start(tree, tmp_path, first=False)
    try:
        two.capture.start()
        told = {record.path for record in records(two)}
        assert told <= {b"", b"mail", b"one", b"other", b"changes"}, "the rest is adopted"
        assert two.index.totals("t").objects == 707
    finally:
        two.close()


@pytest.mark.parametrize("finished", [True, False])
def test_what_is_found_after_it_is_over_is_journalled(
    tree: Path, tmp_path: Path, *, finished: bool
) -> None:
    """It is over with the first scan, durably; and whatever was left of it, in another epoch."""
    one = start(tree, tmp_path)
    if finished:
        one.capture.start()
        records(one)
    killed(one)
    (tree / "while-nobody-looked").write_bytes(b"x")
    two = Captured(
        tree, tmp_path / "state", tmp_path / "run", epoch=Epoch(1 if finished else 2), earlier=one
    )
    try:
        two.capture.start()
        told = {record.path for record in records(two)}
        assert b"while-nobody-looked" in told
        assert finished or b"mail/cur/m5" in told
    finally:
        two.close()


def test_what_somebody_read_is_entered_unless_the_file_is_another_by_then(
    captured: Captured,
) -> None:
    captured.capture.start()
    records(captured)
    same, changed = entry_of(captured, b"mail/cur/m1"), entry_of(captured, b"mail/cur/m2")
    (captured.root / "mail" / "cur" / "m2").write_bytes(b"changed")
    records(captured)
    digests = {e.path: content_digest(b"mail " + e.path[-1:]) for e in (same, changed)}
    captured.capture.was_read(
        [Read("t", replace(e, digest=digests[e.path]), None) for e in (same, changed)]
    )
    before = captured.index.root("t").digest
    assert not records(captured)
    assert entry_of(captured, same.path).digest == digests[same.path]
    assert entry_of(captured, changed.path).digest == content_digest(b"changed")
    assert captured.index.root("t").digest != before, "what is above it is compared anew"


def test_an_unread_file_equals_nothing(captured: Captured) -> None:
    captured.capture.start()
    records(captured)
    listed = {each.name: each for each in captured.index.listing("t", b"mail/cur") or []}
    assert listed[b"m5"].state == b""


def killed(captured: Captured) -> None:
    """Nothing of it is said to be clean, and what was not committed is forgotten."""
    captured.capture.watcher.close()
    captured.index.close()
    captured.journal.close()
