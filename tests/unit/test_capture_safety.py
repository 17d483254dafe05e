"""What capture does when something around it is wrong: full disks, roots that go, restarts."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fakes.capturing import Captured, capturing
from fakes.grounds import mounted
from fakes.patience import LONG_MS, PATIENCE_S
from fakes.small_disk import fill
from staqraft.errors import JournalFull
from staqraft.index import IndexFull
from staqraft.journal import segment
from staqraft.journal.journal import Journal
from staqraft.journal.record import Delta, MailKind, Record, Remove, Upsert
from staqraft.journal.room import ROOM_BYTES
from staqraft.model import Epoch, Position


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for number in range(12):
        (tree / f"d{number}").mkdir(parents=True)
        (tree / f"d{number}" / "file").write_bytes(b"content %d" % number)
    return tree


@pytest.fixture
def captured(root: Path, tmp_path: Path) -> Iterator[Captured]:
    with capturing(root, tmp_path / "state", tmp_path / "run") as it:
        it.check()
        yield it


class FillingJournal:
    """A journal whose volume is full while `full` is set."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.full = False

    @property
    def last(self) -> Position:
        return self._journal.last

    def append(self, records: Sequence[Record], epoch: Epoch) -> Position:
        if self.full:
            raise JournalFull("no space left on the journal's volume; make space")
        return self._journal.append(records, epoch)

    def sync(self) -> Position:
        return self._journal.sync()

    @property
    def wants_room(self) -> bool:
        return self._journal.wants_room

    def make_room(self) -> None:
        self._journal.make_room()


def test_a_barrier_needs_no_longer_journal(captured: Captured, root: Path) -> None:
    captured.capture.step(0)
    directory = captured.state / "journal"
    path = segment.listing(directory)[-1].segment(directory)
    size = path.stat().st_size
    assert size >= ROOM_BYTES
    (root / "news").write_bytes(b"little")
    captured.check()
    assert path.stat().st_size == size


def test_a_burst_asks_the_index_together(captured: Captured, root: Path) -> None:
    for number in range(300):
        (root / f"f{number}").write_bytes(b"%d" % number)
    captured.check()
    for number in range(300):
        if number % 3:
            (root / f"f{number}").rename(root / f"g{number}")
        else:
            (root / f"f{number}").unlink()
    captured.capture.watcher.barrier(LONG_MS)
    captured.index._recent.clear()
    statements: list[str] = []
    connection = captured.index._db._connection
    connection.set_trace_callback(statements.append)
    captured.capture.flush(everything=True)
    connection.set_trace_callback(None)
    assert sum(s.startswith("SELECT") for s in statements) < 150  # one for each that is gone
    captured.check()


def test_a_full_journal_keeps_everything_dirty_until_there_is_space(
    root: Path, tmp_path: Path
) -> None:
    journals: list[FillingJournal] = []

    def wrap(journal: Journal) -> FillingJournal:
        journals.append(FillingJournal(journal))
        return journals[0]

    with capturing(root, tmp_path / "state", tmp_path / "run", wrap=wrap) as captured:
        captured.check()
        journals[0].full = True
        (root / "d1" / "file").write_bytes(b"while it was full")
        (root / "d2").rename(root / "moved")
        (root / "d3" / "file").rename(root / "moved" / "in")
        (root / "new").mkdir()
        (root / "new" / "file").write_bytes(b"new")
        (root / "big").write_bytes(os.urandom(3 << 20))
        shutil.rmtree(root / "d4")
        with pytest.raises(JournalFull):
            captured.capture.barrier(5_000)
        captured.capture.step(0)
        assert any("no space left" in text for text in captured.capture.status().problems)
        (root / "moved" / "in").write_bytes(b"and again while full")
        with pytest.raises(JournalFull):
            captured.capture.barrier(5_000)
        journals[0].full = False
        captured.check()
        assert captured.capture.status().problems == ()


