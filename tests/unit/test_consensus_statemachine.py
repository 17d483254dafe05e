"""What each command does to the record, and the rules that hold whatever is proposed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staqraft.consensus import statemachine
from staqraft.model import (
    EVENTS_KEPT,
    Accepted,
    Acquire,
    Announce,
    CancelSwitchover,
    ClusterRecord,
    Command,
    DropSchedule,
    Epoch,
    EpochStart,
    Farewell,
    Fenced,
    FenceRung,
    ForceActive,
    GroupId,
    GroupRecord,
    Maintenance,
    NodeId,
    NoteEvent,
    OpenEpoch,
    Outcome,
    Position,
    ReadBarrier,
    Refused,
    Release,
    Renew,
    RequestSwitchover,
    Rest,
    ScheduleSwitchover,
    SetInSync,
    SetMaintenance,
    SettleFailback,
    Switchover,
)

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
GROUP = GroupId("default")
HERE = Position(Epoch(3), 40)


WORK = Maintenance(node=None, requested_by="admin", reason="", since_ms=0, log_index=9)


def active_pair(**changes: Any) -> GroupRecord:
    """a is active in epoch 3, renewed 5 times, and b is in sync."""
    record = GroupRecord(
        epoch=Epoch(3),
        active=A,
        renewal=5,
        in_sync=frozenset({A, B}),
        position=HERE,
        epoch_starts=(EpochStart(epoch=Epoch(2), seq=1), EpochStart(epoch=Epoch(3), seq=30)),
    )
    return replace(record, **changes)


def judged(group: GroupRecord, command: Command) -> tuple[GroupRecord, Outcome, list[str]]:
    before = ClusterRecord(groups={GROUP: group}, log_index=100)
    after, outcome = statemachine.apply(before, 101, command)
    return after.groups[GROUP], outcome, [event.kind for event in after.events]


def accepted(group: GroupRecord, command: Command, *kinds: str) -> GroupRecord:
    after, outcome, events = judged(group, command)
    assert outcome == Accepted(log_index=101)
    assert events == list(kinds)
    return after


def refused(group: GroupRecord, command: Command, because: str) -> None:
    after, outcome, events = judged(group, command)
    assert isinstance(outcome, Refused)
    assert because in outcome.reason
    assert after == group
    assert events == []


def renew(renewal: int, node: NodeId = A, epoch: int = 3) -> Renew:
    return Renew(node=node, group=GROUP, epoch=Epoch(epoch), renewal=renewal, position=HERE)


def acquire(node: NodeId, epoch: int = 3, renewal: int = 5) -> Acquire:
    return Acquire(
        node=node, group=GROUP, base_epoch=Epoch(epoch), base_renewal=renewal, reason="test"
    )


def force(target: NodeId, epoch: int = 3, renewal: int = 5) -> ForceActive:
    return ForceActive(
        node=A,
        group=GROUP,
        base_epoch=Epoch(epoch),
        base_renewal=renewal,
        target=target,
        requested_by="admin",
        reason="a burned",
    )


def switch_to(target: NodeId, *, forced: bool = False) -> Switchover:
    return Switchover(
        target=target, requested_by="admin", reason="test", log_index=90, forced=forced
    )


# --- renew --------------------------------------------------------------------------------------


def test_a_renewal_counts_and_reports_the_position() -> None:
    after = accepted(active_pair(position=Position()), renew(6))
    assert (after.renewal, after.position) == (6, HERE)


def test_a_renewal_may_skip_the_numbers_of_attempts_that_were_lost() -> None:
    assert accepted(active_pair(), renew(9)).renewal == 9


def test_a_renewal_proposed_twice_counts_once() -> None:
    assert accepted(active_pair(), renew(5)) == active_pair()


@pytest.mark.parametrize(
    ("group", "command", "because"),
    [
        (active_pair(), renew(4), "came after renewal 5"),
        (active_pair(), renew(6, node=B), "b is not the active"),
        (active_pair(), renew(6, epoch=2), "a is active in epoch 3"),
        (active_pair(released=True), renew(6), "released epoch 3"),
    ],
)
def test_a_renewal_is_refused(group: GroupRecord, command: Renew, because: str) -> None:
    refused(group, command, because)


# --- acquire ------------------------------------------------------------------------------------


def test_the_first_acquire_wins() -> None:
    first = accepted(GroupRecord(), acquire(A, 0, 0), "acquire")
    assert (first.epoch, first.active, first.in_sync) == (1, A, frozenset())
    refused(first, acquire(B, 0, 0), "moved on to epoch 1")


def test_a_standby_in_sync_takes_over_on_what_it_saw() -> None:
    after = accepted(active_pair(), acquire(B), "takeover")
    assert (after.epoch, after.active, after.renewal, after.released) == (4, B, 0, False)
    assert after.in_sync == frozenset({A, B}), "acquiring changes nobody's data"
    assert after.epoch_starts == active_pair().epoch_starts


def test_an_acquire_proposed_twice_takes_one_epoch() -> None:
    after = accepted(active_pair(), acquire(B), "takeover")
    assert accepted(after, acquire(B)) == after


def test_a_renewal_that_came_before_stops_an_acquire() -> None:
    refused(active_pair(renewal=6), acquire(B), "renewed its lease meanwhile")


def test_only_who_is_in_sync_acquires() -> None:
    refused(active_pair(in_sync=frozenset({A})), acquire(B), "b is not in sync (in sync: a)")


def test_the_active_takes_a_new_epoch_for_itself_whatever_is_pending() -> None:
    for group in (
        active_pair(),
        active_pair(in_sync=frozenset()),
        active_pair(maintenance=(WORK,)),
        active_pair(switchover=switch_to(B)),
        active_pair(released=True),
    ):
        after = accepted(group, acquire(A), "acquire")
        assert (after.epoch, after.active, after.released) == (4, A, False)


def test_a_first_epoch_that_was_never_opened_stays_with_its_active() -> None:
    group = GroupRecord(epoch=Epoch(1), active=A)
    refused(group, acquire(B, 1, 0), "b is not in sync (in sync: nobody)")
    accepted(group, acquire(A, 1, 0), "acquire")


def test_what_was_handed_over_goes_to_the_target_only() -> None:
    group = active_pair(released=True, switchover=switch_to(B), in_sync=frozenset({A, B, C}))
    refused(group, acquire(C), "handed over to b")
    refused(group, acquire(A), "handed over to b")
    after = accepted(group, acquire(B), "switchover-done")
    assert after.switchover is None


def test_a_handover_to_a_dead_target_is_taken_back() -> None:
    group = active_pair(released=True, switchover=switch_to(B))
    cancel = CancelSwitchover(node=A, group=GROUP, reason="b does not answer")
    group = accepted(group, cancel, "switchover-cancelled")
    assert group.in_sync == frozenset({A, B})
    accepted(group, acquire(A), "acquire")


def test_a_switchover_does_not_stop_a_takeover_from_a_dead_active() -> None:
    group = active_pair(switchover=switch_to(C), in_sync=frozenset({A, B, C}))
    after = accepted(group, acquire(B), "takeover")
    assert after.switchover == switch_to(C)


def test_maintenance_stops_what_is_automatic() -> None:
    refused(active_pair(maintenance=(WORK,)), acquire(B), "maintenance")
    refused(active_pair(maintenance=(WORK,), released=True), acquire(B), "maintenance")
    refused(active_pair(maintenance=(WORK,), switchover=switch_to(B)), acquire(B), "maintenance")
    handed = active_pair(maintenance=(WORK,), released=True, switchover=switch_to(B))
    accepted(handed, acquire(B), "switchover-done")


# --- force-active -------------------------------------------------------------------------------


def test_force_lets_a_replica_acquire_that_lacks_data_even_in_maintenance() -> None:
    group = active_pair(in_sync=frozenset({A}), maintenance=(WORK,))
    group = accepted(group, force(B), "force-active")
    assert group.in_sync == frozenset({A, B})
    after = accepted(group, acquire(B), "switchover-done")
    assert (after.active, after.switchover) == (B, None)


def test_force_is_for_a_dead_active() -> None:
    refused(active_pair(renewal=6), force(B), "it is alive")


def test_force_proposed_twice_is_one() -> None:
    group = accepted(active_pair(), force(B), "force-active")
    assert accepted(replace(group, renewal=6), force(B)).switchover == group.switchover
    after = accepted(group, acquire(B), "switchover-done")
    assert accepted(after, force(B)) == after


def test_a_forced_target_still_acquires_when_the_set_was_corrected_meanwhile() -> None:
    group = active_pair(switchover=switch_to(B, forced=True), in_sync=frozenset({A}))
    accepted(group, acquire(B), "switchover-done")


def test_giving_up_a_force_takes_its_target_out_of_the_set() -> None:
    group = accepted(active_pair(in_sync=frozenset({A})), force(B), "force-active")
    cancel = CancelSwitchover(node=A, group=GROUP, reason="a is back")
    assert accepted(group, cancel, "switchover-cancelled").in_sync == frozenset({A})


def test_the_active_needs_no_force() -> None:
    refused(active_pair(), force(A), "needs no force")


# --- epochs and the in-sync set -----------------------------------------------------------------


def opened(start: int, node: NodeId = B, epoch: int = 4) -> OpenEpoch:
    return OpenEpoch(node=node, group=GROUP, epoch=Epoch(epoch), start_seq=start)


def test_opening_an_epoch_begins_its_history_with_the_active_alone() -> None:
    group = accepted(active_pair(), acquire(B), "takeover")
    after = accepted(group, opened(41), "epoch-opened")
    assert after.in_sync == frozenset({B})
    assert after.epoch_starts[-1] == EpochStart(epoch=Epoch(4), seq=41)
    assert accepted(after, opened(41)) == after
    refused(after, opened(50), "begins at 41")
    refused(after, opened(41, node=A), "a is not the active")


def test_epoch_starts_are_bounded() -> None:
    starts = tuple(EpochStart(epoch=Epoch(i), seq=i) for i in range(1, 1001))
    group = active_pair(epoch=Epoch(1001), epoch_starts=starts)
    after = accepted(group, opened(5000, node=A, epoch=1001), "epoch-opened")
    assert len(after.epoch_starts) == 1000
    assert after.epoch_starts[0].epoch == 2


def in_sync(
    expected: set[NodeId], members: set[NodeId], node: NodeId = A, index: int = 0
) -> SetInSync:
    return SetInSync(
        node=node,
        group=GROUP,
        epoch=Epoch(3),
        expected=frozenset(expected),
        expected_index=index,
        members=frozenset(members),
        reason="test",
    )


def test_the_in_sync_set_changes_by_compare_and_set() -> None:
    after = accepted(active_pair(), in_sync({A, B}, {A}), "in-sync")
    assert after.in_sync == frozenset({A})
    assert accepted(after, in_sync({A, B}, {A})) == after
    refused(after, in_sync({A, B}, {A, C}), "changed meanwhile")
    assert accepted(after, in_sync({A}, {A, B}, index=101), "in-sync").in_sync == {A, B}
    refused(active_pair(), in_sync({A, B}, {B}), "always has the active")
    refused(active_pair(), in_sync({A, B}, {B}, node=B), "b is not the active")
    refused(active_pair(released=True), in_sync({A, B}, {A}), "released")
    refused(active_pair(epoch_starts=()), in_sync({A, B}, {A}), "not open yet")


def test_a_standby_that_left_is_not_let_in_again_by_a_late_repetition() -> None:
    """The set is the same as when it was proposed, but b lacks what was acknowledged meanwhile."""
    record = ClusterRecord(groups={GROUP: active_pair(in_sync=frozenset({A}))})
    join = in_sync({A}, {A, B})
    record, _ = statemachine.apply(record, 10, join)
    assert record.groups[GROUP].in_sync_index == 10
    record, left = statemachine.apply(record, 11, in_sync({A, B}, {A}, index=10))
    assert isinstance(left, Accepted)
    record, late = statemachine.apply(record, 12, join)
    assert isinstance(late, Refused)
    assert record.groups[GROUP].in_sync == frozenset({A})


def test_release_is_final() -> None:
    release = Release(node=A, group=GROUP, epoch=Epoch(3), position=HERE, reason="test")
    after = accepted(active_pair(position=Position()), release, "released")
    assert (after.released, after.position) == (True, HERE)
    assert accepted(after, release) == after
    refused(after, replace(release, position=Position(Epoch(3), 41)), "released already, at 3:40")
    refused(active_pair(), replace(release, node=B), "b is not the active")


def test_fencing_is_recorded_by_the_new_active() -> None:
    fenced = Fenced(node=A, group=GROUP, epoch=Epoch(3), loser=B, rung=FenceRung.LEASE)
    after = accepted(active_pair(), fenced, "fenced")
    assert after.fence is not None
    assert (after.fence.loser, after.fence.log_index) == (B, 101)
    assert accepted(after, fenced) == after
    refused(active_pair(), replace(fenced, loser=A), "cannot vouch")
    refused(active_pair(), replace(fenced, node=B), "b is not the active")


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


# --- members and history ------------------------------------------------------------------------


def test_an_announcement_is_an_event_when_it_is_news() -> None:
    announce = Announce(node=A, version="1", config_fingerprint="x")
    first, _ = statemachine.apply(ClusterRecord(), 1, announce)
    again, outcome = statemachine.apply(first, 2, announce)
    other, _ = statemachine.apply(again, 3, replace(announce, version="2"))
    assert isinstance(outcome, Accepted)
    assert again.members == first.members
    assert [event.text for event in other.events] == ["a runs version 1", "a runs version 2"]


def test_an_event_proposed_twice_stands_once_and_history_is_bounded() -> None:
    record = ClusterRecord()
    note = NoteEvent(node=A, group=None, kind="test", text="0", wall_ms=1)
    for index in range(1, EVENTS_KEPT + 11):
        record, _ = statemachine.apply(record, index, replace(note, text=str(index)))
    again, _ = statemachine.apply(record, 5000, replace(note, text=str(EVENTS_KEPT + 10)))
    assert again.events == record.events
    assert len(record.events) == EVENTS_KEPT
    assert record.events[0].text == "11"


def test_a_long_reason_is_cut() -> None:
    note = NoteEvent(node=A, group=None, kind="test", text="x" * 5000)
    record, _ = statemachine.apply(ClusterRecord(), 1, note)
    assert len(record.events[0].text) == 1000


def test_a_mad_member_cannot_fill_the_memory() -> None:
    record = ClusterRecord()
    outcome: Outcome = Accepted(log_index=0)
    for index in range(300):
        command = replace(acquire(A, 0, 0), group=GroupId(f"g{index}"))
        record, outcome = statemachine.apply(record, index + 1, command)
    assert len(record.groups) == 256
    assert isinstance(outcome, Refused)
    for index in range(100):
        announce = Announce(node=NodeId(f"n{index}"), version="1", config_fingerprint="")
        record, outcome = statemachine.apply(record, index + 1, announce)
    assert len(record.members) == 64
    assert isinstance(outcome, Refused)


def test_a_read_barrier_changes_nothing_but_the_index() -> None:
    record, outcome = statemachine.apply(ClusterRecord(), 7, ReadBarrier(node=A))
    assert record == ClusterRecord(log_index=7)
    assert outcome == Accepted(log_index=7)


# --- whatever is proposed -----------------------------------------------------------------------

nodes = st.sampled_from([A, B, C])
numbers = st.integers(0, 4)
epochs = numbers.map(Epoch)
texts = st.text(max_size=5)
sets = st.frozensets(nodes, max_size=3)
positions = st.builds(Position, epochs, numbers)


def of(kind: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, node=nodes, wall_ms=numbers, group=st.just(GROUP), **fields)


commands: st.SearchStrategy[Command] = st.one_of(
    of(Renew, epoch=epochs, renewal=numbers, position=positions),
    of(Acquire, base_epoch=epochs, base_renewal=numbers, reason=texts),
    of(OpenEpoch, epoch=epochs, start_seq=numbers),
    of(Release, epoch=epochs, position=positions, reason=texts),
    of(SetInSync, epoch=epochs, expected=sets, members=sets, reason=texts),
    of(Fenced, epoch=epochs, loser=nodes, rung=st.sampled_from(FenceRung)),
    of(
        RequestSwitchover,
        target=nodes,
        requested_by=texts,
        reason=texts,
        schedule=numbers,
        failback=st.booleans(),
    ),
    of(
        ScheduleSwitchover,
        target=nodes,
        at_ms=st.integers(0, 9),
        requested_by=texts,
        reason=texts,
    ),
    of(DropSchedule, reason=texts, schedule=numbers, missed=st.booleans()),
    of(SettleFailback, epoch=epochs),
    of(CancelSwitchover, reason=texts),
    of(
        SetMaintenance,
        enabled=st.booleans(),
        requested_by=texts,
        target=st.none() | nodes,
        reason=texts,
    ),
    of(Rest, epoch=epochs, renewal=numbers, rest_ms=st.sampled_from([0, 60_000, 600_000])),
    of(Rest, epoch=epochs, ends=st.integers(1, 8)),
    of(Farewell, gone=st.booleans()),
    of(
        ForceActive,
        base_epoch=epochs,
        base_renewal=numbers,
        target=nodes,
        requested_by=texts,
        reason=texts,
    ),
    st.builds(NoteEvent, node=nodes, group=st.none(), kind=texts, text=texts),
    st.builds(Announce, node=nodes, version=texts, config_fingerprint=texts),
    st.builds(ReadBarrier, node=nodes),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(commands, max_size=40))
def test_no_sequence_of_commands_breaks_the_rules(proposed: list[Command]) -> None:
    record = ClusterRecord()
    for index, command in enumerate(proposed, 1):
        before = record.groups.get(GROUP, GroupRecord())
        record, outcome = statemachine.apply(record, index, command)
        after = record.groups.get(GROUP, GroupRecord())
        assert record.log_index == outcome.log_index == index
        assert after.epoch in {before.epoch, before.epoch + 1}
        if after.epoch == before.epoch:
            assert after.active == before.active, "the active changes only with the epoch"
            assert after.renewal >= before.renewal
        else:
            assert isinstance(command, Acquire)
            assert after.active == command.node
            forced = before.switchover is not None and before.switchover.forced
            assert before.epoch == 0 or forced or after.active in before.in_sync | {before.active}
        if after.resting_ms > before.resting_ms:
            assert before.maintenance
            assert after.renewal > before.renewal, "who acquires must have seen that"
        elif after.resting_ms < before.resting_ms:
            assert isinstance(command, Rest | Release | Acquire)
            assert isinstance(command, Acquire) == (command.node != before.active)
        starts = [start.epoch for start in after.epoch_starts]
        assert starts == sorted(set(starts))
        if isinstance(outcome, Refused):
            assert after == before
            assert outcome.reason


@settings(max_examples=150, deadline=None)
@given(st.lists(commands, max_size=15), commands)
def test_any_command_applied_twice_in_a_row_is_applied_once(
    proposed: list[Command], last: Command
) -> None:
    record = ClusterRecord()
    for index, command in enumerate(proposed, 1):
        record, _ = statemachine.apply(record, index, command)
    record, outcome = statemachine.apply(record, record.log_index + 1, last)
    again, repeated = statemachine.apply(record, record.log_index + 1, last)
    assert isinstance(repeated, Accepted) == isinstance(outcome, Accepted)
    assert (again.groups, again.members, again.events) == (
        record.groups,
        record.members,
        record.events,
    )
