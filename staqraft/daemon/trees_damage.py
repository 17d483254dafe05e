"""The scrubber of an active: finds files that its disk gives back otherwise than they were written.

Nobody heals them here: what the active has is what applications see, and what a standby is given
when it asks. But the standby was told what had been written, so a damage that is said in time is
mended from there, and one that is not said spreads with the next takeover or the next comparison.
What a standby fetches is compared as it is read, so it need not wait for its turn (`suspect`). It
is sent all the same: who asks for it has nothing better, else it would not be read (`Objects`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from staqraft.apply.inspect import Inspector, Pace
from staqraft.apply.scrub import Suspect
from staqraft.capture.mapped import mapped_files
from staqraft.daemon.trees_client import RemoteTrees
from staqraft.daemon.trees_common import Assignment, Common
from staqraft.daemon.trees_scrub import Scrubber
from staqraft.errors import StaqraftError
from staqraft.model import Position

logger = logging.getLogger(__name__)

T = TypeVar("T")
_LOOK_AGAIN_MS: Final = 60_000
_NAMED: Final = 5
_SUSPECTS: Final = 1000  # at a time; a scrubber's pass finds the others
_OTHERS_MS: Final = 5_000
_PROBLEM: Final = "damaged"


class Run(Protocol):
    """Runs a function in a thread."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """What it returns, or raises."""
        ...


class _Active:
    """The active's role, as a scrubber sees roles: nothing is ever half applied."""

    reason = ""

    def __init__(self, common: Common, assignment: Assignment) -> None:
        self.assignment = assignment
        self._common = common

    def is_unsettled(self, _tree: str, _path: bytes) -> bool:
        return False

    async def consistent(self, work: Callable[[], T]) -> T:
        return await self._common.read(work)

    async def repair(
        self,
        _remote: RemoteTrees,
        _tree: str,
        _paths: Sequence[bytes],
        _have: Sequence[bytes],
    ) -> None:
        raise AssertionError("nobody has what the active has not")


