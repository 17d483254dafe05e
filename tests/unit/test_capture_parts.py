"""The parts of capture that need no kernel to be tried: event bytes, the dirty set, signatures."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staqraft.capture import dirty, fanotify, handles
from staqraft.capture.directories import DirectoryMap
from staqraft.capture.dirty import HOLD_MS, DirtySet
from staqraft.capture.exclude import Excludes
from staqraft.capture.mapped import mapped_files
from staqraft.capture.pace import PATIENCE_MS, QUIET_MS, Paces
from staqraft.capture.signatures import BLOCK_BYTES, Memories, Memory, block_size
from staqraft.config.schema import Tree
from staqraft.index import content_digest

FSID = b"\x01\x02\x03\x04\x05\x06\x07\x08"


class Busy:
    """A libc call that says ENOMEM so many times before it says what it has to say."""

    def __init__(self, times: int, result: int) -> None:
        self.times, self.result = times, result

    def __call__(self) -> int:
        self.times -= 1
        ctypes.set_errno(errno.ENOMEM if self.times >= 0 else errno.ESTALE)
        return -1 if self.times >= 0 else self.result


@pytest.mark.parametrize("result", [7, -1])
def test_a_directory_that_moves_while_it_is_opened_is_looked_for_again(result: int) -> None:
    pauses: list[float] = []
    assert handles.patiently(Busy(3, result), pauses.append) == result
    assert ctypes.get_errno() != errno.ENOMEM
    assert len(pauses) == 3


def test_a_lack_of_memory_that_stays_is_said() -> None:
    pauses: list[float] = []
    assert handles.patiently(Busy(1000, 7), pauses.append) == -1
    assert ctypes.get_errno() == errno.ENOMEM
    assert 1 < sum(pauses) < 10


def info(kind: int, handle: bytes, name: bytes = b"") -> bytes:
    text = name + b"\0" * (4 - len(name) % 4) if name else b""
    body = FSID + struct.pack("=Ii", len(handle), 1) + handle + text
    return struct.pack("=BBH", kind, 0, 4 + len(body)) + body


def event(mask: int, *infos: bytes, pid: int = 7) -> bytes:
    body = b"".join(infos)
    return struct.pack("=IBBHQii", 24 + len(body), 3, 0, 24, mask, -1, pid) + body


def key(handle: bytes) -> bytes:
    return FSID + struct.pack("=Ii", len(handle), 1) + handle


def test_events_are_taken_apart() -> None:
    data = event(
        fanotify.RENAME,
        info(10, b"old-dir-", b"from"),
        info(12, b"new-dir-", b"to"),
        info(1, b"the-file"),
    ) + event(fanotify.CREATE | fanotify.ONDIR, info(2, b"old-dir-", b"caf\xe9"))
    first, second = fanotify.parse(data)
    assert first.places == ((key(b"old-dir-"), b"from"), (key(b"new-dir-"), b"to"))
    assert first.target == key(b"the-file")
    assert second.places == ((key(b"old-dir-"), b"caf\xe9"),)
    assert second.target is None


def test_an_overflow_has_no_place() -> None:
    (only,) = fanotify.parse(event(fanotify.OVERFLOW))
    assert only.places == ()


def test_a_kernel_that_speaks_otherwise_is_refused() -> None:
    data = bytearray(event(fanotify.CREATE))
    data[4] = 9
    with pytest.raises(ValueError, match="unknown version 9"):
        list(fanotify.parse(bytes(data)))


class Clock:
    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now


def test_what_is_complete_is_due_at_once_and_what_is_being_written_soon() -> None:
    clock = Clock()
    marks = DirtySet(clock)
    marks.add([(1, b"renamed", dirty.NAMED), (1, b"open", dirty.CREATED | dirty.CONTENT)])
    assert set(marks.take(everything=False)) == {(1, b"renamed")}
    marks.add([(1, b"open", dirty.CONTENT)])
    assert not marks.take(everything=False)
    marks.add([(1, b"open", dirty.CLOSED)])
    assert set(marks.take(everything=False)) == {(1, b"open")}
    marks.add([(1, b"log", dirty.CONTENT)])
    clock.now += HOLD_MS
    assert set(marks.take(everything=False)) == {(1, b"log")}


def test_a_file_that_changes_for_ever_is_neither_starved_nor_given_out_at_once() -> None:
    clock = Clock()
    marks = DirtySet(clock)
    taken = 0
    for _ in range(1000):
        marks.add([(1, b"hot", dirty.CONTENT | dirty.CLOSED)])
        if marks.take(everything=False):
            taken += 1
            marks.cool((1, b"hot"), clock.now + 100)
        clock.now += 1
    assert taken == 10


def test_a_large_file_is_read_when_its_writer_is_done_or_takes_too_long() -> None:
    clock, file = Clock(), ("t", 1, 2)
    paces = Paces(clock)
    assert not paces.is_too_early(file, dirty.CONTENT | dirty.CLOSED)
    assert not paces.is_too_early(file, dirty.SCANNED)
    assert paces.is_too_early(file, dirty.CONTENT)
    clock.now += PATIENCE_MS
    assert not paces.is_too_early(file, dirty.CONTENT)
    clock.now += QUIET_MS
    assert paces.is_too_early(file, dirty.CONTENT), "that was another story"


def test_a_large_file_that_goes_on_changing_is_read_less_and_less_often() -> None:
    clock, file = Clock(), ("t", 1, 2)
    paces = Paces(clock)
    assert [paces.pause_ms(file, 200) for _ in range(6)] == [50, 200, 400, 600, 600, 600]
    assert not paces.is_too_early(file, dirty.CONTENT), "it is not waited for besides"
    paces.held_still(file)
    assert paces.pause_ms(file, 200) == 50


def test_a_barrier_takes_what_is_held_and_cooling() -> None:
    marks = DirtySet(Clock())
    marks.cool((1, b"hot"), 5000)
    marks.add([(1, b"hot", dirty.CLOSED), (1, b"open", dirty.CONTENT)])
    assert not marks.take(everything=False)
    assert len(marks.take(everything=True)) == 2


def test_the_dirty_set_is_bounded() -> None:
    marks = DirtySet(Clock(), limit=100)
    marks.add((1, b"%d" % number, dirty.NAMED) for number in range(1000))
    assert len(marks) == 0
    assert marks.take_overflow()
    assert not marks.take_overflow()


def test_the_map_moves_and_detaches_whole_subtrees() -> None:
    directories = DirectoryMap()
    root = directories.add_root("t", 1, (0, 1))
    a = directories.attach(root, b"a", 2, (0, 2))
    b = directories.attach(a, b"b", 3, (0, 3))
    assert b.path == b"a/b"
    directories.move(a, root, b"c")
    assert b.path == b"c/b"
    assert directories.find("t", b"c/b") is b
    assert directories.find("t", b"a/b") is None
    assert sorted(str(k) for k in directories.detach(a)) == ["2", "3"]
    assert not directories.has(b)


def test_patterns_leave_out_names_paths_and_directories() -> None:
    excludes = Excludes(
        Tree(name="t", path=Path("/t"), exclude=("*.swp", "cache/", "/sites/*/log", "a[b]c"))
    )
    assert excludes.excludes(b"x/.a.swp", is_directory=False)
    assert excludes.excludes(b"x/cache", is_directory=True)
    assert not excludes.excludes(b"x/cache", is_directory=False)
    assert excludes.excludes(b"sites/one/log", is_directory=True)
    assert not excludes.excludes(b"other/one/log", is_directory=True)
    assert excludes.excludes(b"abc", is_directory=False)
    assert excludes.excludes(b"x/.staqraft-staging", is_directory=True)
    assert excludes.excludes_below(b"x/cache/deep/file", is_directory=False)
    assert not excludes.excludes_below(b"x/caches/file", is_directory=False)


@given(st.binary(max_size=3 * BLOCK_BYTES), st.binary(max_size=2 * BLOCK_BYTES))
def test_an_append_is_recognised_and_its_memory_is_as_if_read_whole(
    old: bytes, more: bytes
) -> None:
    memory = Memory.of(old, content_digest(old))
    offset = max(0, len(old) // BLOCK_BYTES - 1) * BLOCK_BYTES
    grown = memory.extended(offset, (old + more)[offset:])
    assert grown is not None
    whole = Memory.of(old + more, content_digest(old + more))
    assert (grown.digest, grown.size, grown.hashes) == (whole.digest, whole.size, whole.hashes)


@given(
    st.binary(min_size=1, max_size=5 * BLOCK_BYTES),
    st.lists(st.tuples(st.integers(0, 5 * BLOCK_BYTES), st.binary(max_size=50)), max_size=4),
)
def test_extents_make_the_old_content_the_new(old: bytes, writes: list[tuple[int, bytes]]) -> None:
    new = bytearray(old)
    for offset, piece in writes:
        if offset > len(new):
            new.extend(bytes(offset - len(new)))
        new[offset : offset + len(piece)] = piece
    extents, _ = Memory.of(old, content_digest(old)).changed(0, bytes(new))
    made = bytearray(old.ljust(len(new), b"\0"))
    for offset, piece in extents:
        made[offset : offset + len(piece)] = piece
    assert made == new


def test_a_change_just_before_the_end_is_no_append() -> None:
    old = os.urandom(10 * BLOCK_BYTES)
    changed = old[:-5] + b"other" + b"appended"
    memory = Memory.of(old, content_digest(old))
    assert memory.extended(8 * BLOCK_BYTES, changed[8 * BLOCK_BYTES :]) is None


def test_memories_survive_packing_and_refuse_what_is_torn() -> None:
    memory = Memory.of(b"x" * 10_000, content_digest(b"x" * 10_000))
    packed = memory.pack()
    again = Memory.unpack(packed)
    assert again is not None
    assert (again.digest, again.size, again.hashes) == (memory.digest, 10_000, memory.hashes)
    assert Memory.unpack(packed[:-1]) is None
    assert Memory.unpack(b"") is None


def test_memories_are_bounded_and_only_good_for_their_content() -> None:
    memories = Memories(max_bytes=10_000)
    for number in range(20):
        data = b"%d" % number
        memories.keep(("t", 1, number), Memory.of(data, content_digest(data)))
    assert memories.get(("t", 1, 0), content_digest(b"0")) is None
    assert memories.get(("t", 1, 19), content_digest(b"19")) is not None
    assert memories.get(("t", 1, 19), content_digest(b"other")) is None


def test_signatures_of_huge_files_stay_small() -> None:
    assert block_size(100 << 20) == 4096
    assert block_size(1 << 40) == 1 << 20


def test_shared_writable_mappings_are_found_in_proc(tmp_path: Path) -> None:
    (tmp_path / "123").mkdir()
    (tmp_path / "self").mkdir()
    (tmp_path / "124").mkdir()  # it ended while we looked
    (tmp_path / "123" / "maps").write_text(
        "7f00-7f01 r-xp 00000000 fd:00 99                         /usr/bin/program\n"
        "7f01-7f02 rw-p 00000000 fd:00 98                         /usr/bin/program\n"
        "7f02-7f03 rw-s 00000000 07:03 12                         /srv/mail/data base.mdb\n"
        "7f03-7f04 rw-s 00000000 00:01 0                          /dev/zero (deleted)\n"
    )
    found = list(mapped_files(tmp_path))
    assert found == [{(os.makedev(7, 3), 12)}, set()]
