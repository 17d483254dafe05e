"""What each kind of fault does to the world, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from simulation import (
    aimed,
    given_up,
    hardware,
    health,
    phased,
    planned,
    rests,
    service_faults,
    upgrades,
)
from simulation.aimed import cut_ways, ways_of
from simulation.schedule import MS, S
from staqraft.consensus.ready import Resign
from staqraft.decision.phases import Phase

if TYPE_CHECKING:
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.world import World

REST_US: Final = 9 * S  # in maintenance, without a daemon
_STOPPED_MEANWHILE: Final = 0.6  # of what is maintained: that is what it is for
Apply = Callable[["World", "Fault"], None]

ACTIONS: Final = (
    "TakeVips",
    "DropVips",
    "StartServices",
    "StopServices",
    "FinishData",
    "StartCapture",
    "JoinBarrier",
    "Flush",
)


def _ring(world: World, fault: Fault) -> str:
    rings = [r for r, nodes in world.network.rings.items() if {fault.who, fault.other} <= {*nodes}]
    return rings[int(fault.size * len(rings)) % len(rings)]


def _cut(world: World, fault: Fault) -> None:
    ring = _ring(world, fault)
    ways = [(ring, fault.who, fault.other), (ring, fault.other, fault.who)]
    cut_ways(world, ways, fault.duration_us)


def _cut_one_way(world: World, fault: Fault) -> None:
    cut_ways(world, [(_ring(world, fault), fault.who, fault.other)], fault.duration_us)


def _isolate(world: World, fault: Fault) -> None:
    cut_ways(world, ways_of(world, fault.who, out=True, into=True), fault.duration_us)


def _mute(world: World, fault: Fault) -> None:
    cut_ways(world, ways_of(world, fault.who, out=True, into=False), fault.duration_us)


def _deafen(world: World, fault: Fault) -> None:
    cut_ways(world, ways_of(world, fault.who, out=False, into=True), fault.duration_us)


def _pair_parted(world: World, fault: Fault) -> None:
    """The replicas see each other no more, and the witness sees both."""
    one, other = world.replicas
    ways = [(r, *pair) for r in world.network.rings for pair in ((one, other), (other, one))]
    cut_ways(world, [w for w in ways if w[1] in world.network.rings[w[0]]], fault.duration_us)


def _ring_down(world: World, fault: Fault) -> None:
    """A switch dies: one of the two networks is gone for everybody."""
    rings = list(world.network.rings)
    ring = rings[int(fault.size * len(rings)) % len(rings)]
    nodes = world.network.rings[ring]
    ways = [(ring, one, other) for one in nodes for other in nodes if one != other]
    cut_ways(world, ways, fault.duration_us)


def _flap(world: World, fault: Fault) -> None:
    ring = _ring(world, fault)
    for beat in range(2 + int(fault.size * 6)):
        for way in ((ring, fault.who, fault.other), (ring, fault.other, fault.who)):
            world.moments.later(beat * 400 * MS, lambda w=way: world.network.cut(*w))  # type: ignore[misc]
            world.schedule.after(
                beat * 400 * MS + 250 * MS,
                lambda w=way: world.network.heal(*w),  # type: ignore[misc]
            )


def _slow_link(world: World, fault: Fault) -> None:
    pairs = [(fault.who, fault.other)]
    if fault.size < 0.6:
        pairs.append((fault.other, fault.who))
    for pair in pairs:
        world.network.slow_us[pair] = int(2 + fault.size * 400) * MS
    world.undo_after(
        fault.duration_us, lambda: [world.network.slow_us.pop(pair, None) for pair in pairs]
    )


def _lossy_link(world: World, fault: Fault) -> None:
    pair = (fault.who, fault.other)
    world.network.lossy.add(pair)
    world.undo_after(fault.duration_us, lambda: world.network.lossy.discard(pair))


def _reset(world: World, fault: Fault) -> None:
    """One end opens a new session while the other may believe in the old one."""
    raft = world.hosts[fault.who].raft
    if raft is not None and (session := raft.sessions.get(fault.other)) is not None:
        session.end(fault.who)


def _kill(world: World, fault: Fault) -> None:
    host = world.hosts[fault.who]
    host.kill()
    world.schedule.after(min(fault.duration_us, 6 * S), host.start)


def _power_off(world: World, fault: Fault) -> None:
    host = world.hosts[fault.who]
    host.power_off()
    world.schedule.after(fault.duration_us, host.power_on)


def _power_off_both(world: World, fault: Fault) -> None:
    first = int(fault.duration_us * fault.size)
    for node, delay in zip(world.replicas, (fault.duration_us, first), strict=True):
        host = world.hosts[node]
        host.power_off()
        world.schedule.after(delay, host.power_on)


def _power_off_all(world: World, fault: Fault) -> None:
    for at, host in enumerate(world.hosts.values()):
        host.power_off()
        world.schedule.after(int(fault.duration_us * (0.5 + at * fault.size)), host.power_on)


def _stop(world: World, fault: Fault) -> None:
    process = world.hosts[fault.who].control
    process.stop()
    world.hosts[fault.who].suspect_sessions()
    world.undo_after(fault.duration_us, process.resume)


def _sleep(world: World, fault: Fault) -> None:
    host = world.hosts[fault.who]
    host.sleep()
    world.undo_after(fault.duration_us, host.wake)


def _volume_full(world: World, fault: Fault) -> None:
    host = world.hosts[fault.who]
    host.volume.full = True

    def space() -> None:
        host.volume.full = False

    world.undo_after(fault.duration_us, space)


def _volume_slow(world: World, fault: Fault) -> None:
    host = world.hosts[fault.who]
    host.volume.slow_us = int(fault.size * fault.size * 700) * MS

    def fast() -> None:
        host.volume.slow_us = 0

    world.undo_after(fault.duration_us, fast)


def _torn(world: World, fault: Fault) -> None:
    host = world.hosts[fault.who]
    if host.powered:
        host.volume.crash_in = 1 + int(fault.size * 12)


def _worker_kill(world: World, fault: Fault) -> None:
    world.hosts[fault.who].kill_data()


def _worker_stop(world: World, fault: Fault) -> None:
    process = world.hosts[fault.who].data
    process.stop()
    world.hosts[fault.who].suspect_sessions()
    world.undo_after(fault.duration_us, process.resume)


def _slow_sync(world: World, fault: Fault) -> None:
    host = world.hosts[fault.who]
    host.sync_ms = 5 + fault.size * 800

    def fast() -> None:
        host.sync_ms = 1.0

    world.undo_after(fault.duration_us, fast)


def _volume_reset(world: World, fault: Fault) -> None:
    """The data volume loses what it had not synced, and what runs on it dies."""
    host = world.hosts[fault.who]
    host.kill_data()
    host.journal.power_off(fault.size)


def _trim(world: World, fault: Fault) -> None:
    """The active's journal forgets what it thinks nobody needs."""
    journal = world.hosts[fault.who].journal
    journal.kept_from = max(1, len(journal.records) - int(fault.size * 10))


