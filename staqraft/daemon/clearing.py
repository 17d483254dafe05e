"""When an operator has mended what failed: restarts and moves begin to be counted anew."""

from __future__ import annotations

from staqraft.api.node import ClearWish
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.clock import wall_ms
from staqraft.errors import ActionError
from staqraft.model import ClearFailures, NodeId, Refused


async def clear(raft: RaftGroup, me: NodeId, wish: ClearWish) -> str:
    """Do it; returns a sentence. ActionError when it was refused."""
    outcome = await raft.propose(
        ClearFailures(node=me, group=wish.group, requested_by=wish.requested_by, wall_ms=wall_ms())
    )
    if isinstance(outcome, Refused):
        raise ActionError(f"group {wish.group}: {outcome.reason}")
    return (
        f"The failures of the services of group {wish.group} are forgotten: one that is not well"
        " is restarted again, and the group moves if that does not help"
    )
