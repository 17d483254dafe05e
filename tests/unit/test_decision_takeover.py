"""What an attempt to acquire leaves behind when its answer stays away."""

from __future__ import annotations

from dataclasses import replace

from fakes.decision import A, B, settings
from staqraft.decision import events as on
from staqraft.decision.commands import DropVips, Propose
from staqraft.decision.lease import granted
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.decision.step import step
from staqraft.model import Acquire, Epoch, EpochStart, GroupRecord

RECORD = GroupRecord(
    epoch=Epoch(3),
    active=A,
    renewal=7,
    in_sync=frozenset({A, B}),
    epoch_starts=(EpochStart(epoch=Epoch(3), seq=9),),
)


def serving_since(now_ms: int) -> GroupState:
    made = settings(A)
    lease = granted(made.timing, Epoch(3), now_ms, now_ms)
    return GroupState(
        settings=made, phase=Phase.ACTIVE, record=RECORD, observed_ms=now_ms, lease=lease
    )


def done(state: GroupState, now_ms: int) -> GroupState:
    """The action that the phase waits for is done."""
    return step(state, on.ActionDone(now_ms=now_ms, token=state.awaiting))[0]


def test_a_lease_counts_from_the_first_attempt_also_after_letting_go_between_two() -> None:
    """The first may be the one that is granted: the challenger waits from when it was applied."""
    state, commands = step(serving_since(1000), on.CaptureBroken(now_ms=1000))
    (asked,) = [c for c in commands if isinstance(c, Propose) and isinstance(c.proposal, Acquire)]
    state, commands = step(
        state, on.ProposalUnknown(now_ms=3000, token=asked.token, detail="no majority")
    )
    assert any(isinstance(command, DropVips) for command in commands)
    state = done(state, 3010)
    state = done(state, 3020)
    state, _ = step(state, on.Tick(now_ms=3020))
    assert state.phase is Phase.ACQUIRING
    assert state.takeover is not None
    assert (state.takeover.proposed_ms, state.takeover.serving) == (1000, False)
    mine = replace(RECORD, epoch=Epoch(4), renewal=0, epoch_starts=RECORD.epoch_starts)
    state, _ = step(state, on.RecordObserved(now_ms=3100, record=mine))
    timing = state.settings.timing
    assert state.lease.deadline_ms == timing.holder_deadline(1000)
