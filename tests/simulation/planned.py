"""Switchovers for later, the failback policy, and a third host that has the address.

What befalls them, and what must be true of them. Wall clocks are those of hosts that ask the same
time servers; somebody may set one of them (`wall-step`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from simulation.schedule import MS, S
from simulation.violation import Violation
from staqraft.decision.conflict import OnConflict
from staqraft.decision.phases import Phase
from staqraft.model import GroupRecord, NodeId

if TYPE_CHECKING:
    from simulation.daemon import Daemon
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.service_checks import ServiceChecks
    from simulation.world import World

_SHARE: Final = 0.2  # of the seeds without a drill
_LATEST_US: Final = 8 * S
_AROUND_MS: Final = 400  # of its time it is cancelled
_DRIFT: Final = 0.95  # of a duration, by the fastest clock
_ASKING_MS: Final = 700  # the most that the network is waited for
_DOUBLINGS: Final = 6


# --- faults ---------------------------------------------------------------------------------------


def _schedule(world: World, fault: Fault) -> None:
    """A switchover is scheduled, and often given up at the very moment at which it is due."""
    host = world.hosts[fault.who]
    active = world.record(host).active
    if active is None:
        return
    clock = world.hosts[active].clock
    target = next(node for node in world.replicas if node != active)
    delay_us = int(0.1 * S + fault.size * _LATEST_US)
    world.operator(host, "schedule", target, at_ms=clock.wall_ms() + delay_us // MS)
    half, part = divmod(fault.size * 20, 1)
    if int(half) % 2:
        around_us = int((part - 0.5) * _AROUND_MS * MS)
        world.moments.later(max(0, delay_us + around_us), lambda: unschedule(world, fault.who))


def unschedule(world: World, who: NodeId) -> None:
    """An operator gives up what is scheduled, and what is pending."""
    for what in ("unschedule", "cancel"):
        world.operator(world.hosts[who], what, who)


def _claimed(world: World, fault: Fault) -> None:
    """A third host has the address; whoever asks the network hears of it, perhaps late."""
    troubles = [world.hosts[node].trouble for node in world.replicas]
    for trouble in troubles:
        trouble.claimed_us = world.schedule.now
        trouble.asking_ms = int(fault.size * _ASKING_MS)

    def gone() -> None:
        for trouble in troubles:
            trouble.claimed_us, trouble.asking_ms = None, 0

    world.undo_after(fault.duration_us, gone)


APPLY: Final[dict[str, Callable[[World, Fault], None]]] = {
    "schedule": _schedule,
    "address-claimed": _claimed,
}


def with_plans(
    seed: int, faults: list[Fault], storm_us: int, draw: Any
) -> tuple[bool, list[Fault]]:
    """Whether a seed has scheduled switchovers, and third hosts; its faults with these."""
    rng = random.Random(f"planned {seed}")  # of its own: other seeds stay what they were
    if rng.random() >= _SHARE:
        return False, faults
    kept = [fault for fault in faults if rng.random() < 0.5]
    at = rng.uniform(3, 6)
    while at * S < storm_us:
        kind = rng.choice(("schedule", "schedule", "address-claimed", "uplink-lost"))
        fault = draw(rng, int(at * S), kind)
        if kind == "uplink-lost":  # for longer than whoever is preferred is waited for
            fault = replace(fault, duration_us=int(rng.uniform(9, 15) * S))
        kept.append(fault)
        at += rng.uniform(2, 9)
    return True, sorted(kept, key=lambda fault: fault.at_us)


# --- what must be true ----------------------------------------------------------------------------


_TOLD_US: Final = 2 * S  # by then the active has heard of what is wrong with the other


class PlannedChecks:
    """Told once of each change of the record, and of each phase that is entered."""

    def __init__(self, hosts: Mapping[NodeId, Host], services: ServiceChecks) -> None:
        self._hosts = hosts
        self._services = services
        self._over: set[int] = set()  # schedules that were done, or given up: log indices
        self._joined_us: dict[NodeId, int] = {}  # when it came into the in-sync set
        self._epoch_us = 0  # when this one began
        self._finishing: tuple[Daemon, int] | None = None  # who takes over, since when

    def changed(self, now: int, old: GroupRecord, new: GroupRecord) -> None:
        """A command took effect."""
        if new.epoch != old.epoch:
            self._epoch_us = now
        for node in new.in_sync - old.in_sync:
            self._joined_us[node] = now
        wish = new.switchover
        if wish is not None and wish != old.switchover:
            if wish.schedule in self._over:
                raise Violation("16 schedule", "what was given up, or done, is done")
            if wish.failback:
                self._failed_back(now, old, wish.target)
        if old.scheduled is not None and new.scheduled != old.scheduled:
            self._over.add(old.scheduled.log_index)

    def _failed_back(self, now: int, old: GroupRecord, target: NodeId) -> None:
        """By the policy, which leaves alone what is not to be moved."""
        assert old.active is not None, "a group without an active is moved"
        daemon = self._hosts[old.active].daemon
        if old.chosen == old.active:
            raise Violation("17 failback", f"an operator chose {old.active}")
        if self._services.moved_lately(now):
            raise Violation("17 failback", "the group has just moved for a failed service")
        if daemon is None:
            return
        there, here = self._hosts[target].probes, self._hosts[old.active].probes
        for bad_us, same_us in ((there.disk_us, here.disk_us), (there.uplink_us, here.uplink_us)):
            if bad_us is not None and same_us is None and now - bad_us > _TOLD_US:
                raise Violation("17 failback", f"{target} is not well, and {old.active} is")
        times = 1 << min(old.failbacks, _DOUBLINGS)
        waits_us = daemon.core.settings.failback_ms * times * MS * _DRIFT
        for since_us in (self._epoch_us, self._joined_us.get(target, 0)):
            if now - since_us < waits_us:
                raise Violation("17 failback", f"{target} was not well for long enough")

    def entered(self, daemon: Daemon, now: int) -> None:
        """A phase: is what is served free to be?"""
        phase = daemon.core.phase
        if phase is Phase.FINISHING:
            self._finishing = daemon, now
        if phase is not Phase.ACTIVE or daemon.core.settings.on_conflict is not OnConflict.REFUSE:
            return
        claimed_us = daemon.trouble.claimed_us
        if self._finishing is None or self._finishing[0] is not daemon or claimed_us is None:
            return
        if claimed_us <= self._finishing[1]:
            raise Violation("18 conflict", f"{daemon.me} serves, and a third host has the address")


__all__ = ["APPLY", "PlannedChecks", "with_plans"]
