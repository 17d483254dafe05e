"""What is made of the answers to who has an address."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from fakes.decision import A, B, settings
from staqraft.config.schema import Vip
from staqraft.daemon import conflicts as module
from staqraft.daemon.conflicts import Conflicts
from staqraft.decision.conflict import OnConflict
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.model import Epoch, GroupRecord, NodeId

WEB = Vip(address=ip_interface("192.0.2.10/24"), interface="eth0")
OF_A, OF_THIRD = "02:5a:00:00:00:0b", "02:00:00:00:00:99"


class Network:
    """Who answers; None: the kernel refuses."""

    def __init__(self, *macs: str) -> None:
        self.macs: Sequence[str] | None = macs
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, vips: Sequence[Vip], wait_ms: int) -> Mapping[Vip, frozenset[str]]:
        self.asked += 1
        self.answers.wait(20)
        if self.macs is None:
            raise OSError(errno.EPERM, "no")
        return dict.fromkeys(vips, frozenset(self.macs))


def standing(phase: Phase, active: NodeId, epoch: int = 3) -> GroupState:
    return GroupState(
        settings=replace(settings(B), on_conflict=OnConflict.TAKE),
        phase=phase,
        record=GroupRecord(epoch=Epoch(epoch), active=active),
    )


async def looked(conflicts: Conflicts, network: Network, state: GroupState) -> list[str]:
    """Runs until the network was asked once more, and that was thought about; what was noted."""
    noted: list[str] = []

    async def note(text: str) -> None:
        noted.append(text)

    before = network.asked
    task = asyncio.create_task(conflicts.run(lambda: state, note))
    async with asyncio.timeout(30):
        while network.asked < before + 2:
            await asyncio.sleep(0.01)
            if network.asked > before:  # another epoch: it looks again
                state = replace(state, record=replace(state.record, epoch=Epoch(9)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return noted


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.02)


async def test_the_standby_knows_the_actives_answer_from_a_third_hosts() -> None:
    network = Network(OF_A)
    conflicts = Conflicts("default", [WEB], ask=network)
    assert await looked(conflicts, network, standing(Phase.STANDBY, A)) == []
    assert conflicts.problem == ""
    network.macs = (OF_A, OF_THIRD)
    found = await conflicts.before_taking()
    assert found.former == (f"{OF_A} has 192.0.2.10 on eth0",)
    assert found.others == (f"{OF_THIRD} has 192.0.2.10 on eth0",)
    assert OF_THIRD in conflicts.problem
    network.macs = ()
    assert (await conflicts.before_taking()).others == ()
    assert conflicts.problem == ""
    conflicts.close()


async def test_two_answers_are_a_conflict_before_a_takeover_needs_the_address() -> None:
    network = Network(OF_A, OF_THIRD)
    conflicts = Conflicts("default", [WEB], ask=network)
    assert await looked(conflicts, network, standing(Phase.STANDBY, A)) == []
    words = f"{OF_THIRD} and {OF_A} have 192.0.2.10 on eth0 (one of them is the active)"
    assert words in conflicts.problem
    conflicts.close()


async def test_the_active_alone_puts_it_into_the_history_once() -> None:
    network = Network(OF_THIRD)
    conflicts = Conflicts("default", [WEB], ask=network)
    noted = await looked(conflicts, network, standing(Phase.ACTIVE, B))
    assert len(noted) == 1
    assert "find that host by its MAC" in noted[0]
    network.macs = ()
    assert await looked(conflicts, network, standing(Phase.ACTIVE, B)) == []
    assert conflicts.problem == ""
    conflicts.close()


async def test_what_the_takeover_told_is_not_told_again_when_it_is_over() -> None:
    network = Network(OF_THIRD)
    conflicts = Conflicts("default", [WEB], ask=network)
    assert (await conflicts.before_taking()).others
    assert await looked(conflicts, network, standing(Phase.ACTIVE, B)) == []
    assert OF_THIRD in conflicts.problem
    network.macs = (OF_THIRD, "02:00:00:00:00:77")
    (noted,) = await looked(conflicts, network, standing(Phase.ACTIVE, B))
    assert "02:00:00:00:00:77 has 192.0.2.10" in noted
    conflicts.close()


async def test_what_cannot_be_asked_stands_in_nobodys_way(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network()
    network.macs = None
    conflicts = Conflicts("default", [WEB], ask=network)
    assert (await conflicts.before_taking()).others == ()
    assert "Operation not permitted" in caplog.text
    monkeypatch.setattr(module, "_LIMIT_S", 0.05)
    network.answers.clear()
    assert (await conflicts.before_taking()).others == ()
    assert "did not answer in time" in caplog.text
    network.answers.set()
    conflicts.close()
