"""Of two without a witness the one with the newer history is given up, and comes back later.

An operator makes the staler one go on (`force-active --accept-data-loss`), on the word that the
other is off for good. When that returns it was alone in a generation of its own, and would have a
right to serve; so it looks for the other first (`PairWatch`), and stands still when it finds it.
From then on there are two histories, of which the checks follow the one that goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from simulation.schedule import MS, S
from staqraft.model import ReadBarrier

if TYPE_CHECKING:
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.pair import PairDaemon
    from simulation.world import World

_ALONE_AFTER_US = 12 * S  # by then the active had the other turned off, and went on alone
_FORCED_AFTER_US = 3 * S  # from the start of the host that is to go on
_SERVES_AFTER_US = 6 * S


def given_up(world: World, fault: Fault) -> None:
    """The active goes on alone and dies; an operator forces the other; then it is back."""
    active = world.record(world.hosts[fault.who]).active
    if active is None:
        return
    gone = world.hosts[active]
    left = next(host for host in world.hosts.values() if host.me != active)
    left.power_off()
    left.broken = True

    def alone() -> None:
        left.broken = False
        raft = gone.raft
        if raft is None or raft.member.generation.members != {gone.me}:
            left.power_on()  # no device confirmed in time: nothing to be seen here
            return
        gone.power_off()
        gone.broken = True
        left.power_on()
        world.moments.later(_FORCED_AFTER_US, lambda: _force(world, left, gone))

    world.moments.later(_ALONE_AFTER_US, alone)
    world.undo_after(10**9, lambda: _mend(world, left, gone))


def _force(world: World, left: Host, gone: Host) -> None:
    if left.daemon is None:
        return
    daemon = cast("PairDaemon", left.daemon)

    def forced(refusal: str) -> None:
        if refusal:
            world.checks.say(f"{left.me} does not go on alone: {refusal}")
            return
        world.checks.note("given up for the other")
        daemon.propose(
            ReadBarrier(node=left.me), lambda _: world.operator(left, "force", left.me), 5_000
        )
        later_us = _SERVES_AFTER_US + int(2 * world.rng.random() * S)
        world.moments.later(later_us, lambda: _returns(world, gone))

    world.checks.parted(daemon.raft.member, gone.me)
    world.checks.say(f"operator on {left.me}: goes on, whatever {gone.me} has")
    daemon.force_alone(forced)


def _returns(world: World, gone: Host) -> None:
    gone.broken = False
    gone.power_on()
    world.moments.later(6 * S, lambda: _begin_anew(world, gone))


def _begin_anew(world: World, gone: Host) -> None:
    """As the message says: its Raft directory is moved away, and it learns all from the other."""
    if not world.checks.is_given_up(gone.me):
        return
    world.checks.say(f"{gone.me}: its Raft directory is moved away")
    gone.kill()
    gone.forget_raft()
    world.checks.begins_anew(gone.me)
    world.schedule.after(300 * MS, gone.start)


def _mend(world: World, left: Host, gone: Host) -> None:
    """When everything heals."""
    left.broken = gone.broken = False
    _begin_anew(world, gone)
