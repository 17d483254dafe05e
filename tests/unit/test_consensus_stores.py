"""Raft's log and snapshot on disk: what a crash, a bad disk and a full one do to them."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.small_disk import fill, small_disk
from staqraft.consensus import log_file, log_records
from staqraft.consensus.codec import (
    ID_BYTES,
    KIND_NO_OP,
    KIND_REGULAR,
    Entry,
    Snapshot,
    encode_proposal,
)
from staqraft.consensus.errors import BadMessage, StoreCorrupt
from staqraft.consensus.log_records import Damaged
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.errors import ConsensusError, StoreFull
from staqraft.model import ClusterRecord, NodeId, NoteEvent
from staqraft.wire.v1 import raft_pb2 as pb

A, B = NodeId("a"), NodeId("b")


def entry(index: int, term: int = 1, text: str = "x") -> Entry:
    note = NoteEvent(node=A, group=None, kind="test", text=text)
    return KIND_REGULAR + encode_proposal(bytes(ID_BYTES), note), index, term


FIRST: Entry = (KIND_NO_OP, 1, 0)


def open_log(directory: Path, node: NodeId = A) -> LogStore:
    return LogStore.open(directory / "log", cluster="test", node=node)


def filled(directory: Path, last: int = 6) -> LogStore:
    """Entries 1 to `last`, on disk, in term 1, with a's vote for b."""
    log = open_log(directory)
    for one in [FIRST, *(entry(index) for index in range(2, last + 1))]:
        log.add(*one)
    log.setCurrentTerm(1, B)
    log.setRaftCommitIndex(4)
    log.persist()
    return log


def reopened(log: LogStore, directory: Path) -> LogStore:
    log.close()
    return open_log(directory)


def indexes(log: LogStore) -> list[int]:
    return [index for _, index, _ in log[:]]


# --- the log ------------------------------------------------------------------------------------


def test_what_was_persisted_is_there_again(tmp_path: Path) -> None:
    log = reopened(filled(tmp_path), tmp_path)
    assert log[:] == [FIRST, *(entry(index) for index in range(2, 7))]
    assert (log.getCurrentTerm(), log.getVotedForNodeId()) == (1, B)
    assert log.getRaftCommitIndex() == 4
    log.close()


