"""What reaches the metrics: every family that is declared moves when what it is about does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from fakes.configs import write_config
from fakes.decision import A, B, W
from fakes.statuses import healthy_status, position
from staqraft.config.loader import load
from staqraft.config.schema import Config
from staqraft.config.tls import expiries
from staqraft.consensus.group import RaftView
from staqraft.daemon.feed import Feed, open_counters
from staqraft.daemon.tally import Takeover, Tally
from staqraft.metrics import HealthMetrics, LinkSample, Metrics, PingSample, VolumeSample
from staqraft.model import ClusterEvent, ClusterRecord, Epoch, GroupId, NodeId
from staqraft.notify.outbox import Backlog
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1 import data_worker_pb2 as pb

GROUP = GroupId("default")
VIEW = RaftView(
    leader=B, term=3, commit_index=900, applied_index=900, has_quorum=True, late_ticks=0,
    problem="", reachable=frozenset({B, W}), log_entries=40, log_bytes=4000,
)  # fmt: skip


def event(index: int, kind: str, node: NodeId = A) -> ClusterEvent:
    return ClusterEvent(
        index=index, wall_ms=0, group=GROUP, node=node, kind=kind, text="", epoch=Epoch(1)
    )


@dataclass
class Scene:
    """A feed of a node whose status and loop are the test's."""

    config: Config
    status: admin_pb2.GetStatusResponse = field(default_factory=healthy_status)
    view: RaftView = VIEW
    events: list[ClusterEvent] = field(default_factory=lambda: [event(1, "takeover")])
    outboxes: dict[str, Backlog] = field(default_factory=dict)
    restarts: int = 0
    tally: Tally = field(default_factory=Tally)
    renewal: int = 10
    well: bool = True
    took_ms: int = 5
    checks_ms: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics = Metrics("lab", A, "0.1.0")
        open_counters(self.metrics, self.config)
        child = SimpleNamespace(spec=SimpleNamespace(name="trees"), restarts=0)
        data = SimpleNamespace(children=[child])
        record = SimpleNamespace(epoch=Epoch(5), renewal=self.renewal)
        self.loop = SimpleNamespace(
            group=GROUP,
            tally=self.tally,
            state=SimpleNamespace(mine=True, record=record),
            hands=SimpleNamespace(data=data, services=SimpleNamespace(took_ms=self.checks_ms)),
        )
        self.said: list[str] = []
        raft = SimpleNamespace(
            status=lambda: self.view,
            state=None,
        )
        self.raft = raft
        notifier = SimpleNamespace(status=self.said.append, alive=lambda: None)
        self._feed = Feed(
            self.metrics,
            cast("Any", notifier),
            cast("Any", raft),
            cast("Any", {GROUP: self.loop}),
            status=self._status,
            outboxes=lambda: self.outboxes,
            show_health=self._health,
            config=self.config,
        )

    def _health(self, metrics: HealthMetrics) -> None:
        metrics.link(LinkSample(peer=B, ring="sync", up=self.well, round_trip_ms=self.took_ms))
        metrics.clock(B, self.took_ms)
        ping = PingSample(address="192.0.2.1", answers=self.well, round_trip_us=self.took_ms)
        metrics.pings([ping])
        volume = VolumeSample(
            path="/srv",
            took_ms=self.took_ms,
            failed=not self.well,
            free_bytes=self.took_ms,
            size_bytes=1000 + self.took_ms,
        )
        metrics.volume(volume)

    async def _status(self) -> admin_pb2.GetStatusResponse:
        return self.status

    async def feed(self) -> dict[str, float]:
        """Feeds once; what Prometheus is told then, series by series."""
        self.raft.state = ClusterRecord(events=tuple(self.events))
        self.loop.state.record.renewal = self.renewal
        self.loop.hands.data.children[0].restarts = self.restarts
        await self._feed.feed()
        return {
            f"{sample.name} {sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for sample in family.samples
        }


def scene(tmp_path: Path) -> Scene:
    return Scene(load(write_config(tmp_path)))


