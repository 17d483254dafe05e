"""The sentence of a group in `staqctl status`, where the active may serve no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.decision import A, B, settings
from staqraft.daemon.status import lease_over_since_ms, summary
from staqraft.daemon.workers import WorkerStatus
from staqraft.decision.eligibility import lease_over_ms
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.model import Epoch, GroupRecord
from staqraft.wire.v1 import data_worker_pb2 as pb

RENEWED_MS = 1_000
STANDBY = GroupState(
    settings=settings(B),
    phase=Phase.STANDBY,
    observed_ms=RENEWED_MS,
    record=GroupRecord(epoch=Epoch(3), active=A, in_sync=frozenset({A})),
)
OVER_MS = lease_over_ms(STANDBY)


def said(now_ms: int, *, has_quorum: bool) -> str:
    return summary(STANDBY, WorkerStatus(), now_ms, has_quorum=has_quorum)


def test_a_lease_that_runs_is_not_spoken_of() -> None:
    assert lease_over_since_ms(STANDBY, OVER_MS) == 0
    for has_quorum in (True, False):
        assert said(OVER_MS, has_quorum=has_quorum).startswith("a is active ALONE")


def test_one_that_is_over_means_that_nobody_serves() -> None:
    now_ms = OVER_MS + 22_000
    assert lease_over_since_ms(STANDBY, now_ms) == 22_000
    told = said(now_ms, has_quorum=True)
    assert told.startswith("nobody serves: the lease of a ran out 22 s ago")


def test_a_standby_that_hears_nobody_does_not_call_the_pair_protected() -> None:
    told = said(OVER_MS + 22_000, has_quorum=False)
    assert told.startswith("b does not know who serves")
    assert told.endswith("when it last was, a was active")


def test_a_standby_that_settles_is_told_from_one_that_catches_up() -> None:
    active = replace(STANDBY, settings=settings(A), phase=Phase.ACTIVE)
    session = pb.PeerSession(node="b", state=pb.SESSION_STATE_STREAMING, settling=True)
    session.durable.seq, session.applied.seq = 1_500, 300

    def of_active() -> str:
        stream = pb.GetStreamStatusResponse(peers=[session])
        return summary(active, WorkerStatus(stream=stream), RENEWED_MS, has_quorum=True)

    alone = "a is active ALONE: b is not in sync; it"
    whole = f"{alone} settles: it has every record, and is not whole without a before"
    assert of_active() == f"{whole} 1,200 of them are to be applied yet"
    session.applied.seq = 1_500
    doubt = "what was in doubt after the comparison is looked at, or fetched anew"
    assert of_active() == f"{whole} {doubt}"
    session.lag_records = 40
    assert of_active() == f"{alone} catches up: 40 records to go"


@pytest.mark.parametrize(
    "state",
    [
        replace(STANDBY, phase=Phase.FENCING),
        replace(STANDBY, record=replace(STANDBY.record, released=True)),
        replace(STANDBY, record=GroupRecord()),
    ],
)
def test_only_of_an_active_that_holds_the_epoch(state: GroupState) -> None:
    assert lease_over_since_ms(state, OVER_MS + 22_000) == 0
