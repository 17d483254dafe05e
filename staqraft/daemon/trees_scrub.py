"""The scrubber of a standby: reads its trees again and again, and heals what is not as indexed.

It has a thread of its own, whose reading gives way to all others', and goes on after a restart in
the directory where it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from staqraft.apply.inspect import Inspector, aspects, read_when_idle
from staqraft.apply.scrub import Looked, Pace, Stopped, Suspect, confirmed, io_pressure, look_at
from staqraft.apply.verify import Finding
from staqraft.daemon.trees_client import RemoteTrees
from staqraft.daemon.trees_common import Assignment, Common, close_roots
from staqraft.daemon.trees_repair import Repairer, repair_all
from staqraft.errors import StaqraftError
from staqraft.wire.v1 import data_worker_pb2 as pb

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_MS: Final = 60_000  # nothing is looked at in the first minute of a role
_LOOK_S: Final = 1.0
_RETRY_S: Final = 10.0
_REMEMBER_MS: Final = 60_000
_BEHIND: Final = 2_000  # records that wait to be applied
_NAMED: Final = 10


class Standby(Repairer, Protocol):
    """What the scrubber needs of the role."""

    assignment: Assignment

    @property
    def reason(self) -> str:
        """Why the trees are to be compared first, or empty."""
        ...

    def is_unsettled(self, tree: str, path: bytes) -> bool:
        """Whether the object is being put right anyway."""
        ...

    async def consistent(self, work: Callable[[], T]) -> T:
        """Runs a function while nothing is half applied."""
        ...


@dataclass(slots=True, kw_only=True)
class Place:
    """Where a pass is: durable. Times are the wall clock's, in ms."""

    begun_ms: int = 0  # 0: never
    ended_ms: int = 0  # of the last whole pass
    running: bool = False
    tree: str = ""
    path: str = ""  # hexadecimal; the directory that is to be read next
    objects: int = 0
    bytes: int = 0


