"""Feeds the metrics and the service manager with what the loops know, once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.loop import GroupLoop
from staqraft.daemon.maintaining import longest_ms
from staqraft.daemon.status import summary
from staqraft.decision.phases import Phase
from staqraft.errors import ActionError
from staqraft.metrics import DataSample, GroupSample, Metrics, RaftSample
from staqraft.model import Admission, Epoch, GroupId
from staqraft.sdnotify import Notifier
from staqraft.wire.v1 import data_worker_pb2 as pb

_PERIOD_S = 1.0


class Feed:
    """Copies figures; decides nothing."""

    def __init__(
        self,
        metrics: Metrics,
        notifier: Notifier,
        raft: RaftGroup,
        loops: Mapping[GroupId, GroupLoop],
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._notifier = notifier
        self._raft = raft
        self._loops = loops
        self._now_ms = now_ms
        self._late_ticks = 0
        self._scrubbed: dict[GroupId, pb.ScrubStatus] = {}
        self._restarts: dict[tuple[GroupId, str], int] = {}
        self._renewals: dict[GroupId, tuple[Epoch, int]] = {}
        self._active_epoch: dict[GroupId, Epoch] = {}

    async def run(self) -> None:
        """Feed until cancelled."""
        period_s = min(_PERIOD_S, self._notifier.watchdog_interval_s or _PERIOD_S)
        while True:
            await self._feed()
            self._notifier.alive()
            await asyncio.sleep(period_s)

    async def _feed(self) -> None:
        view = self._raft.status()
        leads = view.leader is not None and view.leader not in view.reachable
        self._metrics.raft(
            RaftSample(
                term=view.term,
                commit_index=view.commit_index,
                leader=leads,
                quorum=view.has_quorum,
            )
        )
        for _ in range(view.late_ticks - self._late_ticks):
            self._metrics.late_tick()
        self._late_ticks = view.late_ticks
        for loop in self._loops.values():
            await self._group(loop)
            self._data(loop)
        said = "; ".join(
            f"{group}: {summary(loop.state, loop.watch.latest, self._now_ms())}"
            for group, loop in sorted(self._loops.items())
        )
        self._notifier.status(said or "witness: votes, holds no data")

    async def _group(self, loop: GroupLoop) -> None:
        state, group = loop.state, loop.group
        try:
            held = {str(v.address): h for v, h in (await loop.hands.vips.held()).items()}
            admission = await loop.hands.vips.admission()
        except ActionError as error:
            loop.executor.vip_problem = str(error)
            held, admission = {}, None
        deadline = state.lease.deadline_ms
        self._metrics.group(
            GroupSample(
                group=group,
                active=state.phase is Phase.ACTIVE,
                epoch=state.record.epoch,
                lease_left_ms=max(0, deadline - self._now_ms()) if deadline is not None else 0,
                in_sync=state.record.in_sync,
                replicas=state.settings.replicas,
                vips_held=held,
                maintenance_s=longest_ms(state.record, wall_ms()) / 1000,
                gate_open=None if admission is None else admission is Admission.OPEN,
            )
        )
        if state.mine:
            epoch, before = self._renewals.get(group, (state.record.epoch, 0))
            count = state.record.renewal - (before if epoch == state.record.epoch else 0)
            for _ in range(count):
                self._metrics.renewed(group)
            self._renewals[group] = (state.record.epoch, state.record.renewal)
        if state.phase is Phase.ACTIVE and self._active_epoch.get(group) != state.record.epoch:
            self._active_epoch[group] = state.record.epoch
            fence = state.record.fence
            proven = fence is not None and fence.epoch == state.record.epoch
            self._metrics.took_over(group, fence.rung.value if fence and proven else "none")

    def _data(self, loop: GroupLoop) -> None:
        worker, group = loop.watch.latest, loop.group
        peers = worker.stream.peers if worker.stream else ()
        self._metrics.data(
            DataSample(
                group=group,
                lag_records=max((peer.lag_records for peer in peers), default=0),
                lag_bytes=max((peer.lag_bytes for peer in peers), default=0),
                lag_ms=max((peer.lag_ms for peer in peers), default=0),
                journal_bytes=worker.stream.journal_bytes if worker.stream else 0,
                quarantined_objects=worker.trees.quarantined if worker.trees else 0,
                quarantined_bytes=worker.trees.quarantined_bytes if worker.trees else 0,
                dirty_objects=sum(t.dirty for t in worker.trees.trees) if worker.trees else 0,
            )
        )
        running = worker.trees.reconcile if worker.trees else pb.ReconcileResponse()
        self._metrics.reconciling(
            group,
            done=running.objects_done,
            total=running.objects_total,
            size=running.bytes_done,
            per_s=running.bytes_per_s,
            left_ms=running.left_ms,
        )
        if worker.trees is not None and worker.trees.HasField("scrub"):
            self._scrub(group, worker.trees.scrub)
        for child in loop.hands.data.children:
            key = (group, child.spec.name)
            for _ in range(child.restarts - self._restarts.get(key, 0)):
                self._metrics.worker_restarted(*key)
            self._restarts[key] = child.restarts

    def _scrub(self, group: GroupId, now: pb.ScrubStatus) -> None:
        """Its counts begin anew with the process."""
        before = self._scrubbed.get(group, pb.ScrubStatus())
        if now.found < before.found or now.healed < before.healed:
            before = pb.ScrubStatus()
        self._metrics.scrubbed(
            group,
            found=now.found - before.found,
            healed=now.healed - before.healed,
            corrupt=now.corrupt - before.corrupt,
            ended_s=now.ended_wall_ms / 1000,
        )
        self._scrubbed[group] = now
