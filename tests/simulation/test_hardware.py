"""Paused machines, and what the documentation names against them; messages that no member sends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulation.checks import OUTLIVED
from simulation.fault import A, B, Fault
from simulation.hardware import NONE, Hardware, garbage, hardware_of
from simulation.options import Plan, plan_of
from simulation.result import Result
from simulation.schedule import S
from simulation.world import World, run
from staqraft.decision.state import EVERY_RUNG
from staqraft.model import FenceRung

WITHOUT_LEASE = EVERY_RUNG - {FenceRung.LEASE}
DEVICE_POLICY = Hardware(fenced_by=WITHOUT_LEASE, devices=True)
WATCHDOG = Hardware(watchdog_s=2, ttl_ms=4000, renew_ms=200)


def paused(hardware: Hardware, kind: str = "freeze", size: float = 0.3) -> Result:
    """The active is paused, longer than any lease, every twenty seconds."""
    plan = _quiet(hardware)
    faults = [
        Fault(
            at_us=at * S, kind=kind, who=A, other=B, duration_us=6 * S, size=size, action="TakeVips"
        )
        for at in (5, 25, 45)
    ]
    return run(replace(plan, faults=tuple(faults)))


def _quiet(hardware: Hardware) -> Plan:
    plan = plan_of(3)
    return replace(
        plan,
        faults=(),
        storm_us=60 * S,
        real_files=False,
        hardware=hardware,
        allowed_drift_ppm=1000,
    )


@pytest.mark.parametrize(
    "hardware", [NONE, replace(WATCHDOG, outside=False)], ids=["nothing", "a watchdog of its own"]
)
def test_a_paused_machine_outlives_its_lease(hardware: Hardware) -> None:
    """The limit that the documentation names; here it is seen, so the others mean something."""
    result = paused(hardware)
    assert result.violation == ""
    assert result.notes[OUTLIVED] > 0


@pytest.mark.parametrize(
    "hardware",
    [DEVICE_POLICY, replace(WATCHDOG, outside=True)],
    ids=["a device and no lease", "a watchdog that counts on"],
)
def test_what_is_named_against_it_helps(hardware: Hardware) -> None:
    result = paused(hardware)
    assert result.violation == ""
    assert result.notes[OUTLIVED] == 0
    assert result.takeovers >= 4, "the others did take over"


def test_a_device_that_lies_makes_nobody_serve_beside_it() -> None:
    result = paused(DEVICE_POLICY, "freeze-and-lie")
    assert result.violation == ""


def test_a_third_of_the_seeds_has_hardware() -> None:
    with_it = [found[0] for seed in range(300) if (found := hardware_of(seed)) is not None]
    assert 70 < len(with_it) < 140
    assert any(h.strict for h in with_it)
    assert any(h.watchdog_s for h in with_it)


@pytest.mark.parametrize("number", range(11))
def test_a_message_that_makes_no_sense_costs_a_session_at_most(number: int) -> None:
    world = World(_quiet(NONE), tracing=False, directory=None)
    for host in world.hosts.values():
        host.power_on()
    world.schedule.run_until(3 * S)
    before = world._term()
    for host in world.hosts.values():
        assert host.raft is not None
        member = host.raft.member
        for peer in list(host.raft.sessions):
            host.raft.received(peer, [garbage(number, member.term, member.applied_index)])
            world.schedule.run_until(world.schedule.now + S // 10)
    world._wait_for_peace()
    assert world._term() <= before + 3
