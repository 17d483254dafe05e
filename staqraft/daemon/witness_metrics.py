"""What Prometheus is told by a witness for many clusters: made anew for each scrape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Info, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from staqraft.consensus.ticker import LATENESS_S

if TYPE_CHECKING:
    from staqraft.notify.outbox import Backlog

OWN = ("cluster", "node")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSample:
    """A cluster as the witness sees it now; `cluster` is empty where its file does not say."""

    cluster: str
    node: str
    source: str
    served: bool
    quorum: bool = False
    term: int = 0
    commit_index: int = 0
    leads: bool = False
    late_ticks: int = 0
    reachable: Mapping[str, bool] = field(default_factory=dict)  # the other members
    groups: Sequence[str] = ()
    told: Mapping[tuple[str, str], int] = field(default_factory=dict)  # receiver, result
    outboxes: Mapping[str, Backlog] = field(default_factory=dict)  # by receiver
    problems: Collection[tuple[str, str, str]] = ()  # group or "", code, severity
    maintenance_ms: Mapping[str, int] = field(default_factory=dict)  # by group; 0: it is off
    certificates: Mapping[str, datetime] = field(default_factory=dict)  # until when, by name


class _Told:
    """What became of messages, of all clusters; named and labelled as in `metrics.node`."""

    def __init__(self) -> None:
        labels = (*OWN, "receiver")
        self._tries = CounterMetricFamily(
            "staqraft_notifications",
            "Tries to tell somebody, by what became of them.",
            labels=(*labels, "result"),
        )
        self._waiting = GaugeMetricFamily(
            "staqraft_notifications_waiting", "Messages that have not arrived yet.", labels=labels
        )
        self._dropped = CounterMetricFamily(
            "staqraft_notifications_dropped", "Messages that were given up.", labels=labels
        )
        self._held_back = GaugeMetricFamily(
            "staqraft_notifications_held_back",
            "Messages beyond 'most_per_hour', which become one of the next hour.",
            labels=labels,
        )
        self.families = (self._tries, self._waiting, self._held_back, self._dropped)

    def add(self, sample: ClusterSample) -> None:
        own = (sample.cluster, sample.node)
        for receiver, backlog in sample.outboxes.items():
            self._waiting.add_metric((*own, receiver), backlog.waiting)
            self._held_back.add_metric((*own, receiver), backlog.held_back)
            self._dropped.add_metric((*own, receiver), backlog.dropped)
            for result in ("sent", "failed"):
                count = sample.told.get((receiver, result), 0)
                self._tries.add_metric((*own, receiver, result), count)


class WitnessMetrics(Collector):
    """The figures of all clusters of this process, from `samples` at the moment of a scrape.

    What a node shows, too, has the same name and labels here, so that one set of rules is enough.
    """

    def __init__(
        self,
        version: str,
        samples: Callable[[], Iterable[ClusterSample]],
        lateness: Callable[[], Sequence[int]],
    ) -> None:
        """`lateness`: see `RaftTicker.lateness`."""
        self._samples = samples
        self._lateness = lateness
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("staqraft_build", "What runs here.", registry=self._registry).info(
            {"cluster": "", "node": "witness of many clusters", "version": version}
        )
        self._registry.register(self)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the library."""

        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"staqraft_{name}", text, labels=(*OWN, *labels))

        text = "1 if this witness takes part in the cluster, 0 if it is left out."
        served = gauge("cluster_served", text, "source")
        active = gauge("active", "1 where this node is active.", "group")
        quorum = gauge("raft_quorum", "1 if this node is in touch with a majority.")
        term = gauge("raft_term", "Raft term.")
        commit = gauge("raft_commit_index", "Newest committed Raft entry.")
        leader = gauge("raft_leader", "1 if this node leads Raft (which decides nothing).")
        sessions = gauge("raft_sessions", "Members with which this node has a Raft session.")
        reachable = gauge("raft_member_reachable", "1 if the member was heard lately.", "member")
        late = CounterMetricFamily(
            "staqraft_raft_late_ticks", "Ticks later than a third of an election.", labels=OWN
        )
        told = _Told()
        problem = gauge(
            "problem",
            "1 while 'staqctl status' on this node complains; the group is empty for the node.",
            *("group", "code", "severity"),
        )
        maintenance = gauge(
            "maintenance_seconds", "For how long maintenance has been on; 0: it is off.", "group"
        )
        certificate = gauge(
            "certificate_expiry_timestamp_seconds",
            "When this node's certificate, or its authority's, ends.",
            "certificate",
        )
        for sample in self._samples():
            labels = (sample.cluster, sample.node)
            served.add_metric((*labels, sample.source), sample.served)
            if not sample.cluster:
                continue
            quorum.add_metric(labels, sample.quorum)
            term.add_metric(labels, sample.term)
            commit.add_metric(labels, sample.commit_index)
            leader.add_metric(labels, sample.leads)
            late.add_metric(labels, sample.late_ticks)
            sessions.add_metric(labels, sum(sample.reachable.values()))
            for member, heard in sample.reachable.items():
                reachable.add_metric((*labels, member), heard)
            for group in sample.groups:
                active.add_metric((*labels, group), 0)
            for wrong in sample.problems:
                problem.add_metric((*labels, *wrong), 1)
            for group, lasts_ms in sample.maintenance_ms.items():
                maintenance.add_metric((*labels, group), lasts_ms / 1000)
            for name, end in sample.certificates.items():
                certificate.add_metric((*labels, name), end.timestamp())
            told.add(sample)
        yield self._tick_lateness()
        yield from (served, active, quorum, term, commit, leader, late, sessions, reachable)
        yield from (problem, maintenance, certificate)
        yield from told.families

    def _tick_lateness(self) -> HistogramMetricFamily:
        below = list(accumulate(self._lateness()))
        bounds = (*(str(bound) for bound in LATENESS_S), "+Inf")
        return HistogramMetricFamily(
            "staqraft_raft_tick_lateness_seconds",
            "How late the Raft thread came to each tick.",
            buckets=list(zip(bounds, below, strict=True)),
            sum_value=None,
        )
