"""Capture: what changed in a group's trees on the active, into its journal."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Final

from staqraft.capture import adoption, dirty
from staqraft.capture.adoption import Adoption, Read
from staqraft.capture.differences import Differences
from staqraft.capture.elsewhere import Elsewhere
from staqraft.capture.errors import CaptureError, Uncaptured
from staqraft.capture.files import Files
from staqraft.capture.folders import Folders
from staqraft.capture.large import LargeFiles, file_of
from staqraft.capture.ledger import Ledger
from staqraft.capture.links import Links
from staqraft.capture.locks import MailboxLocks
from staqraft.capture.mapped import MappedFiles
from staqraft.capture.ports import CaptureStatus, IndexPort, JournalPort
from staqraft.capture.problems import Problems
from staqraft.capture.removals import Removals
from staqraft.capture.roots import Roots
from staqraft.capture.scanner import Scanner
from staqraft.capture.signatures import Memories
from staqraft.capture.structure import Dirty
from staqraft.capture.transfer import Transfer
from staqraft.capture.unread import Unread
from staqraft.capture.watcher import Batch, MakeSource, Watcher, cookie_directories
from staqraft.config.schema import Tree
from staqraft.errors import BarrierTimeout, JournalFull, StaqraftError
from staqraft.index import IndexFull
from staqraft.model import Epoch, Position

logger = logging.getLogger(__name__)

_CAPTURED_AT: Final = "capture.captured-ns"
_SLICE_MS: Final = 8  # of scanning and of large files, between two looks at the dirty set
_SCAN_AHEAD: Final = 2_000  # places that a scan may mark before they are worked off
_COMMIT_MS: Final = 500
_RETRY_FULL_MS: Final = 1_000
_CHECK_ROOTS_MS: Final = 1_000
_RESCAN_UNWATCHED_MS: Final = 30_000
_IDLE_MS: Final = 250
_LOCKED_MS: Final = 5
_LOST_NS: Final = 10_000_000_000  # how old lost events may be that nobody missed until now
_TRIES: Final = 3  # at what cannot be read, for a barrier


class Capture:
    """Used by one thread: `start`, then `run` (or `step`, `flush`) and `stop`.

    Any thread may call `ask_barrier`, `allow_removals`, `status` and `end`. The journal and the
    index are the owner's to open and close. `wall_ns` is the system's clock, which file times are
    made of.
    """

    def __init__(
        self,
        *,
        trees: Sequence[Tree],
        group: str,
        run_dir: Path,
        journal: JournalPort,
        index: IndexPort,
        epoch: Epoch,
        now_ms: Callable[[], int],
        wall_ns: Callable[[], int],
        never: Sequence[Path] = (),
        on_journalled: Callable[[Position], None] = lambda _: None,
        backends: Sequence[MakeSource] | None = None,
    ) -> None:
        cookies = cookie_directories(run_dir, group, trees)
        chosen = {} if backends is None else {"backends": backends}
        self._index = index
        self._now_ms = now_ms
        self._wall_ns = wall_ns
        self._problems = Problems()
        self._watcher = Watcher(trees, cookies, now_ms, never=never, **chosen)
        self._ledger = Ledger(journal, index, epoch, lambda: wall_ns() // 1_000_000, on_journalled)
        unread = self._unread = Unread(self._watcher, self._problems.report, now_ms)
        captured = index.meta(_CAPTURED_AT)
        adopted_at = adoption.origin(index)
        self._scanner = Scanner(
            self._watcher, index, int(captured) if captured else None, now_ms, adopted_at, unread
        )
        if adopted_at is not None and adoption.under_way(index, epoch):
            self._scanner.adoption = Adoption(self._watcher, index, adopted_at)
        folders = Folders(self._watcher, self._ledger)
        links = Links(self._watcher, self._ledger, now_ms)
        memories = self._memories = Memories()
        self._large = LargeFiles(
            self._watcher, self._ledger, folders, links, memories, unread, now_ms
        )
        self._locks = locks = MailboxLocks(self._problems.report, now_ms)
        files = Files(self._watcher, self._ledger, links, self._large, memories, locks, now_ms)
        removals = Removals({tree.name: tree.removals for tree in trees}, now_ms)
        self._roots = Roots(self._watcher, index, self._problems, self.scan, removals)
        self._differences = Differences(
            self._watcher,
            self._ledger,
            self._scanner,
            files,
            links,
            folders,
            self._roots,
            unread,
            self._problems.report,
            now_ms,
        )
        self._requests: queue.SimpleQueue[tuple[int, bool, Future[Position]]] = queue.SimpleQueue()
        self._allowed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._was_read: queue.SimpleQueue[Sequence[Read]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._full_until_ms = 0
        self._committed_ms = now_ms()
        self._roots_checked_ms = 0
        self._rescanned_ms = now_ms()
        self._mapped = MappedFiles(self._watcher, index, self._large.compare_all_of, now_ms)
        self._elsewhere = Elsewhere(self._watcher, index, links, self._scan_all, now_ms)
        self._complete = False

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """The trees are watched already; queues their comparison with the index."""
        for name in self._watcher.trees:
            self.scan(name)

    def run(self) -> None:
        """Captures until `end` is called, then stops."""
        try:
            while not self._ended.is_set():
                self.step(_IDLE_MS)
        finally:
            self.stop()

    def end(self) -> None:
        """Asks `run` to return soon; what happened before this call is still captured."""
        self._ended.set()
        self._watcher.wake()

    def stop(self) -> None:
        """Captures what has happened so far as well as it can, and stops watching."""
        try:
            self._watcher.barrier(1_000)
            self.flush(everything=True)
            self._commit()
        except (JournalFull, IndexFull, CaptureError, BarrierTimeout) as error:
            logger.warning("The last changes were not captured: %s", error)
        finally:
            self._large.give_up()
            self._scanner.close()
            self._watcher.close()
            while not self._requests.empty():
                self._requests.get()[-1].set_exception(CaptureError("capture has stopped"))

    def step(self, timeout_ms: int) -> None:
        """One turn: waits for something to do at most so long, and does a slice of it."""
        full_ms = self._full_until_ms - self._now_ms()
        if full_ms > 0:
            self._ended.wait(min(full_ms, timeout_ms) / 1000)
        elif not self._busy():
            self._watcher.wait(timeout_ms)
        while not self._allowed.empty():
            self._roots.allow_removals(self._allowed.get())
        self._serve_barriers()
        self._look_around()
        if self._now_ms() >= self._full_until_ms:
            self._turn(everything=False)
            self._ledger.make_room()

    # --- work --------------------------------------------------------------------------------

    def scan(self, tree: str) -> None:
        """Compares a whole tree with the index, in slices, beside everything else."""
        root = self._watcher.directories.roots.get(tree)
        if root is None:
            self._roots.adopt(tree)
            return
        self._complete = False
        self._watcher.mark(root, b"", dirty.SCANNED)
        for directory in self._watcher.directories.walk(root):
            self._scanner.add(directory, deep=False)  # each of its own: any may have moved

    def _scan_all(self) -> None:
        """What was not told is found by times, which tell little of what has just been read."""
        self._scanner.distrust(self._wall_ns() - _LOST_NS)
        for name in self._watcher.trees:
            self.scan(name)

    def flush(self, *, everything: bool = False) -> None:
        """Journals what is dirty and due; with `everything` also what is held back.

        Raises JournalFull or IndexFull; then everything stays dirty.
        """
        batch = self._watcher.take(everything=everything)
        if batch.lost:
            self._events_lost()
        try:
            self._journal(batch)
        except (JournalFull, IndexFull):
            self._put_back(batch)
            raise
        finally:
            self._watcher.release()

    def barrier(self, timeout_ms: int, *, complete: bool = False) -> Position:
        """The position that has everything which happened before the call, durable here.

        Without what cannot be read, unless it is to be `complete`: Uncaptured says then what is
        missing. For the capture thread; others use `ask_barrier`. Raises BarrierTimeout,
        JournalFull.
        """
        deadline = self._now_ms() + timeout_ms
        if complete:
            self._roots.look()
        earlier = self._large.active  # may have been read before the last change: once more
        self._watcher.barrier(timeout_ms)
        untold = self._watcher.untold.number
        if self._watcher.problem:  # not all of it tells of changes
            self._scan_all()
        self._large.thorough = True
        try:
            self._large.recheck(everything=True)
            self._mapped.compare_known()
            self._elsewhere.look()
            self._turn(everything=True)
            self._finish(earlier, deadline)
            self._turn(everything=True)  # what was put back meanwhile
            if self._elsewhere.compare_if_blind():
                self._finish(set(), deadline)
            self._large.recheck(everything=True)  # those that were in a transfer before
            self._turn(everything=True)
            self._finish(self._large.active, deadline)
            self._turn(everything=True)  # other names of what was transferred
            self._finish(set(), deadline)
            self._watcher.untold.forget(untold)
            if complete:
                self._require_all(deadline)
            self._enter_what_was_read(None)
            self._end_adoption()
        finally:
            self._large.thorough = False
        return self._commit()

    def _require_all(self, deadline: int) -> None:
        """Raises Uncaptured when something that may have changed cannot be read."""
        for _ in range(_TRIES):
            if not self._unread.left() or self._now_ms() > deadline:
                break
            self._scanner.list_again()  # it may have been in the middle of a change
            self._turn(everything=True)
            self._finish(self._large.active, deadline)
        missing = [*self._roots.told_missing(), *self._unread.left()]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise Uncaptured(
                f"not all that was written before is known to be captured: {missing[0]}{more}"
            )

    def _finish(self, transfers: set[Transfer], deadline: int) -> None:
        """Works until the scans, what was put off, and these transfers are done."""
        while (
            self._scanner.waiting
            or self._watcher.put_off
            or self._locks.waited_for
            or transfers & self._large.active
        ):
            if self._now_ms() > deadline:
                raise BarrierTimeout(
                    f"capture did not catch up in time: {self._scanner.waiting} directories and"
                    f" {self._large.transfers} large files are still to be read"
                )
            if self._locks.waited_for:
                self._watcher.wait(_LOCKED_MS)
            elif self._watcher.put_off:  # until the rest is told of them
                self._watcher.barrier(max(1, deadline - self._now_ms()))
            self._turn(everything=True)

    def ask_barrier(self, timeout_ms: int, *, complete: bool = False) -> Future[Position]:
        """The same from any thread, carried out by the capture thread."""
        future: Future[Position] = Future()
        self._requests.put((timeout_ms, complete, future))
        self._watcher.wake()
        return future

    def allow_removals(self, tree: str) -> None:
        """What vanished from a tree was meant to. Any thread may call it."""
        self._allowed.put(tree)
        self._watcher.wake()

    def was_read(self, found: Sequence[Read]) -> None:
        """Somebody read files that are unread in the index: for any thread."""
        self._was_read.put(found)
        self._watcher.wake()

    def status(self) -> CaptureStatus:
        """What capture is doing."""
        return CaptureStatus(
            backend=self._watcher.backend,
            reason=self._watcher.reason,
            dirty=len(self._watcher.dirty),
            scanning=self._scanner.waiting,
            scanned=self._scanner.scanned,
            transfers=self._large.transfers,
            journalled=self._ledger.journalled,
            complete=self._complete,
            problems=self._problems.texts(),
        )

    @property
    def watcher(self) -> Watcher:
        """What watches the trees."""
        return self._watcher

    @property
    def roots(self) -> Roots:
        """What guards the roots."""
        return self._roots

    # --- inside --------------------------------------------------------------------------------

    def _busy(self) -> bool:
        return (
            self._scanner.ready
            or self._large.transfers > 0
            or self._mapped.is_looking
            or not self._was_read.empty()
        )

    def _turn(self, *, everything: bool) -> None:
        """A slice of each kind of work. Raises JournalFull or IndexFull when `everything`."""
        try:
            self._relearn()
            until = self._now_ms() + _SLICE_MS
            while (
                self._scanner.ready
                and len(self._watcher.dirty) < _SCAN_AHEAD
                and self._now_ms() <= until
            ):
                self._scanner.step()
            self.flush(everything=everything)
            self._large.step(self._now_ms() + _SLICE_MS)
            self._large.recheck(everything=False)
            self._mapped.step()
            self._enter_what_was_read(self._now_ms() + _SLICE_MS)
            self._ledger.flush()
            if self._ledger.uncommitted and self._now_ms() - self._committed_ms >= _COMMIT_MS:
                self._commit()
            if not self._scanner.waiting and not self._roots.missing:
                self._complete = True
                self._scanner.all_compared()
                self._end_adoption()
            self._problems.report("full", "")
        except (JournalFull, IndexFull) as error:
            self._full(error)
            if everything:
                raise
        finally:
            self._watcher.release()

    def _journal(self, batch: Batch) -> None:
        self._roots.begin()
        missing = self._roots.missing
        if missing:  # they are compared when they are back
            for place in batch.dirty:
                if place.tree in missing:
                    self._watcher.postpone(place, self._now_ms() + _CHECK_ROOTS_MS)
            batch = Batch(
                moved=[moved for moved in batch.moved if moved.directory.tree not in missing],
                dirty=[place for place in batch.dirty if place.tree not in missing],
                inodes=batch.inodes,
            )
        if batch.moved or batch.dirty or batch.inodes:
            self._differences.journal(batch)

    def _end_adoption(self) -> None:
        """All that was there is in the index: what else is found is journalled. Durable."""
        if self._scanner.adoption is not None:
            self._scanner.adoption.finish()
            self._commit()
            self._index.sync()
            self._scanner.adoption = None

    def _enter_what_was_read(self, until_ms: int | None) -> None:
        """Into the index, as long as there is time (None: all)."""
        while not self._was_read.empty() and (until_ms is None or self._now_ms() <= until_ms):
            by_tree: dict[str, list[Read]] = {}
            for read in self._was_read.get():
                by_tree.setdefault(read.tree, []).append(read)
            for tree, found in by_tree.items():
                self._ledger.note(partial(self._enter, tree, found))

    def _enter(self, tree: str, found: Sequence[Read]) -> None:
        self._index.complete(tree, [read.entry for read in found])
        for read in found:
            if read.memory is None:
                continue
            entry = self._index.get(tree, read.entry.path)
            if entry is not None and entry.digest == read.entry.digest:
                self._index.set_signatures(tree, entry.path, read.memory.pack())
                self._memories.keep(file_of(tree, entry.identity), read.memory)

    def _put_back(self, batch: Batch) -> None:
        """Neither journal nor index has it: it stays dirty. A told move is found anew by a scan."""
        self._ledger.drop()
        for place in batch.dirty:
            self._watcher.put_back(place)
        for moved in batch.moved:
            self._scanner.add(moved.directory, deep=True)
            parent = moved.directory.parent
            if parent is not None:
                again = Dirty(parent, moved.directory.name, dirty.SCANNED, self._now_ms())
                self._watcher.put_back(again)

    def _full(self, error: JournalFull | IndexFull) -> None:
        self._ledger.drop()
        self._large.give_up()
        self._problems.report("full", f"changes are not captured: {error}")
        self._full_until_ms = self._now_ms() + _RETRY_FULL_MS
        if isinstance(error, IndexFull):
            self._index.rollback()

    def _relearn(self) -> None:
        """What the journal was told and the index forgot. Raises IndexFull."""
        if self._ledger.is_forgotten:
            self._ledger.relearn()
            self._events_lost("the index was rolled back since its volume was full")

    def _events_lost(self, why: str = "the kernel's event queue overflowed") -> None:
        logger.warning("All trees are compared anew: %s.", why)
        self._scan_all()

    def _commit(self) -> Position:
        """Raises IndexFull, and then the index has forgotten what it was not to keep."""
        self._relearn()
        self._index.set_meta(_CAPTURED_AT, str(self._wall_ns()))
        position = self._ledger.commit()
        self._committed_ms = self._now_ms()
        return position

    def _serve_barriers(self) -> None:
        while not self._requests.empty():
            timeout_ms, complete, future = self._requests.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self.barrier(timeout_ms, complete=complete))
            except BaseException as error:
                future.set_exception(error)
                if not isinstance(error, (StaqraftError, OSError)):
                    raise

    def _look_around(self) -> None:
        """Now and then: looks whether the roots are what they were and everything is watched."""
        now = self._now_ms()
        if now - self._roots_checked_ms < _CHECK_ROOTS_MS:
            return
        self._roots_checked_ms = now
        self._roots.look()
        self._watcher.look_at_mounts()
        self._elsewhere.look_around()
        self._unread.left()  # and what is gone is no problem any more
        for tree, path, place in self._locks.stuck():
            if self._index.get(tree, path) is None:
                self._locks.forget(tree, path)
            else:
                self._watcher.put_back(place)
        self._problems.report("watch", self._watcher.problem)
        if self._watcher.problem and now - self._rescanned_ms >= _RESCAN_UNWATCHED_MS:
            self._rescanned_ms = now
            self._scan_all()
