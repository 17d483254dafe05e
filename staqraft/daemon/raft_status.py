"""What `staqctl status` is told of Raft: all that a witness knows."""

from __future__ import annotations

from staqraft.config.schema import Config
from staqraft.consensus.group import RaftView
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.maintaining import lasts_ms
from staqraft.model import ClusterRecord, GroupId, GroupRecord, NodeId
from staqraft.wire.v1 import admin_pb2


def node_statuses(
    config: Config, cluster: ClusterRecord, raft: RaftView, fingerprint: str
) -> list[admin_pb2.NodeStatus]:
    """The members as this node sees them."""
    found = []
    for name, node in sorted(config.nodes.items()):
        announced = cluster.members.get(name)
        found.append(
            admin_pb2.NodeStatus(
                node=name,
                role=node.role.value,
                reachable=name == config.node or name in raft.reachable,
                version=announced.version if announced else "",
                config_differs=announced is not None
                and announced.config_fingerprint != fingerprint,
            )
        )
    return found


def raft_status(raft: RaftView) -> admin_pb2.RaftStatus:
    """Raft as this node sees it."""
    return admin_pb2.RaftStatus(
        leader=raft.leader or "",
        term=raft.term,
        commit_index=raft.commit_index,
        applied_index=raft.applied_index,
        has_quorum=raft.has_quorum,
        late_ticks=raft.late_ticks,
        problem=raft.problem,
    )


def witness_group_status(
    config: Config, group: GroupId, record: GroupRecord, *, over_ms: int, has_quorum: bool
) -> admin_pb2.GroupStatus:
    """A group as a witness knows it: from Raft alone.

    `over_ms`: for how long the active's lease has been over, by what it observed. `has_quorum`:
    what it knows is not of long ago.
    """
    status = from_record(config, group, record)
    status.phase = "witness"
    status.lease_over_ms = over_ms
    if not record.active or record.released:
        status.summary = "nobody is active"
    elif over_ms:
        status.summary = unserved(config.node, record.active, over_ms, has_quorum=has_quorum)
        if has_quorum:
            status.summary += "; 'staqctl status' on each replica says why that does not serve"
    else:
        status.summary = f"{record.active} is active in epoch {record.epoch}"
    return status


def unserved(me: NodeId, active: NodeId, over_ms: int, *, has_quorum: bool) -> str:
    """That the active has let its lease run out, or may have without our knowing."""
    if not has_quorum:
        return (
            f"{me} does not know who serves, since it is not in touch with the Raft majority;"
            f" when it last was, {active} was active"
        )
    return f"nobody serves: the lease of {active} ran out {over_ms / 1000:.0f} s ago"


def from_record(config: Config, group: GroupId, record: GroupRecord) -> admin_pb2.GroupStatus:
    """What Raft keeps of a group."""
    return admin_pb2.GroupStatus(
        group=group,
        epoch=record.epoch,
        active=record.active if record.active and not record.released else "",
        in_sync=sorted(record.in_sync),
        switchover_target=record.switchover.target if record.switchover else "",
        maintenance=bool(record.maintenance),
        maintained=[
            admin_pb2.MaintenanceStatus(
                node=entry.node or "",
                requested_by=entry.requested_by,
                reason=entry.reason,
                lasts_ms=lasts_ms(entry, wall_ms()),
                long=lasts_ms(entry, wall_ms()) >= config.maintenance.remind_ms,
            )
            for entry in record.maintenance
        ],
        resting_ms=record.resting_ms,
        away=sorted(record.away),
        scheduled=admin_pb2.ScheduledSwitchover(
            target=record.scheduled.target,
            at_ms=record.scheduled.at_ms,
            requested_by=record.scheduled.requested_by,
            reason=record.scheduled.reason,
        )
        if record.scheduled
        else None,
        last_fence=record.fence.rung.value if record.fence else "",
    )