def _action_fails(world: World, fault: Fault) -> None:
    failing = world.hosts[fault.who].trouble.failing
    failing.add(fault.action)
    world.undo_after(fault.duration_us, lambda: failing.discard(fault.action))


def _actions_slow(world: World, fault: Fault) -> None:
    trouble = world.hosts[fault.who].trouble
    trouble.slow_ms = int(fault.size * fault.size * 4000)

    def fast() -> None:
        trouble.slow_ms = 0

    world.undo_after(fault.duration_us, fast)


def _vip_refuses(world: World, fault: Fault) -> None:
    kernel = world.hosts[fault.who].kernel
    kernel.broken = True

    def again() -> None:
        kernel.broken = False

    world.undo_after(fault.duration_us, again)


def _vip_held_up(world: World, fault: Fault) -> None:
    world.hosts[fault.who].kernel.held_up_us = fault.duration_us


def _shutdown(world: World, fault: Fault) -> None:
    """The daemon is stopped in order, and started again: an upgrade."""
    host = world.hosts[fault.who]
    if host.daemon is None:
        return
    daemon = host.daemon
    host.control.do(daemon.shut_down)

    def farewell() -> None:
        if host.daemon is daemon:
            host.control.do(daemon.say_farewell)
            world.schedule.after(20 * MS, resign)

    def resign() -> None:
        if host.daemon is daemon and host.raft is not None:
            host.raft.put(Resign())
            world.schedule.after(100 * MS, end)

    def end() -> None:
        if host.daemon is daemon:
            rests = daemon.core.phase is Phase.RESTED
            if rests:
                world.checks.note("rested in maintenance")
                world.checks.rested(daemon)
            host.kill()
            away_us = fault.size * (2 * REST_US if rests else 6 * S)
            world.schedule.after(300 * MS + int(away_us), host.start)

    world.moments.later(1 * S + fault.duration_us, farewell)


