"""A daemon stops in order, as for an upgrade: it hands over, or rests in maintenance.

Mirrors `staqraft.daemon.node`: whoever has something to hand over does so; in maintenance the
active leaves its addresses to the kernel (`decision.rest`); of two without a witness whoever holds
nothing says farewell. Then the process ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from simulation.aimed import cut_ways, ways_of
from simulation.moments import Moment
from simulation.schedule import MS, S
from staqraft.consensus.ready import Resign
from staqraft.decision.phases import HOLDING, Phase
from staqraft.model import NodeId

if TYPE_CHECKING:
    from simulation.daemon import Daemon
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.world import World

_LOOK_US = 50 * MS
_MAINTENANCE_US = 500 * MS
_SETTLED_US = 20 * MS
_RESIGNED_US = 100 * MS
_STOPS_WITHIN_US = 4 * S
_DEAF_US = 1500 * MS
_HEARS_LATE = 0.5
_SOON_US = 5 * MS
_LOOKS = 400
_AWAY_US = 300 * MS


def end_in_order(world: World, host: Host, daemon: Daemon, down_us: int) -> None:
    """Farewell, Raft's leadership, the end; and the next life after `down_us`."""

    def resign() -> None:
        if host.daemon is daemon and host.raft is not None:
            host.raft.put(Resign())
            world.schedule.after(_RESIGNED_US, end)

    def end() -> None:
        if host.daemon is daemon:
            host.kill()
            world.schedule.after(down_us, host.start)

    def leave() -> None:
        if host.daemon is daemon:
            host.control.do(daemon.say_farewell)
            world.schedule.after(_SETTLED_US, resign)

    world.moments.later(0, leave)


def rest(world: World, fault: Fault) -> None:
    """The active's daemon is stopped in maintenance, and started again, or later than it said.

    Somebody may end the maintenance meanwhile. Sometimes it hears late that it may rest.
    """
    active = world.record(world.hosts[fault.who]).active
    if active is None:
        return
    host = world.hosts[active]
    other = next(world.hosts[node] for node in world.replicas if node != active)
    world.operator(host, "maintenance on", active)

    def stop() -> None:
        daemon = host.daemon
        if daemon is not None:
            host.control.do(daemon.shut_down)
            world.moments.later(_LOOK_US, lambda: look(daemon, world.schedule.now))

    def look(daemon: Daemon, since_us: int) -> None:
        if host.daemon is not daemon:
            return
        if daemon.core.phase is Phase.RESTED:
            world.checks.note("rested")
            world.checks.rested(daemon)
            world.moments.later(_SETTLED_US, lambda: end_in_order(world, host, daemon, down_us))
        elif world.schedule.now - since_us > _STOPS_WITHIN_US:
            end_in_order(world, host, daemon, down_us)
        else:
            world.moments.later(_LOOK_US, lambda: look(daemon, since_us))

    def asks(who: NodeId) -> None:
        cut_ways(world, ways_of(world, who, out=False, into=True), _DEAF_US)

    if fault.size > _HEARS_LATE:
        world.moments.when(Moment.RESTS, active, 0, asks)
    down_us = fault.duration_us
    world.moments.later(_MAINTENANCE_US, stop)
    over_us = int(_MAINTENANCE_US + (0.5 + 2 * fault.size) * S)
    world.schedule.after(over_us, lambda: world.operator(other, "maintenance off", other.me))


def rest_twice(world: World, fault: Fault) -> None:
    """It is back from a rest, serves again, and rests again at once, while nobody leads Raft.

    What it proposes meanwhile (that the first rest is over, the second one, renewals) is tried
    again and again, each by itself, and commits in whatever order. Then maintenance ends.
    """
    active = world.record(world.hosts[fault.who]).active
    if active is None:
        return
    host = world.hosts[active]
    other = next(world.hosts[node] for node in world.replicas if node != active)

    def stop(down_us: int, then: Callable[[], None]) -> None:
        daemon = host.daemon
        if daemon is not None:
            host.control.do(daemon.shut_down)
            world.moments.later(_SOON_US, lambda: look(daemon, down_us, then, _LOOKS))

    def look(daemon: Daemon, down_us: int, then: Callable[[], None], looks: int) -> None:
        if host.daemon is daemon and daemon.core.phase is Phase.RESTED:
            world.checks.note("rested")
            world.checks.rested(daemon)
            end_in_order(world, host, daemon, down_us)
            then()
        elif host.daemon is daemon and looks:
            world.moments.later(_SOON_US, lambda: look(daemon, down_us, then, looks - 1))

    def serves(node: NodeId) -> None:
        if node != active:
            return
        leading = [each for each in world.hosts.values() if each.raft and each.raft.member.leads]
        for leader in leading:
            without_us = int(300 + 400 * fault.size) * MS
            cut_ways(world, ways_of(world, leader.me, out=True, into=True), without_us)
        world.moments.later(
            int(5 + 95 * fault.size) * MS, lambda: stop(fault.duration_us, maintenance_ends)
        )

    def maintenance_ends() -> None:
        over = lambda: world.operator(other, "maintenance off", other.me)  # noqa: E731
        world.schedule.after(_MAINTENANCE_US, over)

    world.operator(host, "maintenance on", active)
    back = lambda: world.moments.when_entered(Phase.ACTIVE, serves)  # noqa: E731
    world.moments.later(_MAINTENANCE_US, lambda: stop(_AWAY_US, back))


def leave(world: World, fault: Fault) -> None:
    """A node is stopped in order, and stays away for a while."""
    host = world.hosts[fault.who]
    daemon = host.daemon
    if daemon is None:
        return
    host.control.do(daemon.shut_down)
    since_us = world.schedule.now

    def look() -> None:
        if host.daemon is not daemon:
            return
        late = world.schedule.now - since_us > _STOPS_WITHIN_US
        if late or daemon.core.phase not in HOLDING:
            end_in_order(world, host, daemon, fault.duration_us)
        else:
            world.moments.later(_LOOK_US, look)

    world.moments.later(_LOOK_US, look)


APPLY: Final[dict[str, Callable[[World, Fault], None]]] = {"rest": rest, "leave": leave}
DRILLED: Final[dict[str, Callable[[World, Fault], None]]] = {"rest-twice": rest_twice}
