"""The replicated record as protobuf, for snapshots, and back."""

from __future__ import annotations

from typing import Final

from staqraft.consensus.errors import BadMessage
from staqraft.model import (
    ClusterEvent,
    ClusterRecord,
    Epoch,
    EpochStart,
    FenceRecord,
    FenceRung,
    GroupId,
    GroupRecord,
    Maintenance,
    MemberRecord,
    NodeId,
    Position,
    Scheduled,
    Switchover,
)
from staqraft.wire.v1 import raft_pb2 as pb
from staqraft.wire.v1 import types_pb2

RUNGS_OUT: Final = {
    FenceRung.RELEASED: pb.FENCE_RUNG_RELEASED,
    FenceRung.CONFIRMED: pb.FENCE_RUNG_CONFIRMED,
    FenceRung.DEVICE: pb.FENCE_RUNG_DEVICE,
    FenceRung.LEASE: pb.FENCE_RUNG_LEASE,
    FenceRung.OPERATOR: pb.FENCE_RUNG_OPERATOR,
}
RUNGS_BACK: Final[dict[int, FenceRung]] = {number: rung for rung, number in RUNGS_OUT.items()}


def encode(record: ClusterRecord) -> pb.ClusterState:
    """The record as a message; equal records make equal messages."""
    return pb.ClusterState(
        groups=[_group_out(name, record.groups[name]) for name in sorted(record.groups)],
        members=[
            pb.MemberState(
                node=node,
                version=member.version,
                config_fingerprint=member.config_fingerprint,
                log_index=member.log_index,
                format=member.format,
            )
            for node, member in sorted(record.members.items())
        ],
        events=map(_event_out, record.events),
        log_index=record.log_index,
    )


def decode(wire: pb.ClusterState) -> ClusterRecord:
    """The record. BadMessage when it cannot be one."""
    return ClusterRecord(
        groups={GroupId(group.group): _group_back(group) for group in wire.groups},
        members={
            NodeId(member.node): MemberRecord(
                version=member.version,
                config_fingerprint=member.config_fingerprint,
                log_index=member.log_index,
                format=member.format,
            )
            for member in wire.members
        },
        events=tuple(map(_event_back, wire.events)),
        log_index=wire.log_index,
    )


def wire_position(at: Position) -> types_pb2.Position:
    """A position as a message."""
    return types_pb2.Position(epoch=at.epoch, seq=at.seq)


def position(wire: types_pb2.Position) -> Position:
    """A message as a position."""
    return Position(epoch=Epoch(wire.epoch), seq=wire.seq)


def _group_out(name: GroupId, group: GroupRecord) -> pb.GroupState:
    fence, switchover = group.fence, group.switchover
    return pb.GroupState(
        group=name,
        epoch=group.epoch,
        active=group.active,
        renewal=group.renewal,
        released=group.released,
        in_sync=sorted(group.in_sync),
        in_sync_index=group.in_sync_index,
        position=wire_position(group.position),
        epoch_starts=[
            types_pb2.EpochStart(epoch=start.epoch, seq=start.seq) for start in group.epoch_starts
        ],
        fence=None
        if fence is None
        else pb.FenceState(
            epoch=fence.epoch,
            loser=fence.loser,
            rung=RUNGS_OUT[fence.rung],
            log_index=fence.log_index,
        ),
        switchover=None
        if switchover is None
        else pb.SwitchoverState(
            target=switchover.target,
            requested_by=switchover.requested_by,
            reason=switchover.reason,
            log_index=switchover.log_index,
            forced=switchover.forced,
            failback=switchover.failback,
            schedule=switchover.schedule,
            service=switchover.service,
        ),
        scheduled=_scheduled_out(group.scheduled),
        chosen=group.chosen or "",
        failbacks=group.failbacks,
        maintenance=[
            pb.MaintenanceState(
                node=entry.node or "",
                requested_by=entry.requested_by,
                reason=entry.reason,
                since_ms=entry.since_ms,
                log_index=entry.log_index,
            )
            for entry in group.maintenance
        ],
        resting_ms=group.resting_ms,
        resting_index=group.resting_index,
        away=sorted(group.away),
        moves=group.moves,
        cleared_index=group.cleared_index,
    )


