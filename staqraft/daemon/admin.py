"""What administrators ask of this daemon (`api.node.Node`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from staqraft import __version__
from staqraft.actions.fence_agent import FenceDevices
from staqraft.api.forward import Forward
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
from staqraft.config.schema import Config
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon import planning, raft_status, status
from staqraft.daemon.barriers import barrier
from staqraft.daemon.changes import RaftChanges
from staqraft.daemon.clearing import clear
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.fencing import fence
from staqraft.daemon.forcing import force
from staqraft.daemon.lease_watch import LeaseWatch
from staqraft.daemon.loop import GroupLoop
from staqraft.daemon.maintaining import maintain
from staqraft.decision.phases import SENTENCES
from staqraft.errors import ActionError, NotActive, OutcomeUnknown, StaqraftError
from staqraft.model import (
    CancelSwitchover,
    ClusterEvent,
    ClusterRecord,
    Epoch,
    GroupId,
    GroupRecord,
    Refused,
    RequestSwitchover,
)
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1.data_worker_pb2 import WorkerProblem

_REREAD_S = 0.2  # nothing announces that somebody else's core proceeded


class NodeAdmin:
    """Answers the admin service from the group loops and from Raft."""

    def __init__(
        self,
        config: Config,
        raft: RaftGroup,
        loops: Mapping[GroupId, GroupLoop],
        devices: FenceDevices,
        *,
        fingerprint: str,
        forward: Forward,
        problems: Callable[[], Sequence[WorkerProblem]],
        add_health: Callable[[admin_pb2.GetStatusResponse], None] | None = None,
        test_notifications: Callable[[str], Awaitable[list[tuple[str, str]]]],
        count_barrier: Callable[[GroupId, float | None], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._raft = raft
        self._loops = loops
        self._devices = devices
        self._fingerprint = fingerprint
        self._forward = forward
        self._problems = problems
        self._add_health = add_health
        self._test_notifications = test_notifications
        self._count_barrier = count_barrier
        self._now_ms = now_ms
        self._changes = RaftChanges(raft)
        self._leases = LeaseWatch(config, raft, now_ms)

    async def status(self) -> admin_pb2.GetStatusResponse:
        """The cluster as this node sees it."""
        view = self._raft.status()
        groups = []
        for group in sorted(self._config.groups):
            loop = self._loops.get(group)
            if loop is None:
                groups.append(
                    raft_status.witness_group_status(
                        self._config,
                        group,
                        self.group(group),
                        over_ms=self._leases.over_ms(group),
                        has_quorum=view.has_quorum,
                    )
                )
                continue
            try:
                held = await loop.hands.vips.held()
                admission = await loop.hands.vips.admission()
            except ActionError as error:
                held, admission = {}, None
                loop.executor.vip_problem = str(error)
            groups.append(
                status.group_status(
                    self._config,
                    loop,
                    self._now_ms(),
                    held,
                    admission,
                    has_quorum=view.has_quorum,
                )
            )
        whole = admin_pb2.GetStatusResponse(
            cluster=self._config.cluster,
            node=self._config.node,
            version=__version__,
            nodes=raft_status.node_statuses(
                self._config, self._raft.state, view, self._fingerprint
            ),
            raft=raft_status.raft_status(view),
            groups=groups,
            problems=self._problems(),
        )
        if self._add_health is not None:
            self._add_health(whole)
        return whole

    def group(self, group: GroupId) -> GroupRecord:
        """The group's record as applied on this node."""
        return self._raft.state.groups.get(group, GroupRecord())

    async def barrier(
        self, group: GroupId, *, timeout_ms: int, min_replicas: int
    ) -> BarrierReached:
        """See `barriers.barrier`."""
        loop, begun_ms = self._loop(group), self._now_ms()
        try:
            reached = await barrier(loop, timeout_ms, min_replicas)
        except StaqraftError:
            self._count_barrier(group, None)
            raise
        self._count_barrier(group, (self._now_ms() - begun_ms) / 1000)
        return reached

    def _loop(self, group: GroupId) -> GroupLoop:
        loop = self._loops.get(group)
        if loop is None:
            raise NotActive(f"{self._config.node} is a witness: ask a replica")
        return loop

    async def switch_over(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        """Request the switchover through Raft, and tell how it proceeds."""
        loop = self._loop(wish.group)
        if not loop.state.mine:
            raise NotActive(f"{self._config.node} is not active in group {wish.group} any more")
        before = loop.state.record.epoch
        if reasons := await planning.objections(self._forward, wish):
            text = f"not begun: {wish.target} would not take over: {'; '.join(reasons)}"
            yield SwitchOverStep(step=text, done=True, epoch=before)
            return
        outcome = await self._raft.propose(
            RequestSwitchover(
                node=self._config.node,
                group=wish.group,
                target=wish.target,
                requested_by=wish.requested_by,
                reason=wish.reason,
                wall_ms=wall_ms(),
            )
        )
        if isinstance(outcome, Refused):
            yield SwitchOverStep(step=outcome.reason, done=True, epoch=before)
            return
        yield SwitchOverStep(step=f"requested: {wish.target} shall become active")
        deadline_ms = self._now_ms() + wish.timeout_ms
        said = ""
        while self._now_ms() < deadline_ms:
            record = self.group(wish.group)
            if _serves(self._raft.state, wish, before):
                text = f"{wish.target} is active in epoch {record.epoch}"
                yield SwitchOverStep(step=text, done=True, succeeded=True, epoch=record.epoch)
                return
            if record.switchover is None and record.epoch == before and loop.state.mine:
                text = f"cancelled: {_last_reason(self._raft.state, wish.group)}"
                yield SwitchOverStep(step=text, done=True, epoch=record.epoch)
                return
            sentence = f"{self._config.node} {SENTENCES[loop.state.phase]}"
            if sentence != said:
                said = sentence
                yield SwitchOverStep(step=sentence)
            await self._next(loop)
        async for step in self._give_up(wish):
            yield step

    async def preview(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        """See `planning.preview`."""
        loop = self._loop(wish.group)
        if not loop.state.mine:
            raise NotActive(f"{self._config.node} is not active in group {wish.group} any more")
        for step in await planning.preview(
            self._forward, self._raft.state, loop.state, wish, self._now_ms()
        ):
            yield step

    async def schedule(self, wish: ScheduleWish) -> str:
        """See `planning.schedule`."""
        return await planning.schedule(self._raft, self._config.node, wish)

    async def cancel_switchover(self, group: GroupId, requested_by: str) -> str:
        """See `planning.cancel`."""
        return await planning.cancel(self._raft, self._config.node, group, requested_by)

    async def maintain(self, wish: MaintenanceWish) -> str:
        """See `maintaining.maintain`."""
        return await maintain(self._raft, self._config, wish)

    async def clear_failures(self, wish: ClearWish) -> str:
        """See `clearing.clear`."""
        return await clear(self._raft, self._config.node, wish)

    async def force_active(self, wish: ForceWish) -> str:
        """See `forcing.force`."""
        return await force(self._raft, self._config.node, self._loops, wish)

    async def fence(self, wish: FenceWish) -> str:
        """See `fencing.fence`."""
        return await fence(self._raft, self._config.node, self._loops, self._devices, wish)

    async def test_notifications(self, requested_by: str) -> list[tuple[str, str]]:
        """See `telling.Telling.test`."""
        return await self._test_notifications(requested_by)

    async def _next(self, loop: GroupLoop) -> None:
        """Wait until something changed here or in Raft."""
        waits = {
            asyncio.create_task(self._changes.next()),
            asyncio.create_task(loop.changed()),
        }
        try:
            await asyncio.wait(waits, timeout=_REREAD_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _give_up(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        epoch = self.group(wish.group).epoch
        reason = f"not done within {wish.timeout_ms} ms"
        try:
            await self._raft.propose(
                CancelSwitchover(
                    node=self._config.node, group=wish.group, reason=reason, wall_ms=wall_ms()
                )
            )
        except OutcomeUnknown as error:
            reason = f"{reason}; cancelling it has an unknown outcome: {error}"
        yield SwitchOverStep(step=f"given up: {reason}", done=True, epoch=epoch)

    def events(self, after: int, *, follow: bool) -> AsyncIterator[ClusterEvent]:
        """The history behind `after`; with `follow` for ever."""
        return self._changes.events(after, follow=follow)


def _serves(cluster: ClusterRecord, wish: SwitchOverWish, before: Epoch) -> bool:
    """The target has said that its services and addresses are up, in an epoch after ours."""
    return any(
        event.kind == "active"
        and event.group == wish.group
        and event.node == wish.target
        and event.epoch > before
        for event in reversed(cluster.events)
    )


def _last_reason(cluster: ClusterRecord, group: GroupId) -> str:
    for event in reversed(cluster.events):
        if event.group == group and event.kind.startswith("switchover"):
            return event.text
    return "the active gave it up"
