"""Who is better off, and that each reason against a takeover says what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fakes.decision import A, B, settings
from staqraft.daemon.watch import blockers_of
from staqraft.daemon.workers import WorkerStatus
from staqraft.decision import health
from staqraft.decision.defects import DISK, FULL, UPLINK, Defect
from staqraft.decision.eligibility import Against, refusals
from staqraft.decision.events import HealthReported, PeerReported, Tick
from staqraft.decision.following import Following
from staqraft.decision.lease import Lease
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, PairState, PeerSync
from staqraft.decision.step import step
from staqraft.model import (
    ORIGIN,
    Epoch,
    EpochStart,
    Generation,
    GroupRecord,
    Maintenance,
    NodeId,
    Position,
    SetInSync,
    Switchover,
)
from staqraft.wire.v1 import data_worker_pb2 as pb

NOW = 100_000
DISK_HANGS = Defect(
    kind=DISK, text="the disk of /srv hangs", remedy="see 'dmesg', and replace the disk", bars=True
)
NO_UPLINK = Defect(kind=UPLINK, text="the gateway does not answer")
NO_ROOM = Defect(kind=FULL, text="/srv is full")


def standby(**changes: object) -> GroupState:
    """b, that nothing is against."""
    record = GroupRecord(
        epoch=Epoch(3),
        active=A,
        in_sync=frozenset({A, B}),
        epoch_starts=(EpochStart(epoch=Epoch(3), seq=7),),
    )
    state = GroupState(settings=settings(B), phase=Phase.STANDBY, record=record, observed_ms=NOW)
    return replace(state, **changes)  # type: ignore[arg-type]


def of_record(**changes: object) -> GroupState:
    state = standby()
    return replace(state, record=replace(state.record, **changes))  # type: ignore[arg-type]


def active() -> GroupState:
    """a, that serves, with b in sync."""
    deadline = Lease(epoch=Epoch(3), deadline_ms=NOW + 60_000, next_renew_ms=NOW + 60_000)
    peer = PeerSync(following=Following.WHOLE, whole_ms=NOW, told_ms=NOW)
    return replace(
        standby(),
        settings=settings(A),
        phase=Phase.ACTIVE,
        lease=deadline,
        peers={B: peer},
    )


MAINTAINED = Maintenance(node=None, requested_by="root", reason="", since_ms=0, log_index=1)
PARTED = PairState(
    generation=Generation(number=1, members=frozenset({A, B})),
    reached=False,
    contacts=1,
    newer="generation 1001 (a)",
    favoured=False,
    lost_ms=0,
)
CASES: dict[Against, Callable[[], GroupState]] = {
    Against.NO_MAJORITY: lambda: standby(phase=Phase.STARTUP),
    Against.LEFT_BEHIND: lambda: standby(pair=PARTED),
    Against.NOT_FIRST: lambda: standby(record=GroupRecord()),
    Against.NOT_IN_SYNC: lambda: of_record(in_sync=frozenset({A})),
    Against.MAINTENANCE: lambda: of_record(maintenance=(MAINTAINED,)),
    Against.STOPPING: lambda: standby(shutting_down=True),
    Against.NOT_LET_GO: lambda: standby(phase=Phase.HALTING, retry_ms=NOW, reason="it hangs"),
    Against.FAILED_LATELY: lambda: standby(cooldown_ms=NOW + 500, reason="no disk"),
    Against.FENCED: lambda: standby(fenced_before=Epoch(9)),
    Against.DATA: lambda: standby(blockers=("the trees process does not answer",)),
    Against.UNHEALTHY: lambda: said(standby(), B, DISK_HANGS),
}


def said(
    state: GroupState, node: NodeId, *defects: Defect, ready: bool = True, at_ms: int = NOW
) -> GroupState:
    event = HealthReported(now_ms=at_ms, node=node, defects=defects, ready=ready)
    return step(state, event)[0]


@pytest.mark.parametrize("code", Against)
def test_each_reason_against_a_takeover_says_what_to_do(code: Against) -> None:
    found = refusals(CASES[code](), NOW)
    assert [refusal.code for refusal in found] == [code]
    assert len(found[0].reason.split()) > 3
    assert len(found[0].remedy.split()) > 3
    assert not found[0].reason.endswith(".")


@pytest.mark.parametrize(
    "status",
    [
        WorkerStatus(),
        WorkerStatus(trees=pb.GetTreesStatusResponse(needs_reconcile="web: parted")),
    ],
)
def test_what_the_data_worker_says_has_a_remedy(status: WorkerStatus) -> None:
    blockers = blockers_of(status)
    for refusal in refusals(standby(blockers=blockers), NOW):
        assert refusal.code is Against.DATA
        assert str(refusal) in blockers
        assert "by itself" in refusal.remedy


def test_nothing_is_against_a_standby_in_sync() -> None:
    assert refusals(standby(), NOW) == ()


def test_what_does_not_bar_keeps_nobody_from_taking_over() -> None:
    state = said(standby(), B, NO_UPLINK, NO_ROOM, replace(DISK_HANGS, sure=False))
    assert refusals(state, NOW) == ()


def test_an_operator_who_accepts_data_loss_knows_better() -> None:
    wish = Switchover(target=B, requested_by="root", reason="", log_index=1, forced=True)
    state = said(of_record(switchover=wish), B, DISK_HANGS)
    assert refusals(state, NOW) == ()
    other = said(of_record(switchover=replace(wish, target=A)), B, DISK_HANGS)
    assert [r.code for r in refusals(other, NOW)] == [Against.UNHEALTHY]


@pytest.mark.parametrize(
    ("mine", "theirs", "moves"),
    [
        ((NO_UPLINK,), (), True),
        ((NO_UPLINK, NO_ROOM), (NO_ROOM,), True),
        ((), (), False),
        ((NO_UPLINK,), (NO_UPLINK,), False),
        ((NO_UPLINK,), (NO_ROOM,), False),
        ((NO_UPLINK,), (NO_UPLINK, NO_ROOM), False),
        ((NO_UPLINK,), (replace(NO_UPLINK, sure=False),), False),
        ((replace(NO_UPLINK, sure=False),), (), False),
    ],
)
def test_handed_over_to_who_is_strictly_better_off(
    mine: tuple[Defect, ...], theirs: tuple[Defect, ...], moves: bool
) -> None:
    state = said(said(active(), A, *mine), B, *theirs)
    timing = settings().timing
    later = NOW + timing.health_ms
    word_ms = NOW + timing.health_word_ms
    again = said(state, B, *theirs, at_ms=word_ms)
    assert (health.target(again, later) == B) is moves
    assert health.target(again, later - 1) is None
    # What hits both, one may notice and say later than the other.
    early = said(state, B, *theirs, at_ms=word_ms - 1)
    assert health.target(early, later) is None


def test_nobody_is_handed_over_to_where_that_is_not_wanted() -> None:
    state = active()
    state = replace(state, settings=replace(state.settings, moves_for_health=False))
    assert said(said(state, A, NO_UPLINK), B).better is None


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (active, "b has not said lately how it is"),
        (lambda: said(active(), B, NO_UPLINK), "b has the same trouble"),
        (lambda: said(active(), B, NO_ROOM), "b is not well either (/srv is full)"),
        (lambda: said(active(), B, ready=False), "b would not take over"),
        (lambda: said(alone(), B), "b is not in sync"),
        (lambda: said(tells_only(), B), "'health.failover' is false"),
        (lambda: said(maintained(), B), "maintenance is on"),
    ],
)
def test_why_nobody_is_handed_over_to_is_said(state: Callable[[], GroupState], why: str) -> None:
    unwell = said(state(), A, NO_UPLINK)
    assert health.story(unwell, NOW) == f"a is not well and stays active, since {why}"
    assert health.story(state(), NOW) == "", "it is well"


def test_nothing_is_said_of_staying_when_it_does_not() -> None:
    assert health.story(said(said(active(), B), A, NO_UPLINK), NOW) == ""


def alone() -> GroupState:
    state = active()
    return replace(state, record=replace(state.record, in_sync=frozenset({A})))


def tells_only() -> GroupState:
    state = active()
    return replace(state, settings=replace(state.settings, moves_for_health=False))


def maintained() -> GroupState:
    state = active()
    return replace(state, record=replace(state.record, maintenance=(MAINTAINED,)))


def test_what_hangs_is_not_flushed_first() -> None:
    sure = replace(DISK_HANGS, hangs=True)
    assert health.hanging(said(active(), A, sure)) == "what hangs cannot be flushed"
    assert health.hanging(said(active(), A, replace(sure, sure=False))) is None
    assert health.hanging(said(active(), A, DISK_HANGS)) is None, "it fails, which takes no time"


def test_who_would_not_take_over_is_not_better_off() -> None:
    state = said(said(active(), A, NO_UPLINK), B, ready=False)
    assert state.better is None


def test_who_is_not_in_sync_is_not_better_off() -> None:
    state = active()
    state = replace(state, record=replace(state.record, in_sync=frozenset({A})))
    assert said(said(state, A, DISK_HANGS), B).better is None


def test_an_old_word_counts_for_nothing() -> None:
    state = said(said(active(), A, NO_UPLINK), B)
    assert state.better is not None
    late = NOW + settings().timing.health_fresh_ms + 1
    assert step(state, Tick(now_ms=late))[0].better is None


def shrinks(state: GroupState, now_ms: int) -> bool:
    _, commands = step(state, Tick(now_ms=now_ms))
    proposals = [getattr(command, "proposal", None) for command in commands]
    return any(isinstance(p, SetInSync) and p.members == {A} for p in proposals)


def test_a_standby_is_not_blamed_for_the_silence_of_our_own_stream_process() -> None:
    """It hangs with the disk, and the standby is the one that can take over."""
    timing = settings().timing
    late = NOW + timing.in_sync_timeout_ms + 1
    assert not shrinks(active(), late)
    assert shrinks(active(), late + timing.own_silence_ms)
    report = PeerReported(
        now_ms=late, peer=B, following=Following.LOST, durable=Position(), silent_ms=100_000
    )
    state, commands = step(active(), report)
    assert any(isinstance(getattr(c, "proposal", None), SetInSync) for c in commands)
    assert state.record.position == ORIGIN