def _first_heard(world: World, fault: Fault) -> Host:
    """An operator asks on one node, or on another if there nobody answers."""
    host = world.hosts[fault.who]
    return host if host.daemon is not None else world.hosts[world.replicas[0]]


def _switchover(world: World, fault: Fault) -> None:
    world.operator(_first_heard(world, fault), "switchover", world.replicas[int(fault.size * 2)])


def _cancel(world: World, fault: Fault) -> None:
    world.operator(_first_heard(world, fault), "cancel", fault.who)


def _maintenance(world: World, fault: Fault) -> None:
    host = _first_heard(world, fault)
    world.operator(host, "maintenance on", fault.who)
    if fault.size < _STOPPED_MEANWHILE:
        who = world.replicas[int(fault.size * 10) % 2]
        stop = replace(fault, who=who, duration_us=0)
        world.schedule.after(fault.duration_us // 4, lambda: _shutdown(world, stop))
    world.schedule.after(
        fault.duration_us, lambda: world.operator(host, "maintenance off", fault.who)
    )


def _force(world: World, fault: Fault) -> None:
    if fault.size < 0.4:  # nobody does this often
        world.operator(_first_heard(world, fault), "force", fault.who)


def _other_switchover(world: World, fault: Fault) -> None:
    """Of the second group alone, where there is one."""
    if world.second is not None:
        active = world.second.record(world.hosts[fault.who]).active
        target = next(node for node in world.replicas if node != active)
        world.second.operator(fault.who, "switchover", target)


_DRAWN: Final[dict[str, Apply]] = {
    "cut": _cut,
    "cut-one-way": _cut_one_way,
    "isolate": _isolate,
    "mute": _mute,
    "deafen": _deafen,
    "pair-parted": _pair_parted,
    "ring-down": _ring_down,
    "flap": _flap,
    "slow-link": _slow_link,
    "lossy-link": _lossy_link,
    "reset": _reset,
    "kill": _kill,
    "power-off": _power_off,
    "power-off-both": _power_off_both,
    "power-off-all": _power_off_all,
    "stop": _stop,
    "sleep": _sleep,
    "volume-full": _volume_full,
    "volume-slow": _volume_slow,
    "torn": _torn,
    "worker-kill": _worker_kill,
    "worker-stop": _worker_stop,
    "slow-sync": _slow_sync,
    "volume-reset": _volume_reset,
    "trim-journal": _trim,
    "action-fails": _action_fails,
    "actions-slow": _actions_slow,
    "vip-refuses": _vip_refuses,
    "vip-held-up": _vip_held_up,
    "shutdown": _shutdown,
    "switchover": _switchover,
    "cancel": _cancel,
    "maintenance": _maintenance,
    "force-active": _force,
    **aimed.APPLY,
    **upgrades.APPLY,
    **rests.APPLY,
}
KINDS: Final = tuple(_DRAWN)
APPLY: Final[dict[str, Apply]] = {
    **_DRAWN,
    **hardware.APPLY,
    **aimed.DRILLED,
    **rests.DRILLED,
    "given-up": given_up.given_up,
    **phased.APPLY,
    **health.APPLY,
    **service_faults.APPLY,
    **planned.APPLY,
    "other-switchover": _other_switchover,
}

# No member, no disk of its log and no link notices these.
RAFT_DOES_NOT_CARE: Final = frozenset(
    {
        "worker-kill",
        "worker-stop",
        *health.APPLY,
        *service_faults.APPLY,
        *planned.APPLY,
        "other-switchover",
        "slow-sync",
        "volume-reset",
        "trim-journal",
        "action-fails",
        "actions-slow",
        "vip-refuses",
        "switchover",
        "cancel",
        "maintenance",
        "force-active",
        "device-fails",
        "vip-stuck",
        "wall-step",
        "service-dies",
    }
)
