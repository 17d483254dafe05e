"""Who may be promoted, and the race that would lose an acknowledged mail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.decision import A, B, settings
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision.following import Following, why_not
from staqraft.decision.handover import can_follow
from staqraft.decision.insync import barrier_peers
from staqraft.decision.lease import Lease
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, Joining, PeerSync
from staqraft.decision.step import step
from staqraft.model import (
    Epoch,
    EpochStart,
    GroupRecord,
    Position,
    SetInSync,
)

EPOCH = Epoch(4)


def active(now_ms: int = 1000, **changes: object) -> GroupState:
    """Node a, active in epoch 4, alone in sync unless the record says otherwise."""
    record = GroupRecord(
        epoch=EPOCH,
        active=A,
        in_sync=frozenset({A}),
        epoch_starts=(EpochStart(epoch=EPOCH, seq=100),),
    )
    state = GroupState(
        settings=settings(),
        phase=Phase.ACTIVE,
        record=record,
        lease=Lease(epoch=EPOCH, deadline_ms=1 << 40, next_renew_ms=1 << 40),
    )
    return replace(state, **changes)  # type: ignore[arg-type]  # names of fields


def report(
    state: GroupState,
    now_ms: int,
    durable: int,
    *,
    silent_ms: int = 0,
    following: Following | None = None,
) -> on.PeerReported:
    if following is None:
        following = Following.WHOLE if silent_ms == 0 else Following.LOST
    return on.PeerReported(
        now_ms=now_ms,
        peer=B,
        following=following,
        durable=Position(EPOCH, durable),
        silent_ms=silent_ms,
    )


def proposals(commands: tuple[do.Command, ...]) -> list[SetInSync]:
    return [
        c.proposal
        for c in commands
        if isinstance(c, do.Propose) and isinstance(c.proposal, SetInSync)
    ]


def barrier_of(commands: tuple[do.Command, ...]) -> do.JoinBarrier:
    (found,) = [c for c in commands if isinstance(c, do.JoinBarrier)]
    return found


def test_barriers_wait_for_a_joining_standby_before_its_own_barrier_is_taken() -> None:
    state = active()
    assert barrier_peers(state) == frozenset()
    state, commands = step(state, report(state, 1000, 150))
    assert barrier_of(commands).peer == B
    assert barrier_peers(state) == {B}, "a barrier from now on may not be acknowledged without b"


def test_it_is_proposed_only_when_it_has_everything_that_was_acknowledged_without_it() -> None:
    state, commands = step(active(), report(active(), 1000, 150))
    token = barrier_of(commands).token
    state, commands = step(
        state, on.ActionDone(now_ms=1010, token=token, position=Position(EPOCH, 200))
    )
    assert proposals(commands) == []
    state, commands = step(state, report(state, 1020, 199))
    assert proposals(commands) == []
    state, commands = step(state, report(state, 1030, 200))
    (proposal,) = proposals(commands)
    assert proposal.members == {A, B}
    assert proposal.expected == {A}


def test_a_proposed_standby_stays_required_even_if_it_breaks_off() -> None:
    """The addition may be committed at any time, so forgetting it would lose what came after."""
    joining = PeerSync(
        following=Following.WHOLE, whole_ms=1000, joining=Joining.PROPOSED, propose_again_ms=1200
    )
    state = active(peers={B: joining})
    state, commands = step(state, report(state, 1100, 0, silent_ms=50_000))
    assert barrier_peers(state) == {B}
    state, commands = step(state, on.Tick(now_ms=1300))
    assert proposals(commands), "asked again until the record tells"


@pytest.mark.parametrize("stage", [Joining.BARRIER, Joining.CATCHING_UP])
def test_a_standby_that_breaks_off_before_it_was_proposed_is_let_go(stage: Joining) -> None:
    state = active(peers={B: PeerSync(following=Following.WHOLE, whole_ms=1000, joining=stage)})
    state, _ = step(state, report(state, 1100, 0, silent_ms=50_000))
    assert barrier_peers(state) == frozenset()


def test_a_failed_barrier_is_tried_again_later() -> None:
    state, commands = step(active(), report(active(), 1000, 150))
    token = barrier_of(commands).token
    state, commands = step(state, on.ActionFailed(now_ms=1010, token=token, detail="busy"))
    assert not [c for c in commands if isinstance(c, do.JoinBarrier)]
    _, commands = step(state, report(state, 1300, 150))
    assert barrier_of(commands).peer == B


def test_a_member_leaves_only_through_raft_and_only_after_the_timeout() -> None:
    record = replace(active().record, in_sync=frozenset({A, B}))
    state = active(record=record)
    state, commands = step(state, report(state, 1000, 10))
    assert proposals(commands) == []
    state, commands = step(state, report(state, 3900, 10, silent_ms=2900))
    assert proposals(commands) == []
    state, commands = step(state, report(state, 4100, 10, silent_ms=3100))
    (proposal,) = proposals(commands)
    assert proposal.members == {A}
    assert barrier_peers(state) == {B}, "still required: the removal is not committed"


def test_a_standby_that_is_not_the_active_keeps_nobody() -> None:
    state = active(phase=Phase.STANDBY, record=replace(active().record, active=B))
    _, commands = step(state, report(state, 1000, 150))
    assert not [c for c in commands if isinstance(c, do.JoinBarrier)]


@pytest.mark.parametrize(
    ("following", "why"),
    [
        (Following.WHOLE, "b has been silent for 3100 ms"),
        (Following.LOST, "b cannot be reached on the replication stream, for 3100 ms now"),
        (Following.COMPARES, "b compares its trees with those of a, and has not finished"),
        (Following.SETTLES, "b is not whole without a yet: what was written while it was compared"),
    ],
)
def test_it_is_said_why_a_member_left(following: Following, why: str) -> None:
    record = replace(active().record, in_sync=frozenset({A, B}))
    state, _ = step(active(record=record), report(active(), 1000, 10))
    late = report(state, 4100, 10, silent_ms=3100, following=following)
    _, commands = step(state, late)
    (proposal,) = proposals(commands)
    assert proposal.reason.startswith(why)


@pytest.mark.parametrize("following", [one for one in Following if one is not Following.WHOLE])
def test_nobody_joins_or_is_handed_over_to_who_is_not_whole(following: Following) -> None:
    """Torture, seed 9316: it had every record, was in sync, and could not be promoted."""
    state, commands = step(active(), report(active(), 1000, 150, following=following))
    assert not [c for c in commands if isinstance(c, do.JoinBarrier)]
    member = replace(state, record=replace(state.record, in_sync=frozenset({A, B})))
    assert can_follow(member, B, 1000) == why_not(following, B, A)
    state, _ = step(member, report(member, 1100, 150))
    assert can_follow(state, B, 1100) is None
