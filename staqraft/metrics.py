"""What Prometheus is told: one registry a control process, and the HTTP server that shows it.

The control process keeps all of it, also what it learns of its data workers by RPC, so a node has
one port to scrape. Whoever knows a figure hands over a sample; nobody else touches the library.

The server is our own few lines on asyncio, because the library's starts a thread a connection and
lets a silent one stand for ever: here connections are few, short and bounded, whoever makes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from staqraft.model import Epoch, GroupId, NodeId

logger = logging.getLogger(__name__)

# A second series for each counter, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

MAX_CONNECTIONS = 16
REQUEST_BYTES = 8 << 10
REQUEST_TIMEOUT_S = 5.0

# Linux: bind to an address that is not there yet. Python has no names for them.
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSample:
    """A group as the control process of this node sees it now."""

    group: GroupId
    active: bool
    epoch: Epoch
    lease_left_ms: int
    in_sync: Collection[NodeId]
    replicas: Collection[NodeId]
    vips_held: Mapping[str, bool]  # address with prefix -> it is on this node
    gate_open: bool | None = None  # clients get through; None: there is no gate
    maintenance_s: float = 0.0  # for how long it is on, by wall clocks


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSample:
    """A group's data on this node, from its workers."""

    group: GroupId
    lag_records: int
    lag_bytes: int
    lag_ms: int
    journal_bytes: int
    quarantined_objects: int
    quarantined_bytes: int
    dirty_objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSample:
    """Raft as this node sees it now."""

    term: int
    commit_index: int
    leader: bool
    quorum: bool


class Metrics:
    """The figures of one node."""

    def __init__(self, cluster: str, node: NodeId, version: str) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        ProcessCollector(registry=registry)
        Info("staqraft_build", "What runs here.", registry=registry).info(
            {"cluster": cluster, "node": node, "version": version}
        )

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"staqraft_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"staqraft_{name}", text, labels, registry=registry)

        self._active = gauge("active", "1 where this node is active.", "group")
        self._epoch = gauge("epoch", "Fencing epoch of the group.", "group")
        self._lease = gauge("lease_left_seconds", "What is left of this node's lease.", "group")
        self._in_sync = gauge(
            "in_sync", "1 if the replica may be promoted without loss.", "group", "replica"
        )
        self._vip = gauge("vip_held", "1 if the address is on this node.", "group", "vip")
        self._gate = gauge("gate_open", "1 if clients get through to the addresses.", "group")
        self._maintenance = gauge(
            "maintenance_seconds", "For how long maintenance has been on; 0: it is off.", "group"
        )
        self._renewals = counter("lease_renewals", "Committed renewals by this node.", "group")
        self._takeovers = counter(
            "takeovers", "Times this node became active, by how the loser was fenced.",
            "group", "fence",
        )  # fmt: skip
        self._fence_device = gauge(
            "fence_device_up", "1 if this node could turn the other off by it.", "node", "device"
        )
        self._notified = counter(
            "notifications", "Tries to tell somebody, by what became of them.", "receiver", "result"
        )
        self._term = gauge("raft_term", "Raft term.")
        self._commit = gauge("raft_commit_index", "Newest committed Raft entry.")
        self._leader = gauge("raft_leader", "1 if this node leads Raft (which decides nothing).")
        self._quorum = gauge("raft_quorum", "1 if this node is in touch with a majority.")
        self._late_ticks = counter("raft_late_ticks", "Ticks later than a third of an election.")
        self._lag_records = gauge("lag_records", "Records not yet durable on the peer.", "group")
        self._lag_bytes = gauge("lag_bytes", "Journal bytes not yet durable on the peer.", "group")
        self._lag_seconds = gauge(
            "lag_seconds", "Age of the oldest record that is not yet durable on the peer.", "group"
        )
        self._journal = gauge("journal_bytes", "Size of the journal on disk.", "group")
        self._quarantine = gauge("quarantine_objects", "Objects in quarantine.", "group")
        self._quarantine_bytes = gauge("quarantine_bytes", "Bytes in quarantine.", "group")
        self._dirty = gauge("dirty_objects", "Changed objects not yet in the journal.", "group")
        self._reconcile_objects = gauge(
            "reconcile_objects", "Objects that a running comparison has compared.", "group"
        )
        self._reconcile_total = gauge(
            "reconcile_objects_total", "Objects that it is to compare; 0: none runs.", "group"
        )
        self._reconcile_bytes = gauge(
            "reconcile_fetched_bytes", "Bytes that it has fetched.", "group"
        )
        self._reconcile_rate = gauge(
            "reconcile_bytes_per_second", "Bytes that it fetches a second.", "group"
        )
        self._reconcile_left = gauge(
            "reconcile_left_seconds", "How long it takes yet; below 0: not known.", "group"
        )
        self._scrub_found = counter(
            "scrub_findings", "Objects of a standby that were not as they should be.", "group"
        )
        self._scrub_healed = counter(
            "scrub_healed", "Of these, fetched anew from the active.", "group"
        )
        self._scrub_corrupt = counter(
            "scrub_corrupt", "Of these, damaged on the disk without being written.", "group"
        )
        self._scrub_ended = gauge(
            "scrub_last_pass_timestamp_seconds", "When the last whole pass ended.", "group"
        )
        self._restarts = counter(
            "worker_restarts", "Data processes that had to be started again.", "group", "process"
        )

    def group(self, sample: GroupSample) -> None:
        """Shows `sample` as the group's present state."""
        self._active.labels(sample.group).set(sample.active)
        self._epoch.labels(sample.group).set(sample.epoch)
        self._lease.labels(sample.group).set(max(sample.lease_left_ms, 0) / 1000)
        for replica in sample.replicas:
            self._in_sync.labels(sample.group, replica).set(replica in sample.in_sync)
        for vip, held in sample.vips_held.items():
            self._vip.labels(sample.group, vip).set(held)
        self._maintenance.labels(sample.group).set(sample.maintenance_s)
        if sample.gate_open is not None:
            self._gate.labels(sample.group).set(sample.gate_open)

    def data(self, sample: DataSample) -> None:
        """Shows `sample` as the state of the group's data."""
        self._lag_records.labels(sample.group).set(sample.lag_records)
        self._lag_bytes.labels(sample.group).set(sample.lag_bytes)
        self._lag_seconds.labels(sample.group).set(sample.lag_ms / 1000)
        self._journal.labels(sample.group).set(sample.journal_bytes)
        self._quarantine.labels(sample.group).set(sample.quarantined_objects)
        self._quarantine_bytes.labels(sample.group).set(sample.quarantined_bytes)
        self._dirty.labels(sample.group).set(sample.dirty_objects)

    def reconciling(
        self, group: GroupId, *, done: int, total: int, size: int, per_s: int, left_ms: int
    ) -> None:
        """Shows how far a comparison is; all 0: none runs."""
        self._reconcile_objects.labels(group).set(done)
        self._reconcile_total.labels(group).set(total)
        self._reconcile_bytes.labels(group).set(size)
        self._reconcile_rate.labels(group).set(per_s)
        self._reconcile_left.labels(group).set(left_ms / 1000)

    def scrubbed(
        self, group: GroupId, *, found: int, healed: int, corrupt: int, ended_s: float
    ) -> None:
        """Counts what the scrubber found since the last call; when its last pass ended."""
        self._scrub_found.labels(group).inc(found)
        self._scrub_healed.labels(group).inc(healed)
        self._scrub_corrupt.labels(group).inc(corrupt)
        self._scrub_ended.labels(group).set(ended_s)

    def raft(self, sample: RaftSample) -> None:
        """Shows `sample` as the present state of Raft."""
        self._term.set(sample.term)
        self._commit.set(sample.commit_index)
        self._leader.set(sample.leader)
        self._quorum.set(sample.quorum)

    def late_tick(self) -> None:
        """Counts a late tick. From any thread."""
        self._late_ticks.inc()

    def renewed(self, group: GroupId) -> None:
        """Counts a committed renewal of this node's lease."""
        self._renewals.labels(group).inc()

    def took_over(self, group: GroupId, fence: str) -> None:
        """Counts a takeover by this node; `fence` is the rung, or "none" at the first start."""
        self._takeovers.labels(group, fence).inc()

    def fence_device(self, node: NodeId, device: str, why_not: str) -> None:
        """Shows whether the device could turn `node` off when it was last asked: yes if ""."""
        self._fence_device.labels(node, device).set(not why_not)

    def notified(self, receiver: str, result: str) -> None:
        """Counts a try to tell a receiver; `result` is "sent" or "failed"."""
        self._notified.labels(receiver, result).inc()

    def worker_restarted(self, group: GroupId, process: str) -> None:
        """Counts a data process (`trees` or `stream`) that ended and was started again."""
        self._restarts.labels(group, process).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class Source(Protocol):
    """Who knows the figures."""

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""


