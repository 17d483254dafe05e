"""A daemon that stops in maintenance leaves its addresses for no longer than the others wait."""

from __future__ import annotations

from dataclasses import replace

from fakes.decision import TIMING, A, B, settings
from staqraft.decision.commands import Propose, TakeVips
from staqraft.decision.events import RecordObserved, ShutdownRequested, Tick
from staqraft.decision.lease import Lease
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.decision.step import step
from staqraft.model import Epoch, EpochStart, GroupRecord, Maintenance, Rest

E = Epoch(1)
ASKED_MS, HEARD_MS, REST_MS = 10_000, 11_500, 60_000


def resting() -> GroupState:
    """It asked at `ASKED_MS`, with renewal 7, and has heard nothing yet."""
    record = GroupRecord(
        epoch=E,
        active=A,
        renewal=6,
        in_sync=frozenset({A, B}),
        epoch_starts=(EpochStart(epoch=E, seq=1),),
        maintenance=(Maintenance(node=A, requested_by="x", reason="", since_ms=0, log_index=8),),
    )
    return GroupState(
        settings=replace(settings(A), timing=replace(TIMING, rest_ms=REST_MS)),
        phase=Phase.RESTING,
        record=record,
        lease=Lease(epoch=E, deadline_ms=12_500, next_renew_ms=12_500, last_number=7),
        rest_asked=(7, ASKED_MS),
        awaiting=1,
        next_token=2,
    )


def test_a_rest_counts_from_before_it_was_asked_however_late_it_is_heard_of() -> None:
    before = resting()
    record = replace(before.record, renewal=7, resting_ms=REST_MS, resting_index=9)
    after, commands = step(replace(before, record=record), Tick(now_ms=HEARD_MS))
    assert after.phase is Phase.LEAVING
    until_ms = after.settings.timing.holder_deadline(ASKED_MS, REST_MS)
    (take,) = [command for command in commands if isinstance(command, TakeVips)]
    assert take.deadline_ms == until_ms == after.lease.deadline_ms
    assert until_ms < ASKED_MS + REST_MS
    challenger_ms = after.settings.timing.challenger_deadline(ASKED_MS, REST_MS)
    assert until_ms < challenger_ms, "whoever saw it at once waits for longer"


def test_nothing_is_left_to_the_kernel_before_the_rest_is_in_the_record() -> None:
    after, commands = step(resting(), Tick(now_ms=HEARD_MS))
    assert after.phase is Phase.RESTING
    assert not [command for command in commands if isinstance(command, TakeVips)]


def test_a_rest_from_before_is_not_taken_for_this_one() -> None:
    """That it is over was proposed already, and may be in the record after this node has left."""
    before = resting()
    earlier = replace(before.record, resting_ms=REST_MS, resting_index=5)
    active = replace(before, phase=Phase.ACTIVE, record=earlier, rest_asked=(0, 0), awaiting=0)
    asked, commands = step(active, ShutdownRequested(now_ms=ASKED_MS))
    assert asked.phase is Phase.RESTING
    proposed = [command.proposal for command in commands if isinstance(command, Propose)]
    (rest,) = [one for one in proposed if isinstance(one, Rest) and not one.ends]
    # The proposal to rest is lost on its way, and the next renewal is not.
    renewed = replace(earlier, renewal=rest.renewal + 1)
    after, commands = step(asked, RecordObserved(now_ms=HEARD_MS, record=renewed))
    assert after.phase is Phase.RESTING
    assert not [command for command in commands if isinstance(command, TakeVips)]
    rests = replace(renewed, renewal=rest.renewal + 2, resting_index=12)
    after, _ = step(after, RecordObserved(now_ms=HEARD_MS, record=rests))
    assert after.phase is Phase.LEAVING, "now the record names this one"
