"""What Prometheus is told: one registry a control process, and the HTTP server that shows it.

The control process keeps all of it, also what it learns of its data workers by RPC, so a node has
one port to scrape. Whoever knows a figure hands over a sample; nobody else touches the library.

    GroupMetrics   roles, epochs, leases, takeovers, fencing, addresses, services, barriers
    DataMetrics    lag, journal, quarantine, comparing, scrubbing and verifying
    HealthMetrics  what probes measure of volumes and networks
    NodeMetrics    Raft, members, findings, fence devices, messages, certificates

Every series of StaqRaft's own carries `cluster` and `node`, so that rules over the figures of many
clusters need no help from whoever configures Prometheus. Every other label has values out of the
configuration or out of a list in the code: nothing from outside makes a series.

`deploy/METRICS.md` lists them all; a test keeps it equal to `catalogue`.
"""

from __future__ import annotations

from prometheus_client import ProcessCollector, generate_latest

from staqraft.metrics.data import DataMetrics
from staqraft.metrics.families import Families, Family
from staqraft.metrics.groups import GroupMetrics
from staqraft.metrics.health import HealthMetrics
from staqraft.metrics.node import NodeMetrics
from staqraft.metrics.samples import (
    DataSample,
    GroupSample,
    LinkSample,
    PeerSample,
    PingSample,
    RaftSample,
    ReconcileSample,
    ScrubSample,
    VolumeSample,
)
from staqraft.metrics.server import MAX_CONNECTIONS, REQUEST_BYTES, MetricsServer
from staqraft.model import NodeId

__all__ = [
    "MAX_CONNECTIONS",
    "REQUEST_BYTES",
    "DataMetrics",
    "DataSample",
    "Family",
    "GroupMetrics",
    "GroupSample",
    "HealthMetrics",
    "LinkSample",
    "Metrics",
    "MetricsServer",
    "NodeMetrics",
    "PeerSample",
    "PingSample",
    "RaftSample",
    "ReconcileSample",
    "ScrubSample",
    "VolumeSample",
]


class Metrics:
    """The figures of one node."""

    def __init__(self, cluster: str, node: NodeId, version: str) -> None:
        self._families = Families(cluster, node)
        ProcessCollector(registry=self._families.registry)
        self.groups = GroupMetrics(self._families)
        self.data = DataMetrics(self._families)
        self.health = HealthMetrics(self._families)
        self.node = NodeMetrics(self._families, version)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._families.registry)

    def catalogue(self) -> list[Family]:
        """All families of StaqRaft's own, sorted by name."""
        return self._families.catalogue()
