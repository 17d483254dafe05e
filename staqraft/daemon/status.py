"""What `staqctl status` is told: the decision core's state in words, and how everything is."""

from __future__ import annotations

from collections.abc import Mapping

from staqraft.actions.services import ServiceHealth
from staqraft.config.schema import Config, Vip
from staqraft.daemon.loop import GroupLoop
from staqraft.daemon.raft_status import from_record, unserved
from staqraft.daemon.workers import WorkerStatus
from staqraft.decision import fencing, health, pair, planned, services
from staqraft.decision.eligibility import lease_over_ms, reasons_against
from staqraft.decision.phases import SENTENCES, Phase
from staqraft.decision.state import GroupState
from staqraft.model import Admission, NodeId
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1 import data_worker_pb2 as pb


def group_status(
    config: Config,
    loop: GroupLoop,
    now_ms: int,
    held: Mapping[Vip, bool],
    admission: Admission | None,
    *,
    has_quorum: bool,
) -> admin_pb2.GroupStatus:
    """A group on a replica. `has_quorum`: what it knows of the others is not of long ago."""
    state, worker = loop.state, loop.watch.latest
    status = from_record(config, loop.group, state.record)
    status.phase = state.phase.value
    deadline = state.lease.deadline_ms
    status.lease_left_ms = max(0, deadline - now_ms) if deadline is not None else 0
    status.lease_over_ms = lease_over_since_ms(state, now_ms)
    status.summary = summary(state, worker, now_ms, has_quorum=has_quorum)
    if not state.mine:
        status.not_eligible.extend(reasons_against(state, now_ms))
    status.failback = planned.story(state, now_ms)
    status.vips.extend(
        admin_pb2.VipStatus(address=str(vip.address), interface=vip.interface, held=is_held)
        for vip, is_held in held.items()
    )
    status.gate = admission.value if admission is not None else ""
    status.services.extend(_service(state, h, now_ms) for h in loop.hands.services.health)
    status.service_moves = services.recent_moves(state, now_ms)
    status.service_moves_most = state.settings.moves_most
    if worker.trees is not None:
        status.trees.CopyFrom(worker.trees)
    if worker.stream is not None:
        status.stream.CopyFrom(worker.stream)
    status.problems.extend(_problems(loop, worker))
    return status


def lease_over_since_ms(state: GroupState, now_ms: int) -> int:
    """For how long a standby has known that the active's lease is over; 0: it runs, or is none."""
    record = state.record
    if state.phase is not Phase.STANDBY or not record.active or record.released or state.mine:
        return 0
    return max(0, now_ms - lease_over_ms(state))


def _unserved(state: GroupState, over_ms: int, *, has_quorum: bool) -> str:
    """That nobody serves, or that it is not known who does; "" otherwise."""
    me, active = state.settings.node, state.record.active
    if not over_ms or active is None:
        return ""
    text = unserved(me, active, over_ms, has_quorum=has_quorum)
    return f"{text}; 'takeover' says why {me} does not" if has_quorum else text


