"""What operators ask for, and daemons that stop in order, in the replicated record."""

from __future__ import annotations

from dataclasses import replace

from fakes.group_records import (
    GROUP,
    HERE,
    WORK,
    A,
    B,
    C,
    accepted,
    acquire,
    active_pair,
    refused,
    renew,
)
from staqraft.model import (
    DropSchedule,
    Epoch,
    Farewell,
    GroupRecord,
    NodeId,
    Release,
    RequestSwitchover,
    Rest,
    ScheduleSwitchover,
    SetMaintenance,
    SettleFailback,
)

# --- operators ----------------------------------------------------------------------------------


def test_a_switchover_is_requested_once() -> None:
    request = RequestSwitchover(node=A, group=GROUP, target=B, requested_by="admin", reason="test")
    after = accepted(active_pair(), request, "switchover-requested")
    assert after.switchover is not None
    assert after.switchover.target == B
    assert accepted(after, request) == after
    refused(after, replace(request, target=C), "cancel it first")
    refused(active_pair(), replace(request, target=A), "active already")
    refused(active_pair(), replace(request, target=C), "c is not in sync")
    refused(GroupRecord(), request, "no active yet")


def later(at_ms: int = 900, wall_ms: int = 500) -> ScheduleSwitchover:
    return ScheduleSwitchover(
        node=A,
        group=GROUP,
        target=B,
        at_ms=at_ms,
        requested_by="admin",
        reason="test",
        wall_ms=wall_ms,
    )


def test_a_switchover_is_scheduled_for_later_and_never_for_the_past() -> None:
    after = accepted(active_pair(), later(), "switchover-scheduled")
    assert after.scheduled is not None
    assert accepted(after, later(wall_ms=950)) == after, "proposed again when its time has come"
    refused(after, later(at_ms=901), "cancel it first")
    refused(active_pair(), later(at_ms=500), "in the past")
    refused(active_pair(), later(at_ms=1 << 60), "in the past")
    refused(active_pair(), replace(later(), target=A), "active already")
    drop = DropSchedule(node=A, group=GROUP, reason="test")
    assert accepted(after, drop, "switchover-unscheduled").scheduled is None
    assert accepted(after, replace(drop, schedule=1)) == after, "another one is meant"
    missed = replace(drop, schedule=after.scheduled.log_index, missed=True)
    assert accepted(after, missed, "switchover-missed").scheduled is None


def test_what_was_scheduled_is_done_once() -> None:
    group = accepted(active_pair(), later(), "switchover-scheduled")
    assert group.scheduled is not None
    request = RequestSwitchover(
        node=A,
        group=GROUP,
        target=B,
        requested_by="admin",
        reason="test",
        schedule=group.scheduled.log_index,
    )
    after = accepted(group, request, "switchover-requested")
    assert after.scheduled is None
    assert accepted(after, request) == after
    refused(replace(after, switchover=None), request, "not scheduled any more")
    refused(group, replace(request, schedule=7), "not scheduled any more")


def test_who_became_active_by_an_operators_wish_is_chosen() -> None:
    request = RequestSwitchover(node=A, group=GROUP, target=B, requested_by="admin", reason="test")
    for failback, chosen, times in ((False, B, 0), (True, None, 3)):
        group = accepted(
            active_pair(failbacks=2), replace(request, failback=failback), "switchover-requested"
        )
        assert group.failbacks == times
        after = accepted(group, acquire(B, renewal=group.renewal), "switchover-done")
        assert after.chosen == chosen
        lost = replace(after, in_sync=frozenset({A, B}))
        taken = accepted(lost, acquire(A, epoch=4, renewal=0), "takeover")
        assert taken.chosen is None, "nobody asked for this one"
    settled = SettleFailback(node=A, group=GROUP, epoch=Epoch(3))
    assert accepted(active_pair(failbacks=2), settled).failbacks == 0
    refused(active_pair(failbacks=2), replace(settled, node=B), "not the active")


def maintain(*, enabled: bool, target: NodeId | None = None) -> SetMaintenance:
    return SetMaintenance(
        node=A,
        group=GROUP,
        enabled=enabled,
        requested_by="admin",
        target=target,
        reason="new disks",
        wall_ms=77,
    )


