"""A directory is moved away and made anew while it is compared: what was the old one's goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.source_tree import TREE, SourceTree
from fakes.standby import Standby
from lab.compare import differences, manifest
from staqraft.journal.record import Record, Remove


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceTree]:
    made = SourceTree(tmp_path / "source")
    made.tell(b"")
    for path in (b"box", b"box/new", b"elsewhere"):
        made.mkdir(path)
    yield made
    made.close()


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Standby]:
    made = Standby(tmp_path / "standby")
    yield made
    made.close()


def fetch(source: SourceTree, standby: Standby, paths: Sequence[bytes]) -> None:
    """As a comparison does: the objects as they are now, and as of the newest record."""
    newest = source.records[-1].position
    told = len(source.records)
    for path in paths:
        source.tell_whole(path)
    for record in source.records[told:]:
        standby.applier.apply(replace(record, position=newest), fetched=True)
    del source.records[told:]


def heal(source: SourceTree, standby: Standby) -> list[bytes]:
    """Fetches what is not sure, as the standby does by itself; which objects that were."""
    paths = standby.applier.doubtful.paths(TREE)
    newest = source.records[-1].position
    told = len(source.records)
    for path in paths:
        source.tell_whole(path)
    for record in source.records[told:]:
        standby.applier.heal(replace(record, position=newest))
    del source.records[told:]
    assert standby.applier.settle() == []
    return paths


def compared(source: SourceTree, standby: Standby) -> list[Record]:
    """The standby has what was told so far; `box` went elsewhere and another one came meanwhile."""
    standby.apply_and_commit(source.records)
    standby.applier.doubtful.compared = source.records[-1].position
    begun = len(source.records)
    source.write(b"box/new/late", b"written to the old box")
    source.move(b"box", b"elsewhere/box")
    source.mkdir(b"box")
    source.mkdir(b"box/new")
    source.write(b"box/new/fresh", b"written to the new box")
    later = source.records[begun:]
    everything = (
        b"", b"elsewhere", b"elsewhere/box", b"elsewhere/box/new", b"elsewhere/box/new/late",
        b"box", b"box/new", b"box/new/fresh",
    )  # fmt: skip
    fetch(source, standby, everything)
    return later


def test_what_was_put_into_a_directory_that_went_does_not_stay_in_its_successor(
    source: SourceTree, standby: Standby
) -> None:
    later = compared(source, standby)
    standby.apply(later)
    assert [record.path for record in standby.applier.settle()] == [b"box/new/late"]
    assert heal(source, standby) == [b"box/new/late"]
    standby.applier.commit(source.records[-1].position)
    assert differences(manifest(source.path), manifest(standby.path)) == []


@pytest.mark.parametrize("how", ["something of it was removed", "something in it was fetched"])
def test_a_directory_that_moved_while_it_was_compared_is_compared_again(
    source: SourceTree, standby: Standby, how: str
) -> None:
    source.write(b"box/new/mail", b"in the old box")
    standby.apply_and_commit(source.records)
    doubtful = standby.applier.doubtful
    doubtful.compared = source.records[-1].position
    begun = len(source.records)
    source.move(b"box", b"elsewhere/box")
    source.mkdir(b"box")
    source.mkdir(b"box/new")
    later = source.records[begun:]
    doubtful.compared_until = later[-1].position
    if how == "something of it was removed":  # the listing was of the new one
        gone = Record(tree=TREE, path=b"box/new/mail", change=Remove(), position=doubtful.compared)
        standby.applier.apply(gone, fetched=True)
        doubtful.cleaned.add((TREE, b"box/new"))
    else:
        fetch(source, standby, [b"box/new"])
    standby.apply(later)
    assert b"elsewhere/box" in {record.path for record in doubtful.lost_directories()}


def test_a_directory_that_moved_later_is_moved_and_that_is_all(
    source: SourceTree, standby: Standby
) -> None:
    source.write(b"box/new/mail", b"in the old box")
    standby.apply_and_commit(source.records)
    doubtful = standby.applier.doubtful
    doubtful.compared = doubtful.compared_until = source.records[-1].position
    doubtful.cleaned.add((TREE, b"box/new"))
    begun = len(source.records)
    source.move(b"box", b"elsewhere/box")
    assert standby.apply_and_commit(source.records[begun:]) == []
    assert differences(manifest(source.path), manifest(standby.path)) == []