def _group_back(wire: pb.GroupState) -> GroupRecord:
    return GroupRecord(
        epoch=Epoch(wire.epoch),
        active=NodeId(wire.active) if wire.HasField("active") else None,
        renewal=wire.renewal,
        released=wire.released,
        in_sync=frozenset(map(NodeId, wire.in_sync)),
        in_sync_index=wire.in_sync_index,
        position=position(wire.position),
        epoch_starts=tuple(
            EpochStart(epoch=Epoch(start.epoch), seq=start.seq) for start in wire.epoch_starts
        ),
        fence=_fence_back(wire.fence) if wire.HasField("fence") else None,
        switchover=Switchover(
            target=NodeId(wire.switchover.target),
            requested_by=wire.switchover.requested_by,
            reason=wire.switchover.reason,
            log_index=wire.switchover.log_index,
            forced=wire.switchover.forced,
            failback=wire.switchover.failback,
            schedule=wire.switchover.schedule,
            service=wire.switchover.service,
        )
        if wire.HasField("switchover")
        else None,
        scheduled=_scheduled_back(wire.scheduled) if wire.HasField("scheduled") else None,
        chosen=NodeId(wire.chosen) if wire.chosen else None,
        failbacks=wire.failbacks,
        maintenance=tuple(map(_maintenance_back, wire.maintenance)),
        resting_ms=wire.resting_ms,
        resting_index=wire.resting_index,
        away=frozenset(map(NodeId, wire.away)),
        moves=tuple(wire.moves),
        cleared_index=wire.cleared_index,
    )


def _scheduled_out(entry: Scheduled | None) -> pb.ScheduledState | None:
    if entry is None:
        return None
    return pb.ScheduledState(
        target=entry.target,
        at_ms=entry.at_ms,
        requested_by=entry.requested_by,
        reason=entry.reason,
        log_index=entry.log_index,
    )


def _scheduled_back(wire: pb.ScheduledState) -> Scheduled:
    return Scheduled(
        target=NodeId(wire.target),
        at_ms=wire.at_ms,
        requested_by=wire.requested_by,
        reason=wire.reason,
        log_index=wire.log_index,
    )


def _maintenance_back(wire: pb.MaintenanceState) -> Maintenance:
    return Maintenance(
        node=NodeId(wire.node) if wire.node else None,
        requested_by=wire.requested_by,
        reason=wire.reason,
        since_ms=wire.since_ms,
        log_index=wire.log_index,
    )


def _fence_back(wire: pb.FenceState) -> FenceRecord:
    rung = RUNGS_BACK.get(wire.rung)
    if rung is None:
        raise BadMessage(f"a fence record of epoch {wire.epoch} without a known way of fencing")
    return FenceRecord(
        epoch=Epoch(wire.epoch), loser=NodeId(wire.loser), rung=rung, log_index=wire.log_index
    )


def _event_out(event: ClusterEvent) -> pb.EventState:
    return pb.EventState(
        index=event.index,
        wall_ms=event.wall_ms,
        group=event.group,
        node=event.node,
        kind=event.kind,
        text=event.text,
        epoch=event.epoch,
        position=wire_position(event.position),
    )


def _event_back(wire: pb.EventState) -> ClusterEvent:
    return ClusterEvent(
        index=wire.index,
        wall_ms=wire.wall_ms,
        group=GroupId(wire.group) if wire.HasField("group") else None,
        node=NodeId(wire.node),
        kind=wire.kind,
        text=wire.text,
        epoch=Epoch(wire.epoch),
        position=position(wire.position),
    )
