"""How long a takeover took, and what of its begin and end counts as one."""

from __future__ import annotations

from dataclasses import replace

from fakes.decision import A, B, settings
from staqraft.daemon.tally import Takeover, Tally
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.model import Epoch, FenceRecord, FenceRung, GroupRecord, NodeId

LEASE = FenceRecord(epoch=Epoch(2), loser=B, rung=FenceRung.LEASE, log_index=9)


def state(
    phase: Phase,
    *,
    epoch: int = 1,
    active: NodeId | None = B,
    observed_ms: int = 0,
    fence: FenceRecord | None = None,
) -> GroupState:
    record = GroupRecord(epoch=Epoch(epoch), active=active, fence=fence)
    return replace(
        GroupState(settings=settings(A)), phase=phase, record=record, observed_ms=observed_ms
    )


WAITING = state(Phase.STANDBY, observed_ms=10_000)
ASKING = replace(WAITING, phase=Phase.ACQUIRING)
SERVING = state(Phase.ACTIVE, epoch=2, active=A, fence=LEASE)


def test_a_takeover_lasts_from_the_last_sign_of_the_former_active() -> None:
    tally = Tally()
    tally.moved(WAITING, ASKING, 13_100)
    tally.moved(ASKING, SERVING, 13_400)
    assert tally.takeovers == [Takeover("lease", 3400)]
    assert tally.given_up == 0


def test_a_try_that_failed_is_part_of_the_takeover_that_succeeds() -> None:
    tally = Tally()
    tally.moved(WAITING, ASKING, 13_100)
    mine = state(Phase.STANDBY, epoch=2, active=A, observed_ms=20_000)
    tally.moved(ASKING, mine, 20_000)
    tally.moved(mine, replace(mine, phase=Phase.ACQUIRING), 30_000)
    tally.moved(mine, SERVING, 30_500)
    assert tally.given_up == 1
    assert [takeover.duration_ms for takeover in tally.takeovers] == [20_500]


def test_a_try_before_somebody_else_served_is_forgotten() -> None:
    tally = Tally()
    tally.moved(WAITING, ASKING, 13_100)
    tally.moved(ASKING, WAITING, 13_200)
    later = state(Phase.STANDBY, epoch=5, active=B, observed_ms=90_000)
    tally.moved(later, replace(later, phase=Phase.ACQUIRING), 93_000)
    tally.moved(ASKING, SERVING, 94_000)
    assert [takeover.duration_ms for takeover in tally.takeovers] == [4000]


def test_the_first_active_of_all_took_over_from_nobody() -> None:
    tally = Tally()
    first = state(Phase.STANDBY, epoch=0, active=None)
    tally.moved(first, replace(first, phase=Phase.ACQUIRING), 500)
    tally.moved(ASKING, state(Phase.ACTIVE, active=A), 900)
    assert tally.takeovers == [Takeover("none", None)]


def test_a_daemon_that_resumes_has_not_taken_over() -> None:
    tally = Tally()
    resuming = state(Phase.RESUMING, active=A)
    tally.moved(resuming, replace(resuming, phase=Phase.ACTIVE), 700)
    assert tally.takeovers == []


def test_handing_over_is_no_failed_takeover() -> None:
    tally = Tally()
    tally.moved(SERVING, replace(SERVING, phase=Phase.PREPARING), 0)
    tally.moved(SERVING, WAITING, 100)
    assert tally.given_up == 0


def test_fencing_is_counted_by_rung_and_result() -> None:
    tally = Tally()
    tally.fenced(FenceRung.CONFIRMED, proved=False)
    tally.fenced(FenceRung.DEVICE, proved=True)
    assert tally.fencings == {("confirmed", "failed"): 1, ("device", "proved"): 1}
    tally.clear()
    assert not tally.fencings
