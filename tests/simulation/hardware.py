"""What stands around a machine: its power switch, its watchdog, its hypervisor, its wall clock.

A share of the seeds has hardware, and a policy of fencing that goes with it; the faults here are
drawn by a generator of their own, so that the other seeds stay what they were.

A machine that is paused by its hypervisor (`freeze`) stands still with all its clocks. That is the
known limit of the lease: what is paused can outlive it, and the checks let it, unless the plan has
what the documentation names against it: a policy without the lease, or a watchdog that counts on
while the machine stands still. Then they let nothing pass.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakes.fence_device import FakeDevice
from simulation.machine import Clock
from simulation.schedule import S, Schedule
from staqraft.actions.fence_plan import Call, Plan, Verdict
from staqraft.decision.state import EVERY_RUNG
from staqraft.model import FenceRung
from staqraft.wire.v1 import raft_pb2 as pb

if TYPE_CHECKING:
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.world import World

SHARE: Final = 0.35
_RESET_US: Final = 3 * S  # a machine that was reset is back
_ON_AGAIN_US: Final = 9 * S  # somebody turns a machine on that was turned off
WITHOUT_LEASE: Final = EVERY_RUNG - {FenceRung.LEASE}
_ABSURD: Final = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a plan has. Without anything it is the cluster of the other seeds."""

    fenced_by: frozenset[FenceRung] = EVERY_RUNG
    devices: bool = False
    delay_ms: int = 1000
    watchdog_s: int = 0
    outside: bool = False  # the watchdog counts on while its machine stands still
    ttl_ms: int = 3000
    renew_ms: int = 300

    @property
    def without_lease(self) -> bool:
        """A lease that ran out is no proof here."""
        return FenceRung.LEASE not in self.fenced_by

    @property
    def strict(self) -> bool:
        """Not even a machine that stood still may have an address beside another's."""
        return self.without_lease or (self.watchdog_s > 0 and self.outside)


NONE: Final = Hardware()


def hardware_of(seed: int) -> tuple[Hardware, random.Random] | None:
    """The hardware of a seed, and the generator for its faults; None: it has neither."""
    rng = random.Random(f"hardware {seed}")
    if rng.random() >= SHARE:
        return None
    devices, dog = rng.choice(((True, False), (True, False), (False, True), (True, True)))
    policies = [EVERY_RUNG, WITHOUT_LEASE, WITHOUT_LEASE, frozenset({FenceRung.DEVICE})]
    return (
        Hardware(
            fenced_by=rng.choice(policies) if devices else EVERY_RUNG,
            devices=devices,
            delay_ms=rng.choice((0, 500, 1000)),
            watchdog_s=2 if dog else 0,
            outside=rng.random() < 0.7,
            ttl_ms=4000 if dog else 3000,
            renew_ms=200 if dog else 300,
        ),
        rng,
    )


# --- the watchdog ---------------------------------------------------------------------------------


@dataclass(slots=True)
class SimulatedDog:
    """A machine's watchdog device; implements `staqraft.actions.watchdog.Device`."""

    schedule: Schedule
    clock: Clock
    fire: Callable[[], None]
    timeout_s: int = 60
    fires_us: int = 0  # 0: it does not tick
    is_open: bool = False
    stands: bool = False  # with its machine

    def open(self) -> None:
        if not self.is_open:
            self.is_open = True
            self.kick()

    def set_timeout(self, timeout_s: int) -> None:
        self.timeout_s = timeout_s
        self.kick()

    def kick(self) -> None:
        self._set(self.schedule.now + self.clock.true_us(self.timeout_s * 1000))

    def close(self) -> None:
        self.is_open = self.stands = False
        self.fires_us = 0

    def left_behind(self) -> None:
        """The process that had it open is gone without the magic close: it ticks on."""
        self.is_open = False

    def stood_still(self, duration_us: int) -> None:
        """It was the machine's own, and stood still with it, until now."""
        self.stands = False
        if self.fires_us:
            self._set(self.fires_us + duration_us)

    def _set(self, fires_us: int) -> None:
        self.fires_us = fires_us
        self.schedule.after(fires_us - self.schedule.now, self._due)

    def _due(self) -> None:
        if self.fires_us and not self.stands and self.schedule.now >= self.fires_us:
            self.fire()


# --- the switch -----------------------------------------------------------------------------------