def test_what_was_not_persisted_is_gone(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.add(*entry(7))
    log.setCurrentTerm(2, A)
    log = reopened(log, tmp_path)
    assert log.last_index == 6
    assert (log.getCurrentTerm(), log.getVotedForNodeId()) == (1, B)
    log.close()


def test_entries_cut_off_without_contradiction_come_back(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.deleteEntriesFrom(2)
    log.add(*entry(3))
    assert log.last_index == 3
    log.settle()
    assert indexes(log) == [1, 2, 3, 4, 5, 6]
    log.persist()
    log = reopened(log, tmp_path)
    assert indexes(log) == [1, 2, 3, 4, 5, 6]
    log.close()


def test_entries_cut_off_by_another_history_stay_away(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.deleteEntriesFrom(2)
    log.setCurrentTerm(2, None)
    log.add(*entry(3, term=2))
    log.persist()
    log = reopened(log, tmp_path)
    assert [(index, term) for _, index, term in log[:]] == [(1, 0), (2, 1), (3, 2)]
    log.close()


def test_a_log_is_shortened_for_a_snapshot(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.deleteEntriesTo(3)
    log.persist()
    log = reopened(log, tmp_path)
    assert indexes(log) == [4, 5, 6]
    log.adopt_snapshot(entry(4), entry(5))
    assert indexes(log) == [4, 5, 6]
    log.close()


def test_a_snapshot_newer_than_the_shortening_keeps_what_follows_it(tmp_path: Path) -> None:
    log = reopened(filled(tmp_path), tmp_path)
    log.adopt_snapshot(entry(3), entry(4))
    assert indexes(log) == [3, 4, 5, 6]
    log.persist()
    log = reopened(log, tmp_path)
    assert indexes(log) == [3, 4, 5, 6]
    log.close()


def test_a_snapshot_of_another_history_replaces_the_log(tmp_path: Path) -> None:
    log = reopened(filled(tmp_path), tmp_path)
    log.adopt_snapshot(entry(4, term=2), entry(5, term=2))
    assert [(index, term) for _, index, term in log[:]] == [(4, 2), (5, 2)]
    log.persist()
    log = reopened(log, tmp_path)
    assert (log.getCurrentTerm(), log.getVotedForNodeId()) == (2, None)
    log.close()


def test_a_received_snapshot_far_ahead_replaces_the_log(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.clear()
    log.add(*entry(50, term=2))
    log.add(*entry(51, term=2))
    log.setCurrentTerm(2, None)
    log.persist()
    log = reopened(log, tmp_path)
    assert indexes(log) == [50, 51]
    log.close()


def test_a_snapshot_older_than_the_log_is_refused(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.deleteEntriesTo(3)
    log.persist()
    log = reopened(log, tmp_path)
    with pytest.raises(StoreCorrupt, match="do not belong together"):
        log.adopt_snapshot(entry(2), entry(3))
    with pytest.raises(StoreCorrupt, match="is gone"):
        log.check_complete()
    log.close()


def ends(directory: Path) -> list[int]:
    """Where the transactions of the file end: cut off there, it is a file of one less."""
    content = (directory / "log").read_bytes()
    found = {log_records.read(content).good_bytes}
    for length in range(len(content)):
        with contextlib.suppress(Damaged):
            found.add(log_records.read(content[:length]).good_bytes)
    return sorted(found)


def without(content: bytes, begin: int, end: int) -> bytes:
    return content[:begin] + content[end:]


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda content, _: b"not a log, not at all" * 100, "does not begin as a Raft log"),
        (lambda content, _: b"", "does not begin as a Raft log"),
        (lambda content, _: content[:8], "its beginning cannot be read"),
        (lambda content, at: content[: at[0] - 1], "its beginning cannot be read"),
        (lambda content, at: content[: at[1]], "3 transactions were written to it, but it ends wi"),
        (lambda content, at: content[: at[2] - 1], "3 transactions were written to it"),
        (lambda content, at: without(content, at[0], at[1]), "3 transactions|3 follows 1"),
        (lambda content, at: content.replace(b"seven", b"SEVEN"), "transaction 2 does not match"),
    ],
)
def test_a_damaged_log_is_not_used(
    tmp_path: Path, spoil: Callable[[bytes, list[int]], bytes], finding: str
) -> None:
    log = filled(tmp_path)
    for index, text in ((7, "seven"), (8, "eight")):
        log.add(*entry(index, text=text))
        log.persist()
    log.close()
    path = tmp_path / "log"
    path.write_bytes(spoil(path.read_bytes(), ends(tmp_path)))
    for _ in range(2):  # the second look finds it as it was
        with pytest.raises(StoreCorrupt, match=finding) as caught:
            open_log(tmp_path)
        assert "move" in str(caught.value), "it says what to do"


def test_a_transaction_that_was_cut_short_by_a_crash_was_never_promised(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / "log"
    whole = path.read_bytes()
    stored = log_records.read(whole).stored
    stored.entries.append(entry(7))
    torn = log_records.transaction("test", A, stored, number=2, replace_from=7)
    for length in range(len(torn)):
        path.write_bytes(whole + torn[:length])
        log = open_log(tmp_path)
        assert log.last_index == 6
        log.close()
        assert path.read_bytes() == whole
    path.write_bytes(whole + torn)
    log = open_log(tmp_path)
    assert log.last_index == 7
    log.close()


def test_a_log_of_many_small_changes_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = filled(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_file, "_LONG_BYTES", 1000)
        sizes = []
        for term in range(2, 100):
            log.setCurrentTerm(term, A)
            log.persist()
            sizes.append((tmp_path / "log").stat().st_size)
    assert max(sizes) < 1000 + 6 * sizes[0]
    assert sizes != sorted(sizes), "it began anew"
    log = reopened(log, tmp_path)
    assert (log.getCurrentTerm(), log.last_index) == (99, 6)
    log.close()


def test_an_open_log_is_not_mapped_into_memory(tmp_path: Path) -> None:
    log = filled(tmp_path)
    mapped = Path("/proc/self/maps").read_text()
    assert str(tmp_path) not in mapped, "a full volume would end the daemon by SIGBUS"
    log.close()


def test_a_log_is_not_copied_to_another_node(tmp_path: Path) -> None:
    filled(tmp_path).close()
    with pytest.raises(ConsensusError, match="belongs to node a of cluster test"):
        open_log(tmp_path, node=B)


def test_a_log_has_one_user(tmp_path: Path) -> None:
    log = filled(tmp_path)
    with pytest.raises(ConsensusError, match="is another staqraftd running"):
        open_log(tmp_path)
    log.close()


def append_and_persist(log: LogStore, last: int) -> None:
    log.setCurrentTerm(2, A)
    for index in range(7, last + 1):
        log.add(*entry(index, text="x" * 900))
        log.persist()


def test_a_full_volume_is_said_and_memory_waits(tmp_path: Path) -> None:
    with small_disk(tmp_path / "volume", 256) as volume:
        log = filled(volume)
        ballast = fill(volume)
        with pytest.raises(StoreFull, match="neither votes nor acknowledges"):
            append_and_persist(log, 500)
        reached = log.last_index
        with pytest.raises(StoreFull):
            log.persist()
        ballast.unlink()
        log.persist()
        log = reopened(log, volume)
        assert log.last_index == reached
        assert log.getVotedForNodeId() == A
        log.close()


def test_after_a_sync_that_failed_the_log_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second sync of the same file would succeed, although nothing is known of the first."""
    log = filled(tmp_path)
    before = (tmp_path / "log").stat().st_ino

    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    log.add(*entry(7))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(StoreFull, match="neither votes nor acknowledges"):
            log.persist()
    log.persist()
    assert (tmp_path / "log").stat().st_ino != before
    log = reopened(log, tmp_path)
    assert indexes(log) == list(range(1, 8))
    log.close()


class Disk:
    """What a power cut would leave of a file, with a kernel that forgets what it failed to sync."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.durable = bytearray(path.read_bytes())
        self.failing = False
        self._dirty: list[tuple[int, bytes]] = []
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._write)
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _write(self, descriptor: int, data: bytes, at: int) -> int:
        if os.fstat(descriptor).st_ino == self.path.stat().st_ino:
            self._dirty.append((at, data))
        return self._pwrite(descriptor, data, at)

    def _sync(self, descriptor: int) -> None:
        if os.fstat(descriptor).st_ino != self.path.stat().st_ino:
            return
        dirty, self._dirty = self._dirty, []  # clean from now on, whether they came to the disk
        if self.failing:
            raise OSError(errno.EIO, "Input/output error")
        for at, data in dirty:
            self.durable[at : at + len(data)] = data

    def lose_power(self) -> None:
        """The file is what was on disk."""
        self.path.write_bytes(self.durable)


def test_what_is_read_at_opening_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the process before this one was killed after its sync had failed."""
    log = filled(tmp_path)
    disk = Disk(tmp_path / "log", monkeypatch)
    disk.failing = True
    log.add(*entry(7))
    with pytest.raises(StoreFull):
        log.persist()
    disk.failing = False
    log = reopened(log, tmp_path)
    told = indexes(log)
    log.close()
    disk.lose_power()
    log = open_log(tmp_path)
    assert indexes(log) == told == list(range(1, 8))
    log.close()


def test_a_commit_index_beyond_the_end_is_damage(tmp_path: Path) -> None:
    """It is never written, and the library would wait for entries that nobody has."""
    filled(tmp_path).close()
    path = tmp_path / "log"
    stored = log_records.read(path.read_bytes()).stored
    body = log_records.transaction("test", A, stored, number=2, replace_from=None)
    wire = pb.LogTransaction.FromString(body[log_records._HEAD.size :])
    wire.commit_index = wire.last_index + 1
    data = wire.SerializeToString()
    crc = zlib.crc32(data, zlib.crc32(log_records._SEALED.pack(len(data), 2)))
    header = log_records._HEAD.pack(log_records._MARK, len(data), 2, crc)
    path.write_bytes(path.read_bytes() + header + data)
    with pytest.raises(StoreCorrupt, match="out of range"):
        open_log(tmp_path)


# --- the snapshot -------------------------------------------------------------------------------

SNAPSHOT = Snapshot(last=entry(9), previous=entry(8), record=ClusterRecord(log_index=9))


def open_snapshots(directory: Path, cluster: str = "test") -> SnapshotStore:
    return SnapshotStore(directory / "raft" / "snapshot", cluster=cluster)


def test_a_snapshot_is_there_again(tmp_path: Path) -> None:
    assert open_snapshots(tmp_path).load() is None
    store = open_snapshots(tmp_path)
    store.save(SNAPSHOT)
    again = open_snapshots(tmp_path)
    assert again.load() == SNAPSHOT
    assert again.file_bytes == store.file_bytes
    assert [path.name for path in (tmp_path / "raft").iterdir()] == ["snapshot"]


def test_a_received_snapshot_is_checked_before_it_replaces_one(tmp_path: Path) -> None:
    sender, receiver = open_snapshots(tmp_path / "s"), open_snapshots(tmp_path / "r")
    sender.save(SNAPSHOT)
    receiver.save(SNAPSHOT)
    broken = bytearray(sender.file_bytes)
    broken[-1] ^= 1
    with pytest.raises(BadMessage, match="checksum"):
        receiver.install(bytes(broken))
    assert open_snapshots(tmp_path / "r").load() == SNAPSHOT
    assert receiver.install(sender.file_bytes) == SNAPSHOT


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda content: content[:-1], "bytes were written"),
        (lambda content: content[:7], "has 7 bytes"),
        (lambda content: b"", "has 0 bytes"),
        (lambda content: b"X" + content[1:], "not a snapshot file"),
        (lambda content: content[:40] + b"\xff" + content[41:], "checksum"),
    ],
)
def test_a_damaged_snapshot_is_not_used(
    tmp_path: Path, spoil: Callable[[bytes], bytes], finding: str
) -> None:
    open_snapshots(tmp_path).save(SNAPSHOT)
    path = tmp_path / "raft" / "snapshot"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StoreCorrupt, match=finding):
        open_snapshots(tmp_path).load()


def test_a_snapshot_of_another_cluster_is_not_used(tmp_path: Path) -> None:
    open_snapshots(tmp_path).save(SNAPSHOT)
    with pytest.raises(StoreCorrupt, match="of cluster 'test', not of 'other'"):
        open_snapshots(tmp_path, cluster="other").load()


def test_a_snapshot_on_a_full_volume_leaves_the_old_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "volume", 128) as volume:
        store = open_snapshots(volume)
        store.save(SNAPSHOT)
        fill(volume, leave_bytes=8192)
        text = "y" * 30_000
        large = Snapshot(
            last=entry(9, text=text), previous=entry(8, text=text), record=SNAPSHOT.record
        )
        with pytest.raises(StoreFull, match="volume is full"):
            store.save(large)
        assert open_snapshots(volume).load() == SNAPSHOT
