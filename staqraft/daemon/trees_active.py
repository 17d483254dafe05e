"""The trees process of the active: capture into the journal, barriers, objects for standbys."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from staqraft.apply.safety import RootMissing, sync_filesystem
from staqraft.apply.unsettled import Unsettled
from staqraft.capture import Capture, CaptureStatus, adoption
from staqraft.capture.adoption import Read
from staqraft.daemon.trees_common import Assignment, Common, close_roots
from staqraft.daemon.trees_damage import DamageScrubber
from staqraft.daemon.trees_objects import Objects
from staqraft.errors import ActionError, JournalCorrupt, StaqraftError
from staqraft.index import Listed, relearn
from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.journal import Journal
from staqraft.journal.record import Record
from staqraft.journal.record_codec import decode
from staqraft.model import ORIGIN, Position

logger = logging.getLogger(__name__)

_CAPTURE_BARRIER_MS: Final = 60_000
_READ_BYTES: Final = 1 << 20


class NeedsNewEpoch(Exception):
    """The journal lost its tail, so this epoch cannot be continued."""


class LockedJournal:
    """The journal for two threads: capture appends and syncs, a comparison begins a segment."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()

    @property
    def last(self) -> Position:
        """The last record."""
        return self._journal.last

    def append(self, records: Sequence[Record], epoch: int) -> Position:
        """As Journal.append."""
        with self._lock:
            return self._journal.append(records, epoch)  # type: ignore[arg-type]

    def sync(self) -> Position:
        """As Journal.sync."""
        with self._lock:
            return self._journal.sync()

    @property
    def wants_room(self) -> bool:
        """As Journal.wants_room."""
        return self._journal.wants_room

    def make_room(self) -> None:
        """As Journal.make_room."""
        with self._lock:
            self._journal.make_room()

    def roll(self) -> None:
        """As Journal.roll."""
        with self._lock:
            self._journal.roll()

    def close(self) -> None:
        """As Journal.close."""
        with self._lock:
            self._journal.close()


