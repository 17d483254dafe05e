"""Readers: from any place, over segments, beside a writer that appends, trims and resets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.records import deliveries, delivery, open_journal, positions
from staqraft.config.schema import Journal as Limits
from staqraft.journal import segment
from staqraft.journal.cursor import Corrupt, Cursor, Frames, Trimmed, bounds
from staqraft.journal.doorbell import Bell, Doorbell
from staqraft.journal.journal import Journal
from staqraft.journal.record import Chunk, Record
from staqraft.journal.record_codec import decode, encode_at
from staqraft.model import ORIGIN, Epoch, Position

ONE, TWO = Epoch(1), Epoch(2)
SMALL = Limits(segment_bytes=20_000)


def at(seq: int, epoch: int = 1) -> Position:
    return Position(Epoch(epoch), seq)


def test_every_place_is_found(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=Limits(segment_bytes=600_000))
    for start in range(0, 1000, 10):
        journal.append(deliveries(start, 10, 2000), ONE)
    for seq in [0, 1, 2, 250, 299, 300, 301, 500, 998, 999]:
        with Cursor(tmp_path, at(seq) if seq else ORIGIN) as cursor:
            found = cursor.read(1)
        assert isinstance(found, Frames)
        assert (found.first, found.last, found.records) == (at(seq + 1), at(seq + 1), 1)
    assert len(list(tmp_path.glob("*.idx"))) > 1
    journal.close()


def test_the_index_is_only_a_hint(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for start in range(0, 1000, 10):
        journal.append(deliveries(start, 10, 2000), ONE)
    journal.close()
    index = next(tmp_path.glob("*.idx"))
    for content in (b"", b"rubbish" * 100, index.read_bytes()[:-5]):
        index.write_bytes(content)
        with Cursor(tmp_path, at(900)) as cursor:
            found = cursor.read(100_000)
        assert isinstance(found, Frames)
        assert found.first == at(901)


def test_a_reader_goes_on_over_segments_and_takes_large_records_whole(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=SMALL)
    with Cursor(tmp_path, ORIGIN) as cursor:
        assert cursor.read(100) is None
        for number in range(1, 30):
            journal.append([delivery(number, number * 3000)], ONE)
            found = cursor.read(100)
            assert isinstance(found, Frames)
            assert (found.last.seq, found.records) == (number, 1)
            assert next(decode(found.data)).path == delivery(number).path
            assert cursor.read(100) is None
    journal.close()


def test_a_half_written_record_is_no_news(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(deliveries(1, 2), ONE)
    journal.sync()
    path = segment.listing(tmp_path)[-1].segment(tmp_path)
    whole = encode_at(delivery(3, 300), at(3))
    with Cursor(tmp_path, at(2)) as cursor, path.open("ab") as raw:
        for byte in whole[:-1]:
            raw.write(bytes((byte,)))
            raw.flush()
            assert cursor.read(1 << 20) is None
            assert bounds(tmp_path)[1] == at(2)
        raw.write(whole[-1:])
        raw.flush()
        assert isinstance(cursor.read(1 << 20), Frames)
    journal.close()


def test_a_reader_that_is_too_late_is_told_what_there_is(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=Limits(segment_bytes=20_000, max_bytes=60_000))
    with Cursor(tmp_path, ORIGIN) as slow:
        journal.append([delivery(1, 1000)], ONE)
        assert isinstance(slow.read(10), Frames)
        for number in range(2, 300):
            journal.append([delivery(number, 1000)], ONE)
        seen = slow.read(1 << 20)  # what its open segment still had
        while isinstance(seen, Frames):
            seen = slow.read(1 << 20)
        assert isinstance(seen, Trimmed)
        assert (seen.first, seen.last) == (journal.first, at(299))
        assert str(tmp_path) in seen.reason
    journal.close()


class ResetMidway(Cursor):
    """The journal is reset between the look for the segment and the look into it."""

    def __init__(self, directory: Path, after: Position, journal: Journal) -> None:
        super().__init__(directory, after)
        self._todo = [journal]

    def _hint(self, previous: Position) -> tuple[Position, int]:
        for journal in self._todo:
            self._todo = []
            journal.reset(self.after)
        return super()._hint(previous)


def test_a_reset_while_a_place_is_looked_for_is_no_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with ResetMidway(tmp_path, at(40), journal) as cursor:
        assert cursor.read(1) is None
        journal.append(deliveries(0, 1), ONE)
        assert isinstance(cursor.read(1), Frames)
    journal.close()


def test_a_reader_learns_of_a_reset(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(deliveries(1, 5), ONE)
    with Cursor(tmp_path, at(5)) as here, Cursor(tmp_path, at(2)) as behind:
        assert here.read(10) is None
        assert isinstance(behind.read(10), Frames)
        journal.reset(at(5))
        assert here.read(10) is None
        journal.append(deliveries(6, 1), TWO)
        assert isinstance(here.read(10), Frames)
        assert isinstance(behind.read(10), Trimmed)
    journal.close()


def test_a_reader_ahead_of_the_journal_waits_for_it(tmp_path: Path) -> None:
    """As trees do after a reconcile: the stream process resets the journal a moment later."""
    journal = open_journal(tmp_path)
    with Cursor(tmp_path, at(40, 2)) as cursor:
        assert cursor.read(10) is None
        journal.reset(at(40, 2))
        assert cursor.read(10) is None
        journal.append(deliveries(1, 1), TWO)
        found = cursor.read(10)
        assert isinstance(found, Frames)
        assert found.first == at(41, 2)
    journal.close()


def test_a_reader_of_another_history_is_told_so(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(deliveries(1, 5), ONE)
    journal.append(deliveries(6, 5), TWO)
    for parted in (at(8, 1), at(3, 2), at(5, 2)):
        with Cursor(tmp_path, parted) as cursor:
            found = cursor.read(10)
        assert isinstance(found, Trimmed)
        assert f"record {parted.seq} is" in found.reason
    journal.roll()
    with Cursor(tmp_path, at(10, 1)) as cursor:
        assert isinstance(cursor.read(10), Trimmed)
    with Cursor(tmp_path, at(10, 2)) as cursor:
        assert cursor.read(10) is None
    journal.close()


def test_damage_in_an_older_segment_is_found_and_later_places_still_are(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=SMALL)
    for number in range(100):
        journal.append([delivery(number, 1000)], ONE)
    journal.sync()
    names = segment.listing(tmp_path)
    path = names[1].segment(tmp_path)
    data = bytearray(path.read_bytes())
    data[segment.HEADER_BYTES + 5000] ^= 8
    path.write_bytes(bytes(data))
    with Cursor(tmp_path, ORIGIN) as cursor:
        found = cursor.read(1 << 20)
        while isinstance(found, Frames):
            found = cursor.read(1 << 20)
        assert isinstance(found, Corrupt)
        assert "checksum does not match" in found.reason
        assert str(path) in found.reason
    assert positions(tmp_path, at(names[2].first_seq - 1))[-1] == at(100)
    journal.close()


def test_a_missing_segment_is_found(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, limits=SMALL)
    for number in range(100):
        journal.append([delivery(number, 1000)], ONE)
    names = segment.listing(tmp_path)
    names[1].segment(tmp_path).unlink()
    with Cursor(tmp_path, at(names[1].first_seq)) as cursor:
        assert isinstance(cursor.read(1 << 20), Corrupt)
    journal.close()


def test_a_file_whose_content_looks_like_a_record_does_not_become_one(tmp_path: Path) -> None:
    """Whoever may write mail could store a frame with a position that the journal will reach."""
    trap = encode_at(delivery(666), at(4))
    journal = open_journal(tmp_path)
    for _ in range(6):
        stored = Record(tree="mail", path=b"x", change=Chunk(stage=1, offset=0, data=trap))
        journal.append([stored], ONE)
    with Cursor(tmp_path, at(3)) as cursor:
        found = cursor.read(1)
    assert isinstance(found, Frames)
    assert next(decode(found.data)).path == b"x"
    journal.close()


def test_a_missing_journal_has_nothing_yet(tmp_path: Path) -> None:
    with Cursor(tmp_path / "none", ORIGIN) as cursor:
        assert cursor.read(100) is None
        assert bounds(tmp_path / "none") == (Position(Epoch(0), 1), ORIGIN)
        journal = open_journal(tmp_path / "none")
        journal.append(deliveries(1, 1), ONE)
        assert isinstance(cursor.read(100), Frames)
        journal.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=25), st.booleans())
def test_readers_agree_with_the_writer_whatever_it_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], reopen: bool
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    limits = Limits(segment_bytes=4000, max_bytes=16_000)
    journal: Journal = open_journal(directory, limits=limits)
    epoch = 1
    cursor = Cursor(directory, ORIGIN)
    for kind, amount in steps:
        match kind:
            case 0 | 1:
                journal.append(deliveries(0, amount, 100), Epoch(epoch))
            case 2:
                epoch += 1
            case 3:
                journal.roll()
            case 5:
                journal.sync()
                journal.make_room()
            case 4 if reopen:
                journal.close()
                journal = open_journal(directory, limits=limits)
        assert bounds(directory) == (journal.first, journal.last)
        found = cursor.read(2000)
        if isinstance(found, Trimmed):
            assert found.first == journal.first
            assert found.first.seq > cursor.after.seq + 1
            cursor.close()
            cursor = Cursor(directory, journal.last)
        else:
            assert found is None or isinstance(found, Frames)
    while isinstance(found := cursor.read(2000), Frames):
        pass
    if found is None:
        assert cursor.after == journal.last
    else:
        assert isinstance(found, Trimmed)
        assert journal.first.seq > cursor.after.seq + 1
    cursor.close()
    journal.close()


READER = """
import sys, time
from pathlib import Path
from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.doorbell import Bell
from staqraft.journal.record_codec import decode
from staqraft.model import ORIGIN
directory, bell, wanted = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
seen = 0
with Bell(bell) as bell, Cursor(directory, ORIGIN) as cursor:
    print("ready", flush=True)
    while seen < wanted:
        found = cursor.read(100_000)
        if found is None:
            bell.wait()
            continue
        assert isinstance(found, Frames), found
        for record in decode(found.data):
            seen += 1
            assert record.position.seq == seen, (record.position, seen)
print(seen)
"""


def test_another_process_reads_while_it_is_written(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal", limits=Limits(segment_bytes=200_000))
    bell = tmp_path / "bell"
    argv = [sys.executable, "-c", READER, str(tmp_path / "journal"), str(bell), "20000"]
    doorbell = Doorbell(bell)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for start in range(0, 20_000, 20):
            journal.append(deliveries(start, 20), ONE)
            doorbell.ring()
        assert reader.stdout.readline() == "20000\n"
    assert reader.returncode == 0
    doorbell.close()
    journal.close()


def test_a_bell_is_never_in_the_way(tmp_path: Path) -> None:
    doorbell = Doorbell(tmp_path / "bell")
    doorbell.ring()  # nobody is there
    with Bell(tmp_path / "bell") as bell:
        assert not bell.wait(0)
        for _ in range(10_000):
            doorbell.ring()  # nobody listens: more than the queue holds
        assert bell.wait(1000)
        while bell.drain():
            pass
        assert not bell.wait(0)
    doorbell.ring()
    with Bell(tmp_path / "bell") as bell:
        doorbell.ring()
        assert bell.wait(1000)
    doorbell.close()