class DamageScrubber(Scrubber):
    """As `Scrubber`, on the active. `barrier`: what was written before is indexed afterwards."""

    note = "scrub-active"

    def __init__(
        self,
        common: Common,
        assignment: Assignment,
        barrier: Callable[[], Awaitable[Position]],
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__(common, _Active(common, assignment), failed)
        self._barrier = barrier
        self._loop = asyncio.get_running_loop()
        self._damaged: set[tuple[str, bytes]] = set()
        self._given: set[tuple[str, bytes]] = set()  # of these, to a standby, as they are
        self._suspects: set[tuple[str, bytes]] = set()
        self._closer_look: asyncio.Task[None] | None = None
        self._telling = asyncio.Lock()
        self._looked_ms = common.clock_ms()
        self._others_ms: int | None = None

    def give_way(self) -> None:
        """A standby asks for these files: they are read anyway. From any thread."""
        self._others_ms = self._common.clock_ms()

    def _busy(self) -> str:
        since = self._others_ms
        if since is not None and self._common.clock_ms() - since < _OTHERS_MS:
            return "a standby compares its trees with this node's"
        return super()._busy()

    async def _deal_with(self, tree: str, suspects: Sequence[Suspect]) -> None:
        """What differs from the index otherwise is new, and capture's business."""
        paths = [s.path for s in suspects if s.state is not None and s.state.corrupt]
        await self._tell_if_damaged([(tree, path) for path in paths], self._in_thread, self._pace)

    async def _tell_if_damaged(
        self, objects: Sequence[tuple[str, bytes]], run: Run, pace: Pace
    ) -> None:
        async with self._telling:
            new = [known for known in objects if known not in self._damaged]
            if not new:
                return
            await self._barrier()  # files that are mapped are compared, and indexed as they are
            found = await run(partial(self._still_damaged, new, pace))
            if found:
                self._found(found)

    def _found(self, found: set[tuple[str, bytes]]) -> None:
        self._damaged |= found
        self._counts.found += len(found)
        self._counts.corrupt += len(found)
        self._counts.corrupt_lately += len(found)
        self._say()
        self._counts.last_finding = self._sentence()
        logger.error("%s", self._counts.last_finding)

    # --- what a standby fetches ------------------------------------------------------------------

    def suspect(self, tree: str, path: bytes, *, given: bool) -> None:
        """A file that nobody wrote to was not read as it was written. For any thread.

        `given`: what was read went to the standby.
        """
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(partial(self._suspect, (tree, path), given=given))

    def _suspect(self, known: tuple[str, bytes], *, given: bool) -> None:
        if len(self._suspects) >= _SUSPECTS:
            return
        self._suspects.add(known)
        if given:
            self._given.add(known)
        if self._closer_look is None or self._closer_look.done():
            self._closer_look = asyncio.create_task(self._look_closer())

    async def _look_closer(self) -> None:
        while self._suspects:
            objects = sorted(self._suspects)
            try:
                await self._tell_if_damaged(objects, self._common.inspect, lambda _: None)
            except (StaqraftError, OSError) as error:
                logger.warning(
                    "%d files were not read as they were written, and cannot be looked at again"
                    " now (%s): the scrubber will come to them",
                    len(objects),
                    error,
                )
            self._suspects.difference_update(objects)
            self._given &= self._damaged | self._suspects

    async def stop(self) -> None:
        """As Scrubber.stop."""
        task, self._closer_look = self._closer_look, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await super().stop()

    # --- what is damaged -------------------------------------------------------------------------

    async def _meanwhile(self) -> None:
        """A file that was written anew, or is gone, is no problem any more."""
        if not self._damaged or self._common.clock_ms() - self._looked_ms < self._again_ms:
            return
        self._looked_ms = self._common.clock_ms()
        try:
            objects = [*self._damaged]
            still = await self._in_thread(partial(self._still_damaged, objects, self._pace))
        except (StaqraftError, OSError) as error:
            logger.debug("what was damaged cannot be looked at now: %s", error)
            return
        self._damaged -= {known for known in objects if known not in still}
        self._given &= self._damaged | self._suspects
        self._say()

    @property
    def _again_ms(self) -> int:
        return min(_LOOK_AGAIN_MS, self._limits.period_ms)

    def _still_damaged(
        self, objects: Sequence[tuple[str, bytes]], pace: Pace
    ) -> set[tuple[str, bytes]]:
        """In the scrubber's thread, or the inspectors'."""
        common = self._common
        mapped = {inode for found in mapped_files() for _, inode in found}
        trees = {known.name: known.path for known in common.group.trees}
        inspector = Inspector(
            trees, common.index, common.excluded(), deep=True, pace=pace, cold=True
        )
        try:
            states = {(tree, path): inspector.object(tree, path) for tree, path in objects}
        finally:
            inspector.close()
        return {
            known
            for known, state in states.items()
            if state is not None
            and state.corrupt
            and (state.identity is None or state.identity.ino not in mapped)
        }

    def _say(self) -> None:
        if self._damaged:
            self._common.problems.set(_PROBLEM, self._sentence())
        else:
            self._common.problems.clear(_PROBLEM)

    def _sentence(self) -> str:
        node = self._common.config.node
        what = "is not what was" if len(self._damaged) == 1 else "are not what was"
        return (
            f"{_names(self._damaged)} {what} written, and nobody wrote to it since: check the disk"
            f" of {node}."
            " The standby was given what was written: see with 'staqctl verify --deep' whether it"
            f" has that, then hand over ('staqctl switchover') and let {node} fetch it from there"
            " ('staqctl verify --deep --repair')" + self._fetched_since()
        )

    def _fetched_since(self) -> str:
        given = self._given & self._damaged
        if not given:
            return ""
        return (
            f". But {_names(given)} did not stand on the standby, which fetched it as it is now:"
            " restore that from a backup"
        )


def _names(objects: Collection[tuple[str, bytes]]) -> str:
    known = sorted(objects)
    names = ", ".join(
        f"{path.decode(errors='backslashreplace')!r} of tree {tree}"
        for tree, path in known[:_NAMED]
    )
    return names + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
