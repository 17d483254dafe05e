"""A switchover on paper says what the scenarios show to happen, and does nothing."""

from __future__ import annotations

import pytest
from scenarios.world import World

from fakes.decision import GROUP, A, B
from staqraft.daemon.rehearsal import Rehearsed, rehearse
from staqraft.decision.phases import SENTENCES, Phase
from staqraft.model import ClusterRecord, GroupRecord, NodeId


def after(*script: str) -> World:
    world = World()
    for line in script:
        world.obey(line)
    return world


def on_paper(world: World, target: NodeId = B) -> Rehearsed:
    core = world.hosts[A].core
    assert core is not None
    before = world.record
    told = rehearse(world.record, core, target, world.now)
    assert world.record == before
    assert world.hosts[A].core is core
    return told


@pytest.mark.parametrize("setup", [(), ("gate on",), ("watchdog 1500",), ("maintenance on",)])
def test_it_shows_what_the_cores_then_do(setup: tuple[str, ...]) -> None:
    early = [line for line in setup if not line.startswith("maintenance")]
    late = [line for line in setup if line.startswith("maintenance")]
    world = after(*early, "start a b", "run 2000", *late, "run 100")
    told = on_paper(world)
    assert told.against == ()
    begun = len(world.trace)
    world.obey("switchover b")
    world.run(3000)
    taker = world.hosts[B].core
    assert taker is not None
    assert taker.phase is Phase.ACTIVE
    phases = [
        (line.split()[1].rstrip(":"), Phase(line.split(" -> ")[1].split()[0]))
        for line in world.trace[begun:]
        if " -> " in line
    ]
    done = [f"{node} {SENTENCES[phase]}" for node, phase in phases if phase is not Phase.STANDBY]
    assert list(told.steps) == done


@pytest.mark.parametrize(
    ("script", "against"),
    [
        (("cut-stream b", "run 8000"), "b is not in sync"),
        (("cut-stream b", "run 100"), "b cannot be reached on the replication stream"),
        (("switchover b", "run 20"), "it hands over when it is active"),
    ],
)
def test_it_says_what_is_in_the_way(script: tuple[str, ...], against: str) -> None:
    told = on_paper(after("start a b", "run 2000", *script))
    assert told.steps == ()
    assert any(against in reason for reason in told.against), told.against


def test_a_group_that_nobody_serves_is_nothing_to_hand_over() -> None:
    world = after("start a b", "run 5")
    core = world.hosts[A].core
    assert core is not None
    told = rehearse(ClusterRecord(groups={GROUP: GroupRecord()}), core, B, world.now)
    assert "the group has no active yet: there is nothing to switch over" in told.against
