"""`staqctl force-active` on one of two replicas without a witness."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.decision import GROUP, A, B, settings
from staqraft.api.node import ForceWish
from staqraft.daemon.forcing import force
from staqraft.decision.state import GroupState
from staqraft.model import (
    Accepted,
    ClusterRecord,
    Command,
    Epoch,
    FenceRung,
    ForceActive,
    GroupRecord,
    NodeId,
    Outcome,
)


@dataclass
class FakeRaft:
    """Raft that has lost the other, and commits everything once it is alone."""

    active: NodeId
    alone: list[tuple[FenceRung, bool]] = field(default_factory=list)
    proposed: list[Command] = field(default_factory=list)

    def status(self) -> object:
        return SimpleNamespace(has_quorum=False, contacts=3)

    async def go_alone(self, rung: FenceRung, _contacts: int, *, forced: bool) -> None:
        self.alone.append((rung, forced))

    async def barrier(self) -> ClusterRecord:
        assert self.alone
        return ClusterRecord(groups={GROUP: GroupRecord(epoch=Epoch(4), active=self.active)})

    async def propose(self, command: Command) -> Outcome:
        self.proposed.append(command)
        return Accepted(log_index=7)


@pytest.mark.parametrize(("active", "proposes"), [(B, True), (A, False)])
async def test_it_goes_alone_and_asks_for_the_group_unless_that_is_its_own(
    active: NodeId, proposes: bool
) -> None:
    raft: Any = FakeRaft(active)
    state = GroupState(settings=replace(settings(A), pair=True))
    loops: Any = {GROUP: SimpleNamespace(state=state)}
    said = await force(raft, A, loops, ForceWish(group=GROUP, requested_by="eve"))
    assert raft.alone == [(FenceRung.OPERATOR, True)]
    assert [type(command) for command in raft.proposed] == [ForceActive] * proposes
    assert said.startswith("a goes on without b; ")
