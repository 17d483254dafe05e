"""Barriers: when this returns, what was written before the call survives the loss of a host.

What it waits for, and in which order, is `staqraft.decision.barrier`'s to say.
"""

from __future__ import annotations

import asyncio

from staqraft.api.node import BarrierReached
from staqraft.daemon.loop import GroupLoop
from staqraft.decision.barrier import Verdict, active_epoch, missing, verdict
from staqraft.errors import BarrierTimeout, NotActive, OutcomeUnknown
from staqraft.model import Epoch, NodeId, Position


async def barrier(loop: GroupLoop, timeout_ms: int, min_replicas: int) -> BarrierReached:
    """Wait until everything written before the call is durable on every in-sync replica.

    Raises:
        NotActive: this node is not the group's active, or stopped being it meanwhile.
        BarrierTimeout: not within `timeout_ms`, or on fewer than `min_replicas` replicas.
    """
    epoch = _active_epoch(loop)
    data = loop.hands.data
    position: Position | None = None
    confirmed: frozenset[NodeId] = frozenset()
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            position = await data.capture_barrier(timeout_ms / 1000, complete=True)
            judged = Verdict.WAIT
            while judged is Verdict.WAIT:
                while peers := missing(loop.state, confirmed):
                    confirmed |= await _first_acknowledgement(loop, peers, position, timeout_ms)
                await loop.hands.raft.barrier(timeout_ms)
                judged = verdict(loop.state, epoch, confirmed)
    except (TimeoutError, OutcomeUnknown) as error:
        waiting = ", ".join(sorted(missing(loop.state, confirmed))) or "the Raft majority"
        why = loop.story() or "see 'staqctl status' for what is wrong there, then try again"
        raise BarrierTimeout(
            f"position {position or 'not known yet'} of group {loop.group} is not known to be "
            f"durable after {timeout_ms} ms: still waiting for {waiting}. Nothing is lost; {why}"
        ) from error
    if judged is Verdict.VOID:
        raise NotActive(f"the epoch changed from {epoch} while the barrier waited: ask again")
    me = loop.state.settings.node
    replicas = frozenset({me}) | (loop.state.record.in_sync & confirmed)
    if len(replicas) < min_replicas:
        raise BarrierTimeout(
            f"position {position} is durable on {', '.join(sorted(replicas))} only, and "
            f"{min_replicas} replicas were asked for: bring the standby back in sync, or ask for "
            "fewer"
        )
    return BarrierReached(position=position, replicas=replicas, degraded=replicas == {me})


def _active_epoch(loop: GroupLoop) -> Epoch:
    state = loop.state
    epoch = active_epoch(state)
    if epoch is None:
        active = state.record.active
        who = f"{active} is" if active and active != state.settings.node else "nobody is at present"
        raise NotActive(
            f"{state.settings.node} is not active in group {loop.group} "
            f"(it is {state.phase.value}); {who}: ask there"
        )
    return epoch


async def _first_acknowledgement(
    loop: GroupLoop, peers: frozenset[NodeId], position: Position, timeout_ms: int
) -> frozenset[NodeId]:
    """Who of `missing` has acknowledged; empty when who must acknowledge changed first."""
    waits = {
        asyncio.create_task(
            loop.hands.data.wait_acknowledged(peer, position, timeout_ms / 1000), name=peer
        )
        for peer in peers
    }
    changed = asyncio.create_task(loop.changed())
    try:
        done, _ = await asyncio.wait({*waits, changed}, return_when=asyncio.FIRST_COMPLETED)
        for task in done & waits:
            task.result()
        return frozenset(NodeId(task.get_name()) for task in done & waits)
    finally:
        for task in (*waits, changed):
            task.cancel()
        await asyncio.gather(*waits, changed, return_exceptions=True)
