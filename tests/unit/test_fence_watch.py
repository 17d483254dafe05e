"""Fence devices are asked whether they could do their work, and whoever can mend them is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fakes.fence_device import device
from staqraft.config.schema import FenceDevice, NodeFencing
from staqraft.daemon.fence_watch import FenceWatch
from staqraft.model import NodeId

A, B = NodeId("a"), NodeId("b")


@dataclass
class Answers:
    """Devices that answer from a list, once a look; the last answer stands."""

    script: list[str | None]
    looks: int = 0
    wanted: int = 0
    asked: list[NodeId] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self, node: NodeId, _device: FenceDevice) -> str | None:
        self.asked.append(node)
        answer = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        if self.looks > self.wanted:  # the answers before this one were dealt with
            self.enough.set()
        return answer


@dataclass
class Watched:
    """A watch on node a, and what it said."""

    answers: Answers
    shown: list[tuple[NodeId, str, str]] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    async def note(self, text: str) -> None:
        self.noted.append(text)

    async def looks(self, count: int) -> FenceWatch:
        self.answers.wanted = count
        how = NodeFencing(devices=(device("ipmi"),), monitor_ms=1)
        watch = FenceWatch(
            A,
            {A: how, B: how},
            self.answers,
            show=lambda *what: self.shown.append(what),
            note=self.note,
        )
        running = asyncio.create_task(watch.run())
        async with asyncio.timeout(30):
            await self.answers.enough.wait()
        running.cancel()
        await asyncio.wait({running})
        return watch


async def test_a_device_that_fails_is_told_of_once_and_again_when_it_is_well() -> None:
    watched = Watched(Answers(["", "no route", "no route", "still no route", ""]))
    watch = await watched.looks(6)
    assert watch.problems == []
    bad, good = watched.noted
    assert "fence device ipmi of b: a could not turn b off by it now (no route)" in bad
    assert good == "fence device ipmi of b: a could use it again"
    assert [why for _, _, why in watched.shown[:5]] == [
        "", "no route", "no route", "still no route", ""
    ]  # fmt: skip


async def test_what_is_wrong_stands_in_the_status_with_its_newest_reason() -> None:
    watched = Watched(Answers(["no route", "wrong password"]))
    watch = await watched.looks(3)
    (problem,) = watch.problems
    assert "(wrong password)" in problem
    assert "before it is needed" in problem


async def test_a_device_that_is_at_work_is_left_alone() -> None:
    watched = Watched(Answers(["no route", None, None]))
    watch = await watched.looks(5)
    assert len(watch.problems) == 1  # what was known stays known
    assert len(watched.shown) == 1


async def test_nobody_looks_after_the_devices_that_turn_itself_off() -> None:
    watched = Watched(Answers([""]))
    await watched.looks(3)
    assert set(watched.answers.asked) == {B}
