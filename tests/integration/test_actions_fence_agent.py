"""Fence agents as programs: Debian's fence_dummy where there is one, and a fake that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fakes.patience import PATIENCE_S, growing
from staqraft.actions.fence_agent import FenceDevices
from staqraft.config.schema import FenceDevice, NodeFencing
from staqraft.errors import ActionError
from staqraft.model import NodeId

A = NodeId("a")
FAKE = Path(__file__).parents[1] / "fakes" / "fence_fake"
DUMMY = Path("/usr/sbin/fence_dummy")
SECRET = "s3cr'et word"


@dataclass
class Machine:
    """What the fake agent switches, and what it was asked."""

    home: Path

    def device(self, behaviour: str = "works", **changes: object) -> FenceDevice:
        options = (("home", str(self.home)), ("behaviour", behaviour), ("password", SECRET))
        device = FenceDevice(name="ipmi", agent=FAKE, plug="outlet 7", options=options)
        return replace(device, **changes)  # type: ignore[arg-type]

    @property
    def seen(self) -> list[str]:
        return (self.home / "seen").read_text().splitlines()

    def is_off(self) -> bool:
        return (self.home / "off").exists()

    def child(self) -> int:
        """The process that a hanging agent started; 0 when it has not yet."""
        path = self.home / "child"
        return int(path.read_text() or 0) if path.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def devices(*of_a: FenceDevice) -> FenceDevices:
    return FenceDevices({A: NodeFencing(devices=of_a)})


async def test_off_is_verified_and_on_again(machine: Machine) -> None:
    switch = devices(machine.device())
    assert await switch.turn_off(A) == "ipmi turned it off and says so"
    assert machine.is_off()
    assert await switch.turn_on(A) == "ipmi turned it on and says so"
    assert not machine.is_off()
    asked = [line.split()[0] for line in machine.seen]
    assert asked == ["off", "status", "on", "status"]
    assert machine.seen[0] == "off outlet 7 works"  # a value with a space, as 'plug', not 'port'


async def test_an_agent_that_refuses_is_tried_twice_and_its_words_have_no_secrets(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ActionError) as failure:
        await devices(machine.device("refuses")).turn_off(A)
    assert machine.seen == ["off outlet 7 refuses"] * 2
    assert "ipmi: 'off' failed: fence_fake ended with exit status 1" in str(failure.value)
    assert "Unable to connect/login with *** to the device" in str(failure.value)
    told = str(failure.value) + caplog.text + repr(machine.device())
    assert SECRET not in told


async def test_one_that_refuses_once_succeeds(machine: Machine) -> None:
    await devices(machine.device("refuses-once")).turn_off(A)
    assert machine.is_off()


async def test_one_that_hangs_is_killed_with_its_children_and_not_tried_again(
    machine: Machine,
) -> None:
    tries, limits = 0, growing(800)
    while not machine.child():
        tries += 1
        with pytest.raises(ActionError, match=r"did not end within [0-9.]+ s and was killed"):
            await devices(machine.device("hangs", timeout_ms=next(limits))).turn_off(A)
    assert len(machine.seen) <= tries
    assert set(machine.seen) == {"off outlet 7 hangs"}
    await until(lambda: not runs(machine.child()))


async def test_one_that_lies_is_not_believed(machine: Machine) -> None:
    with pytest.raises(ActionError, match="said that it turned the node off, and then that it is"):
        await devices(machine.device("lies")).turn_off(A)
    assert not machine.is_off()


async def test_both_power_supplies_are_to_be_off_else_the_next_level(machine: Machine) -> None:
    other = Machine(machine.home / "other")
    other.home.mkdir()
    pair = machine.device(name="pdu-1", level=2), other.device("refuses", name="pdu-2", level=2)
    with pytest.raises(ActionError, match="pdu-2: 'off' failed"):
        await devices(*pair).turn_off(A)
    last = machine.device(name="ups", level=3)
    assert await devices(*pair, last).turn_off(A) == "ups turned it off and says so"
    asked = [line.split()[0] for line in machine.seen]
    assert asked == ["off", "off", "off", "status"], "nothing is looked at before all are off"


async def test_whoever_is_not_to_be_turned_off_any_more_is_not(machine: Machine) -> None:
    device = machine.device("hangs", timeout_ms=60_000)
    task = asyncio.create_task(devices(device).turn_off(A))
    await until(lambda: machine.child() > 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not runs(machine.child()))


async def test_an_agent_that_is_not_there(machine: Machine) -> None:
    device = machine.device(agent=Path("/usr/sbin/fence_nothing"))
    with pytest.raises(ActionError, match="fence_nothing cannot be executed: No such file"):
        await devices(device).turn_off(A)


async def test_no_device() -> None:
    with pytest.raises(ActionError, match="there is no fence device for b: add one under 'fenc"):
        await devices().turn_off(NodeId("b"))


@pytest.mark.skipif(not DUMMY.exists(), reason="apt-get install fence-agents")
async def test_debians_own_dummy(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("on")
    options = (("type", "file"), ("status_file", str(status)))
    dummy = FenceDevice(name="dummy", agent=DUMMY, plug="a", options=options)
    await devices(dummy).turn_off(A)
    assert status.read_text() == "off"
    await devices(dummy).turn_on(A)
    assert status.read_text() == "on"


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.02)


async def test_a_device_is_asked_whether_it_could_work_and_the_machine_is_not_touched(
    machine: Machine,
) -> None:
    ipmi = machine.device()
    assert await devices(ipmi).look(A, ipmi) == ""
    assert machine.seen == ["monitor outlet 7 works"]


async def test_a_device_that_could_not_work_says_why(machine: Machine) -> None:
    ipmi = machine.device("refuses")
    why = await devices(ipmi).look(A, ipmi)
    assert why is not None
    assert "Unable to connect/login with ***" in why
    assert SECRET not in why


async def test_turning_off_does_not_wait_for_a_look_that_hangs(machine: Machine) -> None:
    hanging, good = machine.device("hangs"), machine.device()
    switch = devices(good)
    looking = asyncio.create_task(switch.look(A, hanging))
    await until(lambda: machine.child() > 0)
    assert await switch.turn_off(A) == "ipmi turned it off and says so"
    assert await looking is None
    await until(lambda: not runs(machine.child()))


async def test_no_look_while_a_device_is_at_work(machine: Machine) -> None:
    hanging = machine.device("hangs", timeout_ms=60_000)
    switch = devices(hanging)
    turning = asyncio.create_task(switch.turn_off(A))
    await until(lambda: machine.child() > 0)
    assert await switch.look(A, hanging) is None
    turning.cancel()
    await asyncio.wait({turning})
