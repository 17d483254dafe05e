"""The node itself: Raft, the other members, what is wrong, and who is told of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from staqraft.metrics.families import Families
from staqraft.metrics.samples import RaftSample
from staqraft.model import NodeId

# Kinds of the history that rules look for; any other is shown when it comes.
EVENT_KINDS: Final = ("takeover", "force-active", "fenced", "quarantine", "scrub", "verify")


class NodeMetrics:
    """Of this node as a whole."""

    def __init__(self, to: Families, version: str) -> None:
        to.gauge("build_info", "1; the labels say what runs here.", "version")(version).set(1)
        # Asked at each scrape: rules compare it with the scraper's clock, and so the nodes'.
        to.gauge("wall_clock_timestamp_seconds", "What this host's clock says.")().set_function(
            time.time
        )
        self._problem = to.gauge(
            "problem",
            "1 while 'staqctl status' on this node complains; the group is empty for the node.",
            *("group", "code", "severity"),
        )
        self._events = to.counter(
            "events", "Events of the history that this node wrote, since its start.", "kind"
        )
        self._member = to.gauge("member_info", "1; what a member announced.", "member", "version")
        self._differs = to.gauge(
            "member_config_differs",
            "1 if the member's configuration differs in a way that matters.",
            "member",
        )
        self._fence_device = to.gauge(
            "fence_device_up", "1 if this node could turn the other off by it.", "target", "device"
        )
        self._notified = to.counter(
            "notifications", "Tries to tell somebody, by what became of them.", "receiver", "result"
        )
        self._waiting = to.gauge(
            "notifications_waiting", "Messages that have not arrived yet.", "receiver"
        )
        self._held_back = to.gauge(
            "notifications_held_back",
            "Messages beyond 'most_per_hour', which become one of the next hour.",
            "receiver",
        )
        self._dropped = to.counter(
            "notifications_dropped", "Messages that were given up.", "receiver"
        )
        self._certificate = to.gauge(
            "certificate_expiry_timestamp_seconds",
            "When this node's certificate, or its authority's, ends.",
            "certificate",
        )
        self._raft(to)
        self._late_before = 0
        self._dropped_before: dict[str, int] = {}

    def _raft(self, to: Families) -> None:
        self._term = to.gauge("raft_term", "Raft term.")
        self._commit = to.gauge("raft_commit_index", "Newest committed Raft entry.")
        self._applied = to.gauge("raft_applied_index", "Newest applied Raft entry.")
        self._leader = to.gauge("raft_leader", "1 if this node leads Raft (which decides nothing).")
        self._quorum = to.gauge("raft_quorum", "1 if this node is in touch with a majority.")
        self._reachable = to.gauge(
            "raft_member_reachable", "1 if the member was heard lately.", "member"
        )
        self._log_entries = to.gauge("raft_log_entries", "Entries in Raft's log.")
        self._log_bytes = to.gauge("raft_log_bytes", "Size of Raft's log on disk.")
        self._late_ticks = to.counter("raft_late_ticks", "Ticks later than a third of an election.")

    def open(self, receivers: Collection[str]) -> None:
        """Shows counters at 0, so that the first time is seen, too."""
        self._late_ticks()
        for kind in EVENT_KINDS:
            self._events(kind)
        for receiver in receivers:
            self._dropped(receiver)
            for result in ("sent", "failed"):
                self._notified(receiver, result)

    def raft(self, sample: RaftSample) -> None:
        """Shows `sample` as the present state of Raft."""
        self._term().set(sample.term)
        self._commit().set(sample.commit_index)
        self._applied().set(sample.applied_index)
        self._leader().set(sample.leader)
        self._quorum().set(sample.quorum)
        for member, heard in sample.reachable.items():
            self._reachable(member).set(heard)
        self._log_entries().set(sample.log_entries)
        self._log_bytes().set(sample.log_bytes)
        self._late_ticks().inc(max(0, sample.late_ticks - self._late_before))
        self._late_before = sample.late_ticks

    def members(self, versions: Mapping[NodeId, str], differing: Collection[NodeId]) -> None:
        """Shows what the members announced; "" where one has not yet."""
        shown = {(str(member), version) for member, version in versions.items() if version}
        for labels in shown:
            self._member(*labels).set(1)
        self._member.forget_all_but(shown)
        for member in versions:
            self._differs(member).set(member in differing)

    def problems(self, found: Collection[tuple[str, str, str]]) -> None:
        """Shows all that is wrong now as (group or "", code, severity)."""
        for labels in found:
            self._problem(*labels).set(1)
        self._problem.forget_all_but(found)

    def event(self, kind: str) -> None:
        """Counts an event of the history that this node wrote."""
        self._events(kind).inc()

    def fence_device(self, target: NodeId, device: str, why_not: str) -> None:
        """Shows whether the device could turn `target` off when it was last asked: yes if ""."""
        self._fence_device(target, device).set(not why_not)

    def notified(self, receiver: str, result: str) -> None:
        """Counts a try to tell a receiver; `result` is "sent" or "failed"."""
        self._notified(receiver, result).inc()

    def outbox(self, receiver: str, *, waiting: int, held_back: int, dropped: int) -> None:
        """Shows how many messages wait, and counts those that were given up since the start."""
        self._waiting(receiver).set(waiting)
        self._held_back(receiver).set(held_back)
        self._dropped(receiver).inc(dropped - self._dropped_before.get(receiver, 0))
        self._dropped_before[receiver] = dropped

    def certificates(self, ends: Mapping[str, datetime]) -> None:
        """Shows until when each certificate is valid."""
        for name, end in ends.items():
            self._certificate(name).set(end.timestamp())
