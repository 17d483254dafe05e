"""A busy machine: what is done with addresses comes later than it was commanded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from staqraft.actions.vip import Held
from staqraft.daemon.executor import Executor
from staqraft.daemon.tally import Tally
from staqraft.decision import commands as do
from staqraft.errors import ActionError
from staqraft.model import GroupId, NodeId


@dataclass
class SlowVips:
    """Does nothing until `go`, then notes until when it was to hold; 0 is a drop."""

    expected: int
    go: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    held_until_ms: list[int] = field(default_factory=list)

    async def hold(self, until_ms: int, admit: object = None) -> Held:
        await self._note(until_ms)
        return Held(lifetime_s=1)

    async def drop(self) -> None:
        await self._note(0)

    async def _note(self, until_ms: int) -> None:
        await self.go.wait()
        self.held_until_ms.append(until_ms)
        if len(self.held_until_ms) == self.expected:
            self.done.set()


class Silent:
    async def stop(self) -> None:
        """There are no announcements."""


@dataclass
class StuckVips(SlowVips):
    """An address that is not ours to remove is on the host."""

    async def _note(self, until_ms: int) -> None:
        await super()._note(until_ms)
        raise ActionError("this node still has 192.0.2.10/24 on eth0 after letting go")


async def carried_out(*commands: do.Command, vips: SlowVips | None = None) -> list[int]:
    """What was done with the addresses when all had been commanded before any was done."""
    vips = vips or SlowVips(expected=len(commands))
    hands = cast("Any", SimpleNamespace(vips=vips, announcer=Silent(), data=None, services=None))
    executor = Executor(
        GroupId("default"),
        NodeId("a"),
        hands,
        now_ms=lambda: 0,
        post=lambda _: None,
        service_changed=lambda _: None,
        tally=Tally(),
        serving=lambda: True,
    )
    running = asyncio.create_task(executor.run())
    for command in commands:
        executor.carry_out(command)
    vips.go.set()
    async with asyncio.timeout(60):
        await vips.done.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return vips.held_until_ms


async def test_a_refresh_that_waited_counts_with_the_newest_renewal() -> None:
    # With its own deadline, which is over by now, it would take the address away for a moment.
    done = await carried_out(do.HoldVips(deadline_ms=1000), do.HoldVips(deadline_ms=1300))
    assert done == [1300, 1300]


async def test_what_was_granted_before_letting_go_counts_no_more_afterwards() -> None:
    done = await carried_out(
        do.HoldVips(deadline_ms=9000), do.DropVips(token=1), do.HoldVips(deadline_ms=5000)
    )
    assert done[1:] == [0, 5000]


async def test_what_is_tried_all_the_time_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    drops = [do.DropVips(token=number) for number in range(1, 41)]
    await carried_out(*drops, vips=StuckVips(expected=len(drops)))
    said = [record.getMessage() for record in caplog.records]
    assert said == ["group default: this node still has 192.0.2.10/24 on eth0 after letting go"]
