"""The writer: numbering, epochs, bounds, a full disk, a reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.records import WALL_MS, deliveries, delivery, open_journal, positions, read_all
from fakes.small_disk import fill, small_disk
from staqraft.config.schema import Journal as Limits
from staqraft.errors import JournalCorrupt, JournalError, JournalFull, StaleEpoch
from staqraft.journal.cursor import Cursor, Frames, bounds
from staqraft.journal.record import Record
from staqraft.model import ORIGIN, Epoch, Position

ONE, TWO, THREE = Epoch(1), Epoch(2), Epoch(3)
SMALL = Limits(segment_bytes=10_000, max_bytes=60_000)


def frames_of(directory: Path, after: Position = ORIGIN) -> Frames:
    with Cursor(directory, after) as cursor:
        found = cursor.read(1 << 24)
    assert isinstance(found, Frames)
    return found


def contents(directory: Path) -> list[tuple[bytes, object]]:
    return [(record.path, record.change) for record in read_all(directory)]


def test_numbers_go_on_over_epochs_and_openings(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert (journal.first, journal.last) == (Position(Epoch(0), 1), ORIGIN)
    assert journal.append([], ONE) == ORIGIN
    assert journal.append(deliveries(1, 3), ONE) == Position(ONE, 3)
    assert journal.append(deliveries(4, 2), THREE) == Position(THREE, 5)
    assert journal.sync() == Position(THREE, 5)
    journal.close()
    journal = open_journal(tmp_path)
    assert (journal.first, journal.last) == (Position(ONE, 1), Position(THREE, 5))
    journal.append(deliveries(6, 1), THREE)
    assert contents(tmp_path) == [(r.path, r.change) for r in deliveries(1, 6)]
    assert bounds(tmp_path) == (Position(ONE, 1), Position(THREE, 6))
    journal.close()


def test_an_older_epoch_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(deliveries(1, 1), TWO)
    with pytest.raises(StaleEpoch, match=r"epoch 1 were refused.*epoch 2"):
        journal.append(deliveries(2, 1), ONE)
    assert positions(tmp_path) == [Position(TWO, 1)]
    journal.close()


def test_frames_of_another_journal_are_taken_as_they_are(tmp_path: Path) -> None:
    source = open_journal(tmp_path / "a")
    source.append(deliveries(1, 5), ONE)
    source.append(deliveries(6, 5), TWO)
    found = frames_of(tmp_path / "a")
    copy = open_journal(tmp_path / "b")
    assert copy.append_frames(found.first, found.last, found.data) == Position(TWO, 10)
    assert frames_of(tmp_path / "b") == found
    source.close()
    copy.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "more", "gap", "wrong last"])
def test_frames_that_are_not_what_they_are_said_to_be_are_refused(
    tmp_path: Path, damage: str
) -> None:
    source = open_journal(tmp_path / "a")
    source.append(deliveries(1, 5), ONE)
    source.close()
    copy = open_journal(tmp_path / "b")
    found = frames_of(tmp_path / "a", Position(ONE, 1) if damage == "gap" else ORIGIN)
    data, last = found.data, found.last
    match damage:
        case "flip":
            data = data[:400] + bytes((data[400] ^ 4,)) + data[401:]
        case "cut":
            data = data[:-1]
        case "more":
            data += b"\0"
        case "wrong last":
            last = Position(ONE, 4)
    with pytest.raises(JournalCorrupt, match="were announced behind 0:0"):
        copy.append_frames(found.first, last, data)
    assert positions(tmp_path / "b") == []
    assert copy.last == ORIGIN
    copy.close()


def test_frames_of_an_older_epoch_are_refused(tmp_path: Path) -> None:
    source = open_journal(tmp_path / "a")
    source.append(deliveries(1, 2), ONE)
    source.close()
    copy = open_journal(tmp_path / "b")
    copy.append(deliveries(1, 1), TWO)
    found = frames_of(tmp_path / "a", Position(ONE, 1))
    with pytest.raises(StaleEpoch):
        copy.append_frames(found.first, found.last, found.data)
    copy.close()


def test_old_segments_go_when_the_journal_is_beyond_its_size(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=SMALL)
    for number in range(200):
        journal.append([delivery(number, 1000)], ONE)
        assert journal.bytes_on_disk <= SMALL.max_bytes + 2000
    assert journal.first.seq > 100
    assert positions(tmp_path, Position(ONE, journal.first.seq - 1))[-1] == Position(ONE, 200)
    assert bounds(tmp_path) == (journal.first, journal.last)
    assert sum(p.stat().st_size for p in tmp_path.glob("*.seg")) == journal.bytes_on_disk
    journal.close()


def test_old_segments_go_when_they_are_too_old(tmp_path: Path) -> None:
    limits = Limits(segment_bytes=10_000, max_age_ms=1000)
    early = open_journal(tmp_path, limits=limits)
    early.append(deliveries(1, 100), ONE)
    early.roll()
    early.append(deliveries(101, 1), ONE)
    early.trim()
    assert early.first.seq == 1
    early.close()
    late = open_journal(tmp_path, limits=limits, wall_ms=WALL_MS + 1001)
    late.trim()
    assert late.first.seq == 101
    late.close()


def test_what_is_held_is_not_given_up(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=SMALL)
    journal.hold(Position(ONE, 5))
    while journal.bytes_on_disk < SMALL.max_bytes - 1500:
        journal.append([delivery(1, 1000)], ONE)
    before = journal.last
    with pytest.raises(JournalFull, match="not applied yet"):
        journal.append(deliveries(1, 2, 1000), ONE)
    assert (journal.first, journal.last) == (Position(ONE, 1), before)
    journal.hold(journal.last)
    journal.append(deliveries(1, 2, 1000), ONE)
    assert journal.first.seq > 1
    journal.hold(journal.last)
    journal.append([delivery(0, 200_000)], ONE)  # larger than the bound: it must not wait for ever
    journal.close()


def test_a_reset_is_an_empty_journal_behind_another_record(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(deliveries(1, 3), ONE)
    journal.reset(Position(TWO, 70))
    assert (journal.first, journal.last) == (Position(TWO, 71), Position(TWO, 70))
    assert bounds(tmp_path) == (journal.first, journal.last)
    assert journal.append(deliveries(4, 1), TWO) == Position(TWO, 71)
    journal.reset(ORIGIN)
    journal.reset(Position(TWO, 71))
    assert journal.append(deliveries(4, 1), THREE) == Position(THREE, 72)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    journal.close()


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.append(deliveries(1, 1), ONE)


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 256) as disk:
        journal = open_journal(disk / "journal")
        journal.append(deliveries(1, 10), ONE)
        ballast = fill(disk, leave_bytes=8192)
        before = frames_of(disk / "journal")
        with Cursor(disk / "journal", Position(ONE, 10)) as reader:
            for _ in range(3):
                with pytest.raises(JournalFull, match="no space left for the journal in"):
                    journal.append(deliveries(11, 40, 1000), ONE)
                assert reader.read(1 << 20) is None
            assert frames_of(disk / "journal") == before
            assert journal.last == journal.sync() == Position(ONE, 10)
            ballast.unlink()
            journal.append(deliveries(11, 40, 1000), ONE)
            found = reader.read(1 << 20)
        assert isinstance(found, Frames)
        assert (found.first.seq, found.last.seq) == (11, 50)
        journal.close()
        again = open_journal(disk / "journal")
        assert (again.last.seq, again.notices) == (50, ())
        again.close()


def test_a_full_disk_makes_the_oldest_segments_go_first(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 512) as disk:
        journal = open_journal(disk, limits=Limits(segment_bytes=50_000))
        for number in range(2000):
            journal.append([delivery(number, 1000)], ONE)
        assert journal.first.seq > 1000
        assert positions(disk, Position(ONE, journal.first.seq - 1))[-1].seq == 2000
        journal.close()


def test_a_journal_on_a_full_disk_cannot_be_made_and_says_why(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        ballast = fill(disk)
        with pytest.raises(JournalFull, match="no space left"):
            open_journal(disk / "journal")
        ballast.unlink()
        open_journal(disk / "journal").close()


def test_a_batch_is_written_as_one(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    many: list[Record] = deliveries(1, 3000, 100)
    assert journal.append(many, ONE).seq == 3000
    assert len(positions(tmp_path)) == 3000
    journal.close()