def test_a_full_volume_under_journal_and_index_stops_nothing(root: Path, tmp_path: Path) -> None:
    try:
        with mounted("tmpfs", tmp_path / "small", megabytes=64) as small:
            filler = small / "filler"
            with capturing(root, small, tmp_path / "run") as captured:
                filler.write_bytes(bytes(55 << 20))
                for number in range(40):
                    (root / f"{number}").write_bytes(os.urandom(500_000))
                    captured.capture.step(0)
                problems = captured.capture.status().problems
                assert any("changes are not captured" in text for text in problems)
                (root / "late").write_bytes(b"the application is not held up")
                filler.unlink()
                captured.check()
                assert captured.capture.status().problems == ()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
def on_a_small_volume(root: Path, tmp_path: Path) -> Iterator[tuple[Captured, Path]]:
    """Only the index is on it. Yields its directory, too."""
    (tmp_path / "journal").mkdir()
    try:
        with mounted("tmpfs", tmp_path / "small", megabytes=2) as small:
            (small / "journal").symlink_to(tmp_path / "journal")
            with capturing(root, small, tmp_path / "run") as captured:
                yield captured, small
    except RuntimeError as error:
        pytest.skip(str(error))


def test_what_a_barrier_could_not_keep_in_a_full_index_is_known_again(
    on_a_small_volume: tuple[Captured, Path], root: Path
) -> None:
    captured, small = on_a_small_volume
    (root / "brief").write_bytes(b"journalled, and not kept in the index")
    fill(small)
    with pytest.raises(IndexFull):
        captured.capture.barrier(5_000)
    captured.replica.apply(captured.new_records())
    assert b"brief" in captured.replica.objects
    (small / "ballast").unlink()
    (root / "brief").unlink()
    captured.check()
    assert captured.capture.status().problems == ()


def test_what_another_thread_made_the_index_forget_is_known_again(
    captured: Captured, root: Path
) -> None:
    (root / "brief").write_bytes(b"journalled, and not yet kept in the index")
    captured.capture.watcher.barrier(5_000)
    captured.capture.flush(everything=True)
    pages = captured.index._db.one("PRAGMA page_count")
    assert pages is not None
    captured.index._db.run(f"PRAGMA max_page_count={pages[0]}")
    with pytest.raises(IndexFull, match="database or disk is full"):  # as a comparison's digests do
        captured.index.set_meta("from another thread", "x" * 100_000)
    captured.index._db.run("PRAGMA max_page_count=1073741823")
    (root / "brief").unlink()
    captured.check()


def test_a_restart_finds_what_changed_meanwhile_and_nothing_else(
    root: Path, tmp_path: Path
) -> None:
    with capturing(root, tmp_path / "state", tmp_path / "run") as first:
        first.check()
    before = len(first.replica.records)
    (root / "d1" / "file").write_bytes(b"changed meanwhile")
    (root / "d2").rename(root / "d2-renamed")
    (root / "d3" / "file").unlink()
    (root / "d3").rmdir()
    (root / "d3").mkdir()  # perhaps with the same inode number
    (root / "d3" / "other").write_bytes(b"other")
    (root / "d4" / "file").chmod(0o600)
    with capturing(root, tmp_path / "state", tmp_path / "run", earlier=first) as second:
        second.check()
        assert second.capture.status().complete
        told = {record.path for record in second.replica.records[before:]}
        assert b"d5/file" not in told


def test_content_of_the_last_seconds_is_compared_after_a_restart(
    root: Path, tmp_path: Path
) -> None:
    path = root / "d1" / "file"
    with capturing(root, tmp_path / "state", tmp_path / "run") as first:
        path.write_bytes(b"first version")
        first.check()
        entry = first.index.get("t", b"d1/file")
        assert entry is not None
    path.write_bytes(b"other version")  # of the same length, in the same tick of the clock
    found = path.stat()
    with capturing(root, tmp_path / "state", tmp_path / "run", earlier=first) as second:
        known = second.index.get("t", b"d1/file")
        assert known is not None
        assert found.st_size == known.metadata.size
        second.check()


