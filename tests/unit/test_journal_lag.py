"""How far behind a reader is: exact over segments, and nothing where nothing can be said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fakes.records import deliveries, open_journal
from staqraft.config.schema import Journal as Limits
from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.lag import Lag, lag
from staqraft.model import ORIGIN, Epoch, Position

ONE = Epoch(1)


def still_to_read(directory: Path, after: Position) -> int:
    total = 0
    with Cursor(directory, after) as cursor:
        while isinstance(found := cursor.read(1 << 20), Frames):
            total += len(found.data)
    return total


def test_it_is_what_a_reader_would_have_to_read(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=Limits(segment_bytes=20_000))
    for start in range(0, 100, 10):
        journal.append(deliveries(start, 10, 700), ONE)
    assert len(list(tmp_path.glob("*.seg"))) > 2
    for seq in (0, 1, 37, 98, 99):
        after = Position(ONE, seq) if seq else ORIGIN
        assert lag(tmp_path, after).bytes == still_to_read(tmp_path, after) > 0
    journal.close()


def test_who_has_all_is_not_behind(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    last = journal.append(deliveries(0, 10, 700), ONE)
    assert lag(tmp_path, last) == Lag()
    journal.close()


def test_the_age_is_that_of_the_oldest(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    records = [replace(r, wall_ms=5000 + n) for n, r in enumerate(deliveries(0, 3, 100))]
    journal.append(records, ONE)
    assert lag(tmp_path, Position(ONE, 1)).since_ms == 5001
    journal.close()