def test_maintenance_is_said_when_it_changes() -> None:
    after = accepted(active_pair(), maintain(enabled=True), "maintenance")
    assert [(m.node, m.reason, m.since_ms) for m in after.maintenance] == [(None, "new disks", 77)]
    assert accepted(after, maintain(enabled=True)) == after
    assert not accepted(after, maintain(enabled=False), "maintenance").maintenance
    assert accepted(active_pair(), maintain(enabled=False)) == active_pair()


def test_maintenance_of_a_node_ends_with_its_own_or_with_all() -> None:
    group = active_pair()
    for target in (B, None, A):
        group = accepted(group, maintain(enabled=True, target=target), "maintenance")
    assert [m.node for m in group.maintenance] == [None, A, B]
    only = accepted(group, maintain(enabled=False, target=A), "maintenance")
    assert [m.node for m in only.maintenance] == [None, B]
    assert accepted(only, maintain(enabled=False, target=A)) == only
    assert accepted(only, maintain(enabled=False), "maintenance").maintenance == ()


# --- a daemon that rests in maintenance -----------------------------------------------------------


def over(ends: int, node: NodeId = A) -> Rest:
    return Rest(node=node, group=GROUP, epoch=Epoch(3), ends=ends)


def rest(renewal: int, rest_ms: int = 600_000, node: NodeId = A, epoch: int = 3) -> Rest:
    return Rest(node=node, group=GROUP, epoch=Epoch(epoch), renewal=renewal, rest_ms=rest_ms)


def test_a_daemon_rests_in_maintenance_and_by_a_renewal() -> None:
    group = active_pair(maintenance=(WORK,))
    after = accepted(group, rest(6), "rest")
    assert (after.renewal, after.resting_ms) == (6, 600_000)
    assert accepted(after, rest(6)) == after
    refused(active_pair(), rest(6), "maintenance is off")
    refused(group, rest(5), "came after")
    refused(group, rest(6, node=B), "not the active")
    refused(active_pair(maintenance=(WORK,), released=True), rest(6), "does not serve")
    refused(active_pair(maintenance=(WORK,), epoch=Epoch(4)), rest(6, epoch=4), "does not serve")
    refused(group, rest(6, 3_600_001), "no time to serve")
    refused(group, rest(6, 0), "no time to serve")


def test_who_did_not_see_that_it_rests_does_not_acquire_when_maintenance_ends() -> None:
    group = accepted(active_pair(maintenance=(WORK,)), rest(6), "rest")
    group = accepted(group, maintain(enabled=False), "maintenance")
    refused(group, acquire(B, renewal=5), "renewed its lease meanwhile")
    assert accepted(group, acquire(B, renewal=6), "takeover").resting_ms == 0


def test_a_rest_lasts_until_its_own_node_says_otherwise() -> None:
    group = accepted(active_pair(maintenance=(WORK,)), rest(6), "rest")
    group = accepted(group, renew(7))
    assert group.resting_ms == 600_000
    assert accepted(group, acquire(A, renewal=7), "acquire").resting_ms == 600_000
    assert accepted(group, rest(8, 1000), "rest").resting_ms == 600_000
    refused(group, over(101, node=B), "not the active")
    refused(group, over(100), "it is late")
    after = accepted(group, over(101), "rest-over")
    assert (after.renewal, after.resting_ms, after.resting_index) == (7, 0, 0)
    assert accepted(after, over(101)) == after
    release = Release(node=A, group=GROUP, epoch=Epoch(3), position=HERE, reason="test")
    assert accepted(group, release, "released").resting_ms == 0


# --- a replica that stops in order ----------------------------------------------------------------


def test_who_holds_nothing_says_farewell_and_is_back() -> None:
    gone = Farewell(node=B, group=GROUP, gone=True)
    after = accepted(active_pair(), gone, "left")
    assert after.away == {B}
    assert accepted(after, gone) == after
    assert accepted(after, replace(gone, gone=False), "back").away == frozenset()
    refused(active_pair(), replace(gone, node=A), "holds what it would leave")
    assert accepted(active_pair(released=True), replace(gone, node=A), "left").away == {A}