class Agents:
    """The agent programs that run on a host; they stand still and die with it, not with a daemon.

    Each `TurnOff` runs the real sequence of calls, over a switch that may refuse, hang or lie.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._running: set[int] = set()
        self._numbers = 0

    def start(self, plan: Plan, switch: FakeDevice, done: Callable[[Verdict], None]) -> int:
        """Its number, by which it can be stopped."""
        self._numbers += 1
        self._running.add(self._numbers)
        self._next(self._numbers, plan, switch, next(plan), done)
        return self._numbers

    def stop(self, number: int) -> None:
        self._running.discard(number)

    def _next(
        self,
        number: int,
        plan: Plan,
        switch: FakeDevice,
        call: Call,
        done: Callable[[Verdict], None],
    ) -> None:
        def ended() -> None:
            if number not in self._running:
                return
            try:
                self._next(number, plan, switch, plan.send(switch.end(call)), done)
            except StopIteration as end:
                self._running.discard(number)
                done(end.value)

        took_us = self._host.clock.true_us(switch.took_ms(call))
        self._host.machine.after(took_us, ended)


def switch_of(host: Host) -> FakeDevice:
    """By which others turn the host off. Somebody turns it on again later."""

    def off() -> None:
        if host.powered:
            host.say("is turned off by its fence device")
            host.power_off()
            host.later(_ON_AGAIN_US, host.power_on)

    return FakeDevice("works", lambda: host.powered, off)


def reset(host: Host) -> None:
    """The watchdog fired."""
    if host.powered:
        host.judge_reset()
        host.say("is reset by its watchdog")
        host.power_off()
        host.later(_RESET_US, host.power_on)


# --- faults ---------------------------------------------------------------------------------------


def _active(world: World, fault: Fault) -> Host:
    """Whoever has the address, so that the fault matters; else the one that was drawn."""
    holders = [world.hosts[node] for node in world.replicas if world.hosts[node].kernel.present]
    return holders[0] if holders else world.hosts[fault.who]


def _device(world: World, fault: Fault) -> None:
    switch = world.hosts[fault.who].switch
    switch.behaviour = ("refuses", "hangs", "lies", "lies")[int(fault.size * 4) % 4]

    def mended() -> None:
        switch.behaviour = "works"

    world.undo_after(fault.duration_us, mended)


def _freeze(world: World, fault: Fault) -> None:
    host = _active(world, fault)
    host.freeze()
    world.undo_after(fault.duration_us, host.wake)


def _freeze_and_lie(world: World, fault: Fault) -> None:
    """The active is paused, and its switch says what is not."""
    host = _active(world, fault)
    switch = host.switch
    switch.behaviour = "lies" if fault.size < 0.6 else "refuses"
    host.freeze()

    def mended() -> None:
        switch.behaviour = "works"

    world.undo_after(fault.duration_us, host.wake)
    world.undo_after(fault.duration_us + 4 * S, mended)


def _vip_stuck(world: World, fault: Fault) -> None:
    """Somebody made the active's address permanent, and the active hears nobody any more.

    Only a reset takes it away in time; without a watchdog there is nothing to be tried.
    """
    host = _active(world, fault)
    if host.dog.fires_us and host.kernel.present:
        host.kernel.stuck = True
        ways = [
            (ring, *pair)
            for ring, nodes in world.network.rings.items()
            for node in nodes
            if host.me in nodes and node != host.me
            for pair in ((host.me, node), (node, host.me))
        ]
        for way in ways:
            world.network.cut(*way)
        world.suspect_all()

        def heal() -> None:
            host.kernel.stuck = False
            for way in ways:
                world.network.heal(*way)

        world.undo_after(fault.duration_us, heal)


def _wall_step(world: World, fault: Fault) -> None:
    world.hosts[fault.who].clock.wall_step_ms += int((fault.size - 0.5) * 4e9)


def _service_dies(world: World, fault: Fault) -> None:
    host = _active(world, fault)
    if not host.services.running:
        return
    host.services.running = False
    host.services.failed = True  # what clients are told now is not the gate's doing

    def again() -> None:
        if host.kernel.answers:
            host.services.running = True

    world.undo_after(fault.duration_us, again)


def _hostile(world: World, fault: Fault) -> None:
    """A peer with a good certificate says what no member says."""
    host = world.hosts[fault.who]
    if host.raft is None or fault.other not in host.raft.sessions:
        return
    world.disturbed()
    member = host.raft.member
    envelope = garbage(int(fault.size * 1e6), member.term, member.applied_index)
    host.raft.received(fault.other, [envelope])


def garbage(number: int, term: int, index: int) -> pb.Envelope:
    """One of many messages that make no sense, near to what is in use and far from it."""
    entry = pb.LogEntry(index=index + 1, term=term, command=b"\x07what is this")
    several = pb.LogEntries(previous_index=index, previous_term=term, entries=[entry])
    append = pb.AppendEntries
    kinds = (
        pb.Envelope(),
        pb.Envelope(append_entries=append(term=_ABSURD, commit_index=_ABSURD)),
        pb.Envelope(append_entries=append(term=term, commit_index=_ABSURD, entries=several)),
        pb.Envelope(append_entries=append(term=term, entries=several)),
        pb.Envelope(append_entries=append(term=term, snapshot=pb.SnapshotChunk(data=b"x" * 99))),
        pb.Envelope(append_entries=append(term=0, entries=pb.LogEntries(previous_index=_ABSURD))),
        pb.Envelope(request_vote=pb.RequestVote(term=_ABSURD, last_log_index=_ABSURD)),
        pb.Envelope(pre_vote_request=pb.PreVoteRequest(term=_ABSURD, last_log_index=_ABSURD)),
        pb.Envelope(term_notice=pb.TermNotice(term=_ABSURD)),
        pb.Envelope(response_vote=pb.ResponseVote(term=_ABSURD)),
        pb.Envelope(timeout_now=pb.TimeoutNow(term=_ABSURD)),
    )
    return kinds[number % len(kinds)]


APPLY: Final[dict[str, Callable[[World, Fault], None]]] = {
    "device-fails": _device,
    "freeze": _freeze,
    "freeze-and-lie": _freeze_and_lie,
    "vip-stuck": _vip_stuck,
    "wall-step": _wall_step,
    "service-dies": _service_dies,
    "hostile-peer": _hostile,
}
OF_REPLICAS: Final = frozenset({"device-fails", "freeze", "freeze-and-lie", "vip-stuck"})
