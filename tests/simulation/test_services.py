"""Supervised services in the simulator: each fault leads to what the product does about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulation.fault import A, B, Fault
from simulation.options import Plan, plan_of
from simulation.schedule import S
from simulation.services import ServicePlan
from simulation.world import World

PLAIN = next(
    plan
    for plan in map(plan_of, range(1000))
    if plan.kind == "plain" and not (plan.parted_in_the_end or plan.active_lost_in_the_end)
)
LASTING = next(plan for plan in map(plan_of, range(1000)) if plan.kind == "lasting").services


def _with(*kinds: str) -> Plan:
    assert LASTING is not None
    services = replace(
        LASTING, services=tuple(replace(s, restarts=1, failover=True) for s in LASTING.services)
    )
    return replace(PLAIN, services=services, storm_us=40 * S, faults=_faults(*kinds))


def _faults(*kinds: str) -> tuple[Fault, ...]:
    return tuple(
        Fault(at_us=9 * S, kind=kind, who=A, other=B, duration_us=25 * S, size=0.3, action="")
        for kind in kinds
    )


def _history(plan: Plan) -> list[str]:
    world = World(plan, tracing=False, directory=None)
    world.run()
    record = world.hosts[A].raft
    assert record is not None
    return [event.kind for event in record.member.record.events]


@pytest.mark.parametrize(
    ("kind", "done"),
    [
        ("service-fails", ["service-restart"]),
        ("service-broken", ["service-restart", "switchover-requested", "released"]),
        ("service-clings", ["service-restart", "switchover-requested", "services-stuck"]),
    ],
)
def test_what_is_done_about_a_service(kind: str, done: list[str]) -> None:
    history = _history(_with(kind))
    places = [history.index(what) for what in done]
    assert places == sorted(places)
    moved = {"switchover-done", "takeover"} & set(history)
    assert bool(moved) == (len(done) > 1)


def test_what_runs_nowhere_does_not_move_the_group_without_end() -> None:
    plan = _with("service-broken-everywhere")
    assert isinstance(plan.services, ServicePlan)
    often = replace(plan, services=replace(plan.services, moves_most=2, moves_window_ms=60_000))
    history = _history(often)
    assert history.count("switchover-done") == 2
    assert "service-stays" in history
