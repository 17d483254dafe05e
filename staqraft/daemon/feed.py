"""Feeds the metrics and the service manager, once a second, with what `staqctl status` says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from staqraft.api.concerns import concerns
from staqraft.config.schema import Config
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.figures import (
    data_sample,
    group_sample,
    raft_sample,
    reconcile_sample,
    scrub_sample,
)
from staqraft.daemon.loop import GroupLoop
from staqraft.metrics import HealthMetrics, Metrics
from staqraft.model import Epoch, FenceRung, GroupId, NodeId, NodeRole
from staqraft.notify.outbox import Backlog
from staqraft.sdnotify import Notifier
from staqraft.wire.v1 import admin_pb2

_PERIOD_S = 1.0
_PROCESSES = ("trees", "stream")
_ASKED = frozenset({FenceRung.CONFIRMED, FenceRung.DEVICE})  # the others need nobody's answer

Status = Callable[[], Awaitable[admin_pb2.GetStatusResponse]]
Outboxes = Callable[[], Mapping[str, Backlog]]


def open_counters(metrics: Metrics, config: Config) -> None:
    """Shows what this node may count at 0: rules that look for growth see the first time, too."""
    metrics.node.open([receiver.name for receiver in config.notify])
    if config.me.role is not NodeRole.REPLICA:
        return
    for group, settings in config.groups.items():
        metrics.groups.open(
            group,
            services=tuple(service.name for service in settings.services),
            proofs=tuple(rung.value for rung in settings.fenced_by),
            asked=tuple(rung.value for rung in settings.fenced_by if rung in _ASKED),
        )
        metrics.data.open(group, _PROCESSES)


class Feed:
    """Copies figures; decides nothing."""

    def __init__(
        self,
        metrics: Metrics,
        notifier: Notifier,
        raft: RaftGroup,
        loops: Mapping[GroupId, GroupLoop],
        *,
        status: Status,
        outboxes: Outboxes,
        show_health: Callable[[HealthMetrics], None] | None,
        config: Config,
    ) -> None:
        self._metrics = metrics
        self._notifier = notifier
        self._raft = raft
        self._loops = loops
        self._status = status
        self._outboxes = outboxes
        self._show_health = show_health
        self._config = config
        self._others = frozenset(config.nodes) - {config.node}
        self._told_index: int | None = None  # of the history
        self._restarts: dict[tuple[GroupId, str], int] = {}
        self._renewals: dict[GroupId, tuple[Epoch, int]] = {}

    async def run(self) -> None:
        """Feed until cancelled."""
        period_s = min(_PERIOD_S, self._notifier.watchdog_interval_s or _PERIOD_S)
        while True:
            await self.feed()
            self._notifier.alive()
            await asyncio.sleep(period_s)

    async def feed(self) -> None:
        """Once."""
        status = await self._status()
        self._node(status)
        for group in status.groups:
            self._metrics.groups.show(group_sample(group, self._config.replicas))
            loop = self._loops.get(GroupId(group.group))
            if loop is not None:
                self._counts(loop)
                self._data(loop, group)
        if self._show_health is not None:
            self._show_health(self._metrics.health)
        said = "; ".join(f"{group.group}: {group.summary}" for group in status.groups)
        if self._config.me.role is NodeRole.WITNESS:
            said = "witness: votes, holds no data"
        self._notifier.status(said)

    def _node(self, status: admin_pb2.GetStatusResponse) -> None:
        node = self._metrics.node
        node.raft(raft_sample(self._raft.status(), self._others))
        node.members(
            {NodeId(member.node): member.version for member in status.nodes},
            {NodeId(member.node) for member in status.nodes if member.config_differs},
        )
        node.problems({(one.group or "", one.code, one.severity.word) for one in concerns(status)})
        for receiver, backlog in self._outboxes().items():
            node.outbox(
                receiver,
                waiting=backlog.waiting,
                held_back=backlog.held_back,
                dropped=backlog.dropped,
            )
        events = self._raft.state.events
        newest = events[-1].index if events else 0
        if self._told_index is not None:
            for event in events:
                if event.index > self._told_index and event.node == self._config.node:
                    node.event(event.kind)
        self._told_index = newest

    def _counts(self, loop: GroupLoop) -> None:
        groups, group, tally, state = self._metrics.groups, loop.group, loop.tally, loop.state
        if state.mine:
            epoch, before = self._renewals.get(group, (state.record.epoch, 0))
            count = state.record.renewal - (before if epoch == state.record.epoch else 0)
            groups.renewed(group, max(0, count))
            self._renewals[group] = (state.record.epoch, state.record.renewal)
        groups.checked(group, loop.hands.services.took_ms)
        for takeover in tally.takeovers:
            groups.took_over(group, takeover.fence, takeover.duration_ms)
        groups.gave_up_takeover(group, tally.given_up)
        for (rung, result), count in tally.fencings.items():
            groups.fenced(group, rung, result, count)
        for service, count in tally.service_failures.items():
            groups.service_failed(group, service, count)
        tally.clear()

    def _data(self, loop: GroupLoop, group: admin_pb2.GroupStatus) -> None:
        data = self._metrics.data
        data.show(data_sample(self._config.groups[loop.group], self._config.me, group))
        data.reconciling(loop.group, reconcile_sample(group.trees))
        if group.trees.HasField("scrub"):
            data.scrubbed(loop.group, scrub_sample(group.trees.scrub))
        for child in loop.hands.data.children:
            key = (loop.group, child.spec.name)
            data.worker_restarted(*key, child.restarts - self._restarts.get(key, 0))
            self._restarts[key] = child.restarts
