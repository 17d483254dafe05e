"""Switchovers before they are done: tried on paper, put off, given up."""

from __future__ import annotations

import logging

import grpc.aio

from staqraft.api.forward import REACH_MS, Forward
from staqraft.api.node import ScheduleWish, SwitchOverStep, SwitchOverWish
from staqraft.consensus.group import Group as RaftGroup
from staqraft.consensus.switchovers import when
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.rehearsal import rehearse
from staqraft.decision.eligibility import MAINTENANCE
from staqraft.decision.state import GroupState
from staqraft.errors import ActionError, Unreachable
from staqraft.model import (
    CancelSwitchover,
    ClusterRecord,
    DropSchedule,
    GroupId,
    GroupRecord,
    NodeId,
    Refused,
    ScheduleSwitchover,
)
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc

logger = logging.getLogger(__name__)

_ASK_S = 2.0


async def objections(forward: Forward, wish: SwitchOverWish) -> list[str]:
    """Why the target says that it would not take over; nothing if it cannot be asked.

    What the active knows by itself, the stream and the in-sync set, is not asked for here.
    """
    try:
        async with forward(wish.target, REACH_MS) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            status: admin_pb2.GetStatusResponse = await stub.GetStatus(
                admin_pb2.GetStatusRequest(), timeout=_ASK_S
            )
    except (Unreachable, grpc.aio.AioRpcError) as error:
        logger.warning(
            "group %s: %s cannot be asked whether it would take over: %s",
            wish.group,
            wish.target,
            error,
        )
        return []
    groups = {group.group: group for group in status.groups}
    # Maintenance is no bar to what an operator asks for.
    found = groups[wish.group].not_eligible if wish.group in groups else ()
    return [reason for reason in found if reason != MAINTENANCE]


async def preview(
    forward: Forward,
    cluster: ClusterRecord,
    state: GroupState,
    wish: SwitchOverWish,
    now_ms: int,
) -> list[SwitchOverStep]:
    """What would happen, a sentence each; the last says whether anything is in the way."""
    tried = rehearse(cluster, state, wish.target, now_ms)
    against = [*tried.against, *await objections(forward, wish)]
    epoch = state.record.epoch
    steps = [SwitchOverStep(step=text) for text in tried.steps]
    if against:
        text = f"it would not be done: {'; '.join(dict.fromkeys(against))}"
        return [*steps, SwitchOverStep(step=text, done=True, epoch=epoch)]
    which = f"-g {wish.group} " if len(cluster.groups) > 1 else ""
    text = f"nothing is in its way: 'staqctl switchover {which}--to {wish.target}' does it"
    return [*steps, SwitchOverStep(step=text, done=True, succeeded=True, epoch=epoch)]


async def schedule(raft: RaftGroup, me: NodeId, wish: ScheduleWish) -> str:
    """Keeps it in Raft. ActionError when it was refused."""
    outcome = await raft.propose(
        ScheduleSwitchover(
            node=me,
            group=wish.group,
            target=wish.target,
            at_ms=wish.at_ms,
            requested_by=wish.requested_by,
            reason=wish.reason,
            wall_ms=wall_ms(),
        )
    )
    if isinstance(outcome, Refused):
        raise ActionError(f"group {wish.group}: nothing was scheduled: {outcome.reason}")
    return (
        f"{wish.target} becomes active in group {wish.group} at {when(wish.at_ms)}, by the clock of"
        " whoever is active then. What is in its way for a minute by then drops it, with an event;"
        " 'staqctl switchover --cancel' gives it up"
    )


async def cancel(raft: RaftGroup, me: NodeId, group: GroupId, requested_by: str) -> str:
    """Gives up what is scheduled and what is pending; says what that was."""
    record = (await raft.barrier()).groups.get(group, GroupRecord())
    given_up: list[str] = []
    if (later := record.scheduled) is not None:
        await raft.propose(
            DropSchedule(
                node=me,
                group=group,
                schedule=later.log_index,
                reason=f"{requested_by} asked for that",
                wall_ms=wall_ms(),
            )
        )
        given_up.append(f"the switchover to {later.target} at {when(later.at_ms)}")
    if (pending := record.switchover) is not None:
        await raft.propose(
            CancelSwitchover(
                node=me, group=group, reason=f"{requested_by} asked for that", wall_ms=wall_ms()
            )
        )
        given_up.append(f"the pending switchover to {pending.target}")
    if not given_up:
        return f"in group {group} no switchover is scheduled or pending: nothing to cancel"
    return f"given up in group {group}: {' and '.join(given_up)}"
