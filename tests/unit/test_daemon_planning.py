"""Switchovers before they are done: what the target says, what is put off, what is given up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes.control import FakeRaft
from fakes.decision import GROUP, A, B
from staqraft.api.forward import Forward
from staqraft.api.node import ScheduleWish, SwitchOverWish
from staqraft.daemon.planning import cancel, objections, schedule
from staqraft.decision.eligibility import MAINTENANCE
from staqraft.errors import ActionError, Unreachable
from staqraft.model import Acquire, Epoch, NodeId, OpenEpoch, RequestSwitchover, SetInSync
from staqraft.wire.v1 import admin_pb2

WISH = SwitchOverWish(group=GROUP, target=B, reason="", requested_by="eve", timeout_ms=1000)


def saying(*reasons: str) -> Forward:
    """A target that answers with this."""
    status = admin_pb2.GetStatusResponse(
        groups=[
            admin_pb2.GroupStatus(group="another", not_eligible=["of no concern"]),
            admin_pb2.GroupStatus(group=GROUP, not_eligible=reasons),
        ]
    )

    class Channel:
        def unary_unary(self, *_: object, **__: object) -> Callable[..., Any]:
            async def call(*_: object, **__: object) -> admin_pb2.GetStatusResponse:
                return status

            return call

        unary_stream = unary_unary

    @asynccontextmanager
    async def forward(_node: NodeId, _timeout_ms: int) -> AsyncIterator[Any]:
        yield Channel()

    return forward


@asynccontextmanager
async def nobody(node: NodeId, _timeout_ms: int) -> AsyncIterator[Any]:
    if node == B:
        raise Unreachable(f"{node} cannot be reached")
    yield None


async def test_what_the_target_has_against_it_counts_but_for_maintenance() -> None:
    assert await objections(saying("its disk is full", MAINTENANCE), WISH) == ["its disk is full"]
    assert await objections(saying(MAINTENANCE), WISH) == []


async def test_a_target_that_cannot_be_asked_is_no_objection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await objections(nobody, WISH) == []
    assert "b cannot be asked whether it would take over" in caplog.text


async def served() -> FakeRaft:
    """a is active in epoch 1, and b in sync."""
    raft = FakeRaft()
    base: dict[str, Any] = {"node": A, "group": GROUP}
    await raft.propose(Acquire(**base, base_epoch=Epoch(0), base_renewal=0, reason=""))
    await raft.propose(OpenEpoch(**base, epoch=Epoch(1), start_seq=1))
    group = raft.state.groups[GROUP]
    await raft.propose(
        SetInSync(
            **base,
            epoch=Epoch(1),
            expected=group.in_sync,
            expected_index=group.in_sync_index,
            members=frozenset({A, B}),
            reason="",
        )
    )
    return raft


def later(at_ms: int, target: NodeId = B) -> ScheduleWish:
    return ScheduleWish(group=GROUP, target=target, at_ms=at_ms, reason="disks", requested_by="eve")


async def test_it_is_kept_until_it_is_given_up() -> None:
    raft: Any = await served()
    assert "nothing to cancel" in await cancel(raft, A, GROUP, "eve")
    said = await schedule(raft, A, later(4_102_444_800_000))
    assert "b becomes active in group default at 2100-01-01 00:00:00 UTC" in said
    request = RequestSwitchover(node=A, group=GROUP, target=B, requested_by="eve", reason="")
    await raft.propose(request)
    said = await cancel(raft, A, GROUP, "eve")
    assert "at 2100-01-01 00:00:00 UTC and the pending switchover to b" in said
    record = raft.state.groups[GROUP]
    assert (record.scheduled, record.switchover) == (None, None)
    assert [event.kind for event in raft.state.events][-2:] == [
        "switchover-unscheduled",
        "switchover-cancelled",
    ]


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (later(1), "in the past"),
        (later(1 << 62), "in the past"),
        (later(4_102_444_800_000, A), "a is active already"),
    ],
)
async def test_what_cannot_be_meant_is_refused(wish: ScheduleWish, why: str) -> None:
    raft: Any = await served()
    with pytest.raises(ActionError, match=why):
        await schedule(raft, A, wish)
    assert raft.state.groups[GROUP].scheduled is None
