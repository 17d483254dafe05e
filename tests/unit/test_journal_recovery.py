"""What a writer does about a journal that was not closed cleanly, or was damaged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fakes.records import BOOT, MAIL, WALL_MS, deliveries, open_journal, positions
from staqraft.config.schema import Journal as Limits
from staqraft.errors import JournalBusy, JournalCorrupt, JournalError
from staqraft.journal import segment, state
from staqraft.journal.cursor import Corrupt, Cursor, bounds
from staqraft.journal.journal import Journal
from staqraft.model import ORIGIN, Epoch, Position

ONE, TWO = Epoch(1), Epoch(2)


def crash(journal: Journal, to: Path) -> Path:
    """What is on disk now, as a copy: the writer never got to close it."""
    shutil.copytree(journal.directory, to)
    journal.close()
    return to


def last_segment(directory: Path) -> Path:
    return segment.listing(directory)[-1].segment(directory)


def lost_tail(journal: Journal) -> bool:
    return journal.lost_tail


def at(epoch: int, seq: int) -> Position:
    return Position(Epoch(epoch), seq)


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """Three durable records and three that were appended and not synced."""
    journal = open_journal(tmp_path / "before")
    journal.append(deliveries(1, 3, 60), ONE)
    journal.sync()
    journal.append(deliveries(4, 3, 60), ONE)
    return crash(journal, tmp_path / "crashed")


def test_a_tail_torn_at_any_byte_is_cut_and_said(crashed: Path, tmp_path: Path) -> None:
    size = last_segment(crashed).stat().st_size
    durable_end = (state.read(crashed) or state.WriterState()).end
    ends = set()
    for length in range(durable_end, size + 1):
        copy = tmp_path / f"cut-{length}"
        shutil.copytree(crashed, copy)
        os.truncate(last_segment(copy), length)
        assert bounds(copy)[1].seq >= 3
        journal = open_journal(copy)
        ends.add(journal.last.seq)
        assert journal.last == positions(copy)[-1]
        assert last_segment(copy).stat().st_size <= length
        if journal.notices:
            assert "bytes were cut off" in journal.notices[0]
        after = journal.append(deliveries(9, 1), ONE)
        assert [p.seq for p in positions(copy)] == list(range(1, after.seq + 1))
        journal.close()
        shutil.rmtree(copy)
    assert ends == {3, 4, 5, 6}


def test_a_tail_of_which_later_pages_reached_the_disk_first_is_cut(crashed: Path) -> None:
    path = last_segment(crashed)
    durable_end = (state.read(crashed) or state.WriterState()).end
    data = bytearray(path.read_bytes())
    data[durable_end : durable_end + 40] = bytes(40)  # the kernel wrote the second page only
    path.write_bytes(bytes(data))
    journal = open_journal(crashed, boot="boot-2")
    assert journal.last == at(1, 3)
    assert "nothing is written here yet" in journal.notices[0]
    journal.close()


def test_a_bit_flipped_anywhere_in_what_was_durable_is_found_by_readers(crashed: Path) -> None:
    path = last_segment(crashed)
    whole = path.read_bytes()
    durable_end = (state.read(crashed) or state.WriterState()).end
    for byte in range(segment.HEADER_BYTES, durable_end):
        path.write_bytes(whole[:byte] + bytes((whole[byte] ^ 0x10,)) + whole[byte + 1 :])
        with Cursor(crashed, ORIGIN) as cursor:
            found = cursor.read(1 << 20)
            if not isinstance(found, Corrupt):
                found = cursor.read(1 << 20)
            assert isinstance(found, Corrupt)
            assert "the replicas have to be compared" in found.reason
            assert str(path) in found.reason


def test_a_bit_flipped_in_a_header_is_corrupt_for_everybody(crashed: Path) -> None:
    path = last_segment(crashed)
    whole = path.read_bytes()
    for byte in range(segment.HEADER_BYTES):
        path.write_bytes(whole[:byte] + bytes((whole[byte] ^ 0x01,)) + whole[byte + 1 :])
        with pytest.raises(JournalCorrupt, match=r"\.seg"):
            open_journal(crashed)
        with pytest.raises(JournalCorrupt):
            bounds(crashed)
        with Cursor(crashed, ORIGIN) as cursor:
            assert isinstance(cursor.read(1000), Corrupt)


def test_without_the_writers_note_damage_before_good_records_is_no_torn_tail(crashed: Path) -> None:
    (crashed / state.FILE_NAME).unlink()
    path = last_segment(crashed)
    data = bytearray(path.read_bytes())
    data[segment.HEADER_BYTES + 50] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(JournalCorrupt, match="goes on with record 1:2"):
        open_journal(crashed)


def test_a_damaged_journal_is_rebuilt_behind_everything_that_it_had(crashed: Path) -> None:
    path = last_segment(crashed)
    path.write_bytes(b"no header" + path.read_bytes()[9:])
    journal = Journal.rebuild(
        crashed,
        cluster="lab",
        group=MAIL,
        limits=Limits(),
        boot_id=BOOT,
        now_ms=lambda: WALL_MS,
        after=at(1, 2),
    )
    assert journal.last == at(1, 3)
    assert positions(crashed, journal.last) == []
    assert "its records were given up" in journal.notices[0]
    assert journal.lost_tail
    assert journal.lost_epoch == ONE
    assert journal.append(deliveries(1, 1), TWO) == at(2, 4)
    journal.close()


def test_a_crash_of_the_process_loses_nothing(crashed: Path) -> None:
    journal = open_journal(crashed)
    assert journal.last == at(1, 6)
    assert not journal.lost_tail
    assert journal.notices == ()
    journal.close()


def test_after_a_power_cut_the_epoch_cannot_be_continued(crashed: Path) -> None:
    journal = open_journal(crashed, boot="boot-2")
    assert (journal.lost_tail, journal.lost_epoch) == (True, ONE)
    assert "may be lost" in journal.notices[0]
    journal.close()
    again = open_journal(crashed, boot="boot-2")
    assert lost_tail(again), "a restart of the process does not bring the records back"
    again.append(deliveries(1, 1), TWO)
    assert not lost_tail(again)
    again.close()


def test_after_a_clean_stop_another_boot_means_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(deliveries(1, 3), ONE)
    journal.close()
    again = open_journal(tmp_path, boot="boot-2")
    assert not again.lost_tail
    assert (again.first, again.last, again.notices) == (at(1, 1), at(1, 3), ())
    again.close()


def test_an_epoch_without_a_durable_record_is_remembered(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "before")
    journal.append(deliveries(1, 1), ONE)
    journal.sync()
    end = last_segment(tmp_path / "before").stat().st_size
    journal.append(deliveries(2, 1), TWO)
    crashed = crash(journal, tmp_path / "crashed")
    os.truncate(last_segment(crashed), end)  # the power went before the record was on the disk
    again = open_journal(crashed, boot="boot-2")
    assert again.last == at(1, 1)
    assert (again.lost_tail, again.lost_epoch) == (True, TWO)
    again.close()


def test_records_that_were_durable_and_vanished_are_said(crashed: Path) -> None:
    os.truncate(last_segment(crashed), segment.HEADER_BYTES + 10)
    journal = open_journal(crashed)
    assert journal.last == ORIGIN
    assert journal.lost_tail
    assert any("lacks records up to 1:3" in notice for notice in journal.notices)
    journal.close()


def test_segments_that_are_gone_do_not_let_numbers_be_used_twice(crashed: Path) -> None:
    last_segment(crashed).unlink()
    journal = open_journal(crashed)
    assert journal.last == at(1, 3)
    assert journal.lost_tail
    assert "has no segments" in journal.notices[0]
    journal.close()


def test_an_interrupted_reset_is_completed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "old")
    journal.append(deliveries(1, 3), ONE)
    old = last_segment(journal.directory).read_bytes()
    name = last_segment(journal.directory).name
    journal.reset(at(2, 50))
    crashed = crash(journal, tmp_path / "crashed")
    (crashed / name).write_bytes(old)  # it was not removed yet
    (crashed / "00000003-0000000000000001.new").write_bytes(b"half")
    assert bounds(crashed) == (at(2, 51), at(2, 50))
    again = open_journal(crashed)
    assert again.last == at(2, 50)
    assert "interrupted reset" in again.notices[0]
    assert [p.name for p in sorted(crashed.glob("*.seg"))] == [last_segment(crashed).name]
    assert not list(crashed.glob("*.new"))
    again.close()


def test_another_clusters_journal_is_left_alone(crashed: Path) -> None:
    before = last_segment(crashed).read_bytes()
    with pytest.raises(JournalError, match="belongs to group mail of cluster lab"):
        open_journal(crashed, cluster="other")
    assert last_segment(crashed).read_bytes() == before


def test_only_one_process_writes(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(JournalBusy, match=f"pid {os.getpid()}"):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path).close()
