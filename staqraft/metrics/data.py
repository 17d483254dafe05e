"""How much of the data is where, and whether it is as it should be."""

from __future__ import annotations

from staqraft.metrics.families import Families
from staqraft.metrics.samples import DataSample, PeerSample, ReconcileSample, ScrubSample
from staqraft.model import GroupId, NodeId


class DataMetrics:
    """Of each group's trees and journal on this node."""

    def __init__(self, to: Families) -> None:
        self._connected = to.gauge(
            "stream_connected", "1 while records flow to or from the peer.", "group", "peer"
        )
        self._preferred = to.gauge(
            "stream_on_preferred_ring",
            "1 if the session with the peer goes over the preferred network, 0 if over another.",
            *("group", "peer"),
        )
        self._lag_records = to.gauge(
            "lag_records", "Records not yet durable on the peer (0 on a standby).", "group", "peer"
        )
        self._lag_bytes = to.gauge(
            "lag_bytes", "Journal bytes not yet durable on the peer.", "group", "peer"
        )
        self._lag_seconds = to.gauge(
            "lag_seconds",
            "Age of the oldest record that is not yet durable on the peer.",
            *("group", "peer"),
        )
        self._unapplied = to.gauge(
            "unapplied_records",
            "Records that the standby has and not applied yet.",
            "group",
            "peer",
        )
        self._wire = to.counter(
            "stream_wire_bytes", "Bytes of the stream to the peer, compressed.", "group", "peer"
        )
        self._raw = to.counter("stream_raw_bytes", "The same before compression.", "group", "peer")
        self._changes = to.counter(
            "changes", "Changes that were captured into the journal, by kind.", "group", "kind"
        )
        self._journal = to.gauge("journal_bytes", "Size of the journal on disk.", "group")
        self._journal_limit = to.gauge(
            "journal_limit_bytes", "What the configuration lets it become.", "group"
        )
        self._journal_free = to.gauge(
            "journal_free_bytes", "Free space of the volume that the journal is on.", "group"
        )
        self._segments = to.gauge(
            "journal_segments", "Files that the journal consists of.", "group"
        )
        self._objects = to.gauge("objects", "Objects known in the tree.", "group", "tree")
        self._dirty = to.gauge("dirty_objects", "Changed objects not yet in the journal.", "group")
        self._unsettled = to.gauge(
            "unsettled_objects", "Objects of a standby that are to be looked at again.", "group"
        )
        self._quarantine = to.gauge("quarantine_objects", "Objects in quarantine.", "group")
        self._quarantine_bytes = to.gauge("quarantine_bytes", "Bytes in quarantine.", "group")
        self._restarts = to.counter(
            "worker_restarts", "Data processes that had to be started again.", "group", "process"
        )
        self._compared(to)
        self._drift(to)
        self._seen: dict[tuple[str, ...], int] = {}

    def _compared(self, to: Families) -> None:
        self._reconcile_objects = to.gauge(
            "reconcile_objects", "Objects that a running comparison has compared.", "group"
        )
        self._reconcile_expected = to.gauge(
            "reconcile_expected_objects", "Objects that it is to compare; 0: none runs.", "group"
        )
        self._reconcile_bytes = to.gauge(
            "reconcile_fetched_bytes", "Bytes that it has fetched.", "group"
        )
        self._reconcile_rate = to.gauge(
            "reconcile_bytes_per_second", "Bytes that it fetches a second.", "group"
        )
        self._reconcile_left = to.gauge(
            "reconcile_left_seconds", "How long it takes yet; below 0: not known.", "group"
        )

    def _drift(self, to: Families) -> None:
        self._scrub_found = to.counter(
            "scrub_findings", "Objects that scrubbing found not as they should be.", "group"
        )
        self._scrub_healed = to.counter(
            "scrub_healed", "Of these, fetched anew from the active.", "group"
        )
        self._scrub_corrupt = to.counter(
            "scrub_corrupt", "Of these, damaged on the disk without being written.", "group"
        )
        self._scrub_ended = to.gauge(
            "scrub_last_pass_timestamp_seconds", "When the last whole pass ended.", "group"
        )
        self._verify_found = to.counter(
            "verify_findings", "Objects that 'staqctl verify' found different here.", "group"
        )
        self._verify_left = to.gauge(
            "verify_unrepaired_objects", "Objects that the last one left different.", "group"
        )
        self._verify_ended = to.gauge(
            "verify_last_timestamp_seconds", "When the last one ended; 0: none yet.", "group"
        )

    def open(self, group: GroupId, processes: tuple[str, ...]) -> None:
        """Shows the counters of a replica's group at 0, so that the first time is seen, too."""
        for series in (
            self._scrub_found,
            self._scrub_healed,
            self._scrub_corrupt,
            self._verify_found,
        ):
            series(group)
        self._verify_left(group)
        self._verify_ended(group)
        for process in processes:
            self._restarts(group, process)

    def show(self, sample: DataSample) -> None:
        """Shows `sample` as the state of the group's data."""
        group = sample.group
        for peer, session in sample.peers.items():
            self._peer(group, peer, session)
        self._journal(group).set(sample.journal_bytes)
        self._journal_limit(group).set(sample.journal_limit_bytes)
        self._segments(group).set(sample.journal_segments)
        if sample.journal_free_bytes is not None:
            self._journal_free(group).set(sample.journal_free_bytes)
        for tree, objects in sample.objects.items():
            self._objects(group, tree).set(objects)
        self._dirty(group).set(sample.dirty_objects)
        self._unsettled(group).set(sample.unsettled_objects)
        self._quarantine(group).set(sample.quarantined_objects)
        self._quarantine_bytes(group).set(sample.quarantined_bytes)
        for kind, count in sample.changes.items():
            self._changes(group, kind).inc(self._grown(("changes", group, kind), count))

    def _peer(self, group: GroupId, peer: NodeId, session: PeerSample) -> None:
        self._connected(group, peer).set(session.connected)
        if session.preferred_ring is not None:
            self._preferred(group, peer).set(session.preferred_ring)
        self._lag_records(group, peer).set(session.lag_records)
        self._lag_bytes(group, peer).set(session.lag_bytes)
        self._lag_seconds(group, peer).set(session.lag_ms / 1000)
        self._unapplied(group, peer).set(session.unapplied_records)
        for series, name, count in (
            (self._wire, "wire", session.wire_bytes),
            (self._raw, "raw", session.raw_bytes),
        ):
            series(group, peer).inc(self._grown((name, group, peer), count))

    def _grown(self, key: tuple[str, ...], count: int) -> int:
        """By how much a worker's own count grew; it begins anew with its process or role."""
        before = self._seen.get(key, 0)
        self._seen[key] = count
        return count - before if count >= before else count

    def reconciling(self, group: GroupId, sample: ReconcileSample) -> None:
        """Shows how far a comparison is."""
        self._reconcile_objects(group).set(sample.done)
        self._reconcile_expected(group).set(sample.expected)
        self._reconcile_bytes(group).set(sample.fetched_bytes)
        self._reconcile_rate(group).set(sample.bytes_per_s)
        self._reconcile_left(group).set(sample.left_ms / 1000)

    def scrubbed(self, group: GroupId, sample: ScrubSample) -> None:
        """Counts what the scrubber found since the last call; when its last pass ended."""
        for series, name, count in (
            (self._scrub_found, "found", sample.found),
            (self._scrub_healed, "healed", sample.healed),
            (self._scrub_corrupt, "corrupt", sample.corrupt),
        ):
            series(group).inc(self._grown((name, group), count))
        self._scrub_ended(group).set(sample.ended_s)

    def verified(self, group: GroupId, *, found: int, unrepaired: int, ended_s: float) -> None:
        """Counts what a comparison of both disks found; it ended then, seconds since 1970."""
        self._verify_found(group).inc(found)
        self._verify_left(group).set(unrepaired)
        self._verify_ended(group).set(ended_s)

    def worker_restarted(self, group: GroupId, process: str, count: int) -> None:
        """Counts ends of a data process (`trees` or `stream`) that was started again."""
        self._restarts(group, process).inc(count)
