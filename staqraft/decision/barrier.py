"""When an application's barrier may be answered (PURE). The daemon waits; this says for what.

The order is what makes a barrier honest: the position first; then every replica that is in sync *or
about to be* acknowledges it (`missing`); then Raft is asked whether this node's record is current,
so that a partitioned active, which cannot know that it was replaced, does not answer; and then
`verdict` looks at the epoch and at who must acknowledge once more, in the record that Raft
confirmed: a standby may have been let in while Raft was asked.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from staqraft.decision import insync
from staqraft.decision.phases import CAPTURED

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState
    from staqraft.model import Epoch, NodeId


class Verdict(Enum):
    """What is to be done when Raft has confirmed the record."""

    REACHED = "it is durable wherever it must be"
    WAIT = "somebody else must acknowledge it by now"
    VOID = "this node is not the active of that epoch any more"


def active_epoch(state: GroupState) -> Epoch | None:
    """The epoch in which this node may answer a barrier; None: it may not."""
    return state.record.epoch if state.phase in CAPTURED and state.mine else None


def must_confirm(state: GroupState) -> frozenset[NodeId]:
    """The replicas, besides this one, that a barrier waits for now."""
    return insync.barrier_peers(state)


def missing(state: GroupState, confirmed: frozenset[NodeId]) -> frozenset[NodeId]:
    """Who must still acknowledge the position."""
    return must_confirm(state) - confirmed


def verdict(state: GroupState, epoch: Epoch, confirmed: frozenset[NodeId]) -> Verdict:
    """Whether the barrier that began in `epoch` may be answered, Raft having confirmed `state`."""
    if active_epoch(state) != epoch:
        return Verdict.VOID
    return Verdict.WAIT if missing(state, confirmed) else Verdict.REACHED
