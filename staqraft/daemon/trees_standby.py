"""The trees process of a standby: follows the journal, heals, compares when it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeVar

from staqraft.apply.applier import Applier
from staqraft.apply.rate import Rate, left_s, work
from staqraft.apply.reconcile import PartlyUnreadable, Progress, Reconciler
from staqraft.apply.safety import CannotWrite, RootMissing
from staqraft.config.schema import Config, Group
from staqraft.daemon.journal_follower import JournalFollower
from staqraft.daemon.trees_client import RemoteTrees
from staqraft.daemon.trees_common import Assignment, Common
from staqraft.daemon.trees_scrub import Scrubber
from staqraft.errors import ActionError, ReplicationError, StaqraftError
from staqraft.index import IndexFull, SharedHistory
from staqraft.model import Epoch, EpochStart, NodeId, Position

logger = logging.getLogger(__name__)

T = TypeVar("T")
Dial = Callable[[Config, Group, NodeId, Epoch], RemoteTrees]

_RECHECK_S: Final = 0.2  # a doorbell may be lost
_RETRY_S: Final = 1.0
_HEAL_MS: Final = 2000
_APPLIED_MS: Final = 30_000
_LOOK_S: Final = 0.05
_HEAL_TRIES: Final = 3
_REFUSED_MS: Final = 30_000  # a filesystem that refuses an object will do so again
_PROGRESS_S: Final = 0.25


class StandbyRole:
    """From `start` to `stop`. `failed` is called when following ends by itself."""

    def __init__(
        self,
        common: Common,
        assignment: Assignment,
        failed: Callable[[BaseException], None],
        dial: Dial = RemoteTrees,
    ) -> None:
        """`dial` makes the connection by which single objects are fetched."""
        self.assignment = assignment
        self._dial = dial
        self._failed = failed
        self.progress: Progress | None = None
        self._common = common
        self._bell = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._trees = JournalFollower(common, self._ring_from_any_thread)
        self._task: asyncio.Task[None] | None = None
        self._comparing = asyncio.Lock()
        self._heal_at_ms = 0
        self._heal_tries = 0
        self._heal_behind: Position | None = None
        self._gone_before: frozenset[tuple[str, bytes]] = frozenset()  # that barrier
        self.scrubber = Scrubber(common, self, failed)

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Follows the journal unless the trees have to be compared first."""
        await self.look_back()
        self._follow()
        self.scrubber.start()

    async def look_back(self) -> None:
        """Finds out whether the trees are where the journal is."""
        await self._common.on_disk(partial(self._trees.look_back, self.assignment.epoch_starts))

    async def reassign(self, assignment: Assignment) -> None:
        """A newer epoch, another active or more history: nothing is interrupted."""
        self.assignment = assignment
        await self._common.on_disk(partial(self._trees.check_history, assignment.epoch_starts))

    async def stop(self) -> None:
        """Stops where it is; what was applied is durable."""
        await self.scrubber.stop()
        await self._unfollow()
        await self._common.on_disk(self._trees.close)

    def ring(self) -> None:
        """There is something new in the journal."""
        self._bell.set()

    def _ring_from_any_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._bell.set)

    async def finish(self, *, accept_loss: bool) -> Position:
        """Applies everything that the journal holds, then applies no more.

        Raises ApplyError when something in the journal cannot be applied, or an object is not what
        the journal says: it may have been acknowledged, so only an operator may give it up
        (`accept_loss`).
        """
        await self.scrubber.stop()
        await self._unfollow()
        return await self._common.on_disk(
            partial(self._trees.apply_the_rest, accept_loss=accept_loss)
        )

    @property
    def reason(self) -> str:
        """Why the trees have to be compared with the active's first, or empty."""
        return self._trees.reason

    @property
    def healed(self) -> int:
        """Objects that were not as expected and were put right."""
        applier = self._trees.applier
        return applier.healed if applier is not None else 0

    @property
    def unsettled(self) -> int:
        """Objects that have to be looked at again."""
        applier = self._trees.applier
        return len(applier.unsettled) if applier is not None else 0

    @property
    def settling(self) -> bool:
        """Whether the trees, since the last comparison, are not whole yet without the active."""
        return self._trees.settling.lasts

    @property
    def changes(self) -> dict[str, int]:
        """Changes applied, by kind."""
        applier = self._trees.applier
        return dict(applier.changes) if applier is not None else {}

    # --- following -----------------------------------------------------------------------------

    def _follow(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._followed)

    def _followed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("applying ended", exc_info=error)
            self._failed(error)

    async def _unfollow(self) -> None:
        follower, self._task = self._task, None
        if follower is not None:
            follower.cancel()
            await asyncio.wait([follower])
            if not follower.cancelled() and (error := follower.exception()) is not None:
                raise error

    async def _run(self) -> None:
        while True:
            self._bell.clear()
            pause_s = _RECHECK_S
            if not self._trees.reason:
                try:
                    if await self._common.on_disk(self._trees.step):
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

    # --- healing -------------------------------------------------------------------------------

    async def _heal_now_and_then(self) -> None:
        """Fetches what is not as it should be, once all that was told before has been applied.

        What a comparison met while it was renamed or removed on the active looks wrong until then.
        """
        applier, active = self._trees.applier, self.assignment.active
        if applier is None or not applier.unsettled:
            self._heal_tries = 0
            self._heal_behind = None
            self._common.problems.clear("unhealed")
            return
        now = self._common.clock_ms()
        if now < self._heal_at_ms or active is None or active == self._common.config.node:
            return
        if self._heal_behind is not None and self._common.index.position < self._heal_behind:
            return
        self._heal_at_ms = now + _HEAL_MS
        remote = self._dial(self._common.config, self._common.group, active, self.assignment.epoch)
        try:
            if self._heal_behind is None:
                self._gone_before = await self._common.on_disk(applier.unsettled.gone)
                self._heal_behind, _ = await remote.barrier()
                self._heal_at_ms = now
                return
            self._heal_behind = None
            await self._heal(applier, remote)
        except ReplicationError as error:
            count = len(applier.unsettled)
            self._common.problems.set(
                "unhealed", f"{count} objects wait to be fetched anew from {active}: {error}"
            )
        finally:
            await remote.close()

    async def _heal(self, applier: Applier, remote: RemoteTrees) -> None:
        await self._common.on_disk(partial(applier.remove_gone, self._gone_before))
        if not await self._common.on_disk(applier.settle):
            return
        if await self._common.on_disk(applier.doubtful.lost_directories):
            await self._common.on_disk(
                partial(self._trees.needs, "a directory with its content is not where it should be")
            )
            return
        position, _ = await remote.barrier()
        await self._common.on_disk(applier.doubtful.fetch_begins)
        for tree in applier.roots:
            paths = await self._common.on_disk(partial(applier.doubtful.paths, tree))
            if paths:
                async for records in remote.fetch(tree, paths):
                    await self._common.on_disk(
                        partial(self._trees.take_over, applier, records, position)
                    )
        until, _ = await remote.barrier()
        await self._common.on_disk(partial(self._trees.fetched_until, applier, until))
        wrong = await self._common.on_disk(applier.settle)
        await self._common.on_disk(partial(self._trees.commit, applier))
        if self._say_refused(applier) >= len(wrong) > 0:  # nor would a comparison help
            self._heal_at_ms = self._common.clock_ms() + _REFUSED_MS
            return
        self._heal_tries = self._heal_tries + 1 if wrong else 0
        if self._heal_tries >= _HEAL_TRIES:
            await self._common.on_disk(
                partial(
                    self._trees.needs, f"{len(wrong)} objects could not be fetched anew one by one"
                )
            )

    def _say_refused(self, applier: Applier) -> int:
        """Names what cannot be made here, and why; how many objects that are."""
        refused = applier.unsettled.refused()
        for (tree, path), why in sorted(refused.items())[:1]:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            self._common.problems.set(
                "unhealed",
                f"tree {tree}: {os.fsdecode(path)!r}{more} cannot be made on"
                f" {self._common.config.node} as it is on {self.assignment.active}: its filesystem"
                f" says {why!r}. It is tried again; until then {self._common.config.node} does not"
                " get in sync: use the same filesystem, mounted with the same options, on both"
                " replicas, or leave it out by 'exclude'",
            )
        return len(refused)

    def is_unsettled(self, tree: str, path: bytes) -> bool:
        """Whether the object is being put right anyway. In the disk thread."""
        applier = self._trees.applier
        return applier is not None and applier.unsettled.has(tree, path)

    async def resync(self, reason: str, trees: Collection[str], *, from_scratch: bool) -> None:
        """Has the trees compared: the stream notices, ends, and begins with that.

        Raises ActionError when that is under way.
        """
        if self._comparing.locked():
            raise ActionError(
                f"{self._common.config.node} compares its trees with the active's already: 'staqctl"
                " status' shows how far it is"
            )
        async with self._comparing:
            await self._common.on_disk(
                partial(self._trees.resync, reason, trees, from_scratch=from_scratch)
            )

    async def consistent(self, work: Callable[[], T]) -> T:
        """Runs a function while nothing is half applied: directories have their times, too."""

        def run() -> T:
            applier = self._trees.applier
            if applier is not None and not self._trees.reason:
                self._trees.commit(applier)
            return work()

        return await self._common.on_disk(run)

    async def repair(
        self, remote: RemoteTrees, tree: str, paths: Sequence[bytes], have: Sequence[bytes]
    ) -> None:
        """Fetches these objects whole, instead of what is here, and counts them as healed.

        Raises PartlyUnreadable when all others are here; ReplicationError, and what applying
        raises.
        """
        applier = self._trees.applier
        if applier is None or self._trees.reason:
            raise ReplicationError(f"{self._common.config.node} does not follow: it is tried again")
        position, _ = await remote.barrier()
        await self._common.on_disk(applier.doubtful.fetch_begins)
        unreadable: PartlyUnreadable | None = None
        take_over = partial(self._trees.take_over, applier)
        try:
            async for records in remote.fetch(tree, paths, have):
                await self._common.on_disk(partial(take_over, records, position))
        except PartlyUnreadable as error:  # it gave the rest
            unreadable = error
        await self._after_fetching(applier, remote)
        await self._common.on_disk(applier.settle)
        await self._common.on_disk(partial(self._trees.commit, applier))
        if unreadable is not None:
            raise unreadable

    async def _after_fetching(self, applier: Applier, remote: RemoteTrees) -> None:
        """What the active had nothing of goes, once it is sure that it was not moved.

        Not for long: what is not sure by then is healed later, as everything else.
        """
        gone = await self._common.on_disk(applier.unsettled.gone)
        behind, _ = await remote.barrier()
        await self._common.on_disk(partial(self._trees.fetched_until, applier, behind))
        if not gone:
            return
        until_ms = self._common.clock_ms() + _APPLIED_MS
        while self._common.index.position < behind:
            if self._common.clock_ms() > until_ms or self._trees.reason:
                return
            await asyncio.sleep(_LOOK_S)
        await self._common.on_disk(partial(applier.remove_gone, gone))

    # --- comparing -----------------------------------------------------------------------------

    def _to_be_looked_at(self) -> frozenset[str] | None:
        """Trees whose files may not be as the index says; None: all."""
        return frozenset() if self._trees.index_is_true() else self._common.notes.only_look_at

    async def reconcile(
        self, *, reason: str, active: NodeId, epoch: Epoch, starts: tuple[EpochStart, ...]
    ) -> AsyncGenerator[tuple[Progress, Position | None], None]:
        """Compares with the active and takes over its state; the last item has the position.

        Raises ReplicationError, RootMissing, CannotWrite; called again it goes on where it was.
        """
        async with self._comparing:
            await self._unfollow()
            try:
                only = await self._common.on_disk(self._to_be_looked_at)
                await self._common.on_disk(
                    partial(
                        self._trees.needs, f"a comparison was begun and is not finished: {reason}"
                    )
                )
                applier = await self._common.on_disk(self._trees.ready_to_compare)
                remote = RemoteTrees(self._common.config, self._common.group, active, epoch)
                reconciler = Reconciler(
                    applier=applier,
                    active=remote,
                    quarantine=self._common.quarantine,
                    shared=SharedHistory.of(starts),
                    excluded=self._common.excluded(),
                    run_on_disk=self._common.on_disk,
                    clock_ms=self._common.clock_ms,
                    has_own=await self._common.on_disk(lambda: self._common.notes.has_own),
                    look_at=only,
                    is_written=self._trees.is_written,
                )
                self.progress = reconciler.progress
                pace = _Pace(self._common.clock_ms)
                task = asyncio.create_task(reconciler.run())
                try:
                    while not task.done():
                        await asyncio.wait([task], timeout=_PROGRESS_S)
                        pace.take(reconciler.progress)
                        if not task.done():
                            yield reconciler.progress, None
                    position = task.result()
                finally:
                    task.cancel()
                    await asyncio.wait([task])
                    await remote.close()
                await self._common.on_disk(partial(self._trees.compared, position))
                yield reconciler.progress, position
            finally:
                self.progress = None
                self._follow()


class _Pace:
    """How fast a comparison fetches, and how long that takes."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._work, self._bytes = Rate(), Rate()

    def take(self, progress: Progress) -> None:
        """Puts it into the progress. Many small files and few large ones count alike."""
        now_s = self._clock_ms() / 1000
        done = work(progress.fetched, progress.bytes)
        pace = self._work.per_s(done, now_s)
        progress.bytes_per_s = self._bytes.per_s(progress.bytes, now_s)
        left = left_s(done, work(progress.to_fetch, progress.bytes_to_fetch), pace)
        known = left >= 0 and progress.to_fetch > 0
        progress.left_ms = round(left * 1000) if known else -1
