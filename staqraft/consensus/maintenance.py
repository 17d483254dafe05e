"""What an operator's maintenance, and daemons that stop in order, do to a group's record. PURE.

A daemon rests only in maintenance, and by a renewal: whoever acquires afterwards has seen it, since
`Acquire` is a compare-and-set on the last renewal, and waits for as long as it may last. What was
left to a kernel for long ends only when its own node says so, having taken it back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from staqraft.consensus.verdict import MEMBERS_KEPT, Changed, Verdict, clip
from staqraft.model import Farewell, GroupRecord, Maintenance, NodeId, Rest, SetMaintenance

REST_LONGEST_MS: Final = 3_600_000  # the configuration allows no more


def put(group: GroupRecord, index: int, command: SetMaintenance) -> Verdict:
    """On or off, of a node or of the cluster."""
    target = None if command.target is None else NodeId(clip(command.target))
    whom = "the cluster" if target is None else target
    others = tuple(m for m in group.maintenance if m.node != target)
    if not command.enabled:
        left = others if target is not None else ()
        if left == group.maintenance:
            return None
        text = f"{command.requested_by} ended the maintenance of {whom}"
        return Changed(replace(group, maintenance=left), "maintenance", text)
    if len(others) < len(group.maintenance):
        return None
    if len(others) >= MEMBERS_KEPT:
        return f"{len(others)} nodes are in maintenance already: {whom} is not kept"
    entry = Maintenance(
        node=target,
        requested_by=clip(command.requested_by),
        reason=clip(command.reason),
        since_ms=command.wall_ms,
        log_index=index,
    )
    known = sorted((*others, entry), key=lambda m: m.node or "")
    why = f" ({command.reason})" if command.reason else ""
    text = (
        f"{command.requested_by} put {whom} in maintenance{why}: nobody is turned off and nothing"
        " is taken over automatically"
    )
    return Changed(replace(group, maintenance=tuple(known)), "maintenance", text)


def rest(group: GroupRecord, index: int, command: Rest, *, opened: bool) -> Verdict:
    """Of the active of the epoch, which is `opened` or not."""
    if command.ends:
        return _rest_over(group, command)
    if (problem := _may_not_rest(group, command, opened=opened)) is not None:
        return problem
    if command.renewal <= group.renewal:
        if command.renewal == group.renewal and group.resting_ms:
            return None
        return f"renewal {command.renewal} came after renewal {group.renewal}: re-read"
    resting_ms = max(command.rest_ms, group.resting_ms)
    text = (
        f"the daemon of {command.node} stops in maintenance: its addresses and services go on"
        f" without it for up to {resting_ms // 1000} s"
    )
    after = replace(group, renewal=command.renewal, resting_ms=resting_ms, resting_index=index)
    return Changed(after, "rest", text)


def _may_not_rest(group: GroupRecord, command: Rest, *, opened: bool) -> str | None:
    if group.released or not opened:
        return f"{command.node} does not serve in epoch {group.epoch}: it has nothing to leave"
    if not group.maintenance:
        return "maintenance is off: only in it does a daemon leave its addresses to the kernel"
    if not 0 < command.rest_ms <= REST_LONGEST_MS:
        return f"{command.rest_ms} ms is no time to serve without a daemon"
    return None


def _rest_over(group: GroupRecord, command: Rest) -> Verdict:
    if not group.resting_ms:
        return None
    if command.ends != group.resting_index:
        return f"it is late: {command.node} rests again, since {group.resting_index}"
    text = f"{command.node} is back, and holds its addresses by its lease again"
    return Changed(replace(group, resting_ms=0, resting_index=0), "rest-over", text)


def farewell(group: GroupRecord, command: Farewell) -> Verdict:
    """Of two replicas without a witness, see `decision.pair`."""
    node = NodeId(clip(command.node))
    if (node in group.away) == command.gone:
        return None
    if not command.gone:
        return Changed(replace(group, away=group.away - {node}), "back", f"{node} is back")
    if group.active == node and not group.released:
        return f"{node} is active in epoch {group.epoch}: it holds what it would leave"
    if len(group.away) >= MEMBERS_KEPT:
        return f"{len(group.away)} nodes are away already: {node} is not kept"
    return Changed(replace(group, away=group.away | {node}), "left", f"{node} stopped in order")
