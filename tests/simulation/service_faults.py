"""What befalls services: they end, do no work, do not start, do not stop, here or everywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from simulation.schedule import S
from simulation.services import SHARE, ServicePlan, Units, plan_of_services
from staqraft.decision.phases import Phase

if TYPE_CHECKING:
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.world import World

_SICK_TOO: Final = 0.7
_SLOWEST_MS: Final = 4_000  # twice as long as it is given
_MENDS_EVERY_US: Final = 5 * S
_LASTING_SHARE: Final = 0.12  # of the seeds with services
_LASTING_STORM_US: Final = 54 * S
_ALONE_SHARE: Final = 0.5  # nearly nothing else is wrong


def _where_it_runs(world: World, fault: Fault) -> Host:
    """Whoever has the services; else the one that was drawn."""
    running = [h for node in world.replicas if (h := world.hosts[node]).services.any_runs]
    return running[0] if len(running) == 1 else world.hosts[fault.who]


def _befall(world: World, fault: Fault, host: Host, problem: Callable[[Units, str], None]) -> None:
    """Something is wrong with one service of a host, for as long as the fault lasts."""
    units = host.services
    if isinstance(units, Units):
        names = list(units.units)
        name = names[int(fault.size * 100) % len(names)]
        problem(units, name)
        world.undo_after(fault.duration_us, lambda: units.mend(name))


def _fails(world: World, fault: Fault) -> None:
    """It ends, and would run again."""
    _befall(world, fault, _where_it_runs(world, fault), Units.fail)


def _sick(world: World, fault: Fault) -> None:
    """It runs, and does not do its work until it is started anew."""
    _befall(world, fault, _where_it_runs(world, fault), Units.sicken)


def _broken(world: World, fault: Fault) -> None:
    """It ends, and does not run here any more."""
    _befall(world, fault, _where_it_runs(world, fault), Units.break_)


def _broken_everywhere(world: World, fault: Fault) -> None:
    """It does not run anywhere: to move the group does not help."""
    for node in world.replicas:
        _befall(world, fault, world.hosts[node], Units.break_)


def _clings(world: World, fault: Fault) -> None:
    """It does not stop, and mostly does not do its work either."""
    host = _where_it_runs(world, fault)
    if fault.size < _SICK_TOO:
        _befall(world, fault, host, Units.sicken)
    _befall(world, fault, host, Units.cling_to)


def _slow(world: World, fault: Fault) -> None:
    """It takes its time to start, sometimes more than it is given."""
    slow_ms = int(fault.size * _SLOWEST_MS)
    host = world.hosts[fault.who]
    _befall(world, fault, host, lambda units, name: units.slow_down(name, slow_ms))


def _clear(world: World, fault: Fault) -> None:
    """An operator says that he mended what failed."""
    world.operator(world.hosts[fault.who], "clear", fault.who)


def mended(world: World) -> None:
    """Nothing is wrong any more: an operator says so, and starts what nobody else is to start."""
    world.schedule.after(_MENDS_EVERY_US, lambda: mended(world))
    for host in world.hosts.values():
        units, daemon = host.services, host.daemon
        active = daemon is not None and daemon.core.phase is Phase.ACTIVE
        if isinstance(units, Units) and active and not units.well:
            world.operator(host, "clear", host.me)
            if not all(service.restarts for service in units.plan.services):
                units.running = True


def unrest(active: Host, hosts: Iterable[Host]) -> str:
    """What is not as it should be in peace."""
    for host in hosts:
        units = host.services
        if not isinstance(units, Units):
            continue
        if host is active and not units.well:
            return f"a service of {host.me} is not well"
        if host is not active and units.any_runs:
            return f"a service runs on {host.me}, which is not active"
    return ""


APPLY: Final[dict[str, Callable[[World, Fault], None]]] = {
    "service-fails": _fails,
    "service-sick": _sick,
    "service-broken": _broken,
    "service-broken-everywhere": _broken_everywhere,
    "service-clings": _clings,
    "service-slow": _slow,
    "service-clear": _clear,
}


def with_services(
    seed: int, faults: list[Fault], storm_us: int, draw: Any
) -> tuple[ServicePlan | None, list[Fault], int]:
    """The services of a seed, their faults among the others, and how long that lasts.

    None: it has none of these.
    """
    rng = random.Random(f"services {seed}")  # of its own: other seeds stay what they were
    if rng.random() >= SHARE:
        return None, faults, storm_us
    plan = plan_of_services(rng)
    style = rng.random()
    if style < _LASTING_SHARE:
        return replace(plan, lasting=True), _lasting(rng, draw), max(storm_us, _LASTING_STORM_US)
    part = 0.1 if style < _ALONE_SHARE else 0.5
    kept = [fault for fault in faults if rng.random() < part]
    at = rng.uniform(3, 6)
    while at * S < storm_us:
        lasting_us = int(rng.choice((rng.uniform(0.5, 5), rng.uniform(5, 35))) * S)
        fault = draw(rng, int(at * S), rng.choice(tuple(APPLY)))
        kept.append(replace(fault, duration_us=lasting_us))
        at += lasting_us / S * rng.random() + rng.expovariate(1 / 4)
    return plan, sorted(kept, key=lambda fault: fault.at_us), storm_us


def _lasting(rng: random.Random, draw: Any) -> list[Fault]:
    """One thing is wrong, and stays so for longer than a group takes to move."""
    kind = rng.choice(("service-broken", "service-clings"))
    at, lasting = rng.uniform(9, 11), rng.uniform(38, 42)
    fault = draw(rng, int(at * S), kind)
    return [replace(fault, duration_us=int(lasting * S), size=rng.uniform(0, _SICK_TOO))]
