"""Two groups on the same hosts in the simulator."""

from __future__ import annotations

from dataclasses import replace

from simulation.fault import A, B, Fault
from simulation.options import Plan, plan_of
from simulation.schedule import S
from simulation.world import World
from staqraft.decision.phases import Phase

GROUPS = next(plan for plan in map(plan_of, range(1000)) if plan.two_groups)


def _fault(kind: str, at_s: int) -> Fault:
    return Fault(at_us=at_s * S, kind=kind, who=B, other=A, duration_us=4 * S, size=0.9, action="")


def _ran(*faults: Fault) -> World:
    plan: Plan = replace(
        GROUPS, faults=faults, services=None, storm_us=20 * S, active_lost_in_the_end=False
    )
    world = World(plan, tracing=False, directory=None)
    world.run()
    return world


def test_each_moves_alone_and_both_when_a_host_is_lost() -> None:
    world = _ran(_fault("other-switchover", 8))
    second = world.second
    assert second is not None
    first, other = world.record(world.hosts[A]), second.record(world.hosts[A])
    assert (first.active, first.epoch) == (A, 1)
    assert (other.active, other.epoch) == (A, 2)

    world = _ran(_fault("power-off", 8))
    assert world.second is not None
    first, other = world.record(world.hosts[A]), world.second.record(world.hosts[A])
    assert (first.active, first.epoch) == (A, 1)
    assert (other.active, other.epoch) == (A, 2)
    side = world.second.sides[B].daemon
    assert side is not None
    assert side.core.phase is Phase.STANDBY
