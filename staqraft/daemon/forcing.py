"""When an operator accepts data loss: this node is to become active, whatever it may lack."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from staqraft.api.node import ForceWish
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.loop import GroupLoop
from staqraft.decision import pair
from staqraft.errors import ActionError
from staqraft.model import FenceRung, ForceActive, GroupId, GroupRecord, NodeId, Refused

logger = logging.getLogger(__name__)


async def force(
    raft: RaftGroup, me: NodeId, loops: Mapping[GroupId, GroupLoop], wish: ForceWish
) -> str:
    """Do it; returns a sentence. ActionError when it was refused.

    Of two replicas without a witness this node first goes on alone, on the operator's word that the
    other is off: also when its host just started, which nothing but this word allows.
    """
    loop = loops[wish.group]
    alone = ""
    view = raft.status()
    if loop.state.settings.pair and not view.has_quorum:
        logger.warning("%s vouches that the other is off, and accepts data loss", wish.requested_by)
        await raft.go_alone(FenceRung.OPERATOR, view.contacts, forced=True)
        alone = f"{me} goes on without {pair.peer_of(loop.state)}; "
    cluster = await raft.barrier()
    record = cluster.groups.get(wish.group, GroupRecord())
    if alone and record.active == me and not record.released:  # as far as it knows
        return f"{alone}{me} was active in group {wish.group} before, and goes on serving it"
    outcome = await raft.propose(
        ForceActive(
            node=me,
            group=wish.group,
            base_epoch=record.epoch,
            base_renewal=record.renewal,
            target=me,
            requested_by=wish.requested_by,
            reason="force-active --accept-data-loss",
            wall_ms=wall_ms(),
        )
    )
    if isinstance(outcome, Refused):
        raise ActionError(f"{alone}{me} was not made active: {outcome.reason}")
    return (
        f"{alone}{me} becomes active in group {wish.group} when the lease of the former active has"
        " run out: 'staqctl status' says when"
    )
