"""What memory, clock and data worker say of a node (PURE)."""

from __future__ import annotations

from collections.abc import Iterator

from staqraft.decision.defects import WORKER
from staqraft.health.findings import Finding, Severity
from staqraft.model import GroupId, NodeId

SILENT_MS = 20_000  # a worker that was killed is back, and in its role, long before
PERCENT = 100


def judge_memory(available: int, total: int, least_percent: int, node: NodeId) -> Iterator[Finding]:
    """Bytes, as /proc/meminfo has them."""
    if not total or PERCENT * available >= least_percent * total:
        return
    yield Finding(
        code="memory",
        subject="",
        severity=Severity.WARNING,
        text=f"{node} has {available >> 20} MiB of memory left of {total >> 20} MiB: programs will"
        " be slow, or be killed",
        remedy=f"see what uses it ('top -o %MEM' on {node}), or give the host more",
    )


def judge_clock(
    offset_ms: float, round_trip_ms: float, most_ms: int, node: NodeId, peer: NodeId
) -> Iterator[Finding]:
    """`offset_ms`: by so much the peer's clock is ahead, known to half a round trip.

    No decision compares clocks of two hosts, so this bars nothing; but the times of files and mails
    jump when the other host takes over.
    """
    if abs(offset_ms) - round_trip_ms / 2 <= most_ms:
        return
    ahead, behind = (peer, node) if offset_ms > 0 else (node, peer)
    yield Finding(
        code="clock",
        subject=peer,
        severity=Severity.WARNING,
        text=f"the clock of {ahead} is {abs(offset_ms) / 1000:.1f} s ahead of that of {behind}, so"
        " times jump when the other takes over",
        remedy="let chrony or systemd-timesyncd set both ('timedatectl', 'chronyc tracking'); one"
        " of them does not",
    )


def judge_worker(group: GroupId, part: str, silent_ms: int, node: NodeId) -> Iterator[Finding]:
    """A process of the data worker (`trees` or `stream`) has not answered for so long."""
    if silent_ms < SILENT_MS:
        return
    yield Finding(
        code="worker-silent",
        subject=f"{group} {part}",
        severity=Severity.CRITICAL,
        text=f"the {part} process of group {group} on {node} has not answered for"
        f" {silent_ms // 1000} s, so nothing is replicated",
        remedy=f"if its disk is well, see the log of staqraftd on {node}; 'systemctl restart"
        " staqraftd' there starts it anew",
        defect=WORKER,
        groups=frozenset({group}),
    )