class MetricsServer:
    """Answers `GET /metrics` on some addresses of this host, over plain HTTP."""

    def __init__(self, metrics: Source, addresses: Collection[str], port: int) -> None:
        self._metrics = metrics
        self._addresses = tuple(dict.fromkeys(addresses))
        self._port = port
        self._connections = 0
        self.listening = asyncio.Event()
        self.bound: list[tuple[str, int]] = []

    async def run(self) -> None:
        """Serves until cancelled. An address that cannot be bound is logged and left out:
        metrics are never a reason for a node not to start.
        """
        with contextlib.ExitStack() as opened:
            for address in self._addresses:
                try:
                    listener = _listener(address, self._port)
                except OSError as error:
                    logger.error(  # noqa: TRY400 - the reason is enough, a traceback is noise
                        f"no metrics on {address} port {self._port}: {error.strerror};"
                        f" {_advice(error)}"
                    )
                    continue
                opened.enter_context(contextlib.closing(listener))
                self.bound.append(listener.getsockname()[:2])
                server = await asyncio.start_server(
                    self._answer, sock=listener, limit=REQUEST_BYTES
                )
                opened.callback(server.close)
            self.listening.set()
            await asyncio.Event().wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(request))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Somebody who does not speak HTTP, or went away: their business, and not for the log.
            writer.transport.abort()
        finally:
            self._connections -= 1

    def _response(self, request: bytes) -> bytes:
        match request.split(b"\r\n", 1)[0].split(b" "):
            case [b"GET", path, _] if path.split(b"?", 1)[0] == b"/metrics":
                return _http("200 OK", CONTENT_TYPE_LATEST, self._metrics.text())
            case [b"GET", _, _]:
                return _http("404 Not Found", "text/plain", b"It is at /metrics.\n")
            case _:
                return _http("405 Method Not Allowed", "text/plain", b"GET /metrics, please.\n")


def _http(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _listener(address: str, port: int) -> socket.socket:
    """A bound socket; at boot the address may be still to come."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has the port; choose another ports.metrics"
    return "check the node's ring address in the configuration"
