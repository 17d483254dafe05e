"""Capture: what changed in a group's trees on the active, into its journal."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from staqraft.capture import dirty
from staqraft.capture.differences import Differences
from staqraft.capture.errors import CaptureError
from staqraft.capture.files import Files
from staqraft.capture.folders import Folders
from staqraft.capture.ledger import Ledger
from staqraft.capture.ports import CaptureStatus, IndexPort, JournalPort
from staqraft.capture.scanner import Scanner
from staqraft.capture.structure import Dirty
from staqraft.capture.transfer import Transfer
from staqraft.capture.watcher import Batch, MakeSource, Watcher, cookie_directories
from staqraft.config.schema import Tree
from staqraft.errors import BarrierTimeout, JournalFull
from staqraft.index import RESERVED_PREFIX, IndexFull
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
_FEW: Final = 8  # a tree with fewer objects may become empty without a question


class Capture:
    """Used by one thread: `start`, then `run` (or `step`, `flush`) and `stop`.

    Any thread may call `ask_barrier`, `status` and `end`. The journal and the index are the
    owner's to open and close. `wall_ns` is the system's clock, which file times are made of.
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
        self._problems: dict[str, str] = {}
        self._watcher = Watcher(trees, cookies, now_ms, never=never, **chosen)
        self._ledger = Ledger(journal, index, epoch, lambda: wall_ns() // 1_000_000, on_journalled)
        captured = index.meta(_CAPTURED_AT)
        self._scanner = Scanner(self._watcher, index, int(captured) if captured else None, now_ms)
        folders = Folders(self._watcher, self._ledger)
        self._files = Files(self._watcher, self._ledger, folders, now_ms)
        self._differences = Differences(
            self._watcher,
            self._ledger,
            self._scanner,
            self._files,
            folders,
            self._may_remove,
            self._report,
            now_ms,
        )
        self._requests: queue.SimpleQueue[tuple[int, Future[Position]]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._full_until_ms = 0
        self._committed_ms = now_ms()
        self._roots_checked_ms = 0
        self._rescanned_ms = now_ms()
        self._removable: dict[str, bool] = {}
        self._missing: set[str] = set()
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
            self._files.give_up()
            self._watcher.close()
            while not self._requests.empty():
                self._requests.get()[1].set_exception(CaptureError("capture has stopped"))

    def step(self, timeout_ms: int) -> None:
        """One turn: waits for something to do at most so long, and does a slice of it."""
        if not self._busy():
            self._watcher.wait(timeout_ms)
        self._serve_barriers()
        self._look_around()
        if self._now_ms() >= self._full_until_ms:
            self._turn(everything=False)
        elif self._busy():
            self._ended.wait((self._full_until_ms - self._now_ms()) / 1000)

    # --- work --------------------------------------------------------------------------------

    def scan(self, tree: str) -> None:
        """Compares a whole tree with the index, in slices, beside everything else."""
        root = self._watcher.directories.roots.get(tree)
        if root is None:
            self._adopt(tree)
            return
        self._complete = False
        self._watcher.mark(root, b"", dirty.SCANNED)
        self._scanner.add(root, deep=True)

    def flush(self, *, everything: bool = False) -> None:
        """Journals what is dirty and due; with `everything` also what is held back.

        Raises JournalFull or IndexFull; then everything stays dirty.
        """
        batch = self._watcher.take(everything=everything)
        if batch.lost:
            self._events_lost()
        try:
            self._journal(batch)
        except (JournalFull, IndexFull) as error:
            self._put_back(batch, error)
            raise
        finally:
            self._watcher.release()

    def barrier(self, timeout_ms: int) -> Position:
        """The position that has everything which happened before the call, durable here.

        For the capture thread; others use `ask_barrier`. Raises BarrierTimeout, JournalFull.
        """
        deadline = self._now_ms() + timeout_ms
        earlier = self._files.active  # may have been read before the last change: once more
        self._watcher.barrier(timeout_ms)
        self._files.thorough = True
        try:
            self._files.recheck(everything=True)
            self._turn(everything=True)
            self._finish(earlier, deadline)
            self._files.recheck(everything=True)  # those that were in a transfer before
            self._turn(everything=True)
            self._finish(self._files.active, deadline)
            self._turn(everything=True)  # other names of what was transferred
            self._finish(set(), deadline)
        finally:
            self._files.thorough = False
        return self._commit()

    def _finish(self, transfers: set[Transfer], deadline: int) -> None:
        """Works until the scans, what was put off, and these transfers are done."""
        while self._scanner.waiting or self._watcher.put_off or transfers & self._files.active:
            if self._now_ms() > deadline:
                raise BarrierTimeout(
                    f"capture did not catch up in time: {self._scanner.waiting} directories and"
                    f" {self._files.transfers} large files are still to be read"
                )
            self._turn(everything=True)

    def ask_barrier(self, timeout_ms: int) -> Future[Position]:
        """The same from any thread, carried out by the capture thread."""
        future: Future[Position] = Future()
        self._requests.put((timeout_ms, future))
        self._watcher.wake()
        return future

    def status(self) -> CaptureStatus:
        """What capture is doing."""
        return CaptureStatus(
            backend=self._watcher.backend,
            reason=self._watcher.reason,
            dirty=len(self._watcher.dirty),
            scanning=self._scanner.waiting,
            scanned=self._scanner.scanned,
            transfers=self._files.transfers,
            journalled=self._ledger.journalled,
            complete=self._complete,
            problems=tuple(self._problems.values()),
        )

    # --- inside --------------------------------------------------------------------------------

    def _busy(self) -> bool:
        return self._scanner.ready or self._files.transfers > 0

    def _turn(self, *, everything: bool) -> None:
        """A slice of each kind of work. Raises JournalFull or IndexFull when `everything`."""
        try:
            until = self._now_ms() + _SLICE_MS
            while (
                self._scanner.ready
                and len(self._watcher.dirty) < _SCAN_AHEAD
                and self._now_ms() <= until
            ):
                self._scanner.step()
            self.flush(everything=everything)
            self._files.step(self._now_ms() + _SLICE_MS)
            self._files.recheck(everything=False)
            self._ledger.flush()
            if self._ledger.uncommitted and self._now_ms() - self._committed_ms >= _COMMIT_MS:
                self._commit()
            if not self._scanner.waiting and not self._missing:
                self._complete = True
            self._report("full", "")
        except (JournalFull, IndexFull) as error:
            self._full(error)
            if everything:
                raise
        finally:
            self._watcher.release()

    def _journal(self, batch: Batch) -> None:
        self._removable.clear()
        held = [place for place in batch.dirty if place.tree in self._missing]
        for place in held:
            self._watcher.postpone(place, self._now_ms() + _CHECK_ROOTS_MS)
        if held:
            kept = [place for place in batch.dirty if place.tree not in self._missing]
            batch = Batch(moved=batch.moved, dirty=kept, inodes=batch.inodes)
        if batch.moved or batch.dirty or batch.inodes:
            self._differences.journal(batch)

    def _put_back(self, batch: Batch, error: JournalFull | IndexFull) -> None:
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
        if isinstance(error, IndexFull):
            self._events_lost("the index was rolled back since its volume is full")

    def _full(self, error: JournalFull | IndexFull) -> None:
        self._ledger.drop()
        self._files.give_up()
        self._report("full", f"changes are not captured: {error}")
        self._full_until_ms = self._now_ms() + _RETRY_FULL_MS

    def _events_lost(self, why: str = "the kernel's event queue overflowed") -> None:
        logger.warning("All trees are compared anew: %s.", why)
        for name in self._watcher.trees:
            self.scan(name)

    def _commit(self) -> Position:
        self._index.set_meta(_CAPTURED_AT, str(self._wall_ns()))
        try:
            position = self._ledger.commit()
        except IndexFull:
            self._events_lost("the index was rolled back since its volume is full")
            raise
        self._committed_ms = self._now_ms()
        return position

    def _serve_barriers(self) -> None:
        while not self._requests.empty():
            timeout_ms, future = self._requests.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self.barrier(timeout_ms))
            except Exception as error:  # whatever it is, it is the answer
                logger.debug("A barrier failed: %s", error)
                future.set_exception(error)

    # --- safety --------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Now and then: are the roots what they were, and is everything watched?"""
        now = self._now_ms()
        if now - self._roots_checked_ms < _CHECK_ROOTS_MS:
            return
        self._roots_checked_ms = now
        for name in self._watcher.trees:
            if name in self._missing or self._watcher.root_problem(name):
                self._adopt(name)
        self._report("watch", self._watcher.problem)
        if self._watcher.problem and now - self._rescanned_ms >= _RESCAN_UNWATCHED_MS:
            self._rescanned_ms = now
            for name in self._watcher.trees:
                self.scan(name)

    def _adopt(self, name: str) -> None:
        """Watches a root that came (back), unless it looks like an empty mount point."""
        self._missing.add(name)
        path = self._watcher.trees[name].path
        try:
            empty = _is_empty(path)
        except OSError:
            self._report(f"root {name}", self._watcher.root_problem(name))
            return
        if empty and self._index.totals(name).objects > _FEW:
            self._report(f"root {name}", self._emptied(name))
            return
        try:
            self._watcher.add_tree(name)
        except CaptureError as error:
            self._report(f"root {name}", str(error))
            return
        self._missing.discard(name)
        self._report(f"root {name}", "")
        self.scan(name)

    def _may_remove(self, tree: str) -> bool:
        """A root that is gone, another, or suddenly empty stops removals and raises an alarm."""
        known = self._removable.get(tree)
        if known is not None:
            return known
        problem = self._watcher.root_problem(tree)
        if not problem and self._index.totals(tree).objects > _FEW:
            try:
                if _is_empty(self._watcher.trees[tree].path):
                    problem = self._emptied(tree)
            except OSError as error:
                problem = f"the root of tree {tree} cannot be read ({error.strerror})"
        self._report(f"root {tree}", problem)
        self._removable[tree] = not problem
        return not problem

    def _emptied(self, tree: str) -> str:
        path = self._watcher.trees[tree].path
        return (
            f"tree {tree}: {path} is empty, and {self._index.totals(tree).objects - 1} objects were"
            " in it: nothing is removed from the standby. If it is not mounted, mount it; if it is"
            f" meant to be empty, make any file in it (touch {path}/.keep)"
        )

    def _report(self, key: str, problem: str) -> None:
        """Keeps a problem (or with "" clears it) for `status`; says it in the log once."""
        if not problem:
            if self._problems.pop(key, None) is not None:
                logger.info("Capture recovered: %s.", key)
        elif self._problems.get(key) != problem:
            self._problems[key] = problem
            logger.warning("Capture: %s.", problem)


def _is_empty(root: Path) -> bool:
    """Whether nothing but StaqRaft's own is there."""
    with os.scandir(root) as listing:
        return all(os.fsencode(item.name).startswith(RESERVED_PREFIX) for item in listing)
