"""Two replicas that both went on alone: who learns that the other goes on does not serve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.decision import A, B, settings
from staqraft.consensus import generations
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision import pair
from staqraft.decision.lease import Lease
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, PairState
from staqraft.decision.step import step
from staqraft.model import Acquire, Epoch, EpochStart, FenceRung, GroupRecord, NodeId

ALONE = generations.alone(generations.first((A, B)), A, FenceRung.OPERATOR)
FORCED = str(generations.alone(generations.first((A, B)), B, FenceRung.OPERATOR, forced=True))
LATE_MS = 60_000  # any lease is over


def lone(phase: Phase, active: NodeId) -> GroupState:
    """Node a, alone in its generation, and nothing against it."""
    epoch = Epoch(4)
    return GroupState(
        settings=replace(settings(A), pair=True),
        phase=phase,
        record=GroupRecord(
            epoch=epoch,
            active=active,
            in_sync=frozenset({A}),
            epoch_starts=(EpochStart(epoch=epoch, seq=100),),
        ),
        lease=Lease(epoch=epoch, deadline_ms=1 << 40, next_renew_ms=1 << 40)
        if phase is Phase.ACTIVE
        else Lease(),
        pair=PairState(
            generation=ALONE, reached=False, contacts=0, newer="", favoured=True, lost_ms=0
        ),
    )


def heard(newer: str) -> on.RaftReported:
    return on.RaftReported(
        now_ms=LATE_MS, generation=ALONE, reached=False, contacts=0, newer=newer, favoured=True
    )


def test_the_active_lets_go_and_says_why() -> None:
    state, commands = step(lone(Phase.ACTIVE, A), heard(FORCED))
    assert state.phase is Phase.DROPPING
    assert any(isinstance(command, do.DropVips) for command in commands)
    assert "b went on without a, in generation 1001 (b)" in pair.story(state, LATE_MS)


@pytest.mark.parametrize(("newer", "acquires"), [("", True), (FORCED, False)])
@pytest.mark.parametrize("active", [A, B])
def test_a_standby_does_not_take_over(newer: str, acquires: bool, active: NodeId) -> None:
    _, commands = step(lone(Phase.STANDBY, active), heard(newer))
    proposed = [c.proposal for c in commands if isinstance(c, do.Propose)]
    assert any(isinstance(proposal, Acquire) for proposal in proposed) == acquires


BOTH = generations.first((A, B))


def reported(*, reached: bool, contacts: int = 3) -> on.RaftReported:
    return on.RaftReported(
        now_ms=LATE_MS,
        generation=BOTH,
        reached=reached,
        contacts=contacts,
        newer="",
        favoured=True,
    )


@pytest.mark.parametrize(
    ("phase", "contacts", "goes_on"),
    [
        (Phase.OPENING, 3, True),
        (Phase.OPENING, 4, False),  # it was heard since: what was off then may be on now
        (Phase.ACTIVE, 3, False),  # what was once turned off is no proof for a later loss
    ],
)
def test_what_a_takeover_turned_off_is_missed_a_moment_later(
    phase: Phase, contacts: int, goes_on: bool
) -> None:
    """That proof serves the takeover that asked for it, and nothing else."""
    known = lone(phase, A)
    if phase is Phase.OPENING:
        starts = (EpochStart(epoch=Epoch(3), seq=50),)
        known = replace(known, record=replace(known.record, epoch_starts=starts))
    before = replace(
        known,
        lease=Lease(epoch=Epoch(4), deadline_ms=1 << 40, next_renew_ms=1 << 40),
        pair=PairState(
            generation=BOTH,
            reached=True,
            contacts=3,
            newer="",
            favoured=True,
            lost_ms=0,
            proof=(FenceRung.DEVICE, "the switch says that it is off"),
        ),
    )
    _, commands = step(before, reported(reached=False, contacts=contacts))
    assert any(isinstance(command, do.GoAlone) for command in commands) == goes_on
