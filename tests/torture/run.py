"""One round: phases of work and troubles on a fresh pair, checked at the end of each."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import grpc
import grpc.aio

from fakes.data_pair import DataNode
from lab.compare import Manifest
from staqraft.apply.quarantine import Kept, Quarantine
from staqraft.wire.v1 import data_worker_pb2 as pb
from torture import checks
from torture.deeds import ACKNOWLEDGED, Deeds
from torture.evidence import evidence
from torture.ground import Ground, Violation, ground, group_dir, patiently
from torture.plan import Phase, Wishes, draw
from torture.troubles import cause

_LINGER_S = 0.02
_JOIN_S = 30.0


@dataclass(kw_only=True)
class Outcome:
    """What a round came to."""

    seed: int
    phases: int = 0
    deeds: int = 0
    acknowledged: int = 0
    quarantined: int = 0
    failovers: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    violation: str = ""
    evidence: str = ""


@dataclass(kw_only=True)
class Postman:
    """Writes files of which it knows that they are on both disks."""

    written: dict[bytes, bytes] = field(default_factory=dict)
    number: int = 0
    in_sync: bool = False  # the standby has acknowledged something since it follows

    async def deliver(self, ground: Ground, until: asyncio.Event) -> None:
        """One after the other until it is told to stop."""
        while not until.is_set():
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._one(ground.active, ground.standby)
            await asyncio.sleep(_LINGER_S)

    async def _one(self, active: DataNode, standby: DataNode) -> None:
        self.number += 1
        name, content = b"%d" % self.number, b"acknowledged %d\n" % self.number * 20
        folder = active.tree / ACKNOWLEDGED.decode()
        with contextlib.suppress(OSError):  # a full volume
            folder.mkdir(exist_ok=True)
            (folder / name.decode()).write_bytes(content)
            position = await active.barrier()
            await active.acknowledged(standby.node, position)
            self.written[name] = content
            self.in_sync = True


async def run(seed: int, wishes: Wishes, tell: Callable[[str], None]) -> Outcome:
    """Runs a round to its end or to the first violation."""
    outcome = Outcome(seed=seed)
    began = time.monotonic()

    def say(text: str) -> None:
        line = f"{time.monotonic() - began:7.2f} s  {text}"
        outcome.story.append(line)
        tell(line)

    async with ground(random.Random(f"shape {seed}"), wishes.inotify) as place:
        try:
            await _Round(place, outcome, say).phases(draw(seed, wishes))
        except (Violation, AssertionError, OSError, grpc.aio.AioRpcError) as violation:
            outcome.violation = str(violation) or repr(violation)
            outcome.evidence = evidence(place)
        outcome.notes = place.notes
    outcome.seconds = time.monotonic() - began
    return outcome


class _Round:
    def __init__(self, place: Ground, outcome: Outcome, say: Callable[[str], None]) -> None:
        self._ground = place
        self._outcome = outcome
        self._say = say
        self._postman = Postman()
        self._kept: dict[str, set[str]] = {}  # what is known to be in quarantine, by node

    async def phases(self, phases: Iterable[Phase]) -> None:
        place = self._ground
        (place.active.tree / ACKNOWLEDGED.decode()).mkdir()
        await patiently(lambda: place.pair.promote(place.active, place.standby), "the pair begins")
        for number, phase in enumerate(phases, 1):
            self._say(f"phase {number}: {phase.ending}, {place.active.node} is active")
            await self._phase(phase)
            self._outcome.phases = number
            self._outcome.acknowledged = len(self._postman.written)

    async def _phase(self, phase: Phase) -> None:
        place, over = self._ground, asyncio.Event()
        deeds = Deeds(place.active.tree, place.outside(place.active))
        writers = [
            asyncio.create_task(asyncio.to_thread(self._write, deeds, writer))
            for writer in phase.writers
        ]
        postman = asyncio.create_task(self._postman.deliver(place, over))
        try:
            for trouble in phase.troubles:
                await asyncio.sleep(trouble.after_ms / 1000)
                self._say(f"trouble {trouble.kind} {trouble.number}")
                await cause(place, trouble.kind, trouble.number)
            damaged = {"damage", "compare"} & {trouble.kind for trouble in phase.troubles}
            if phase.ending == "failover" and await self._may_fail_over():
                over.set()
                await postman
                await self._failover(phase, writers, damaged=bool(damaged))
                return
        finally:
            over.set()
            await asyncio.gather(*writers, postman)
        await place.well()
        await self._settle(may_keep=bool(damaged))
        if phase.ending == "switchover":
            await self._switchover()

    def _write(self, deeds: Deeds, writer: tuple[tuple[str, int], ...]) -> None:
        for kind, number in writer:
            self._outcome.deeds += deeds.do(kind, number)
            if number % 5 == 0:
                time.sleep(number % 61 / 1000)

    # --- endings -------------------------------------------------------------------------------

    async def _settle(self, *, may_keep: bool) -> None:
        place = self._ground
        await place.settled()
        self._postman.in_sync = True
        place.notes += await asyncio.to_thread(checks.equal, place.active, place.standby)
        checks.acknowledged(place.standby, self._postman.written)
        checks.same_totals(await place.active.status(), await place.standby.status())
        self._nothing_kept(place.standby, may_keep=may_keep)
        for node in (place.active, place.standby):
            for code, text in (await node.problems()).items():
                place.notes.append(f"{node.node} still has a problem: {code}: {text}")

    def _nothing_kept(self, node: DataNode, *, may_keep: bool) -> None:
        """A standby has nothing of its own, unless its index was damaged: it cannot know then."""
        new = self._new_in_quarantine(node)
        if new and not may_keep:
            names = ", ".join(f"{entry.path!r} ({entry.reason})" for entry in new[:5])
            raise Violation(
                f"{node.node} had nothing of its own, and yet {len(new)} went into quarantine:"
                f" {names}"
            )

    def _new_in_quarantine(self, node: DataNode) -> list[Kept]:
        known = self._kept.setdefault(node.node, set())
        quarantine = Quarantine(group_dir(node) / "quarantine", lambda: 0)
        new = [kept for kept in quarantine.list() if kept.id not in known]
        known.update(kept.id for kept in new)
        self._outcome.quarantined += len(new)
        return new

    async def _switchover(self) -> None:
        place = self._ground
        old, new = place.active, place.standby
        await old.assign(pb.WORKER_ROLE_IDLE, place.pair.epoch, place.pair.starts, old.node)
        place.swap()
        await place.pair.promote(new, old)
        self._say(f"switched over to {new.node}")
        if reason := (await old.status()).needs_reconcile:
            place.notes.append(f"a switchover in good order led to a comparison: {reason}")
        await self._settle(may_keep=False)

    async def _may_fail_over(self) -> bool:
        """A standby needs a while after troubles: without it hardly any round had a failover."""
        await self._ground.mend()
        deadline = time.monotonic() + _JOIN_S
        while time.monotonic() < deadline:
            if self._postman.in_sync and await self._ground.in_sync():
                return True
            await asyncio.sleep(_LINGER_S)
        self._ground.notes.append(f"no failover: the standby is not in sync after {_JOIN_S:.0f} s")
        return False

    async def _failover(
        self, phase: Phase, writers: list[asyncio.Task[None]], *, damaged: bool
    ) -> None:
        place, dice = self._ground, random.Random(phase.number)
        old, new = place.active, place.standby
        place.kill(old, "trees", "stream")
        if dice.random() < 0.3:
            place.kill(new, *dice.choice((("trees",), ("stream",), ("trees", "stream"))))
        await asyncio.gather(*writers)  # what they still write, only the old one has
        before = await asyncio.to_thread(checks.tree_of, old)
        for name, process in new.processes.items():
            if process.poll() is not None:
                new.start(name)
        place.swap()
        self._postman.in_sync = False
        if not await self._promoted(new, may_refuse=damaged):
            place.swap()
            await place.well()
            await self._settle(may_keep=False)
            return
        self._outcome.failovers += 1
        self._nothing_kept(new, may_keep=damaged)
        promoted = await asyncio.to_thread(checks.tree_of, new)
        self._say(f"{old.node} is lost, {new.node} is active in epoch {place.pair.epoch}")
        checks.acknowledged(new, self._postman.written)
        if dice.random() < 0.7:
            deeds = Deeds(new.tree, place.outside(new))
            await asyncio.to_thread(self._write, deeds, phase.writers[0][:40])
        await place.well()
        if dice.random() < 0.4:
            await asyncio.sleep(dice.random())
            self._say(f"{old.node} is killed while it comes back")
            place.kill(old, "trees")
            await place.well()
        await self._come_back(old, before, promoted)

    async def _promoted(self, new: DataNode, *, may_refuse: bool) -> bool:
        """False: it refused, as it must when it is not sure of its trees; control gives way.

        It was in sync, and nothing that it had on disk was lost: unless something was damaged
        (`may_refuse`) it can be sure of them.
        """
        epoch = self._ground.pair.epoch
        try:
            await self._ground.pair.promote(new)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INTERNAL:
                raise
            if not may_refuse:
                raise Violation(
                    f"{new.node} was in sync and is not promoted: {error.details()}"
                ) from error
            self._ground.pair.epoch = epoch
            self._ground.notes.append(f"{new.node} was not promoted: {error.details()}")
            return False
        return True

    async def _come_back(self, old: DataNode, before: Manifest, promoted: Manifest) -> None:
        await self._ground.settled()
        kept = self._new_in_quarantine(old)
        now = await asyncio.to_thread(
            checks.tree_of, old
        )  # equal to the new active's, as was just settled
        checks.accounted(old=before, promoted=promoted, now=now, node=old, kept=kept)
        if too_much := checks.excess(before, promoted, kept):
            self._ground.notes.append(
                f"{old.node}: {len(too_much)} of {len(kept)} in quarantine were shared, "
                f"as {too_much[0]!r}"
            )
        await self._settle(may_keep=False)