def test_a_tree_that_is_suddenly_empty_removes_nothing(captured: Captured, root: Path) -> None:
    (root / ".staqraft-staging").mkdir()
    for number in range(12):
        shutil.rmtree(root / f"d{number}")
    captured.settle()
    assert b"d5/file" in captured.replica.objects
    (problem,) = captured.capture.status().problems
    assert "is empty" in problem
    assert "touch" in problem
    (root / ".keep").write_bytes(b"")
    captured.check()
    assert set(captured.replica.objects) == {b"", b".keep"}
    assert captured.capture.status().problems == ()


def test_a_root_that_goes_and_comes_back(captured: Captured, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "away")
    (tmp_path / "away" / "d1" / "file").write_bytes(b"written while it was away")
    look_at_roots(captured)
    captured.settle()
    assert captured.replica.objects[b"d1/file"].data == b"content 1"
    assert "is missing" in captured.capture.status().problems[0]
    root.mkdir()  # as an empty mount point
    look_at_roots(captured)
    captured.settle()
    assert b"d5/file" in captured.replica.objects
    assert "is empty" in captured.capture.status().problems[0]
    root.rmdir()
    (tmp_path / "away").rename(root)
    look_at_roots(captured)
    captured.check()
    assert captured.capture.status().problems == ()
    (root / "d1" / "file").write_bytes(b"and is watched again")
    captured.check()


def look_at_roots(captured: Captured) -> None:
    captured.capture.roots.look()


def test_a_root_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    captured = Captured(root, tmp_path / "state", tmp_path / "run")
    captured.capture.start()
    assert "cannot be opened" in captured.capture.status().problems[0] or (
        "is missing" in captured.capture.status().problems[0]
    )
    assert not captured.capture.status().complete
    root.mkdir()
    (root / "file").write_bytes(b"x")
    look_at_roots(captured)
    captured.check()
    captured.close()


def test_what_is_left_out_never_travels_and_leaves_when_it_becomes_so(
    root: Path, tmp_path: Path
) -> None:
    (root / "cache").mkdir()
    (root / "cache" / "x").write_bytes(b"")
    (root / "a.swp").write_bytes(b"")
    options = {"exclude": ("*.swp", "cache/")}
    with capturing(root, tmp_path / "s", tmp_path / "run", **options) as captured:
        out = frozenset({b"cache", b"cache/x", b"cache/y", b"a.swp", b"d1/b.swp"})
        captured.check(left_out=out)
        (root / "cache" / "y").write_bytes(b"")
        (root / "d1" / "file").rename(root / "d1" / "b.swp")
        captured.check(left_out=out)
        assert b"d1/file" not in captured.replica.objects
        (root / "d1" / "b.swp").rename(root / "d1" / "file")
        (root / "cache").rename(root / "kept")
        captured.check(left_out=out)
        assert b"kept/y" in captured.replica.objects


