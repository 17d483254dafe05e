"""Stopping the services comes before everything else that is done with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from staqraft.actions.services import ServiceHealth, ServiceManager, ServiceStopFailed, State
from staqraft.daemon.services_lane import ServicesLane
from staqraft.errors import ActionError


class Slow:
    """Services that start when they are let."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.refusal: Exception | None = None
        self.state = State.RUNNING

    @property
    def health(self) -> tuple[ServiceHealth, ...]:
        return tuple(ServiceHealth(name=name, state=self.state) for name in ("imap", "web"))

    async def start_all(self) -> None:
        self.begun.set()
        await self.go.wait()
        self.done.append("start")

    async def restart(self, name: str) -> None:
        self.begun.set()
        await self.go.wait()
        if self.refusal is not None:
            self.state = State.FAILED
            raise self.refusal
        self.done.append(f"restart {name}")

    async def stop_all(self) -> None:
        self.done.append("stop")

    async def watch(
        self, changed: Callable[[ServiceHealth], None], serving: Callable[[], bool]
    ) -> None:
        self.done.append("watch")
        await asyncio.Event().wait()


def lane_over(services: Slow) -> tuple[ServicesLane, list[str]]:
    told: list[str] = []
    lane = ServicesLane(
        cast("ServiceManager", services), lambda health: told.append(health.name), lambda: True
    )
    return lane, told


async def test_a_stop_ends_the_start_that_is_under_way() -> None:
    services = Slow()
    lane, _ = lane_over(services)
    starting = asyncio.create_task(lane.start())
    await services.begun.wait()
    stop = lane.stop()  # the lane gets to it when the start has ended
    with pytest.raises(ActionError, match="because the services are to stop"):
        await starting
    await stop
    assert services.done == ["stop"]


async def test_what_waited_before_a_stop_is_not_done_any_more() -> None:
    services = Slow()
    services.go.set()
    lane, _ = lane_over(services)
    waiting = lane.restart("imap")
    stop = lane.stop()
    with pytest.raises(ActionError, match="being stopped instead"):
        await waiting
    await stop
    await lane.start()
    await asyncio.sleep(0)
    assert services.done == ["stop", "start", "watch"]
    await lane.stop()


async def test_each_service_is_told_of_after_the_start_and_one_after_its_restart() -> None:
    services = Slow()
    services.go.set()
    lane, told = lane_over(services)
    await lane.start()
    assert told == ["imap", "web"]
    services.refusal = ServiceStopFailed("it does not stop")
    with pytest.raises(ServiceStopFailed):
        await lane.restart("imap")
    assert told == ["imap", "web", "imap"]
    await lane.stop()
