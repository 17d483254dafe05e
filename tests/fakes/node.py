"""A daemon that answers the admin service what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from staqraft.api.node import (
    BarrierReached,
    ClearWish,
    FenceWish,
    ForceWish,
    MaintenanceWish,
    ScheduleWish,
    SwitchOverStep,
    SwitchOverWish,
)
from staqraft.errors import StaqraftError
from staqraft.model import ClusterEvent, Epoch, GroupId, GroupRecord, NodeId, Position
from staqraft.wire.v1 import admin_pb2

FIVE = Epoch(5)


@dataclass
class FakeNode:
    """Implements `api.node.Node`. A barrier that is a StaqraftError is raised."""

    me: NodeId
    active: NodeId | None = None
    epoch: Epoch = FIVE
    barrier_answer: BarrierReached | StaqraftError | None = None
    steps: list[SwitchOverStep] = field(default_factory=list)
    history: list[ClusterEvent] = field(default_factory=list)
    barriers: list[tuple[GroupId, int, int]] = field(default_factory=list)
    wishes: list[SwitchOverWish] = field(default_factory=list)
    previewed: list[SwitchOverWish] = field(default_factory=list)
    scheduled: list[ScheduleWish] = field(default_factory=list)
    fenced: list[FenceWish] = field(default_factory=list)
    forced: list[ForceWish] = field(default_factory=list)
    cleared: list[ClearWish] = field(default_factory=list)
    maintained: list[MaintenanceWish] = field(default_factory=list)
    fence_answer: str | StaqraftError = "a is off: ipmi turned it off and says so"
    news: asyncio.Queue[ClusterEvent] = field(default_factory=asyncio.Queue)
    never: asyncio.Event = field(default_factory=asyncio.Event)

    async def test_notifications(self, requested_by: str) -> list[tuple[str, str]]:
        return [("admins", ""), ("pager", f"no answer for {requested_by.partition(' ')[0]}")]

    async def status(self) -> admin_pb2.GetStatusResponse:
        return admin_pb2.GetStatusResponse(cluster="lab", node=self.me)

    def group(self, group: GroupId) -> GroupRecord:
        return GroupRecord(epoch=self.epoch, active=self.active)

    async def barrier(
        self, group: GroupId, *, timeout_ms: int, min_replicas: int
    ) -> BarrierReached:
        self.barriers.append((group, timeout_ms, min_replicas))
        match self.barrier_answer:
            case BarrierReached() as reached:
                return reached
            case StaqraftError() as error:
                raise error
            case None:
                await self.never.wait()
        raise AssertionError("never comes")

    async def switch_over(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        self.wishes.append(wish)
        for step in self.steps:
            yield step

    async def preview(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        self.previewed.append(wish)
        for step in self.steps:
            yield step

    async def schedule(self, wish: ScheduleWish) -> str:
        self.scheduled.append(wish)
        return f"{wish.target} becomes active later"

    async def cancel_switchover(self, group: GroupId, requested_by: str) -> str:
        return f"given up in {group} for {requested_by.partition(' ')[0]}"

    async def fence(self, wish: FenceWish) -> str:
        self.fenced.append(wish)
        if isinstance(self.fence_answer, StaqraftError):
            raise self.fence_answer
        return self.fence_answer

    async def force_active(self, wish: ForceWish) -> str:
        self.forced.append(wish)
        return f"{self.me} becomes active"

    async def maintain(self, wish: MaintenanceWish) -> str:
        self.maintained.append(wish)
        return f"{wish.node or 'the cluster'} is in maintenance"

    async def clear_failures(self, wish: ClearWish) -> str:
        self.cleared.append(wish)
        return f"forgotten in group {wish.group}"

    async def events(self, after: int, *, follow: bool) -> AsyncIterator[ClusterEvent]:
        for event in self.history:
            if event.index > after:
                yield event
        while follow:
            yield await self.news.get()


def event(index: int, text: str) -> ClusterEvent:
    """A line of the history."""
    return ClusterEvent(
        index=index,
        wall_ms=1_767_225_600_000 + index,
        group=GroupId("default"),
        node=NodeId("a"),
        kind="takeover",
        text=text,
        epoch=Epoch(5),
        position=Position(Epoch(4), 1200),
    )