def summary(state: GroupState, worker: WorkerStatus, now_ms: int, *, has_quorum: bool) -> str:
    """One sentence: how protected the group is now, and what is missing if anything is."""
    record, me = state.record, state.settings.node
    if state.phase is Phase.FENCING and (story := fencing.story(state, now_ms)):
        return f"{me} {SENTENCES[state.phase]}: {story}"
    if state.settings.pair and (story := pair.story(state, now_ms)):
        return f"{me} {SENTENCES[state.phase]}: {story}"
    if state.phase not in {Phase.ACTIVE, Phase.STANDBY}:
        why = f" ({state.reason})" if state.reason else ""
        return f"{me} {SENTENCES[state.phase]}{why}"
    if record.active is None or record.released:
        return "nobody is active: see why each replica is not eligible"
    if record.resting_ms and not state.mine:
        minutes = -(-record.resting_ms // 60_000)
        return (
            f"the daemon of {record.active} was stopped in maintenance, and its kernel keeps the"
            f" addresses for up to {minutes} min: start it again"
        )
    if told := _unserved(state, lease_over_since_ms(state, now_ms), has_quorum=has_quorum):
        return told
    unwell = f"; {story}" if (story := health.story(state, now_ms)) else ""
    others = sorted(record.in_sync - {record.active})
    if others:
        return (
            f"{record.active} is active and {', '.join(others)} is in sync: "
            f"the loss of either host loses nothing that was acknowledged{unwell}"
        )
    missing = ", ".join(r for r in state.settings.replicas if r != record.active)
    detail = _why_not_in_sync(worker, me) if state.mine else ""
    return f"{record.active} is active ALONE: {missing} is not in sync{detail}{unwell}"


def _why_not_in_sync(worker: WorkerStatus, me: NodeId) -> str:
    if worker.stream is None or not worker.stream.peers:
        return ""
    peer = worker.stream.peers[0]
    match peer.state:
        case pb.SESSION_STATE_RECONCILING:
            return (
                f"; it compares its trees with ours: {peer.objects_done} of "
                f"{peer.objects_total or 'an unknown number of'} objects{_left(peer.left_ms)}"
            )
        case pb.SESSION_STATE_CATCHING_UP | pb.SESSION_STATE_STREAMING:
            if peer.settling and not peer.lag_records:
                return f"; it settles: {_settling(peer, me)}"
            return f"; it catches up: {peer.lag_records} records to go"
        case _:
            return f"; {peer.problem}" if peer.problem else "; it does not answer"


def _settling(peer: pb.PeerSession, me: NodeId) -> str:
    """What a standby that has every record awaits before it could go on without us."""
    if unapplied := peer.durable.seq - peer.applied.seq:
        awaits = f"{unapplied:,} of them are to be applied yet"
    else:
        awaits = "what was in doubt after the comparison is looked at, or fetched anew"
    return f"it has every record, and is not whole without {me} before {awaits}"


def _service(state: GroupState, health: ServiceHealth, now_ms: int) -> admin_pb2.ServiceStatus:
    policy, watch = state.settings.services.get(health.name), state.services.get(health.name)
    return admin_pb2.ServiceStatus(
        name=health.name,
        state=health.state.value,
        detail=health.detail,
        last_failure=health.last_failure,
        restarts_used=len(services.recent(policy, watch, now_ms)) if policy and watch else 0,
        restarts_most=policy.restarts if policy else 0,
    )


def _problems(loop: GroupLoop, worker: WorkerStatus) -> list[pb.WorkerProblem]:
    found: list[pb.WorkerProblem] = []
    for name, part in (("trees", worker.trees), ("stream", worker.stream)):
        if part is None:
            text = f"the {name} process does not answer: see the log of staqraftd"
            found.append(pb.WorkerProblem(code=f"{name}-silent", text=text))
        else:
            found.extend(part.problems)
    captures = worker.trees is not None and worker.trees.role == pb.WORKER_ROLE_ACTIVE
    if loop.state.phase is Phase.ACTIVE and not captures:
        text = (
            f"changes on {loop.state.settings.node} are not captured at present, so they are not "
            "replicated and barriers fail: the data worker is being given its role again"
        )
        found.append(pb.WorkerProblem(code="not-captured", text=text))
    if loop.executor.vip_problem:
        found.append(pb.WorkerProblem(code="vip", text=loop.executor.vip_problem))
    if loop.hands.conflicts is not None and loop.hands.conflicts.problem:
        text = loop.hands.conflicts.problem
        found.append(pb.WorkerProblem(code="address-conflict", text=text))
    if loop.hands.absences is not None:
        missing = loop.hands.absences.problems
        found.extend(pb.WorkerProblem(code="service-missing", text=text) for text in missing)
    if loop.executor.watchdog_problem:
        found.append(pb.WorkerProblem(code="watchdog", text=loop.executor.watchdog_problem))
    stays = [*services.problems(loop.state)]
    found.extend(pb.WorkerProblem(code="service-stays", text=text) for text in stays)
    if loop.state.service_problem and not stays:
        found.append(pb.WorkerProblem(code="service", text=loop.state.service_problem))
    return found


def _left(left_ms: int) -> str:
    """How long a comparison takes yet, if that is known."""
    if left_ms <= 0:
        return ""
    minutes, seconds = divmod(round(left_ms / 1000), 60)
    return f", about {minutes} min left" if minutes else f", about {seconds} s left"
