"""What of all that happens is worth a message (PURE)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from staqraft.model import ClusterEvent, GroupId, NodeId
from staqraft.notify.message import Message, Severity

# Kinds of the history; what is not named is for the record. An address that somebody else has is
# told as a complaint for as long as that lasts, and not a second time as an event.
_SEVERITIES = {
    "takeover": Severity.CRITICAL,
    "force-active": Severity.CRITICAL,
    "fence": Severity.CRITICAL,
    "fence-device": Severity.WARNING,
    "quarantine": Severity.WARNING,
    "switchover-cancelled": Severity.WARNING,
    "switchover-missed": Severity.WARNING,
    "in-sync": Severity.WARNING,
    "maintenance": Severity.WARNING,
    "switchover-done": Severity.WARNING,
}

LASTS_MS = 15_000  # a complaint that is over sooner is nobody's business
_OVER_MS = 15_000  # and it is over when it has not been heard for so long


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something that is wrong now, as `staqctl status` says it.

    `about` tells two with the same code apart: a member, an address, a service. What is not `ours`
    is another node's to tell, and this one only shows it.
    """

    group: GroupId | None
    code: str
    text: str
    severity: Severity = Severity.WARNING
    about: str = ""
    ours: bool = True


@dataclass(slots=True)
class _Known:
    complaint: Complaint
    since_ms: int
    heard_ms: int
    told: bool = False


class Watch:
    """Turns the history and the complaints of one node into messages."""

    def __init__(self, cluster: str, node: NodeId, told_index: int | None) -> None:
        """`told_index`: of the last event that was told; None: begin with what comes."""
        self._cluster = cluster
        self._node = node
        self.told_index = told_index
        self._known: dict[tuple[GroupId | None, str, str], _Known] = {}

    def events(self, events: tuple[ClusterEvent, ...]) -> list[Message]:
        """What of the history is new, and this node's to tell."""
        newest = events[-1].index if events else 0
        if self.told_index is None or self.told_index > newest:  # or Raft has begun anew
            self.told_index = newest
            return []
        fresh = [event for event in events if event.index > self.told_index]
        self.told_index = newest
        return [self._of_event(event) for event in fresh if event.node == self._node]

    def complaints(self, found: Iterable[Complaint], *, now_ms: int, wall_ms: int) -> list[Message]:
        """What has been wrong for a while, and what is over."""
        for one in found:
            if not one.ours:
                continue
            key = (one.group, one.code, one.about)
            known = self._known.setdefault(key, _Known(one, now_ms, now_ms))
            known.complaint, known.heard_ms = one, now_ms
        messages = []
        for key, known in list(self._known.items()):
            if now_ms - known.heard_ms >= _OVER_MS:
                del self._known[key]
                if known.told:
                    messages.append(self._over(known, wall_ms))
            elif not known.told and known.heard_ms - known.since_ms >= LASTS_MS:
                known.told = True
                messages.append(self._of_complaint(known.complaint, wall_ms))
        return messages

    def _of_event(self, event: ClusterEvent) -> Message:
        return Message(
            cluster=self._cluster,
            node=self._node,
            group=event.group,
            kind=event.kind,
            severity=_SEVERITIES.get(event.kind, Severity.INFO),
            text=event.text,
            wall_ms=event.wall_ms,
        )

    def _of_complaint(self, one: Complaint, wall_ms: int) -> Message:
        return Message(
            cluster=self._cluster,
            node=self._node,
            group=one.group,
            kind=one.code,
            severity=one.severity,
            text=one.text,
            wall_ms=wall_ms,
        )

    def _over(self, known: _Known, wall_ms: int) -> Message:
        message = self._of_complaint(known.complaint, wall_ms)
        minutes = max(1, round((known.heard_ms - known.since_ms) / 60_000))
        return replace(message, text=f"over, after about {minutes} min: {message.text}")
