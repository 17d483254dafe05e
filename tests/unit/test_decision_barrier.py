"""When a barrier may be answered: what the record says after Raft has confirmed it counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.decision import A, B, settings
from staqraft.decision.barrier import Verdict, active_epoch, missing, verdict
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, Joining, PeerSync
from staqraft.model import Epoch, GroupRecord

EPOCH = Epoch(3)


def active(*in_sync: str, **changes: object) -> GroupState:
    record = GroupRecord(epoch=EPOCH, active=A, in_sync=frozenset(in_sync))  # type: ignore[arg-type]
    state = GroupState(settings=settings(A), phase=Phase.ACTIVE, record=record)
    return replace(state, **changes)  # type: ignore[arg-type]


def test_alone_it_waits_for_nobody() -> None:
    assert missing(active(A), frozenset()) == frozenset()
    assert verdict(active(A), EPOCH, frozenset()) is Verdict.REACHED


def test_a_standby_that_is_in_sync_must_acknowledge() -> None:
    assert missing(active(A, B), frozenset()) == {B}
    assert verdict(active(A, B), EPOCH, frozenset({B})) is Verdict.REACHED


@pytest.mark.parametrize("stage", [Joining.BARRIER, Joining.CATCHING_UP, Joining.PROPOSED])
def test_a_standby_on_its_way_in_must_acknowledge_too(stage: Joining) -> None:
    state = active(A, peers={B: PeerSync(joining=stage)})
    assert missing(state, frozenset()) == {B}


def test_a_standby_let_in_while_raft_was_asked_is_waited_for() -> None:
    assert verdict(active(A, B), EPOCH, frozenset()) is Verdict.WAIT


def test_another_epoch_or_phase_makes_it_void() -> None:
    assert verdict(active(A), Epoch(2), frozenset()) is Verdict.VOID
    dropping = active(A, phase=Phase.DROPPING)
    assert active_epoch(dropping) is None
    assert verdict(dropping, EPOCH, frozenset()) is Verdict.VOID