class ActiveRole:
    """From `start` to `stop`. `failed` is called when the capture thread ends by itself."""

    def __init__(
        self, common: Common, assignment: Assignment, failed: Callable[[BaseException], None]
    ) -> None:
        self.assignment = assignment
        self._common = common
        self._failed = failed
        self._journal: LockedJournal | None = None
        self._capture: Capture | None = None
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self.scrubber = DamageScrubber(common, assignment, self.barrier, failed)
        self.objects = Objects(common, self.scrubber.suspect, self._was_read, self._root_problem)

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Watches, and compares the trees with the index beside that.

        Raises NeedsNewEpoch (nothing changed), JournalError, CaptureError.
        """
        await self._common.on_disk(self._open)
        self.scrubber.start()

    def _open(self) -> None:
        common = self._common
        journal = self._open_journal()
        try:
            self._take_journal(journal)
            self._mark_roots()
            Unsettled.load(common.index).disown(common.index)
            common.note_patterns()  # what is left out now is told by the comparison at the start
            common.notes.set_role(f"active@{common.boot_id}")
            locked = self._journal = LockedJournal(journal)
            self._capture = Capture(
                trees=common.group.trees,
                group=common.group.id,
                run_dir=common.config.run_dir,
                journal=locked,
                index=common.index,
                epoch=self.assignment.epoch,
                now_ms=common.clock_ms,
                wall_ns=lambda: common.wall_ms() * 1_000_000,
                never=(common.config.state_dir,),
                on_journalled=lambda _position: common.ring_stream(),
            )
            self._capture.start()
        except BaseException:
            journal.close()
            self._journal = None
            raise
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def _open_journal(self) -> Journal:
        common = self._common
        open_ = partial(
            Journal.open,
            common.journal_directory,
            cluster=common.config.cluster,
            group=common.group.id,
            limits=common.group.journal,
            boot_id=common.boot_id,
            now_ms=common.wall_ms,
        )
        try:
            journal = open_()
        except JournalCorrupt as error:
            common.problems.set("journal-repaired", f"the journal was begun anew: {error}")
            journal = Journal.rebuild(*open_.args, **open_.keywords, after=common.index.position)
        for notice in journal.notices:
            logger.warning("%s", notice)
        return journal

    def _take_journal(self, journal: Journal) -> None:
        """Makes the journal's end the state of the trees. Raises NeedsNewEpoch."""
        common = self._common
        if journal.lost_tail and self.assignment.epoch <= journal.lost_epoch:
            raise NeedsNewEpoch
        if common.index.position == journal.last == ORIGIN and common.has_files():
            # The first start of all, over trees with files.
            adoption.begin(common.index, Position(self.assignment.epoch, 1))
        self.objects.adopted_at = adoption.origin(common.index)
        position = common.index.position
        unapplied = journal.last.seq > position.seq and not common.notes.journal_is_own
        if position == ORIGIN:
            unapplied = False  # a new index, perhaps in place of a damaged one: it knows nothing
        if journal.last.seq < position.seq or unapplied:
            # Promoted by force, in the middle of a comparison or with records that could not be
            # applied: what the trees are is the truth now, and those records are not part of it.
            journal.reset(position)
        elif journal.last.seq > position.seq and not self._relearn(journal.last):
            # What they told of may be gone from the trees, and nothing here would miss it: with a
            # record left out every standby compares.
            journal.reset(Position(journal.last.epoch, journal.last.seq + 1))
        common.notes.set_settling_until(None)
        common.notes.set_needs_reconcile("")
        common.notes.set_journal_is_own(own=True)
        common.notes.set_has_own(own=True)

    def _relearn(self, last: Position) -> bool:
        """The index learns what this node journalled and had not kept. False: not all is there."""
        index = self._common.index
        reached = index.position
        if reached == ORIGIN:
            return False
        with Cursor(self._common.journal_directory, reached) as cursor:
            while reached < last:
                found = cursor.read(_READ_BYTES)
                if not isinstance(found, Frames) or found.first.seq != reached.seq + 1:
                    logger.warning("the records behind %s cannot be read: %s", reached, found)
                    index.rollback()
                    return False
                relearn(index, decode(found.data))
                reached = found.last
        index.commit(reached)
        return True

    def _mark_roots(self) -> None:
        """The mark in the roots, by which a standby knows them, is made on the active too."""
        try:
            close_roots(self._common.open_roots())
        except (RootMissing, OSError) as error:
            logger.warning("%s", error)  # capture watches the root and reports it

    def _run(self) -> None:
        assert self._capture is not None
        try:
            self._capture.run()
        except BaseException as error:  # the thread's end is the owner's business, whatever it is
            logger.exception("capture ended")
            self._loop.call_soon_threadsafe(self._failed, error)

    async def stop(self, *, told: bool) -> None:
        """Captures what has happened, then lets go of the journal.

        Only if control `told` it another role, before which it stops the services, it counts as
        stopped cleanly. This process also ends with its daemon, however that died, and in
        maintenance: services then go on writing, and nobody captures that.
        """
        await self.scrubber.stop()
        await self._common.on_disk(partial(self._close, told=told))

    def _close(self, *, told: bool) -> None:
        clean = True
        if self._capture is not None and self._thread is not None:
            self._capture.end()
            self._thread.join()
            clean = not self._capture.status().problems
        if self._journal is not None:
            try:
                position = self._journal.sync()
                if clean:
                    self._common.index.commit(position)
                    if told:
                        self._common.notes.set_role("")
            finally:
                self._journal.close()

    # --- questions ---------------------------------------------------------------------------

    @property
    def last(self) -> Position:
        """The newest record."""
        return self._journal.last if self._journal is not None else Position()

    def status(self) -> CaptureStatus:
        """What capture is doing."""
        assert self._capture is not None
        return self._capture.status()

    def believe_removals(self, tree: str) -> int:
        """What vanished from a tree was meant to; for how many ms nobody is asked from now on.

        Raises ActionError when this tree's removals are never held.
        """
        assert self._capture is not None
        limits = {known.name: known.removals for known in self._common.group.trees}
        if tree not in limits or not limits[tree].percent:
            raise ActionError(
                f"there is nothing to allow: removals of tree {tree} are never held, since it has"
                " no 'removals' in the configuration"
            )
        self._capture.allow_removals(tree)
        return limits[tree].within_ms

    async def barrier(self, *, complete: bool = False) -> Position:
        """Everything written to the trees before the call is journalled and durable here.

        But for what cannot be read; `complete`: Uncaptured is raised then.
        """
        assert self._capture is not None
        captured = asyncio.wrap_future(
            self._capture.ask_barrier(_CAPTURE_BARRIER_MS, complete=complete)
        )
        if not self._common.group.barrier_syncfs:
            return await captured
        synced = asyncio.gather(*(self._common.read(work) for work in self._syncs()))
        try:
            position, _ = await asyncio.gather(captured, synced)
        except OSError as error:
            raise ActionError(
                f"the trees' filesystem could not be synced: {error}; check its disk"
            ) from error
        return position

    def _syncs(self) -> list[Callable[[], None]]:
        devices: dict[int, Path] = {}
        for tree in self._common.group.trees:
            with suppress(FileNotFoundError):  # capture knows of it, and says so in its own words
                devices.setdefault(tree.path.stat().st_dev, tree.path)
        return [partial(_sync, path) for path in devices.values()]

    async def begin_comparison(self) -> Position:
        """A barrier whose position is found quickly in the journal."""
        position = await self.barrier()
        assert self._journal is not None
        await self._common.read(self._journal.roll)
        return position

    def _was_read(self, found: list[Read]) -> None:
        if self._capture is not None:
            self._capture.was_read(found)

    def _root_problem(self, tree: str) -> str:
        return self._capture.roots.problem(tree) if self._capture is not None else ""

    def listing(self, tree: str, path: bytes) -> list[Listed] | None:
        """A directory as it was journalled."""
        self.scrubber.give_way()
        return self._common.index.listing(tree, path)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_filesystem(number)
    finally:
        os.close(number)


def describe(error: BaseException) -> str:
    """For a problem's text."""
    return str(error) if isinstance(error, StaqraftError) else f"{type(error).__name__}: {error}"