class Scrubber:
    """From `start` to `stop`, both harmless when repeated. `failed`: it ended by itself."""

    note = "scrub"  # where in the index it keeps its place

    def __init__(
        self, common: Common, standby: Standby, failed: Callable[[BaseException], None]
    ) -> None:
        self._common = common
        self._standby = standby
        self._failed = failed
        self._limits = common.group.scrub
        self._stopping = threading.Event()
        self._pace = Pace(self._limits.rate_bytes, self._stopping, self._busy)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scrub", initializer=read_when_idle)
        self._task: asyncio.Task[None] | None = None
        self._place = _recalled(common, self.note)
        self._remembered_ms = common.clock_ms()
        self._counts = pb.ScrubStatus()
        self._corrupt_before = 0

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins, or goes on where it was."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("scrubbing ended", exc_info=error)
            self._failed(error)

    async def stop(self) -> None:
        """Ends it; where it is is remembered."""
        task, self._task = self._task, None
        self._stopping.set()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            await self._remember()
        self._thread.shutdown(wait=False)

    def status(self) -> pb.ScrubStatus:
        """How far it is."""
        place = self._place
        totals = [self._common.index.totals(tree.name) for tree in self._common.group.trees]
        answer = pb.ScrubStatus()
        answer.CopyFrom(self._counts)
        answer.state = self._state()
        answer.objects_done, answer.bytes_done = place.objects, place.bytes
        answer.objects_total = max(place.objects, sum(total.objects for total in totals))
        answer.bytes_total = max(place.bytes, sum(total.bytes for total in totals))
        answer.begun_wall_ms, answer.ended_wall_ms = place.begun_ms, place.ended_ms
        return answer

    def _state(self) -> str:
        if self._standby.reason:
            return "pauses: the trees are compared with the active's first"
        if not self._place.running:
            return "waiting"
        return f"pauses: {self._pace.waits_for}" if self._pace.waits_for else "reading"

    # --- passes ------------------------------------------------------------------------------

    async def _run(self) -> None:
        first_ms = min(_FIRST_MS, self._limits.period_ms)
        await asyncio.sleep(first_ms / 1000)
        while True:
            if not self._place.running:
                await self._until_due()
                self._place = Place(
                    begun_ms=self._common.wall_ms(), ended_ms=self._place.ended_ms, running=True
                )
                self._corrupt_before = self._counts.corrupt_lately
            async for tree, path in self._directories():
                await self._directory(tree, path)
            self._place.running, self._place.ended_ms = False, self._common.wall_ms()
            self._counts.corrupt_lately -= self._corrupt_before
            await self._remember()

    async def _until_due(self) -> None:
        """A clock that was set back does not keep it from reading."""
        while True:
            age_ms = self._common.wall_ms() - self._place.begun_ms
            if not 0 <= age_ms < self._limits.period_ms and not self._standby.reason:
                return
            await self._meanwhile()
            await asyncio.sleep(min(_LOOK_S, self._limits.period_ms / 1000))

    async def _meanwhile(self) -> None:
        """Between two passes, now and then."""

    async def _directories(self) -> AsyncIterator[tuple[str, bytes]]:
        """All of them in order, from the place on; each is to be read before the next is asked."""
        begin = (self._place.tree, _parts(bytes.fromhex(self._place.path)))
        for tree in sorted(tree.name for tree in self._common.group.trees):
            if tree < begin[0]:
                continue
            stack = [b""]
            while stack:
                path = stack.pop()
                parts = _parts(path)
                here = (tree, parts)
                if here >= begin:
                    self._place.tree, self._place.path = tree, path.hex()
                    yield tree, path
                elif tree == begin[0] and parts != begin[1][: len(parts)]:
                    continue  # everything below it was read before
                below = await self._common.read(partial(self._below, tree, path))
                stack += reversed(below)

    def _below(self, tree: str, path: bytes) -> list[bytes]:
        found = self._common.index.directories(tree, path)
        return sorted(found, key=_parts)

    async def _directory(self, tree: str, path: bytes) -> None:
        """Reads one, and deals with what is found. What cannot be read is tried again."""
        while True:
            if self._standby.reason:
                await asyncio.sleep(_LOOK_S)
                continue
            try:
                looked = await self._in_thread(partial(self._look, tree, path))
                if looked.suspects:
                    await self._deal_with(tree, looked.suspects)
            except (StaqraftError, OSError) as error:
                text = (
                    f"the scrubber cannot go on in tree {tree} on {self._common.config.node}:"
                    f" {error}; it tries again by itself"
                )
                self._common.problems.set("scrub", text)
                await asyncio.sleep(_RETRY_S)
                continue
            self._common.problems.clear("scrub")
            self._place.objects += looked.objects
            self._place.bytes += looked.bytes
            if self._common.clock_ms() - self._remembered_ms >= _REMEMBER_MS:
                await self._remember()
            return

    def _look(self, tree: str, path: bytes) -> Looked:
        common = self._common
        trees = {known.name: known.path for known in common.group.trees}
        inspector = Inspector(
            trees, common.index, common.excluded(), deep=True, pace=self._pace, cold=True
        )
        try:
            return look_at(inspector, common.index, tree, path, self._pace)
        finally:
            inspector.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._stopping.set()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # Stopped, or what does not matter any more
            raise
        except Stopped:
            raise asyncio.CancelledError from None

    def _busy(self) -> str:
        """Why nothing is read now. In the scrubber's thread."""
        waiting = self._common.journal_end_or_nothing().seq - self._common.index.position.seq
        if waiting > _BEHIND:
            return f"{waiting:,} changes wait to be applied"
        pressure = io_pressure()
        if pressure > self._limits.io_pressure:
            return f"programs wait for the disks for {pressure:.0f} % of the time"
        return ""

    # --- findings ----------------------------------------------------------------------------

    async def _deal_with(self, tree: str, suspects: Sequence[Suspect]) -> None:
        found = await self._standby.consistent(partial(self._confirm, tree, suspects))
        active = self._standby.assignment.active
        if not found or active is None:
            return
        damaged = [finding for finding in found if finding.mine and finding.mine.corrupt]
        self._counts.found += len(found)
        self._counts.corrupt += len(damaged)
        self._counts.corrupt_lately += len(damaged)
        self._counts.last_finding = _sentence(self._common.config.node, tree, found, damaged)
        logger.warning("%s", self._counts.last_finding)
        remote = RemoteTrees(
            self._common.config, self._common.group, active, self._standby.assignment.epoch
        )
        try:
            await repair_all(self._common, self._standby, remote, found)
        finally:
            await remote.close()
        self._counts.healed += len(found)

    def _confirm(self, tree: str, suspects: Sequence[Suspect]) -> list[Finding]:
        common = self._common
        trees = {known.name: known.path for known in common.group.trees}
        plain = Inspector(trees, common.index, common.excluded(), deep=False)
        roots = common.open_roots()
        try:
            findings = []
            for suspect in suspects:
                if self._standby.is_unsettled(tree, suspect.path):
                    continue
                states = confirmed(roots[tree], plain, common.index, suspect)
                if states is not None:
                    wanted, now = states
                    findings.append(
                        Finding(
                            tree=tree,
                            path=suspect.path,
                            aspects=aspects(wanted, now),
                            mine=now,
                            theirs=wanted,
                        )
                    )
            return findings
        finally:
            plain.close()
            close_roots(roots)

    async def _remember(self) -> None:
        self._remembered_ms = self._common.clock_ms()
        text = json.dumps(asdict(self._place))
        await self._common.on_disk(partial(self._common.index.set_meta, self.note, text))
        try:
            await self._standby.consistent(lambda: None)  # which commits
        except (StaqraftError, OSError) as error:
            logger.debug("where the scrubber is will be kept with the next commit: %s", error)


def _recalled(common: Common, note: str) -> Place:
    noted = common.index.meta(note)
    if noted is None:
        return Place()
    try:
        place = Place(**json.loads(noted))
        bytes.fromhex(place.path)
    except (ValueError, TypeError):
        return Place()  # of another version
    return place


def _parts(path: bytes) -> tuple[bytes, ...]:
    return tuple(path.split(b"/")) if path else ()


def _sentence(node: str, tree: str, found: Sequence[Finding], damaged: Sequence[Finding]) -> str:
    names = ", ".join(
        f"{finding.path.decode(errors='backslashreplace') or 'its root'}"
        f" ({', '.join(finding.aspects) or 'content'})"
        for finding in found[:_NAMED]
    )
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    count = "1 object" if len(found) == 1 else f"{len(found)} objects"
    text = (
        f"{count} of tree {tree} on {node} not as they should be, fetched anew from the active:"
        f" {names}{more}"
    )
    if damaged:
        text += (
            f"; the content of {len(damaged)} was damaged without anybody writing: check the disk"
            f" of {node}"
        )
    return text
