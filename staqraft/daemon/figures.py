"""What a status says, as samples for the metrics. Pure."""

from __future__ import annotations

from staqraft.config.schema import Group, Node
from staqraft.consensus.group import RaftView
from staqraft.decision.phases import Phase
from staqraft.metrics import (
    DataSample,
    GroupSample,
    PeerSample,
    RaftSample,
    ReconcileSample,
    ScrubSample,
)
from staqraft.model import Admission, Epoch, GroupId, NodeId
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1 import data_worker_pb2 as pb

_FLOWING = frozenset({pb.SESSION_STATE_STREAMING, pb.SESSION_STATE_CATCHING_UP})
_STANDBY = Phase.STANDBY.value


def raft_sample(view: RaftView, others: frozenset[NodeId]) -> RaftSample:
    """`others`: the members besides this one."""
    return RaftSample(
        term=view.term,
        commit_index=view.commit_index,
        applied_index=view.applied_index,
        leader=view.leader is not None and view.leader not in others,
        quorum=view.has_quorum,
        reachable={member: member in view.reachable for member in others},
        log_entries=view.log_entries,
        log_bytes=view.log_bytes,
        late_ticks=view.late_ticks,
    )


def maintenance_ms(group: admin_pb2.GroupStatus) -> int:
    """For how long maintenance has been on; 0: it is off."""
    return max((max(1000, entry.lasts_ms) for entry in group.maintained), default=0)


def group_sample(group: admin_pb2.GroupStatus, replicas: tuple[NodeId, ...]) -> GroupSample:
    """A group, on a replica or a witness."""
    return GroupSample(
        group=GroupId(group.group),
        phase=group.phase,
        eligible=not group.not_eligible if group.phase == _STANDBY else None,
        epoch=Epoch(group.epoch),
        lease_left_ms=group.lease_left_ms,
        in_sync=frozenset(map(NodeId, group.in_sync)),
        replicas=replicas,
        vips_held={vip.address: vip.held for vip in group.vips},
        gate_open=group.gate == Admission.OPEN.value if group.gate else None,
        maintenance_ms=maintenance_ms(group),
        services={service.name: service.state for service in group.services},
        service_restarts={service.name: service.restarts_used for service in group.services},
        service_moves=group.service_moves,
    )


def data_sample(settings: Group, me: Node, group: admin_pb2.GroupStatus) -> DataSample:
    """A replica's data; what a worker that does not answer would say is 0."""
    preferred = _preferred_ring(settings, me)
    trees, stream = group.trees, group.stream
    known = stream.HasField("journal_free_bytes")
    return DataSample(
        group=settings.id,
        peers={NodeId(peer.node): _peer(peer, preferred) for peer in stream.peers},
        journal_bytes=stream.journal_bytes,
        journal_limit_bytes=settings.journal.max_bytes,
        journal_free_bytes=stream.journal_free_bytes if known else None,
        journal_segments=stream.journal_segments,
        objects={tree.tree: tree.objects for tree in trees.trees},
        dirty_objects=sum(tree.dirty for tree in trees.trees),
        unsettled_objects=trees.unsettled,
        quarantined_objects=trees.quarantined,
        quarantined_bytes=trees.quarantined_bytes,
        changes=dict(trees.changes),
    )


def _preferred_ring(settings: Group, me: Node) -> str:
    """Over which the stream goes when all are well; both replicas have the same ones."""
    rings = [ring.name for ring in me.rings]
    return next((name for name in settings.replication.prefer_rings if name in rings), rings[0])


def _peer(peer: pb.PeerSession, preferred_ring: str) -> PeerSample:
    return PeerSample(
        connected=peer.state in _FLOWING,
        preferred_ring=peer.ring == preferred_ring if peer.ring else None,
        lag_records=peer.lag_records,
        lag_bytes=peer.lag_bytes,
        lag_ms=peer.lag_ms,
        unapplied_records=max(0, peer.durable.seq - peer.applied.seq),
        wire_bytes=peer.wire_bytes,
        raw_bytes=peer.raw_bytes,
    )


def reconcile_sample(trees: pb.GetTreesStatusResponse) -> ReconcileSample:
    """A comparison that runs, if one does."""
    running = trees.reconcile
    if not trees.HasField("reconcile") or running.done:
        return ReconcileSample()
    return ReconcileSample(
        done=running.objects_done,
        expected=running.objects_total,
        fetched_bytes=running.bytes_done,
        bytes_per_s=running.bytes_per_s,
        left_ms=running.left_ms,
    )


def scrub_sample(scrub: pb.ScrubStatus) -> ScrubSample:
    """What the scrubber counted."""
    return ScrubSample(
        found=scrub.found,
        healed=scrub.healed,
        corrupt=scrub.corrupt,
        ended_s=scrub.ended_wall_ms / 1000,
    )
