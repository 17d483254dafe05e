"""What the daemon tells the core of its data worker."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from staqraft.daemon.watch import DataWatch, blockers_of
from staqraft.daemon.workers import DataWorker, WorkerStatus
from staqraft.decision import events as on
from staqraft.decision.following import Following
from staqraft.wire.v1 import data_worker_pb2 as pb


class Worker:
    """The data worker of an active with one standby."""

    capture_broken = False

    def __init__(self, standby: pb.PeerSession) -> None:
        self._stream = pb.GetStreamStatusResponse(role=pb.WORKER_ROLE_ACTIVE, peers=[standby])

    async def status(self) -> WorkerStatus:
        return WorkerStatus(stream=self._stream)


async def told_of(standby: pb.PeerSession) -> on.PeerReported:
    told: asyncio.Queue[on.Event] = asyncio.Queue()
    data = cast("DataWorker", Worker(standby))
    watch = asyncio.create_task(DataWatch(data, post=told.put_nowait, now_ms=lambda: 0).run())
    try:
        while not isinstance(event := await asyncio.wait_for(told.get(), 30), on.PeerReported):
            pass
    finally:
        watch.cancel()
    return event


@pytest.mark.parametrize("state", [pb.SESSION_STATE_CATCHING_UP, pb.SESSION_STATE_STREAMING])
async def test_a_standby_counts_when_it_follows_and_is_whole_without_the_active(
    state: pb.SessionState,
) -> None:
    whole = await told_of(pb.PeerSession(node="b", state=state))
    assert whole.following is Following.WHOLE
    settles = await told_of(pb.PeerSession(node="b", state=state, settling=True))
    assert settles.following is Following.SETTLES


async def test_a_standby_that_compares_or_is_gone_does_not_count() -> None:
    session = pb.PeerSession(node="b", state=pb.SESSION_STATE_RECONCILING, settling=True)
    assert (await told_of(session)).following is Following.COMPARES
    session = pb.PeerSession(node="b", state=pb.SESSION_STATE_DISCONNECTED)
    assert (await told_of(session)).following is Following.LOST


FULL = "tree www, 'x': No space left on device; applying pauses: free space on the volume of /srv"


def of_trees(role: pb.WorkerRole, *problems: tuple[str, str]) -> tuple[str, ...]:
    trees = pb.GetTreesStatusResponse(role=role)
    for code, text in problems:
        trees.problems.add(code=code, text=text)
    return blockers_of(WorkerStatus(trees=trees, stream=pb.GetStreamStatusResponse()))


@pytest.mark.parametrize("code", ["apply-paused", "index-full", "root-missing"])
def test_a_standby_that_cannot_apply_what_it_has_does_not_take_over(code: str) -> None:
    """Its epoch would serve nobody, and shut out the active that comes back."""
    assert of_trees(pb.WORKER_ROLE_STANDBY, (code, FULL)) == (
        f"what it has cannot be applied: {FULL}",
    )


def test_what_else_is_wrong_with_its_trees_is_no_bar() -> None:
    assert of_trees(pb.WORKER_ROLE_STANDBY, ("unhealed", "3 objects wait")) == ()
    assert of_trees(pb.WORKER_ROLE_ACTIVE, ("index-full", "of when it was the standby")) == ()
