"""The scrubber of an active: finds files that its disk gives back otherwise than they were written.

Nobody heals them here: what the active has is what applications see, and what a standby is given
when it asks. But the standby was told what had been written, so a damage that is said in time is
mended from there, and one that is not said spreads with the next takeover or the next comparison.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from staqraft.apply.inspect import Inspector
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
_PROBLEM: Final = "damaged"


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

    async def repair(self, _remote: RemoteTrees, _tree: str, _paths: Sequence[bytes]) -> None:
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
        self._damaged: set[tuple[str, bytes]] = set()
        self._looked_ms = common.clock_ms()

    async def _deal_with(self, tree: str, suspects: Sequence[Suspect]) -> None:
        """What differs from the index otherwise is new, and capture's business."""
        paths = [s.path for s in suspects if s.state is not None and s.state.corrupt]
        new = [path for path in paths if (tree, path) not in self._damaged]
        if not new:
            return
        await self._barrier()  # files that are mapped are compared, and indexed as they are
        found = await self._in_thread(partial(self._still_damaged, [(tree, p) for p in new]))
        if not found:
            return
        self._damaged |= found
        self._counts.found += len(found)
        self._counts.corrupt += len(found)
        self._counts.corrupt_lately += len(found)
        self._say()
        self._counts.last_finding = self._sentence()
        logger.error("%s", self._counts.last_finding)

    async def _meanwhile(self) -> None:
        """A file that was written anew, or is gone, is no problem any more."""
        if not self._damaged or self._common.clock_ms() - self._looked_ms < self._again_ms:
            return
        self._looked_ms = self._common.clock_ms()
        try:
            still = await self._in_thread(partial(self._still_damaged, [*self._damaged]))
        except (StaqraftError, OSError) as error:
            logger.debug("what was damaged cannot be looked at now: %s", error)
            return
        self._damaged &= still
        self._say()

    @property
    def _again_ms(self) -> int:
        return min(_LOOK_AGAIN_MS, self._limits.period_ms)

    def _still_damaged(self, objects: Sequence[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        """In the scrubber's thread."""
        common = self._common
        mapped = {inode for found in mapped_files() for _, inode in found}
        trees = {known.name: known.path for known in common.group.trees}
        inspector = Inspector(
            trees, common.index, common.excluded(), deep=True, pace=self._pace, cold=True
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
        known = sorted(self._damaged)
        names = ", ".join(
            f"{path.decode(errors='backslashreplace')!r} of tree {tree}"
            for tree, path in known[:_NAMED]
        )
        more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        what = "is not what was" if len(known) == 1 else "are not what was"
        return (
            f"{names}{more} {what} written, and nobody wrote to it since: check the disk of {node}."
            " The standby was given what was written: see with 'staqctl verify --deep' whether it"
            f" has that, then hand over ('staqctl switchover') and let {node} fetch it from there"
            " ('staqctl verify --deep --repair')"
        )
