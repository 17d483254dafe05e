"""What each command does to the record: leases, epochs, the in-sync set, members, history."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
    force,
    refused,
    renew,
    switch_to,
)
from staqraft.consensus import statemachine
from staqraft.model import (
    EVENTS_KEPT,
    Accepted,
    Announce,
    CancelSwitchover,
    ClusterRecord,
    Epoch,
    EpochStart,
    Fenced,
    FenceRung,
    GroupId,
    GroupRecord,
    NodeId,
    NoteEvent,
    OpenEpoch,
    Outcome,
    Position,
    ReadBarrier,
    Refused,
    Release,
    Renew,
    SetInSync,
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