def spoil(of: Scene) -> None:
    """Everything that the feed reads becomes another."""
    group = of.status.groups[0]
    group.phase, group.active, group.epoch, group.lease_left_ms = "standby", "b", 6, 1000
    group.not_eligible.append("a is not in sync")
    group.in_sync[:] = ["b"]
    group.vips[0].held = False
    group.gate = "closed"
    group.services[0].state = "failed"
    group.services[0].restarts_used, group.service_moves = 2, 1
    group.maintained.add(requested_by="lea", lasts_ms=60_000)
    of.status.nodes[1].version, of.status.nodes[2].config_differs = "0.2.0", True
    of.view = replace(
        VIEW, leader=A, term=4, commit_index=950, applied_index=940, has_quorum=False,
        late_ticks=3, reachable=frozenset({B}), log_entries=50, log_bytes=5000,
    )  # fmt: skip
    of.events += [event(2, "force-active"), event(3, "takeover", B)]
    of.outboxes = {"chat": Backlog(waiting=2, held_back=3, dropped=1)}
    of.restarts, of.renewal = 2, 14
    of.well, of.took_ms = False, 700
    of.checks_ms["nginx", "check"] = 40
    spoil_data(group)
    of.tally.takeovers.append(Takeover("lease", 3400))
    of.tally.given_up = 1
    of.tally.fencings["device", "failed"] += 1
    of.tally.service_failures["nginx"] += 1


def spoil_data(group: admin_pb2.GroupStatus) -> None:
    peer, trees, stream = group.stream.peers[0], group.trees, group.stream
    peer.state = pb.SESSION_STATE_DISCONNECTED
    peer.ring = "service"
    peer.lag_records, peer.lag_bytes, peer.lag_ms = 5, 5000, 1500
    peer.applied.CopyFrom(position(5, 3000))
    peer.wire_bytes, peer.raw_bytes = 1000, 3000
    stream.journal_bytes, stream.journal_segments, stream.journal_free_bytes = 1 << 30, 9, 1 << 20
    trees.trees[0].objects, trees.trees[0].dirty = 4000, 7
    trees.unsettled, trees.quarantined, trees.quarantined_bytes = 2, 3, 4096
    trees.changes["upsert"] = 12
    running = trees.reconcile
    running.objects_done, running.objects_total, running.bytes_done = 10, 20, 4096
    running.bytes_per_s, running.left_ms = 1000, 9000
    scrub = trees.scrub
    scrub.found, scrub.healed, scrub.corrupt, scrub.ended_wall_ms = 4, 3, 2, 1000


# What others than the feed tell, each as `daemon/node.py` wires it.
TOLD: dict[str, Callable[[Scene], None]] = {
    "staqraft_fence_device_up": lambda of: of.metrics.node.fence_device(B, "ipmi", ""),
    "staqraft_notifications_total": lambda of: of.metrics.node.notified("chat", "failed"),
    "staqraft_certificate_expiry_timestamp_seconds": lambda of: of.metrics.node.certificates(
        expiries(of.config.tls)
    ),
    "staqraft_barrier_duration_seconds": lambda of: of.metrics.groups.barrier(GROUP, 0.2),
    "staqraft_barriers_failed_total": lambda of: of.metrics.groups.barrier(GROUP, None),
    "staqraft_verify_findings_total": lambda of: of.metrics.data.verified(
        GROUP, found=3, unrepaired=1, ended_s=9.0
    ),
}
TOLD_WITH_IT = {"staqraft_verify_unrepaired_objects", "staqraft_verify_last_timestamp_seconds"}
NEVER_MOVES = {"staqraft_build_info", "staqraft_journal_limit_bytes"}


async def test_every_family_moves_when_what_it_is_about_does(tmp_path: Path) -> None:
    of = scene(tmp_path)
    before = await of.feed()
    spoil(of)
    after = await of.feed()
    fed = moved(of, before, after)
    catalogue = {family.name for family in of.metrics.catalogue()}
    assert catalogue - fed == {*TOLD, *TOLD_WITH_IT, *NEVER_MOVES}
    for name, tell in TOLD.items():
        before = await of.feed()
        tell(of)
        assert name in moved(of, before, await of.feed()), name


def moved(of: Scene, before: dict[str, float], after: dict[str, float]) -> set[str]:
    """The families of which a series came, went, or has another value."""
    changed = {
        series.split(" ")[0]
        for series in before.keys() | after.keys()
        if before.get(series) != after.get(series)
    }
    plain = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in changed
    }
    return {family.name for family in of.metrics.catalogue()} & (changed | plain)


async def test_events_of_this_node_are_counted_once_and_none_of_before(tmp_path: Path) -> None:
    of = scene(tmp_path)
    await of.feed()
    of.events.append(event(2, "takeover"))
    await of.feed()
    shown = await of.feed()
    assert [
        value for name, value in shown.items() if "events_total" in name and "takeover" in name
    ] == [1]


async def test_what_the_manager_of_services_is_told_is_the_summary(tmp_path: Path) -> None:
    of = scene(tmp_path)
    await of.feed()
    assert of.said == ["default: a is active and b is in sync"]
