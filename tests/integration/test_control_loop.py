"""The group loop on the real event loop: decisions become actions, barriers wait rightly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.control import FakeAnnouncer, FakeData, FakeFence, FakeRaft, FakeServices, FakeVips
from fakes.patience import LONG_MS, PATIENCE_S
from fakes.pki import cluster_pki
from fakes.trio import DEFAULT, A, B, trio_config
from staqraft.actions.fence_agent import FenceDevices
from staqraft.api.node import FenceAction, FenceWish
from staqraft.config.schema import FenceDevice, Lease, NodeFencing
from staqraft.daemon.barriers import barrier
from staqraft.daemon.clock import boottime_ms
from staqraft.daemon.executor import Hands
from staqraft.daemon.fencing import fence
from staqraft.daemon.loop import GroupLoop
from staqraft.decision.fencing import story
from staqraft.decision.phases import Phase
from staqraft.errors import ActionError, BarrierTimeout, NotActive
from staqraft.model import Epoch, FenceRung, NodeId, Position, RequestSwitchover, SetMaintenance

SHORT_MS = 1200  # a lease whose end a test waits for


class Rig:
    """One group loop of node `a` with fakes around it."""

    def __init__(
        self,
        directory: Path,
        raft: FakeRaft,
        node: NodeId = A,
        *,
        fencing: dict[NodeId, NodeFencing] | None = None,
        gated: bool = False,
        ttl_ms: int = LONG_MS,
    ) -> None:
        """With `fencing` the lease does not suffice for a takeover. `ttl_ms`: of the lease."""
        config = trio_config(node, cluster_pki(), directory, control_port=7400)
        config = replace(config, lease=Lease(ttl_ms=ttl_ms, renew_ms=100, margin_ms=50))
        if fencing is not None:
            group = config.groups[DEFAULT]
            rungs = (FenceRung.CONFIRMED, FenceRung.DEVICE)
            groups = {DEFAULT: replace(group, fenced_by=rungs)}
            config = replace(config, fencing=fencing, groups=groups)
        self.raft = raft
        self.data = FakeData()
        self.services = FakeServices()
        self.vips = FakeVips(config.groups[DEFAULT].vips, gated=gated, services=self.services)
        self.announcer = FakeAnnouncer()
        self.fence = FakeFence()
        hands = Hands(
            raft=cast("Any", self.raft),
            data=cast("Any", self.data),
            vips=cast("Any", self.vips),
            announcer=cast("Any", self.announcer),
            services=cast("Any", self.services),
            fence=cast("Any", self.fence),
            devices=FenceDevices(config.fencing),
        )
        self.loop = GroupLoop(config, DEFAULT, hands, now_ms=boottime_ms)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds():
                    await self.loop.changed()
        except TimeoutError:
            pytest.fail(f"{what}: still {self.loop.state.phase} ({self.loop.state.reason})")

    async def active(self) -> None:
        await self.until(lambda: self.loop.state.phase is Phase.ACTIVE, "active")


@asynccontextmanager
async def running(*rigs: Rig) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(rig.loop.run()) for rig in rigs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


async def test_first_start_serves_and_holds_the_address(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft())
    async with running(rig):
        await rig.active()
        assert rig.data.role == "captures in 1"
        assert rig.services.running
        assert rig.announcer.announced == list(rig.vips.vips)
        first = rig.vips.until_ms
        await rig.until(lambda: rig.vips.until_ms > first, "the lease is renewed")


async def test_behind_a_gate_clients_see_a_pause_and_never_a_refusal(tmp_path: Path) -> None:
    raft = FakeRaft()
    first, second = Rig(tmp_path / "1", raft, A, gated=True), Rig(tmp_path / "2", raft, B)
    async with running(first, second):
        await first.active()
        assert first.announcer.announced == list(first.vips.vips)
        first.data.peer = B
        first.data.acknowledge(Position(Epoch(1), 1 << 40))
        await first.until(lambda: B in first.loop.state.record.in_sync, "b is in sync")
        await raft.propose(
            RequestSwitchover(node=A, group=DEFAULT, target=B, requested_by="test", reason="drill")
        )
        await second.active()
        assert "held, open, services down" not in first.vips.story
        stages = list(dict.fromkeys(first.vips.story))
        assert stages[:4] == [
            "gone, closed, services down",
            "held, closed, services down",
            "held, open, services running",
            "held, draining, services running",
        ]
        assert first.vips.story[-1] == "gone, closed, services down"


async def test_in_maintenance_a_stop_leaves_addresses_and_services_as_they_are(
    tmp_path: Path,
) -> None:
    raft = FakeRaft()
    first = Rig(tmp_path / "1", raft)
    async with running(first):
        await first.active()
        await raft.propose(SetMaintenance(node=A, group=DEFAULT, enabled=True, requested_by="test"))
        await first.loop.hand_over_before_stop(10_000)
        assert first.loop.state.phase is Phase.RESTED
    left_ms = first.vips.until_ms - boottime_ms()
    assert 500_000 < left_ms <= 600_000
    assert first.services.running
    again = Rig(tmp_path / "2", raft)
    again.vips.until_ms, again.services.running = first.vips.until_ms, True
    async with running(again):
        await again.active()
        await again.until(lambda: not again.loop.state.record.resting_ms, "the rest is over")
        assert again.loop.state.record.epoch == 1
        assert again.vips.until_ms - boottime_ms() <= LONG_MS
    kinds = [event.kind for event in raft.state.events]
    assert kinds[-4:] == ["maintenance", "rest", "active", "rest-over"]


async def test_a_barrier_of_a_lone_active_says_that_it_is_degraded(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft())
    async with running(rig):
        await rig.active()
        reached = await barrier(rig.loop, LONG_MS, 1)
        assert reached.degraded
        assert reached.replicas == {A}
        with pytest.raises(BarrierTimeout, match="2 replicas were asked for"):
            await barrier(rig.loop, 1000, 2)


async def test_a_standby_joins_and_barriers_wait_for_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft())
    async with running(rig):
        await rig.active()
        rig.data.peer = B
        await rig.until(lambda: B in rig.loop.barrier_peers(), "b begins to join")
        rig.data.acknowledge(rig.data.position)
        await rig.until(lambda: B in rig.loop.state.record.in_sync, "b is in sync")

        rig.data.write()
        waiting = asyncio.create_task(barrier(rig.loop, LONG_MS, 2))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done, "the barrier answered before b had the record"
        rig.data.acknowledge(rig.data.position)
        reached = await waiting
        assert not reached.degraded
        assert reached.replicas == {A, B}


async def test_a_barrier_is_refused_while_something_cannot_be_read(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft())
    async with running(rig):
        await rig.active()
        rig.data.unread = "'lost' cannot be read"
        with pytest.raises(ActionError, match="'lost' cannot be read"):
            await barrier(rig.loop, LONG_MS, 1)
        rig.data.peer = B  # whose being in sync acknowledges nothing
        await rig.until(lambda: B in rig.loop.barrier_peers(), "b begins to join")
        rig.data.acknowledge(rig.data.position)
        await rig.until(lambda: B in rig.loop.state.record.in_sync, "b is in sync")
        rig.data.unread = ""
        assert not (await barrier(rig.loop, LONG_MS, 2)).degraded


async def test_a_barrier_fails_while_the_majority_is_away(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft())
    async with running(rig):
        await rig.active()
        rig.raft.cut = True
        with pytest.raises(BarrierTimeout, match="waiting for the Raft majority"):
            await barrier(rig.loop, 300, 1)


async def test_without_renewals_everything_is_let_go(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft(), ttl_ms=SHORT_MS)
    async with running(rig):
        await rig.active()
        rig.raft.cut = True
        await rig.until(lambda: rig.loop.state.phase is not Phase.ACTIVE, "the lease ends")
        await rig.until(lambda: rig.vips.until_ms == 0 and not rig.services.running, "let go")
        with pytest.raises(NotActive, match="ask there"):
            await barrier(rig.loop, 300, 1)


async def test_a_fence_call_is_answered_when_everything_is_down(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft())
    async with running(rig):
        await rig.active()
        refused, why = await rig.loop.let_go(Epoch(1))
        assert not refused
        assert "active in epoch 1" in why
        let_go, _ = await rig.loop.let_go(Epoch(2))
        assert let_go
        assert rig.vips.until_ms == 0
        assert not rig.services.running


async def test_who_cannot_follow_raft_any_more_lets_go_for_good(tmp_path: Path) -> None:
    rig = Rig(tmp_path, FakeRaft(), ttl_ms=SHORT_MS)
    async with running(rig):
        await rig.active()
        await rig.loop.let_go_for_good()
        assert rig.loop.state.phase is Phase.STANDBY
        assert not rig.services.running
        assert not any((await rig.vips.held()).values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while True:
                    await rig.loop.changed()
                    assert rig.loop.state.phase is Phase.STANDBY, "it took an epoch again"


async def test_a_switchover_moves_everything_to_the_other(tmp_path: Path) -> None:
    raft = FakeRaft()
    first, second = Rig(tmp_path / "1", raft, A), Rig(tmp_path / "2", raft, B)
    async with running(first, second):
        await first.active()
        first.data.peer = B
        first.data.acknowledge(Position(Epoch(1), 1 << 40))
        await first.until(lambda: B in first.loop.state.record.in_sync, "b is in sync")
        await raft.propose(
            RequestSwitchover(node=A, group=DEFAULT, target=B, requested_by="test", reason="drill")
        )
        await second.active()
        assert first.vips.until_ms == 0
        assert not first.services.running
        assert second.services.running
        fence = raft.state.groups[DEFAULT].fence
        assert fence is not None
        assert fence.rung.value == "released"


async def test_stopping_the_daemon_hands_over_first(tmp_path: Path) -> None:
    raft = FakeRaft()
    first, second = Rig(tmp_path / "1", raft, A), Rig(tmp_path / "2", raft, B)
    async with running(first, second):
        await first.active()
        first.data.peer = B
        first.data.acknowledge(Position(Epoch(1), 1 << 40))
        await first.until(lambda: B in first.loop.state.record.in_sync, "b is in sync")
        await first.loop.hand_over_before_stop(5000)
        assert first.vips.until_ms == 0
        await second.active()


async def test_an_epoch_whose_journal_was_damaged_is_followed_by_a_new_one(tmp_path: Path) -> None:
    """Found by a reviewer: the active served on for minutes, and nothing of it was captured."""
    rig = Rig(tmp_path, FakeRaft())
    async with running(rig):
        await rig.active()
        rig.data.capture_broken = True
        await rig.until(lambda: rig.loop.state.record.epoch == Epoch(2), "a new epoch")
        await rig.active()
        assert rig.data.role == "captures in 2"
        assert not rig.data.capture_broken
        assert rig.vips.until_ms > 0


def fake_switch(directory: Path, behaviour: str) -> dict[NodeId, NodeFencing]:
    """A device that turns a off, by a program that writes down what it is told in `directory`."""
    agent = Path(__file__).parents[1] / "fakes" / "fence_fake"
    options = (("home", str(directory)), ("behaviour", behaviour))
    device = FenceDevice(name="ipmi", agent=agent, plug="a", options=options)
    return {A: NodeFencing(devices=(device,), delay_ms=50)}


async def two_in_sync(tmp_path: Path, raft: FakeRaft, switch: dict[NodeId, NodeFencing]) -> Rig:
    """The rig of b, after a was active with b in sync, and is gone."""
    first = Rig(tmp_path / "1", raft, A, ttl_ms=SHORT_MS)
    async with running(first):
        await first.active()
        first.data.peer = B
        first.data.acknowledge(Position(Epoch(1), 1 << 40))
        await first.until(lambda: B in first.loop.state.record.in_sync, "b is in sync")
    return Rig(tmp_path / "2", raft, B, fencing=switch, ttl_ms=SHORT_MS)


async def test_a_device_turns_a_dead_active_off_before_anything_is_served(tmp_path: Path) -> None:
    raft = FakeRaft()
    second = await two_in_sync(tmp_path, raft, fake_switch(tmp_path, "works"))
    async with running(second):
        await second.active()
    assert (tmp_path / "seen").read_text().splitlines() == ["off a works", "status a works"]
    fence = raft.state.groups[DEFAULT].fence
    assert fence is not None
    assert fence.rung is FenceRung.DEVICE
    assert any("(ipmi turned it off and says so)" in event.text for event in raft.state.events)


async def test_with_a_dead_device_it_waits_until_somebody_vouches(tmp_path: Path) -> None:
    raft = FakeRaft()
    second = await two_in_sync(tmp_path, raft, fake_switch(tmp_path, "refuses"))
    devices = FenceDevices({})
    wish = FenceWish(node=A, action=FenceAction.CONFIRM_OFF, requested_by="root on b")
    async with running(second):
        loops = {DEFAULT: second.loop}
        with pytest.raises(ActionError, match="no takeover on b waits until a is off"):
            await fence(cast("Any", raft), B, loops, devices, wish)
        failed = "turning a off failed: ipmi: 'off' failed: fence_fake ended with exit status 1"
        await second.until(lambda: failed in story(second.loop.state, 0), "it says what failed")
        assert not second.services.running
        text = await fence(cast("Any", raft), B, loops, devices, wish)
        assert text == "b takes over (group default): on your word a counts as off"
        await second.active()
    assert any("root on b vouches that a is off" in event.text for event in raft.state.events)
