"""What operators ask for."""

from __future__ import annotations

from simulation.daemon import GROUP
from staqraft.model import (
    CancelSwitchover,
    ClearFailures,
    Command,
    ForceActive,
    GroupRecord,
    NodeId,
    RequestSwitchover,
    SetMaintenance,
)


def asked(me: NodeId, what: str, target: NodeId, record: GroupRecord) -> Command:
    """The command that the operator's wish becomes on the node that takes it."""
    match what:
        case "switchover":
            return RequestSwitchover(
                node=me, group=GROUP, target=target, requested_by="operator", reason="sim"
            )
        case "cancel":
            return CancelSwitchover(node=me, group=GROUP, reason="sim")
        case "clear":
            return ClearFailures(node=me, group=GROUP, requested_by="operator")
        case "force":
            return ForceActive(
                node=me,
                group=GROUP,
                base_epoch=record.epoch,
                base_renewal=record.renewal,
                target=target,
                requested_by="operator",
                reason="sim",
            )
        case _:
            return SetMaintenance(
                node=me,
                group=GROUP,
                enabled=what == "maintenance on",
                requested_by="operator",
            )
