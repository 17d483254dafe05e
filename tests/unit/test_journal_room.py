"""Room ahead of a journal's end: syncs need no file system's transaction, and nobody sees it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fakes.records import deliveries, delivery, open_journal, positions
from fakes.small_disk import fill, small_disk
from staqraft.config.schema import Journal as Limits
from staqraft.journal import segment, state
from staqraft.journal.cursor import Cursor, Frames, bounds
from staqraft.journal.journal import Journal
from staqraft.journal.lag import Lag, lag
from staqraft.journal.room import LITTLE_BYTES, ROOM_BYTES
from staqraft.model import Epoch, Position

ONE = Epoch(1)


def with_room(directory: Path, *, limits: Limits | None = None) -> Journal:
    journal = open_journal(directory, limits=limits)
    journal.append(deliveries(1, 3), ONE)
    journal.sync()
    journal.make_room()
    return journal


def size(directory: Path) -> int:
    return segment.listing(directory)[-1].segment(directory).stat().st_size


def wants_room(journal: Journal) -> bool:
    return journal.wants_room


def killed(journal: Journal, to: Path) -> Path:
    """What its writer left."""
    shutil.copytree(journal.directory, to)
    journal.close()
    return to


def test_what_is_appended_does_not_make_the_file_longer(tmp_path: Path) -> None:
    journal = with_room(tmp_path)
    before = size(tmp_path)
    for number in range(4, 40):
        journal.append([delivery(number)], ONE)
        journal.sync()
    assert size(tmp_path) == before > ROOM_BYTES
    assert [p.seq for p in positions(tmp_path)] == list(range(1, 40))
    journal.close()


def test_readers_take_it_for_nothing_yet(tmp_path: Path) -> None:
    journal = with_room(tmp_path)
    last = journal.last
    assert bounds(tmp_path) == (Position(ONE, 1), last)
    assert lag(tmp_path, last) == Lag()
    with Cursor(tmp_path, last) as reader:
        assert reader.read(1 << 20) is None
        journal.append(deliveries(4, 2), ONE)
        found = reader.read(1 << 20)
        assert isinstance(found, Frames)
        assert found.last.seq == 5
        assert lag(tmp_path, last).bytes == len(found.data)  # synced or not
        journal.sync()
        assert lag(tmp_path, last).bytes == len(found.data)
        assert reader.read(1 << 20) is None
    journal.close()


def test_it_is_wanted_where_little_comes_at_a_time_and_half_of_it_is_used(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert not wants_room(journal)
    wanted = 0
    for number in range(400):
        journal.append([delivery(number)], ONE)
        journal.sync()
        if wants_room(journal):
            wanted += 1
            journal.make_room()
            assert not wants_room(journal)
    assert 2 <= wanted <= 1 + 400 * 4200 // (ROOM_BYTES // 2)
    journal.append(deliveries(400, 2 * ROOM_BYTES // LITTLE_BYTES, LITTLE_BYTES), ONE)
    journal.sync()
    assert not wants_room(journal), "what gets much at a time would write all of it twice"
    assert journal.bytes_on_disk == size(tmp_path)
    journal.close()


def test_a_segment_that_is_left_has_none(tmp_path: Path) -> None:
    journal = with_room(tmp_path)
    first = segment.listing(tmp_path)[-1].segment(tmp_path)
    written = journal.bytes_on_disk
    with Cursor(tmp_path, journal.last) as reader:
        assert reader.read(1000) is None
        journal.roll()
        assert first.stat().st_size == written
        journal.append(deliveries(4, 2), ONE)
        assert isinstance(reader.read(1 << 20), Frames)
    assert lag(tmp_path, Position(ONE, 1)).bytes > 0
    journal.close()


def test_a_journal_that_was_closed_has_none(tmp_path: Path) -> None:
    journal = with_room(tmp_path)
    written = journal.bytes_on_disk
    journal.close()
    assert size(tmp_path) == written


def test_after_a_kill_it_is_cut_without_a_word(tmp_path: Path) -> None:
    journal = with_room(tmp_path / "killed")
    journal.append(deliveries(4, 2), ONE)
    left = killed(journal, tmp_path / "left")
    again = open_journal(left)
    assert (again.last.seq, again.notices, again.lost_tail) == (5, (), False)
    assert size(left) == again.bytes_on_disk
    again.close()


def test_what_a_power_cut_left_in_it_is_cut_and_said(tmp_path: Path) -> None:
    journal = with_room(tmp_path / "killed")
    end = journal.bytes_on_disk
    left = killed(journal, tmp_path / "left")
    with segment.listing(left)[-1].segment(left).open("r+b") as file:
        file.seek(end + 5000)  # the later page reached the disk, the earlier did not
        file.write(b"half of a mail")
    again = open_journal(left, boot="boot-2")
    assert again.last.seq == 3
    assert "bytes were cut off" in again.notices[0]
    assert again.append(deliveries(4, 1), Epoch(2)).seq == 4
    assert [p.seq for p in positions(left)] == [1, 2, 3, 4]
    again.close()


def test_pages_lost_in_the_middle_of_what_was_not_synced_are_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a new segment, of which the disk may have nothing but what was synced on purpose."""
    synced: dict[str, bytes] = {}
    real = os.fsync

    def noting(number: int) -> None:
        real(number)
        path = Path(f"/proc/self/fd/{number}").readlink()
        if path.is_file():
            synced[path.name] = path.read_bytes()

    monkeypatch.setattr(os, "fsync", noting)
    journal = with_room(tmp_path / "cut", limits=Limits(segment_bytes=2 << 20))
    journal.roll()
    journal.append([delivery(4)], ONE)
    journal.sync()
    journal.make_room()
    noted, found = synced[state.FILE_NAME], state.read(journal.directory)
    assert found is not None
    journal.append(deliveries(5, 3, 5000), ONE)
    left = killed(journal, tmp_path / "left")
    (left / state.FILE_NAME).write_bytes(noted)
    with segment.listing(left)[-1].segment(left).open("r+b") as file:
        file.seek(found.end + 1000)
        file.write(bytes(2000))  # of the first of three, behind which the others are whole
    again = open_journal(left, boot="boot-2")
    assert again.last.seq == 4
    assert again.lost_tail
    again.close()


def test_on_a_full_disk_there_is_none_and_appending_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 512) as disk:
        journal = open_journal(disk / "journal")
        journal.append(deliveries(1, 3), ONE)
        journal.sync()
        ballast = fill(disk, leave_bytes=64 << 10)
        journal.make_room()
        assert not wants_room(journal), "it is not asked for again and again"
        assert size(disk / "journal") == journal.bytes_on_disk
        journal.append(deliveries(4, 3), ONE)
        journal.sync()
        assert [p.seq for p in positions(disk / "journal")] == list(range(1, 7))
        ballast.unlink()
        journal.close()


def test_a_batch_for_which_there_is_no_space_takes_the_room_with_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4096) as disk:
        journal = with_room(disk / "journal")
        ballast = fill(disk)
        for _ in range(2):
            with pytest.raises(Exception, match="no space left"):
                journal.append(deliveries(4, 40, 50_000), ONE)
        assert size(disk / "journal") == journal.bytes_on_disk
        journal.append(deliveries(4, 2), ONE)
        assert journal.sync().seq == 5
        assert [p.seq for p in positions(disk / "journal")] == [1, 2, 3, 4, 5]
        ballast.unlink()
        assert wants_room(journal)
        journal.close()
