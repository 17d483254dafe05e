"""The index's shorter ways: a move and its new state in one, and what is remembered of entries."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from staqraft.index import Entry, FileIdentity, Index, MissingParent
from staqraft.index.recent import Recent
from staqraft.journal.record import Metadata, ObjectType
from staqraft.model import Epoch, Position

T = "web"
NAMES = [b"a", b"a/x", b"a/y", b"d", b"d/x", b"d/y", b"d/z", b"f"]


def entry(path: bytes, step: int, dice: random.Random) -> Entry:
    """Few inodes, so that many have several names; now and then a directory."""
    kind = ObjectType.DIRECTORY if dice.random() < 0.3 else ObjectType.FILE
    metadata = Metadata(
        type=kind, mode=0o640, uid=1, gid=2, mtime_ns=step, size=step if kind == 1 else 0
    )
    identity = FileIdentity(dev=5, ino=dice.randrange(1, 5), ctime_ns=step)
    digest = b"" if kind is ObjectType.DIRECTORY else b"d" * 16
    position = Position(Epoch(1), step)
    return Entry(path=path, metadata=metadata, digest=digest, identity=identity, origin=position)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Index, Index]]:
    made = Index.open(tmp_path / "1"), Index.open(tmp_path / "2")
    yield made
    for index in made:
        index.close()


def _do(index: Index, one: bytes, other: bytes, then: Entry, what: int) -> bool:
    try:
        match what:
            case 0:
                index.put(T, replace(then, path=one))
            case 1:
                index.remove(T, one)
            case 2:
                index.move(T, one, other, then)
            case 3:  # the same in two steps
                index.move(T, one, other)
                index.put(T, then)
    except (MissingParent, ValueError):
        return False
    return True


def test_a_move_with_its_state_is_a_move_and_a_put(both: tuple[Index, Index]) -> None:
    dice = random.Random(5)
    quick, plain = both
    for index in both:
        root = entry(b"", 1, random.Random(0))
        directory = replace(root.metadata, type=ObjectType.DIRECTORY, size=0)
        index.put(T, replace(root, metadata=directory, digest=b""))
    moved = 0
    for step in range(2000):
        one, other = dice.choice(NAMES), dice.choice(NAMES)
        then = entry(other, step, dice)
        known = quick.get(T, one)
        if known is not None and dice.random() < 0.7:  # as nearly all that are moved
            then = replace(then, metadata=replace(known.metadata, mtime_ns=step))
            then = replace(then, identity=known.identity, digest=known.digest)
        what = dice.randrange(3)
        done = _do(quick, one, other, then, what)
        assert done == _do(plain, one, other, then, 3 if what == 2 else what), step
        moved += done and what == 2 and one != other
        assert quick.totals(T) == plain.totals(T)
        for above in (b"", b"a", b"d"):
            assert quick.children(T, above) == plain.children(T, above), step
        for name in NAMES:
            assert quick.get(T, name) == plain.get(T, name), (step, name)
    assert moved > 30, "or it proved little"


def directory(path: bytes) -> Entry:
    made = entry(path, 1, random.Random(0))
    metadata = replace(made.metadata, type=ObjectType.DIRECTORY, size=0)
    return replace(made, metadata=metadata, digest=b"")


def file(path: bytes, inode: int) -> Entry:
    made = directory(path)
    metadata = replace(made.metadata, type=ObjectType.FILE, size=1)
    identity = replace(made.identity, ino=inode)
    return replace(made, metadata=metadata, identity=identity, digest=b"d" * 16)


@pytest.mark.parametrize("inode", [7, 8])
def test_who_gets_an_inode_by_a_move_changes_what_its_other_names_compare_as(
    both: tuple[Index, Index], inode: int
) -> None:
    index = both[0]
    for known in (directory(b""), directory(b"a"), directory(b"d")):
        index.put(T, known)
    index.put(T, file(b"a/one", 7))
    index.put(T, file(b"d/other", 8))
    before = {listed.name: listed.subtree for listed in index.listing(T, b"") or ()}
    index.move(T, b"a/one", b"a/two", file(b"a/two", inode))
    after = {listed.name: listed.subtree for listed in index.listing(T, b"") or ()}
    assert before[b"a"] != after[b"a"]
    assert (before[b"d"] != after[b"d"]) == (inode == 8), "it has a second name now"


def test_what_is_moved_onto_the_directory_that_it_lies_in(both: tuple[Index, Index]) -> None:
    index = both[0]
    for known in (directory(b""), directory(b"a"), file(b"a/x", 7)):
        index.put(T, known)
    index.move(T, b"a/x", b"a", file(b"a", 7))
    assert index.children(T, b"") == [file(b"a", 7)]
    assert index.totals(T).objects == 2


def test_what_is_asked_for_again_and_again_is_not_forgotten() -> None:
    recent = Recent(kept=4)
    recent.keep((1, b"asked"), None)
    for number in range(100):
        recent.keep((2, b"%d" % number), None)
        assert recent.look((1, b"asked")) is None
    known = 0
    for number in range(100):
        try:
            recent.look((2, b"%d" % number))
        except KeyError:
            continue
        known += 1
    assert 0 < known <= 8


def test_what_is_forgotten_is_forgotten_however_old() -> None:
    recent = Recent(kept=2)
    for number in range(4):
        recent.keep((1, b"%d" % number), None)
    for number in range(4):
        recent.forget((1, b"%d" % number))
        with pytest.raises(KeyError):
            recent.look((1, b"%d" % number))
