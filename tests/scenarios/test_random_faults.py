"""Random faults over the world of the scenarios: never two holders, and one active when all heals.

The world checks after every event that one lease is held and one host has the address. A failure
names its seed: `World` is deterministic, so the seed is the reproduction. The simulator with the
real Raft engine goes deeper; this is what can be run at every change.
"""

from __future__ import annotations

import random

import pytest
from scenarios.host import TOOK_MS
from scenarios.world import World

from fakes.decision import A, B

FIXED_SEEDS = range(150)
GATED = 0.5  # of the seeds
FAILING_BACK = 0.3
FAULTS = (
    "power-off {node}",
    "crash {node}",
    "start {node}",
    "start {node}",
    "stop {node}",
    "continue {node}",
    "cut-raft {node}",
    "heal-raft {node}",
    "heal-raft {node}",
    "cut-stream {node}",
    "heal-stream {node}",
    "switchover {node}",
    "schedule {node} {soon}",
    "unschedule",
    "shutdown {node}",
    "maintenance on",
    "maintenance off",
    "fail {node} {action}",
    "break-epoch {node}",
    "defect {node} uplink",
    "defect {node} uplink doubt",
    "defect {node} disk bars",
    "silent-worker {node}",
)


def _majority(world: World) -> bool:
    """Somebody is there, besides the witness, to take an operator's wish."""
    return any(host.core is not None and host.raft for host in world.hosts.values())


def _storm(world: World, rng: random.Random) -> None:
    for _ in range(rng.randrange(3, 25)):
        line = rng.choice(FAULTS).format(
            node=rng.choice("ab"),
            soon=world.now + rng.choice((100, 4000, 20_000)),
            action=rng.choice([a for a in TOOK_MS if a != "FenceLoser"]),
        )
        verb, name = (*line.split(), "")[:2]
        if verb in {"maintenance", "schedule", "unschedule"} and not _majority(world):
            continue
        running = world.hosts[A if name == "a" else B].core is not None
        if (verb == "start") == running and verb in {"start", "shutdown", "crash", "power-off"}:
            continue  # a daemon that runs is not started, one that is down cannot crash
        if verb == "shutdown" and not running:
            continue
        world.obey(line)
        world.run(rng.choice((5, 40, 200, 1000, 3000, 7000)))


def _heal(world: World) -> None:
    world.obey("maintenance off")
    for host in world.hosts.values():
        host.fail.clear()
        host.epoch_broken = False
        host.defects.clear()
        host.silent = False
        host.stream = True
        if host.stopped:
            world.resume(host.name)
        if host.core is None:
            world.start(host.name)
        elif host.core.shutting_down:
            world.crash(host.name)  # the daemon ends when it has handed over, and is started again
            world.start(host.name)
        if not host.raft:
            world.reconnect(host)


@pytest.mark.parametrize("seed", [*FIXED_SEEDS, "fresh"])
def test_never_two_and_in_the_end_one(seed: int | str) -> None:
    number = random.SystemRandom().randrange(1 << 32) if seed == "fresh" else int(seed)
    rng = random.Random(number)
    world = World()
    world.all_services_start = False
    try:
        if rng.random() < GATED:
            world.obey(rng.choice(("gate on", "fast profile")))
        if rng.random() < FAILING_BACK:
            world.obey(f"failback {rng.choice('ab')} {rng.choice((500, 5000))}")
        world.obey("start a b")
        world.run(rng.randrange(10, 4000))
        _storm(world, rng)
        _heal(world)
        world.run(35_000)
        active = [h.name for h in world.hosts.values() if h.core and h.core.phase.value == "active"]
        assert len(active) == 1, f"active: {active}"
        assert world.group().in_sync == {A, B}
    except AssertionError as error:
        trace = "\n".join(world.trace[-60:])
        raise AssertionError(f"seed {number}: {error}\n{trace}") from error
