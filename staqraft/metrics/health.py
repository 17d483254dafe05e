"""What this replica's own probes measure: its volumes, and the networks to the other one."""

from __future__ import annotations

from collections.abc import Collection

from staqraft.metrics.families import Families
from staqraft.metrics.samples import LinkSample, PingSample, VolumeSample
from staqraft.model import NodeId


class HealthMetrics:
    """Of a replica. What follows from it is among the findings."""

    def __init__(self, to: Families) -> None:
        self._link = to.gauge(
            "link_up", "1 while packets pass both ways on the network.", "peer", "ring"
        )
        self._round_trip = to.gauge(
            "link_round_trip_seconds", "How long a call there and back took lately.",
            "peer", "ring",
        )  # fmt: skip
        self._ping = to.gauge(
            "ping_up",
            "1 while the address answers: a target of 'health.ping', or the witness on a network.",
            "address",
        )
        self._ping_s = to.gauge(
            "ping_round_trip_seconds", "How long its last answer took.", "address"
        )
        self._clock = to.gauge(
            "clock_ahead_seconds", "By how much the other replica's clock is ahead.", "peer"
        )
        self._probe = to.gauge(
            "volume_probe_seconds",
            "How long the last small durable write took, or one that has not ended takes so far.",
            "volume",
        )
        self._failed = to.gauge(
            "volume_probe_failed", "1 if the last such write was refused.", "volume"
        )
        self._free = to.gauge("volume_free_bytes", "Free space of the volume.", "volume")
        self._size = to.gauge("volume_size_bytes", "Size of the volume.", "volume")

    def link(self, sample: LinkSample) -> None:
        """Shows a network to the other replica."""
        self._link(sample.peer, sample.ring).set(sample.up)
        if sample.round_trip_ms is not None:
            self._round_trip(sample.peer, sample.ring).set(sample.round_trip_ms / 1000)

    def pings(self, samples: Collection[PingSample]) -> None:
        """Shows all addresses that are pinged now."""
        for sample in samples:
            self._ping(sample.address).set(sample.answers)
            if sample.round_trip_us is not None:
                self._ping_s(sample.address).set(sample.round_trip_us / 1_000_000)
        known = {(sample.address,) for sample in samples}
        for series in (self._ping, self._ping_s):
            series.forget_all_but(known)

    def clock(self, peer: NodeId, ahead_us: int) -> None:
        """Shows by how much the clock of `peer` is ahead."""
        self._clock(peer).set(ahead_us / 1_000_000)

    def volume(self, sample: VolumeSample) -> None:
        """Shows a volume."""
        self._probe(sample.path).set(sample.took_ms / 1000)
        self._failed(sample.path).set(sample.failed)
        if sample.size_bytes:  # it has been looked at
            self._free(sample.path).set(sample.free_bytes)
            self._size(sample.path).set(sample.size_bytes)
