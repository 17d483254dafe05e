"""Two groups on the same two hosts, one Raft record: faults of a host strike both, and what is done
to one group leaves the other alone.

Each group is a `World` of its own, over one record; they run side by side in slices of time.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from scenarios.world import World

from fakes.decision import A, B
from staqraft.decision.state import Settings
from staqraft.model import (
    ClusterRecord,
    Command,
    GroupId,
    GroupRecord,
    NodeId,
    RequestSwitchover,
    ScheduleSwitchover,
    SetMaintenance,
)

SEEDS = range(5)
SLICE_MS = 10
OF_HOSTS = (
    "power-off {node}",
    "crash {node}",
    "start {node}",
    "start {node}",
    "stop {node}",
    "continue {node}",
    "cut-raft {node}",
    "heal-raft {node}",
    "cut-stream {node}",
    "heal-stream {node}",
)
OF_GROUPS = ("switchover", "schedule", "maintenance on", "maintenance off", "fail")


class Shared:
    """What Raft keeps of both, and who looks at it."""

    def __init__(self) -> None:
        self.record = ClusterRecord()
        self.index = 0
        self.worlds: list[GroupWorld] = []


class GroupWorld(World):
    """One group; what it proposes is seen by the other's cores, too."""

    def __init__(self, shared: Shared, name: str, first: NodeId) -> None:
        self._shared = shared
        self._name = GroupId(name)
        self._first = first
        super().__init__()
        shared.worlds.append(self)

    @property
    def record(self) -> ClusterRecord:
        return self._shared.record

    @record.setter
    def record(self, record: ClusterRecord) -> None:
        self._shared.record = record

    @property
    def _index(self) -> int:
        return self._shared.index

    @_index.setter
    def _index(self, index: int) -> None:
        self._shared.index = index

    def _settings(self, name: NodeId) -> Settings:
        return replace(super()._settings(name), group=self._name, initial_active=self._first)

    def group(self) -> GroupRecord:
        return self.record.groups.get(self._name, GroupRecord())

    def propose(self, command: Command) -> object:
        others = {w: w.group() for w in self._shared.worlds if w is not self}
        outcome = super().propose(command)
        for world, before in others.items():
            assert world.group() == before, f"{command} concerns {self._name} only"
            for host in world.hosts.values():
                world._observe(host)
        return outcome

    def asked(self, what: str, node: NodeId) -> None:
        """By an operator, of this group."""
        by = {"node": A, "group": self._name, "wall_ms": self.now, "requested_by": "operator"}
        if what == "switchover":
            self.propose(RequestSwitchover(**by, target=node, reason="test"))  # type: ignore[arg-type]
        elif what == "schedule":
            at_ms = self.now + 3000
            self.propose(ScheduleSwitchover(**by, target=node, at_ms=at_ms, reason="test"))  # type: ignore[arg-type]
        elif what == "fail":
            self.hosts[node].fail["StartCapture"] = "broken in this test"
        else:
            self.propose(SetMaintenance(**by, enabled=what == "maintenance on"))  # type: ignore[arg-type]

    def active(self) -> list[NodeId]:
        cores = [(host.name, host.core) for host in self.hosts.values()]
        return [name for name, core in cores if core is not None and core.phase.value == "active"]


class Both:
    """Two groups, first active on different hosts."""

    def __init__(self, *, gate: bool) -> None:
        shared = Shared()
        self.worlds = (GroupWorld(shared, "shops", A), GroupWorld(shared, "mail", B))
        for world in self.worlds:
            world.gate = gate
            world.all_services_start = False
        self.obey("start a b")

    def obey(self, line: str) -> None:
        for world in self.worlds:
            world.obey(line)

    def run(self, duration_ms: int) -> None:
        for _ in range(0, duration_ms, SLICE_MS):
            for world in self.worlds:
                world.run(SLICE_MS)

    def heal(self) -> None:
        for world in self.worlds:
            world.asked("maintenance off", A)
            for host in world.hosts.values():
                host.fail.clear()
                host.stream = True
                if host.stopped:
                    world.resume(host.name)
                if host.core is None:
                    world.start(host.name)
                if not host.raft:
                    world.reconnect(host)


def storm(both: Both, rng: random.Random) -> None:
    for _ in range(rng.randrange(3, 15)):
        node = NodeId(rng.choice("ab"))
        if rng.random() < 0.3:
            rng.choice(both.worlds).asked(rng.choice(OF_GROUPS), node)
        else:
            line = rng.choice(OF_HOSTS).format(node=node)
            running = both.worlds[0].hosts[node].core is not None
            if (line.split()[0] == "start") != running or line.split()[0] not in {
                "start",
                "crash",
                "power-off",
            }:
                both.obey(line)
        both.run(rng.choice((50, 200, 1000, 3000, 6000)))


@pytest.mark.parametrize("seed", [*SEEDS, "fresh"])
def test_each_has_one_active_in_the_end_and_moves_alone(seed: int | str) -> None:
    number = random.SystemRandom().randrange(1 << 32) if seed == "fresh" else int(seed)
    rng = random.Random(number)
    both = Both(gate=rng.random() < 0.5)
    shops, mail = both.worlds
    try:
        both.run(2000)
        assert (shops.active(), mail.active()) == ([A], [B])
        storm(both, rng)
        both.heal()
        both.run(30_000)
        for world in both.worlds:
            assert len(world.active()) == 1, world.group()
            assert world.group().in_sync == {A, B}
        stays, epoch = shops.active(), shops.group().epoch
        mail.asked("switchover", B if mail.active() == [A] else A)
        moved = mail.active()
        both.run(3000)
        assert mail.active() != moved
        assert (shops.active(), shops.group().epoch) == (stays, epoch)
    except AssertionError as error:
        trace = "\n".join(f"{w._name}: {line}" for w in both.worlds for line in w.trace[-40:])
        raise AssertionError(f"seed {number}: {error}\n{trace}") from error
