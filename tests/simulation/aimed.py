"""Faults that are aimed: at whoever leads, or at a moment (`moments`), and not at an instant."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from simulation.moments import Moment
from simulation.schedule import MS, S
from staqraft.model import NodeId

if TYPE_CHECKING:
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.world import World

Way = tuple[str, NodeId, NodeId]
_ITS_WORKER: Final = 0.7  # below it that is struck
_ITS_ACTIVE: Final = 0.4  # from here on this one is


def ways_of(world: World, who: NodeId, *, out: bool, into: bool) -> list[Way]:
    """Every way of a node over every ring."""
    ways = []
    for ring, nodes in world.network.rings.items():
        for node in nodes:
            if who in nodes and node != who:
                ways += [(ring, who, node)] if out else []
                ways += [(ring, node, who)] if into else []
    return ways


def cut_ways(world: World, ways: list[Way], duration_us: int) -> None:
    """Cut for so long."""
    for way in ways:
        world.network.cut(*way)

    def heal() -> None:
        for way in ways:
            world.network.heal(*way)

    world.undo_after(duration_us, heal)
    world.suspect_all()


def _leader(world: World) -> Host | None:
    leading = [h for h in world.hosts.values() if h.raft is not None and h.raft.member.leads]
    return max(leading, key=lambda h: h.raft.member.term if h.raft else 0, default=None)


def _other(world: World, who: NodeId) -> NodeId:
    return next(node for node in world.replicas if node != who)


def _slow(world: World, pairs: list[tuple[NodeId, NodeId]], slow_us: int, lasting_us: int) -> None:
    for pair in pairs:
        world.network.slow_us[pair] = slow_us
    world.undo_after(lasting_us, lambda: [world.network.slow_us.pop(pair, None) for pair in pairs])


def _restart_leader(world: World, down_us: int) -> None:
    host = _leader(world)
    if host is not None:
        host.kill()
        world.schedule.after(down_us, host.start)


def _isolate_leader(world: World, fault: Fault) -> None:
    """Whoever leads Raft is cut off, with what it has not spread yet."""
    host = _leader(world)
    if host is not None:
        cut_ways(world, ways_of(world, host.me, out=True, into=True), fault.duration_us)


def _slow_election(world: World, fault: Fault) -> None:
    """The leader is restarted while messages take their time, each way another, and one disk."""
    rng = random.Random(fault.size)
    delays_ms = rng.choice(((0,), (0, 0, 100, 400), (0, 100, 400, 800)))
    for source in world.hosts:
        for target in world.hosts:
            if source != target:
                slow_us = rng.choice(delays_ms) * MS
                _slow(world, [(source, target)], slow_us, fault.duration_us)
    volume = world.hosts[fault.other].volume
    volume.slow_us = int(rng.choice((0, 600, 1200))) * MS

    def fast() -> None:
        volume.slow_us = 0

    world.undo_after(fault.duration_us, fast)
    _restart_leader(world, int(10 + 400 * fault.size) * MS)


def _hand_over_cut(world: World, fault: Fault) -> None:
    """Only the witness has the newest entries, so it leads; whom it asks to lead is not heard."""
    active = world.record(world.hosts[fault.who]).active
    if active is None:
        return
    dying, other = world.hosts[active], _other(world, active)
    cut_ways(world, ways_of(world, other, out=True, into=True), int(800 + 200 * fault.size) * MS)

    def dies() -> None:
        dying.kill()
        world.schedule.after(int(400 + 600 * fault.size) * MS, dying.start)

    world.moments.later(650 * MS, dies)

    def stands(who: NodeId) -> None:
        cut_ways(world, ways_of(world, who, out=True, into=False), 1 * S)

    world.moments.when(Moment.STANDS, None, 0, stands)


def _vote_crash(world: World, fault: Fault) -> None:
    """Two stand for election; who has just voted for the one is killed and back at once.

    The other's disk is slow: it asks for the vote when the voter is there again.
    """

    def strike(voter: NodeId) -> None:
        world.hosts[voter].kill()
        world.schedule.after(int(2 + 20 * fault.size) * MS, world.hosts[voter].start)

    slow = world.hosts[fault.other]
    slow.volume.slow_us = int(300 + 600 * fault.size) * MS
    for node in world.hosts:
        if node != fault.other:
            world.moments.when(Moment.VOTED, node, 1 * MS, strike)
    _restart_leader(world, int(10 + 400 * fault.size) * MS)

    def fast() -> None:
        slow.volume.slow_us = 0

    world.undo_after(fault.duration_us, fast)


def _late_grant(world: World, fault: Fault) -> None:
    """Who asks for the next epoch hears late that it got it, and is not heard any more then."""

    def asks(who: NodeId) -> None:
        if fault.size < 0.5:
            sources = [node for node in world.hosts if node != who]
            slow_us = int(500 + 800 * fault.size) * MS
            _slow(world, [(source, who) for source in sources], slow_us, 3 * S)
        else:
            deaf_us = int(1800 + 2 * 1000 * (fault.size - 0.5)) * MS
            cut_ways(world, ways_of(world, who, out=False, into=True), deaf_us)
        world.moments.when(Moment.GRANTED, who, 0, granted)

    def granted(who: NodeId) -> None:
        cut_ways(world, ways_of(world, who, out=True, into=False), 5 * S)

    world.moments.when(Moment.ASKS, None, 0, asks)


def _cut_when_admitted(world: World, fault: Fault) -> None:
    """A standby is about to be in sync: the stream ends that moment, and soon the active dies."""

    def admits(active: NodeId) -> None:
        standby = _other(world, active)
        pairs = ((active, standby), (standby, active))
        ways = [(ring, *pair) for ring in world.network.rings for pair in pairs]
        dies_us = int(50 + 2000 * fault.size) * MS
        cut_ways(world, ways, dies_us)
        for witness in world.hosts.keys() - set(world.replicas):
            slow_us = int(500 * fault.size) * MS
            _slow(world, [(witness, active), (active, witness)], slow_us, dies_us)

        def dies() -> None:
            world.hosts[active].power_off()
            world.schedule.after(6 * S, world.hosts[active].power_on)

        world.moments.later(dies_us, dies)

    world.moments.when(Moment.ADMITS, None, 0, admits)


def _die_while_comparing(world: World, fault: Fault) -> None:
    """The active dies while a standby compares its trees with it."""

    def compares(standby: NodeId) -> None:
        host = world.hosts[_other(world, standby)]
        host.power_off()
        world.schedule.after(fault.duration_us + 5 * S, host.power_on)

    world.moments.when(Moment.COMPARES, None, int(1000 * fault.size) * MS, compares)


def _strike_settling(world: World, fault: Fault) -> None:
    """A standby has compared its trees and needs the active still: its worker dies, or that does.

    Or one after the other.
    """

    def settles(standby: NodeId) -> None:
        if fault.size < _ITS_WORKER:
            world.hosts[standby].kill_data()
        if fault.size >= _ITS_ACTIVE:
            later_us = int(3000 * fault.size) * MS if fault.size < _ITS_WORKER else 0
            world.moments.later(later_us, lambda: dies(_other(world, standby)))

    def dies(active: NodeId) -> None:
        world.hosts[active].power_off()
        world.schedule.after(fault.duration_us + 5 * S, world.hosts[active].power_on)

    world.moments.when(Moment.SETTLES, None, int(300 * fault.size) * MS, settles)


def _stop_active(world: World, fault: Fault) -> None:
    """Whoever is active is stopped, as by SIGSTOP, in the middle of whatever it does."""
    active = world.record(world.hosts[fault.who]).active
    if active is not None:
        process = world.hosts[active].control
        process.stop()
        world.hosts[active].suspect_sessions()
        world.undo_after(fault.duration_us, process.resume)


def _restart_late(world: World, fault: Fault) -> None:
    """The active's daemon is killed, comes back within its lease, and is cut off as it goes on."""
    active = world.record(world.hosts[fault.who]).active
    if active is None:
        return
    host = world.hosts[active]
    host.kill()
    world.schedule.after(int(2700 * fault.size) * MS, host.start)

    def resumes(who: NodeId) -> None:
        cut_ways(world, ways_of(world, who, out=True, into=True), fault.duration_us)

    world.moments.when(Moment.RESUMES, active, 0, resumes)


