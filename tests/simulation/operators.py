"""What operators ask for."""

from __future__ import annotations

from simulation.daemon import GROUP
from staqraft.model import (
    CancelSwitchover,
    ClearFailures,
    Command,
    DropSchedule,
    ForceActive,
    GroupId,
    GroupRecord,
    NodeId,
    RequestSwitchover,
    ScheduleSwitchover,
    SetMaintenance,
)


def asked(
    me: NodeId,
    what: str,
    target: NodeId,
    record: GroupRecord,
    *,
    at_ms: int = 0,
    group: GroupId = GROUP,
) -> Command:
    """The command that the operator's wish becomes on the node that takes it."""
    match what:
        case "switchover":
            return RequestSwitchover(
                node=me, group=group, target=target, requested_by="operator", reason="sim"
            )
        case "cancel":
            return CancelSwitchover(node=me, group=group, reason="sim")
        case "schedule":
            return ScheduleSwitchover(
                node=me,
                group=group,
                target=target,
                at_ms=at_ms,
                requested_by="operator",
                reason="sim",
            )
        case "unschedule":
            known = record.scheduled.log_index if record.scheduled is not None else 0
            return DropSchedule(node=me, group=group, schedule=known, reason="sim")
        case "clear":
            return ClearFailures(node=me, group=group, requested_by="operator")
        case "force":
            return ForceActive(
                node=me,
                group=group,
                base_epoch=record.epoch,
                base_renewal=record.renewal,
                target=target,
                requested_by="operator",
                reason="sim",
            )
        case _:
            return SetMaintenance(
                node=me,
                group=group,
                enabled=what == "maintenance on",
                requested_by="operator",
            )
