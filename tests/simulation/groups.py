"""A second group on the same hosts, first active on the other one: for a share of the seeds.

What is the machine's is shared: power, clocks, the control process, Raft, the watchdog, the switch.
What is the group's is its own: core, addresses, services, journal, data worker, and who judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from simulation.checks import Checks
from simulation.daemon import OTHER, Daemon
from simulation.fault import REPLICAS, B
from simulation.health import Probes, probe
from simulation.kernel import FakeKernel
from simulation.lanes import Services
from simulation.moments import Moments
from simulation.operators import asked
from simulation.peace_checks import equal_journals
from simulation.schedule import MS
from simulation.trees import Journal
from simulation.violation import Violation
from simulation.worker import Worker
from simulation.workload import Workload
from staqraft.actions.watchdog import Watchdog
from staqraft.consensus.ready import Ready
from staqraft.decision.phases import Phase
from staqraft.decision.state import Settings
from staqraft.model import GroupRecord, NodeId

if TYPE_CHECKING:
    from simulation.host import Host
    from simulation.world import World


@dataclass(slots=True)
class _Probes(Probes):
    """What is wrong with the host, and what its peer says of this group."""

    of_host: Probes | None = None

    def defects(self, now: int) -> Any:
        assert self.of_host is not None, "a group of no host"
        return self.of_host.defects(now)


class Side:
    """The second group on one host. Whatever is not its own is the host's."""

    def __init__(self, host: Host, settings: Settings, world: World, checks: Checks) -> None:
        self.host = host
        self.checks = checks
        self.kernel = FakeKernel(
            world.schedule,
            host.clock,
            world.rng,
            lambda: checks.address_taken(host.me),
            gated=settings.gate,
        )
        self.journal = Journal()
        self.services = Services()
        self.probes = _Probes(of_host=host.probes)
        self.daemon: Daemon | None = None
        self.worker: Worker | None = None
        self._settings = settings
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)

    @property
    def _other(self) -> Side:
        second = self._world.second
        assert second is not None, "it is one of two"
        return second.sides[self._settings.peers[0]]

    def start(self, watchdog: Watchdog | None) -> None:
        """With the control process of its host."""
        host, world, me = self.host, self._world, self.host.me
        assert host.raft is not None, "Raft comes first"
        self.daemon = Daemon(
            settings=self._settings,
            process=host.control,
            clock=host.clock,
            kernel=self.kernel,
            raft=host.raft,
            worker_of=lambda: self.worker,
            rng=world.rng,
            checks=self.checks,
            trouble=host.trouble,
            services=self.services,
            ask_loser=lambda loser, epoch, answer: world.ask_loser(
                me, loser, epoch, answer, of_second
            ),
            turn_off=lambda loser, done: world.turn_off(me, loser, done),
            stop_agent=host.agents.stop,
            watchdog=watchdog,
        )
        here, there = cast("Host", self), cast("Host", self._other)
        reached = lambda: world.network.ring_between(me, there.me)  # noqa: E731
        self.daemon.probe = lambda: probe(here, there, reached)

    def deliver(self, ready: Ready) -> None:
        """What a step of the member produced."""
        if self.daemon is not None:
            self.daemon.raft_said(ready)

    def end(self) -> None:
        """The control process is gone."""
        self.daemon = None

    def start_data(self) -> None:
        """With that of the first group."""
        rng = self._world.rng
        self.worker = Worker(
            me=self.host.me,
            group=OTHER,
            journal=self.journal,
            process=self.host.data,
            network=self._world.network,
            checks=self.checks,
            peer_of=lambda: self._other.worker,
            sync_us=lambda: int(self.host.sync_ms * MS * (0.5 + rng.random())),
        )

    def sessions(self) -> list[Any]:
        """Those of its data worker."""
        session = self.worker.session if self.worker is not None else None
        return [session] if session is not None else []

    def role(self) -> Any:
        """What its worker was told to be."""
        return self.worker.assignment if self.worker is not None else None

    def assign(self, role: Any) -> None:
        """A worker that was started anew is told its role."""
        if role is None or self.worker is None or self.daemon is None:
            return
        if not self.worker.assign(role):
            self.daemon.capture_broken = True

    def end_data(self) -> None:
        """It is gone, and nobody is told."""
        if self.worker is not None and self.worker.session is not None:
            self.worker.session.end(self.host.me, tell=False)
        self.worker = None

    def power_off(self, part: float) -> None:
        """As its host."""
        self.journal.power_off(part)
        self.kernel.power_off()
        self.services.stop()


def of_second(host: Host) -> Daemon | None:
    """The daemon of the second group there."""
    return host.side.daemon if host.side is not None else None


class Second:
    """The second group of a world."""

    def __init__(self, world: World, settings: Callable[[NodeId], Settings]) -> None:
        first = world.checks
        self._world = world
        self.checks = checks = Checks(world.schedule, tracing=first.tracing, group=OTHER)
        checks.trace = first.trace
        checks.moments = Moments(world.schedule)
        checks.hardware = first.hardware
        self.sides = {
            node: Side(
                world.hosts[node],
                replace(settings(node), group=OTHER, initial_active=B, services={}, prefer=None),
                world,
                checks,
            )
            for node in REPLICAS
        }
        hosts = {node: cast("Host", side) for node, side in self.sides.items()}
        checks.hosts.update(hosts)
        first.second = checks
        for node, side in self.sides.items():
            world.hosts[node].side = side
        self.workload = Workload(
            world.schedule,
            world.rng,
            list(hosts.values()),
            lambda host, *barrier: checks.acknowledged(host.me, *barrier),
            write_ms=world.plan.write_ms,
            barrier_ms=world.plan.barrier_ms,
        )

    def record(self, host: Host) -> GroupRecord:
        """As its member has it."""
        known = host.raft.member.record if host.raft is not None else None
        return known.groups.get(OTHER, GroupRecord()) if known is not None else GroupRecord()

    def operator(self, node: NodeId, what: str, target: NodeId) -> None:
        """An operator's command, for this group."""
        side = self.sides[node]
        if side.daemon is not None and not side.daemon.process.stopped:
            command = asked(node, what, target, self.record(side.host), group=OTHER)
            self.checks.say(f"operator on {node}: {what} {target}")
            side.daemon.propose(command, lambda _: None)

    def unrest(self) -> str:
        """What is not as it should be when nothing is wrong any more."""
        phases = [side.daemon.core.phase if side.daemon else None for side in self.sides.values()]
        if {*phases} != {Phase.ACTIVE, Phase.STANDBY}:
            return f"of the second group the replicas are {phases}"
        record = self.record(next(iter(self.sides.values())).host)
        if record.in_sync != frozenset(self.sides):
            return f"in sync with the second group: {sorted(record.in_sync)}"
        if record.active is None or not self.sides[record.active].kernel.answers:
            return "the second group's active has no address"
        return "the second group is to move" if record.switchover is not None else ""

    def equal_in_the_end(self) -> None:
        """One history of this group's data."""
        equal_journals(*(side.journal for side in self.sides.values()))
        if lost := self.checks.data.lost_now(REPLICAS[0]):
            raise Violation("4 nothing lost", f"{len(lost)} acknowledged are nowhere")


__all__ = ["OTHER", "Second", "Side", "of_second"]
