"""Runs of new files: done together, and ended by whatever is not as simple as that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.source_tree import TREE
from fakes.standby import Standby
from lab.compare import manifest
from staqraft.index import content_digest
from staqraft.journal.record import Inline, Metadata, ObjectType, Record, Remove, Upsert
from staqraft.model import Epoch, Position


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Standby]:
    made = Standby(tmp_path)
    root = Upsert(
        metadata=Metadata(type=ObjectType.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=1)
    )
    made.apply([Record(tree=TREE, path=path, change=root, position=at(1)) for path in (b"", b"d")])
    yield made
    made.close()


def at(seq: int) -> Position:
    return Position(Epoch(1), seq)


def new(path: bytes, seq: int, data: bytes = b"content", *, before: bytes = b"") -> Record:
    metadata = Metadata(
        type=ObjectType.FILE, mode=0o640, uid=0, gid=0, mtime_ns=seq, size=len(data)
    )
    change = Upsert(metadata=metadata, digest=content_digest(data), content=Inline(data))
    return Record(tree=TREE, path=path, change=change, position=at(seq), before=before)


def test_new_files_of_several_directories_are_done_together(standby: Standby) -> None:
    run = [new(path, 10 + n) for n, path in enumerate((b"d/a", b"top", b"d/b"))]
    assert standby.applier.make_new(run) == 3
    assert standby.watermark.position == at(12)
    assert standby.applier.changes["upsert"] == 5
    for record in run:
        entry = standby.index.get(TREE, record.path)
        assert entry is not None
        assert entry.origin == record.position
        item = manifest(standby.path)[record.path]
        assert (item.mode & 0o7777, item.mtime_ns) == (0o640, record.position.seq)
    assert standby.index.totals(TREE).objects == 5


def test_what_stands_in_the_way_ends_the_run_untouched(standby: Standby) -> None:
    (standby.path / "d" / "b").write_bytes(b"by another hand")
    assert standby.applier.make_new([new(b"d/a", 10), new(b"d/b", 11), new(b"d/c", 12)]) == 1
    assert (standby.path / "d" / "b").read_bytes() == b"by another hand"
    assert standby.index.get(TREE, b"d/b") is None
    assert not (standby.path / "d" / "c").exists()
    assert standby.watermark.position == at(10)


@pytest.mark.parametrize(
    "second",
    [
        new(b"d/a", 11, b"again"),
        new(b"d/other", 11, before=b"state"),
        new(b"not-there/b", 11),
        Record(tree=TREE, path=b"d/a", change=Remove(), position=at(11)),
    ],
)
def test_what_is_no_new_file_of_its_own_ends_the_run(standby: Standby, second: Record) -> None:
    assert standby.applier.make_new([new(b"d/a", 10), second, new(b"d/c", 12)]) == 1
    assert standby.applier.make_new([second]) == 0


def test_a_directory_has_its_time_though_the_process_was_killed(standby: Standby) -> None:
    """Its record came first; what came into it after that changed its time."""
    journal = [new(b"d/a", 10), new(b"d/b", 11)]
    standby.applier.commit(at(1))
    standby.apply(journal)
    assert (standby.path / "d").stat().st_mtime_ns > 1
    standby.restart(journal)
    standby.applier.commit(at(11))
    assert (standby.path / "d").stat().st_mtime_ns == 1


def test_a_file_that_another_hand_removed_gets_its_new_entry(standby: Standby) -> None:
    standby.apply([new(b"d/a", 10)])
    (standby.path / "d" / "a").unlink()
    assert standby.applier.make_new([new(b"d/a", 11, b"later")]) == 1
    entry = standby.index.get(TREE, b"d/a")
    assert entry is not None
    assert (entry.origin, entry.digest) == (at(11), content_digest(b"later"))
    assert standby.index.totals(TREE).objects == 3
