"""Rules of the replicated record that hold whatever is proposed, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.group_records import GROUP, A, B, C
from staqraft.consensus import statemachine
from staqraft.model import (
    Accepted,
    Acquire,
    Announce,
    CancelSwitchover,
    ClusterRecord,
    Command,
    DropSchedule,
    Epoch,
    Farewell,
    Fenced,
    FenceRung,
    ForceActive,
    GroupRecord,
    NoteEvent,
    OpenEpoch,
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
)

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