def test_a_maildir_tells_deliveries_flags_and_deletions(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    for part in ("tmp", "new", "cur"):
        (root / "joe" / part).mkdir(parents=True)
    options = {"profile": "maildir"}
    with capturing(root, tmp_path / "s", tmp_path / "run", **options) as captured:
        joe = root / "joe"
        before = len(captured.replica.records)
        (joe / "tmp" / "1.a").write_bytes(b"From: me\n")
        captured.settle()
        assert b"joe/tmp/1.a" not in captured.replica.objects
        (joe / "tmp" / "1.a").rename(joe / "new" / "1.a")
        captured.check()
        (joe / "new" / "1.a").rename(joe / "cur" / "1.a:2,S")
        captured.check()
        (joe / "cur" / "1.a:2,S").unlink()
        (joe / ".Sent").mkdir()
        captured.check()
        mail = [r.mail for r in captured.replica.records[before:] if r.mail]
        assert sorted(m.value for m in mail) == sorted(
            m.value for m in (MailKind.DELIVER, MailKind.FLAGS, MailKind.EXPUNGE, MailKind.FOLDER)
        )
        sent = sum(1 for r in captured.replica.records[before:] if r.path.endswith(b"1.a:2,S"))
        assert sent == 2  # a move without content, and the removal


def test_own_state_inside_of_a_tree_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    state = root / "var" / "staqraft"
    state.mkdir(parents=True)
    captured = Captured(root, state, tmp_path / "run", never=(state,))
    captured.capture.start()
    (root / "file").write_bytes(b"x")
    captured.settle()
    assert set(captured.replica.objects) == {b"", b"file", b"var"}
    assert any("StaqRaft's own" in text for text in captured.capture.status().problems)
    captured.close()


def test_a_filesystem_mounted_in_a_tree_is_left_out_and_said(root: Path, tmp_path: Path) -> None:
    try:
        with mounted("tmpfs", root / "mounted"):
            (root / "mounted" / "x").write_bytes(b"")
            with capturing(root, tmp_path / "s", tmp_path / "run") as captured:
                assert b"mounted" not in captured.replica.objects
                assert any("mount point" in text for text in captured.capture.status().problems)
    except RuntimeError as error:
        pytest.skip(str(error))


def test_barriers_from_other_threads(root: Path, tmp_path: Path) -> None:
    captured = Captured(root, tmp_path / "state", tmp_path / "run")
    captured.capture.start()
    thread = threading.Thread(target=captured.capture.run)
    thread.start()
    try:
        positions = []
        for number in range(20):
            (root / "d1" / "file").write_bytes(b"%d" % number)
            positions.append(captured.capture.ask_barrier(LONG_MS).result(timeout=PATIENCE_S))
        assert positions == sorted(set(positions))
    finally:
        captured.capture.end()
        thread.join()
    captured.replica.apply(captured.new_records())
    assert captured.replica.objects[b"d1/file"].data == b"19"
    captured.index.close()
    captured.journal.close()


def test_a_barrier_after_the_end_is_refused(root: Path, tmp_path: Path) -> None:
    captured = Captured(root, tmp_path / "state", tmp_path / "run")
    captured.capture.start()
    captured.capture.end()
    future = captured.capture.ask_barrier(1_000)
    captured.capture.run()
    assert "stopped" in str(future.exception(timeout=PATIENCE_S))
    captured.index.close()
    captured.journal.close()


def appended(captured: Captured) -> bool:
    """Whether a change of the growing file was told by its pieces."""
    return any(
        r.path == b"log" and isinstance(r.change, Upsert) and isinstance(r.change.content, Delta)
        for r in captured.replica.records
    )


def test_a_file_that_grows_for_ever_does_not_hold_a_barrier_up(
    captured: Captured, root: Path
) -> None:
    stop = threading.Event()

    def grow() -> None:
        with (root / "log").open("ab", buffering=0) as file:
            file.write(os.urandom(2 << 20))
            while not stop.is_set():
                file.write(b"a line of a log\n" * 10)

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        for number in range(5):
            (root / "d1" / "file").write_bytes(b"%d" % number)
            captured.settle()
            assert captured.replica.objects[b"d1/file"].data == b"%d" % number
        for _ in range(200):  # a fast machine is done before the first copy is
            if appended(captured):
                break
            captured.settle()
    finally:
        stop.set()
        growing.join()
    captured.check()
    assert appended(captured), "it was sent whole each time"


def test_removals_of_what_was_never_told_are_not_told(captured: Captured, root: Path) -> None:
    before = len(captured.replica.records)
    for number in range(50):
        (root / "d1" / f"brief{number}").write_bytes(b"")
        (root / "d1" / f"brief{number}").unlink()
    captured.check()
    told = captured.replica.records[before:]
    assert not [r for r in told if isinstance(r.change, Remove)]