def _begin_anew(world: World, fault: Fault) -> None:
    """The active is paused, its switch refuses, and who acquires is cut off while it waits."""
    active = world.record(world.hosts[fault.who]).active
    if active is None:
        return
    host = world.hosts[active]
    host.switch.behaviour = "refuses"
    host.freeze()

    def mended() -> None:
        host.switch.behaviour = "works"

    world.undo_after(fault.duration_us, host.wake)
    world.undo_after(fault.duration_us + 4 * S, mended)

    def acquires(who: NodeId) -> None:
        lasting_us = int(3500 + 1500 * fault.size) * MS
        cut_ways(world, ways_of(world, who, out=True, into=True), lasting_us)

    world.moments.when(Moment.GRANTED, _other(world, active), 100 * MS, acquires)


def _device_mood(world: World, fault: Fault) -> None:
    """From now on the device that turns this host off works, refuses, or says so late."""
    moods = ("works", "refuses", "dawdles")
    world.hosts[fault.who].memory.mood = moods[int(fault.size * len(moods))]


DRILLED: Final[dict[str, Callable[[World, Fault], None]]] = {
    "stop-active": _stop_active,
    "restart-late": _restart_late,
    "device-mood": _device_mood,
    "begin-anew": _begin_anew,
    "strike-settling": _strike_settling,
}
APPLY: Final[dict[str, Callable[[World, Fault], None]]] = {
    "isolate-leader": _isolate_leader,
    "slow-election": _slow_election,
    "hand-over-cut": _hand_over_cut,
    "vote-crash": _vote_crash,
    "late-grant": _late_grant,
    "cut-when-admitted": _cut_when_admitted,
    "die-while-comparing": _die_while_comparing,
}
