"""The trees process of a standby: follows the journal, heals, compares when it is told."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from staqraft.apply.applier import Applier, CannotWrite
from staqraft.apply.localscan import Excluded
from staqraft.apply.reconcile import Progress, Reconciler
from staqraft.apply.safety import RootMissing, TreeRoot, sync_filesystem
from staqraft.apply.watermark import Watermark
from staqraft.capture.exclude import Excludes
from staqraft.daemon.trees_client import RemoteTrees
from staqraft.daemon.trees_common import Assignment, Common, close_roots
from staqraft.errors import (
    ApplyError,
    JournalCorrupt,
    JournalError,
    ReplicationError,
    StaqraftError,
)
from staqraft.index import IndexFull, SharedHistory, is_reserved
from staqraft.journal import segment, state
from staqraft.journal.cursor import Corrupt, Cursor, Frames, Trimmed
from staqraft.journal.record import Record
from staqraft.journal.record_codec import decode
from staqraft.model import ORIGIN, Epoch, EpochStart, NodeId, Position

logger = logging.getLogger(__name__)

_READ_BYTES: Final = 256 << 10
_RECHECK_S: Final = 0.2  # a doorbell may be lost
_RETRY_S: Final = 1.0
_COMMIT_MS: Final = 250
_HEAL_MS: Final = 2000
_HEAL_TRIES: Final = 3
_PROGRESS_S: Final = 0.25
_NAMED: Final = 5  # objects that a refusal names
_TROUBLES: Final = ("root-missing", "apply-paused", "index-full")


class StandbyRole:
    """From `start` to `stop`. `failed` is called when following ends by itself."""

    def __init__(
        self, common: Common, assignment: Assignment, failed: Callable[[BaseException], None]
    ) -> None:
        self.assignment = assignment
        self._failed = failed
        self.progress: Progress | None = None
        self._common = common
        self._bell = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._comparing = asyncio.Lock()
        self._roots: dict[str, TreeRoot] = {}
        self._applier: Applier | None = None
        self._watermark = Watermark(common.directory / "applied", common.boot_id)
        self._cursor: Cursor | None = None
        self._todo: deque[Record] = deque()
        self._reached = common.index.position
        self._lost_power = False
        self._only_durable = True  # of the journal, so that no effect is without its record
        self._committed_ms = common.clock_ms()
        self._heal_at_ms = 0
        self._heal_tries = 0
        self.reason = common.notes.needs_reconcile  # the note, for whoever asks from the loop

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Follows the journal unless the trees have to be compared first."""
        await self.look_back()
        self._follow()

    async def look_back(self) -> None:
        """Finds out whether the trees are where the journal is."""
        await self._common.on_disk(self._look_back)

    async def reassign(self, assignment: Assignment) -> None:
        """A newer epoch, another active or more history: nothing is interrupted."""
        self.assignment = assignment
        await self._common.on_disk(self._check_history)

    async def stop(self) -> None:
        """Stops where it is; what was applied is durable."""
        await self._unfollow()
        await self._common.on_disk(self._close)

    def ring(self) -> None:
        """There is something new in the journal."""
        self._bell.set()

    async def finish(self, *, accept_loss: bool) -> Position:
        """Applies everything that the journal holds, then applies no more.

        Raises ApplyError when something in the journal cannot be applied, or an object is not what
        the journal says: it may have been acknowledged, so only an operator may give it up
        (`accept_loss`).
        """
        await self._unfollow()
        return await self._common.on_disk(partial(self._apply_the_rest, accept_loss=accept_loss))

    @property
    def healed(self) -> int:
        """Objects that were not as expected and were put right."""
        return self._applier.healed if self._applier is not None else 0

    @property
    def changes(self) -> dict[str, int]:
        """Changes applied, by kind."""
        return dict(self._applier.changes) if self._applier is not None else {}

    # --- what was before -----------------------------------------------------------------------

    def _look_back(self) -> None:
        common = self._common
        kind, _, boot = common.notes.role.partition("@")
        if kind == "active":
            self._needs("this node stopped without warning while it was active")
        elif kind == "standby" and boot != common.boot_id:
            self._lost_power = True
        elif kind == "joining" and boot != common.boot_id:
            self._needs("this node went down without warning before its trees were durable")
        if common.index.rebuilt:
            self._needs(common.index.rebuilt)
        if common.index.position == ORIGIN and self._has_files():
            self._needs("the trees are not empty and were never compared with the active's")
        self._check_history()
        if kind != "standby":
            common.notes.set_role(f"joining@{common.boot_id}")

    def _has_files(self) -> bool:
        for tree in self._common.group.trees:
            try:
                if any(not is_reserved(os.fsencode(path.name)) for path in tree.path.iterdir()):
                    return True
            except OSError:
                continue  # opening the root will say what is wrong with it
        return False

    def _check_history(self) -> None:
        starts = self.assignment.epoch_starts
        if not starts:
            return
        shared = SharedHistory.of(starts)
        known = max(start.epoch for start in starts)
        try:
            ends = (self._common.journal_end(), self._common.index.position)
        except JournalCorrupt as error:
            self._needs(str(error))
            return
        for end in ends:
            if end != ORIGIN and end.epoch <= known and not shared.has(end):
                self._needs(
                    f"this node has changes up to {end} that are not of the history which the "
                    "replicas share"
                )

    def _needs(self, reason: str) -> None:
        self._common.notes.set_needs_reconcile(reason)
        self.reason = self._common.notes.needs_reconcile

    # --- following -----------------------------------------------------------------------------

    def _follow(self) -> None:
        self._follower = asyncio.create_task(self._run())
        self._follower.add_done_callback(self._followed)

    def _followed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("applying ended", exc_info=error)
            self._failed(error)

    async def _unfollow(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.cancel()
            await asyncio.wait([follower])
            if not follower.cancelled() and (error := follower.exception()) is not None:
                raise error

    async def _run(self) -> None:
        while True:
            self._bell.clear()
            pause_s = _RECHECK_S
            if not self.reason:
                try:
                    if await self._common.on_disk(self._step):
                        continue
                    await self._heal_now_and_then()
                except (RootMissing, CannotWrite, IndexFull, OSError) as error:
                    self._trouble(error)
                    pause_s = _RETRY_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._bell.wait()
                if pause_s == _RETRY_S:
                    await asyncio.sleep(_RETRY_S)  # records go on coming; space does not
            except TimeoutError:
                continue

    def _trouble(self, error: StaqraftError | OSError) -> None:
        match error:
            case RootMissing():
                self._common.problems.set("root-missing", str(error))
            case IndexFull():
                self._common.problems.set("index-full", str(error))
            case _:
                self._common.problems.set("apply-paused", str(error))

    def _step(self) -> bool:
        """Applies a portion of the journal. True: there may be more at once."""
        try:
            applier = self._ready()
            if not self._todo and not self._read():
                self._when_idle(applier)
                return False
            for root in self._roots.values():
                root.require_present()
            while self._todo:
                record = self._todo[0]
                applier.apply(record)
                self._todo.popleft()
                self._reached = record.position
            if self._is_due():
                self._commit(applier)
        except IndexFull:
            self._begin_again()
            raise
        except (CannotWrite, RootMissing):
            raise
        except (ApplyError, JournalError) as error:
            self._needs(str(error))
            return False
        for code in _TROUBLES:
            self._common.problems.clear(code)
        return True

    def _ready(self) -> Applier:
        if self._applier is not None:
            return self._applier
        self._roots = self._common.open_roots()
        try:
            applier = Applier(self._roots, self._common.index, self._watermark)
            if self._lost_power:
                self._roll_back(applier)
            else:
                self._catch_up_index(applier)
            self._joined()
        except BaseException:
            close_roots(self._roots)
            self._roots = {}
            self._common.index.rollback()
            self._reached = self._common.index.position
            raise
        self._applier = applier
        return applier

    def _joined(self) -> None:
        """From now on what is behind the index's position is durable, and what is not is known."""
        role = f"standby@{self._common.boot_id}"
        if self._common.notes.role != role:
            for root in self._roots.values():
                sync_filesystem(root.fd)
            self._common.notes.set_role(role)
        self._lost_power = False

    def _roll_back(self, applier: Applier) -> None:
        """After a power cut: the trees to where the index is, to apply the rest of the journal."""
        applier.roll_back(self._behind())
        logger.warning(
            "this node lost its power while it was applying changes: its trees are as of %s again, "
            "and the rest of its journal is applied anew",
            self._common.index.position,
        )

    def _behind(self) -> Iterator[Record]:
        """All that the journal holds behind the index. Raises JournalError."""
        before = self._common.index.position
        with Cursor(self._common.journal_directory, before) as cursor:
            while (found := cursor.read(_READ_BYTES)) is not None:
                if not isinstance(found, Frames):
                    raise JournalError(f"the trees cannot be brought up: {found.reason}")
                if found.first.seq != before.seq + 1 or found.first.epoch < before.epoch:
                    return
                before = found.last
                yield from decode(found.data)

    def _catch_up_index(self, applier: Applier) -> None:
        """What a killed process had applied and not committed."""
        after = self._common.index.position
        done = self._watermark.position
        if done <= after:
            return
        records: list[Record] = []
        with Cursor(self._common.journal_directory, after) as cursor:
            while not records or records[-1].position <= done:
                found = cursor.read(_READ_BYTES)
                if not isinstance(found, Frames) or not self._follows(found, records):
                    break
                records += decode(found.data)
        applier.replay_index(records)
        if records:
            self._reached = min(done, records[-1].position)
            logger.info("the index caught up with the trees, from %s to %s", after, self._reached)
        self._commit(applier)

    def _follows(self, found: Frames, records: list[Record]) -> bool:
        before = records[-1].position if records else self._common.index.position
        return found.first.seq == before.seq + 1 and found.first.epoch >= before.epoch

    def _read(self) -> bool:
        """Takes the next records from the journal."""
        if self._cursor is None:
            self._cursor = Cursor(self._common.journal_directory, self._reached)
        match self._cursor.read(_READ_BYTES):
            case Frames() as found:
                follows = found.first.seq == self._reached.seq + 1
                if not follows or found.first.epoch < self._reached.epoch:
                    return False  # of another history; the stream process is about to replace it
                durable = self._durable_end()
                if durable is not None and found.last > durable:
                    self._cursor.close()
                    self._cursor = None  # what follows is looked at again when it is durable
                self._common.notes.set_journal_is_own(own=False)
                self._todo.extend(
                    record
                    for record in decode(found.data)
                    if durable is None or record.position <= durable
                )
                return bool(self._todo)
            case Trimmed() as trimmed:
                self._needs(
                    f"the journal does not go on where this node's trees are: {trimmed.reason}"
                )
            case Corrupt() as corrupt:
                self._needs(corrupt.reason)
            case None:
                pass
        return False

    def _durable_end(self) -> Position | None:
        """How far a writer that lives has synced the journal; None: all there is counts.

        After a power cut a change must not be on the disk whose record is not.
        """
        noted = state.read(self._common.journal_directory) if self._only_durable else None
        living = noted is not None and not noted.clean and noted.boot_id == self._common.boot_id
        return noted.last if noted is not None and living else None

    def _when_idle(self, applier: Applier) -> None:
        if applier.unsettled:
            applier.settle()
        if self._reached != self._common.index.position and self._is_due():
            self._commit(applier)
        for code in _TROUBLES:
            self._common.problems.clear(code)

    def _is_due(self) -> bool:
        return self._common.clock_ms() - self._committed_ms >= _COMMIT_MS

    def _commit(self, applier: Applier) -> None:
        applier.commit(self._reached)
        self._committed_ms = self._common.clock_ms()

    def _begin_again(self) -> None:
        """The index forgot what was not committed; the trees did not: as after a kill."""
        self._close_files()
        self._reached = self._common.index.position

    def _apply_the_rest(self, *, accept_loss: bool) -> Position:
        missing = self._missing_at_the_end()
        if missing and not self._common.notes.journal_is_own:
            if not accept_loss:
                raise ApplyError(
                    f"{self._common.config.node} does not have all that its journal tells of, "
                    f"which may have been acknowledged: {missing}"
                )
            logger.warning("what the journal tells of is given up: %s", missing)
        if self._common.notes.journal_is_own:
            return self._common.journal_end()
        return self._common.index.position

    def _missing_at_the_end(self) -> str:
        """Applies all; why the trees are not what the journal says, or empty."""
        wrong: list[Record] = []
        try:
            self._sync_journal()
            while not self.reason and self._step():
                pass
            if self._applier is not None and not self.reason:
                wrong = self._applier.settle()
                self._commit(self._applier)
            if self.reason or wrong:
                return self.reason or _named(wrong)
            end = self._common.journal_end()
        except (ApplyError, JournalError, IndexFull, OSError) as error:
            return str(error)
        if end.seq > self._reached.seq and not self._common.notes.journal_is_own:
            return f"it ends at {end} and does not go on where the trees are, at {self._reached}"
        return ""

    def _sync_journal(self) -> None:
        """What was received and not synced when the stream process was killed counts, too."""
        for name in segment.listing(self._common.journal_directory)[-1:]:
            number = os.open(name.segment(self._common.journal_directory), os.O_RDONLY)
            try:
                os.fdatasync(number)
            finally:
                os.close(number)
        self._only_durable = False

    def _close_files(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        self._todo.clear()
        self._applier = None
        close_roots(self._roots)
        self._roots = {}

    def _close(self) -> None:
        clean = True
        try:
            if self._applier is not None:
                self._commit(self._applier)
        except (CannotWrite, RootMissing, IndexFull, OSError) as error:
            logger.warning("the last changes applied are not known to be durable: %s", error)
            clean = False
        self._close_files()
        self._watermark.close()
        if clean and self._common.notes.role == f"standby@{self._common.boot_id}":
            self._common.notes.set_role("")

    # --- healing -------------------------------------------------------------------------------

    async def _heal_now_and_then(self) -> None:
        applier, active = self._applier, self.assignment.active
        if applier is None or not applier.unsettled:
            self._heal_tries = 0
            self._common.problems.clear("unhealed")
            return
        now = self._common.clock_ms()
        if now < self._heal_at_ms or active is None or active == self._common.config.node:
            return
        self._heal_at_ms = now + _HEAL_MS
        try:
            await self._heal(applier, active)
        except ReplicationError as error:
            count = len(applier.unsettled)
            self._common.problems.set(
                "unhealed", f"{count} objects wait to be fetched anew from {active}: {error}"
            )

    async def _heal(self, applier: Applier, active: NodeId) -> None:
        if await self._common.on_disk(applier.lost_directories):
            await self._common.on_disk(
                partial(self._needs, "a directory with its content is not where it should be")
            )
            return
        remote = RemoteTrees(self._common.config, self._common.group, active, self.assignment.epoch)
        try:
            opening = await remote.begin()
            for tree in applier.roots:
                paths = await self._common.on_disk(partial(applier.unsettled_paths, tree))
                if paths:
                    async for records in remote.fetch(tree, paths):
                        await self._common.on_disk(
                            partial(self._take_over, applier, records, opening.position)
                        )
        finally:
            await remote.close()
        wrong = await self._common.on_disk(applier.settle)
        await self._common.on_disk(partial(self._commit, applier))
        self._heal_tries = self._heal_tries + 1 if wrong else 0
        if self._heal_tries >= _HEAL_TRIES:
            await self._common.on_disk(
                partial(self._needs, f"{len(wrong)} objects could not be fetched anew one by one")
            )

    def _take_over(self, applier: Applier, records: list[Record], position: Position) -> None:
        for record in records:
            applier.apply(replace(record, position=position), fetched=True)
        applier.healed += len({record.path for record in records})

    # --- comparing -----------------------------------------------------------------------------

    async def reconcile(
        self, *, reason: str, active: NodeId, epoch: Epoch, starts: tuple[EpochStart, ...]
    ) -> AsyncGenerator[tuple[Progress, Position | None], None]:
        """Compares with the active and takes over its state; the last item has the position.

        Raises ReplicationError, RootMissing, CannotWrite; called again it goes on where it was.
        """
        async with self._comparing:
            await self._unfollow()
            try:
                await self._common.on_disk(
                    partial(self._needs, f"a comparison was begun and is not finished: {reason}")
                )
                applier = await self._common.on_disk(self._ready_to_compare)
                remote = RemoteTrees(self._common.config, self._common.group, active, epoch)
                reconciler = Reconciler(
                    applier=applier,
                    active=remote,
                    quarantine=self._common.quarantine,
                    shared=SharedHistory.of(starts),
                    excluded={
                        tree.name: _excluded(Excludes(tree)) for tree in self._common.group.trees
                    },
                    run_on_disk=self._common.on_disk,
                    clock_ms=self._common.clock_ms,
                )
                self.progress = reconciler.progress
                task = asyncio.create_task(reconciler.run())
                try:
                    while not task.done():
                        await asyncio.wait([task], timeout=_PROGRESS_S)
                        if not task.done():
                            yield reconciler.progress, None
                    position = task.result()
                finally:
                    task.cancel()
                    await asyncio.wait([task])
                    await remote.close()
                await self._common.on_disk(partial(self._compared, position))
                yield reconciler.progress, position
            finally:
                self.progress = None
                self._follow()

    def _ready_to_compare(self) -> Applier:
        self._close_files()
        self._common.notes.set_journal_is_own(own=False)
        self._roots = self._common.open_roots()
        self._applier = Applier(self._roots, self._common.index, self._watermark)
        return self._applier

    def _compared(self, position: Position) -> None:
        self._reached = position
        self._watermark.set(position)
        self._common.notes.set_needs_reconcile("")
        self._common.index.rebuilt = ""
        self.reason = ""
        self._joined()


def _named(wrong: list[Record]) -> str:
    names = ", ".join(
        f"{os.fsdecode(record.path)!r} in tree {record.tree}" for record in wrong[:_NAMED]
    )
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return (
        f"{len(wrong)} objects are not what the journal says and nobody is there to fetch them "
        f"from: {names}{more}. Bring the other replica back"
    )


def _excluded(excludes: Excludes) -> Excluded:
    return lambda path, is_directory: excludes.excludes(path, is_directory=is_directory)
