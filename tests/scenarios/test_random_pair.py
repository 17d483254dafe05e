"""Random faults over two replicas without a witness: never two holders, one active when all heals.

The world checks after every event that one has the address and one relies on the lease. Devices
work, refuse or hang; what a lying device or operator costs is documented and not tried here.
"""

from __future__ import annotations

import random

import pytest
from scenarios.host import TOOK_MS
from scenarios.pair_world import PairWorld

from fakes.decision import A, B
from fakes.fence_device import FakeDevice

FIXED_SEEDS = range(40)
FAULTS = (
    "power-off {node}",
    "crash {node}",
    "start {node}",
    "start {node}",
    "start {node}",
    "stop {node}",
    "continue {node}",
    "cut",
    "cut-raft {node}",
    "cut-stream {node}",
    "heal",
    "heal",
    "switchover {node}",
    "shutdown {node}",
    "maintenance on",
    "maintenance off",
    "fail {node} {action}",
    "device {node} {behaviour}",
)


def _storm(world: PairWorld, rng: random.Random) -> None:
    for _ in range(rng.randrange(3, 25)):
        node = rng.choice((A, B))
        line = rng.choice(FAULTS).format(
            node=node,
            action=rng.choice([a for a in TOOK_MS if a != "FenceLoser"]),
            behaviour=rng.choice(("works", "refuses", "hangs")),
        )
        verb = line.split()[0]
        if verb == "maintenance" and not any(map(world.can_commit, world.hosts.values())):
            continue
        running = world.hosts[node].core is not None
        if verb == "device":
            if node in world.devices:  # the core's configuration stays what it was
                old, delay = world.devices[node]
                world.devices[node] = FakeDevice(line.split()[2], old.is_on, old.power_off), delay
            continue
        if (verb == "start") == running and verb in {"start", "shutdown", "crash", "power-off"}:
            continue  # a daemon that runs is not started, one that is down cannot crash
        world.obey(line)
        world.run(rng.choice((5, 40, 200, 1000, 3000, 7000, 15_000)))


def _heal(world: PairWorld) -> None:
    for host in world.hosts.values():
        host.fail.clear()
        host.raft = host.stream = True
        if host.stopped:
            world.resume(host.name)
        if host.core is not None and host.core.shutting_down:
            world.crash(host.name)
        if host.core is None:
            world.start(host.name)


@pytest.mark.parametrize("seed", [*FIXED_SEEDS, "fresh"])
def test_never_two_and_in_the_end_one(seed: int | str) -> None:
    number = random.SystemRandom().randrange(1 << 32) if seed == "fresh" else int(seed)
    rng = random.Random(number)
    world = PairWorld()
    try:
        for node in (A, B):
            if rng.random() < 0.8:
                world.obey(f"device {node} works")
        world.obey("start a b")
        world.run(rng.randrange(10, 4000))
        _storm(world, rng)
        for _ in range(4):  # one that is being turned off when all heals is started once more
            _heal(world)
            world.run(20_000)
            world.obey("maintenance off")
        active = [h.name for h in world.hosts.values() if h.core and h.core.phase.value == "active"]
        assert len(active) == 1, f"active: {active}"
        assert world.group().in_sync == {A, B}
    except AssertionError as error:
        trace = "\n".join(world.trace[-60:])
        raise AssertionError(f"seed {number}: {error}\n{trace}") from error
