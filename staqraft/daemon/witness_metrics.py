"""What Prometheus is told by a witness for many clusters: made anew for each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Info, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from staqraft.consensus.ticker import LATENESS_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSample:
    """A cluster as the witness sees it now; `cluster` is empty where its file does not say."""

    cluster: str
    source: str
    served: bool
    quorum: bool
    term: int
    commit_index: int
    leads: bool
    late_ticks: int
    sessions: int


class WitnessMetrics(Collector):
    """The figures of all clusters of this process, from `samples` at the moment of a scrape."""

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
            {"version": version, "node": "witness of many clusters"}
        )
        self._registry.register(self)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the library."""

        def gauge(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"staqraft_{name}", text, labels=("cluster",))

        served = GaugeMetricFamily(
            "staqraft_cluster_served",
            "1 if this witness takes part in the cluster, 0 if it is left out.",
            labels=("cluster", "source"),
        )
        quorum = gauge("raft_quorum", "1 if this node is in touch with a majority.")
        term = gauge("raft_term", "Raft term.")
        commit = gauge("raft_commit_index", "Newest committed Raft entry.")
        leader = gauge("raft_leader", "1 if this node leads Raft (which decides nothing).")
        sessions = gauge("raft_sessions", "Members with which this node has a Raft session.")
        late = CounterMetricFamily(
            "staqraft_raft_late_ticks",
            "Ticks later than a third of an election.",
            labels=("cluster",),
        )
        for sample in self._samples():
            served.add_metric((sample.cluster, sample.source), sample.served)
            if not sample.cluster:
                continue
            labels = (sample.cluster,)
            quorum.add_metric(labels, sample.quorum)
            term.add_metric(labels, sample.term)
            commit.add_metric(labels, sample.commit_index)
            leader.add_metric(labels, sample.leads)
            late.add_metric(labels, sample.late_ticks)
            sessions.add_metric(labels, sample.sessions)
        yield self._tick_lateness()
        yield from (served, quorum, term, commit, leader, late, sessions)

    def _tick_lateness(self) -> HistogramMetricFamily:
        below = list(accumulate(self._lateness()))
        bounds = (*(str(bound) for bound in LATENESS_S), "+Inf")
        return HistogramMetricFamily(
            "staqraft_raft_tick_lateness_seconds",
            "How late the Raft thread came to each tick.",
            buckets=list(zip(bounds, below, strict=True)),
            sum_value=None,
        )
