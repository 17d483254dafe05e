"""The standby's journal as sessions use it: one disk thread owns it, opens it, and opens it anew.

Beside the journal stands a marker file while a comparison of the trees was begun and is not
finished: until then the trees are neither of the old history nor of the new one, and no crash may
hide that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from staqraft.errors import JournalCorrupt, JournalError, JournalFull, StaleEpoch, StaqraftError
from staqraft.journal.journal import Journal
from staqraft.journal.segment import sync_directory
from staqraft.model import ORIGIN, Epoch, Position
from staqraft.replication import frame
from staqraft.replication.messages import from_position
from staqraft.replication.problems import Problems
from staqraft.replication.tasks import on_disk
from staqraft.wire.v1 import replication_pb2 as pb

T = TypeVar("T")
OpenJournal = Callable[[], Journal]


class Store:
    """`open_journal` and `rebuild` run on the disk thread; `changed` is called when there is news.

    `first`, `last` and `bytes_on_disk` are what the journal was when it was last touched.
    """

    def __init__(
        self,
        *,
        open_journal: OpenJournal,
        rebuild: OpenJournal,
        marker: Path,
        executor: Executor,
        problems: Problems,
        changed: Callable[[], None],
    ) -> None:
        self.first = Position(Epoch(0), 1)
        self.last = ORIGIN
        self.bytes_on_disk = 0
        self.wants_room = False  # see Journal
        self._open_journal = open_journal
        self._rebuild = rebuild
        self._marker = marker
        self._executor = executor
        self._problems = problems
        self._changed = changed
        self._journal: Journal | None = None

    async def open(self) -> Position:
        """Takes the journal if it is not taken yet; returns its last, durable record."""
        return await self._disk(lambda: self._now().sync())

    async def close(self) -> None:
        """Makes everything durable and lets go of the journal, with the mark of a clean stop."""
        await self._disk(self._close)

    async def store(self, batches: list[pb.Batch]) -> tuple[Position, StaqraftError | None]:
        """Appends and syncs. Returns what is durable, and what stopped the rest if something did.

        JournalError: the disk failed; the journal is opened anew the next time.
        """
        result = await self._disk(lambda: self._store(batches))
        self._changed()
        return result

    async def make_room(self) -> None:
        """So that the next `store` takes less long; JournalError as there."""
        await self._disk(self._make_room)

    async def hold(self, applied: Position) -> None:
        """What is not applied must not be given up; what is, may go if the bounds say so."""
        await self._disk(lambda: self._hold(applied))

    async def unfinished_reconcile(self) -> str:
        """Why a comparison was begun that was not finished; empty if there is none."""
        return await self._disk(self._read_marker)

    async def begin_reconcile(self, reason: str) -> None:
        """From now on the journal is empty and the trees have to be compared, also after a crash.

        Empty from the very beginning: whoever waits in it for a later record just goes on waiting.
        """
        await self._disk(lambda: self._begin_reconcile(reason))

    async def finish_reconcile(self, position: Position) -> None:
        """The trees are as of `position`; live changes follow it."""
        await self._disk(lambda: self._finish_reconcile(position))
        self._changed()

    # --- on the disk thread ----------------------------------------------------------------------

    async def _disk(self, work: Callable[[], T]) -> T:
        return await on_disk(self._executor, work)

    def _now(self) -> Journal:
        if self._journal is None:
            try:
                journal = self._open_journal()
            except JournalCorrupt as error:
                # Nothing of it can be relied upon; the active has it all.
                self._problems.set("journal-repaired", f"{error} This is done now by itself.")
                self._write_marker("the journal was damaged")
                journal = self._rebuild()
            for notice in journal.notices:
                self._problems.set("journal-repaired", notice)
            journal.hold(Position(Epoch(0), journal.first.seq - 1))
            self._journal = journal
            self._look()
        return self._journal

    def _close(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def _look(self) -> None:
        if self._journal is not None:
            self.first, self.last = self._journal.first, self._journal.last
            self.bytes_on_disk = self._journal.bytes_on_disk
            self.wants_room = self._journal.wants_room

    def _store(self, batches: list[pb.Batch]) -> tuple[Position, StaqraftError | None]:
        journal = self._now()
        problem: StaqraftError | None = None
        try:
            for batch in batches:
                raw = frame.decompress(batch.codec, batch.raw_bytes, batch.frames)
                journal.append_frames(from_position(batch.first), from_position(batch.last), raw)
        except (JournalFull, JournalCorrupt, StaleEpoch) as error:
            problem = error  # the journal is unchanged by it: what came before still counts
        try:
            durable = journal.sync()
        except JournalError:
            self._close()
            raise
        self._look()
        return durable, problem

    def _make_room(self) -> None:
        try:
            self._now().make_room()
        except JournalError:
            self._close()
            raise
        self._look()

    def _hold(self, applied: Position) -> None:
        if self._journal is not None:
            self._journal.hold(applied)
            self._journal.trim()
            self._look()

    def _begin_reconcile(self, reason: str) -> None:
        self._write_marker(reason)
        self._reset(ORIGIN)

    def _finish_reconcile(self, position: Position) -> None:
        self._reset(position)
        self._marker.unlink(missing_ok=True)
        sync_directory(self._marker.parent)

    def _reset(self, last: Position) -> None:
        journal = self._now()
        journal.reset(last)
        journal.hold(last)
        self._look()

    def _write_marker(self, reason: str) -> None:
        with self._marker.open("w") as file:
            file.write(reason)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._marker.parent)

    def _read_marker(self) -> str:
        try:
            return self._marker.read_text() or "an earlier comparison was not finished"
        except FileNotFoundError:
            return ""
