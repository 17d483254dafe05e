"""What a host's probes find, what the replicas tell each other of it, and what may follow.

The probes are `staqraft.health`'s in a few words: what is wrong is a doubt at first, and sure when
it has lasted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from simulation.patching import put
from simulation.schedule import MS, S
from simulation.violation import Violation
from staqraft.decision import defects, eligibility, health
from staqraft.decision import events as on
from staqraft.decision.eligibility import refusals
from staqraft.decision.phases import Phase
from staqraft.model import NodeId

if TYPE_CHECKING:
    from simulation.daemon import Daemon
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.world import World
    from staqraft.decision.state import GroupState

_SURE_US: Final = 3 * S
_SHARE: Final = 0.25  # of the seeds
_NOTICED_LATER_US: Final = 2_500 * MS  # by one of two than by the other
_OLD_WORD_US: Final = 6 * S  # that was relied upon, and what passed since

LOST_TOO: Final = "handed over to a host that lost the same"
BAD_DISK: Final = "took over with a bad disk"


@dataclass(slots=True)
class Probes:
    """What is wrong with one host, since when by true time; and whom it heard say what."""

    uplink_us: int | None = None
    uplink_back_us: int = 0
    disk_us: int | None = None
    disk_hangs: bool = False
    told: tuple[tuple[defects.Defect, ...], bool, int] | None = None

    def defects(self, now: int) -> tuple[defects.Defect, ...]:
        return tuple(
            defects.Defect(
                kind=kind,
                text=f"the {kind} is bad",
                bars=bars,
                hangs=bars and self.disk_hangs,
                sure=now - since > _SURE_US,
            )
            for kind, since, bars in (
                (defects.UPLINK, self.uplink_us, False),
                (defects.DISK, self.disk_us, True),
            )
            if since is not None
        )


def probe(host: Host, other: Host, reached: Callable[[], object]) -> None:
    """The daemon of `host` looks at itself, and hears the other if that can be heard."""
    daemon = host.daemon
    assert daemon is not None, "nobody looks"
    mine, now = host.probes, daemon.true_now_us
    _tell(daemon, host.me, mine.defects(now), ready=True, age_us=0)
    there = other.daemon
    if there is not None and not other.control.stopped and reached():
        ready = not refusals(there.core, there.now_ms)
        mine.told = other.probes.defects(now), ready, now
    if mine.told is not None:
        said, ready, at = mine.told
        _tell(daemon, other.me, said, ready=ready, age_us=now - at)


def _tell(
    daemon: Daemon, node: NodeId, said: tuple[defects.Defect, ...], *, ready: bool, age_us: int
) -> None:
    event = on.HealthReported(
        now_ms=daemon.now_ms, node=node, defects=said, ready=ready, age_ms=age_us // MS
    )
    daemon.tell(event)


# --- what must be true ----------------------------------------------------------------------------


def judge(daemon: Daemon, before: GroupState, hosts: dict[NodeId, Host]) -> None:
    """A phase was entered."""
    after, now = daemon.core, daemon.true_now_us
    here = hosts[daemon.me].probes
    if after.phase is Phase.ACQUIRING and before.phase is Phase.STANDBY:
        wish = after.record.switchover
        asked = wish is not None and wish.forced and wish.target == daemon.me
        # The daemon looks every quarter of a second, and has not looked in its first moments.
        looked = any(defect.kind == defects.DISK for defect in health.own(before).barring)
        long_bad = here.disk_us is not None and now - here.disk_us > _SURE_US + S
        if long_bad and looked and not asked:
            raise Violation("14 health", f"{daemon.me} {BAD_DISK}")
    hands = before.phase is Phase.ACTIVE and after.phase is Phase.PREPARING
    if not hands or "better off" not in after.reason or after.handing_to is None:
        return
    there = hosts[after.handing_to].probes
    since_us = there.uplink_us
    if here.uplink_us is None or here.disk_us is not None or since_us is None:
        return
    if now - since_us > _OLD_WORD_US:
        raise Violation("14 health", f"{daemon.me} {LOST_TOO}: its uplink is gone, too")


# --- faults ---------------------------------------------------------------------------------------


def _uplink_lost(world: World, fault: Fault) -> None:
    """By one, or by both: then one of them notices later."""
    hosts = [world.hosts[fault.who]]
    if fault.size > 0.4:
        hosts.append(next(h for r in world.replicas if (h := world.hosts[r]) is not hosts[0]))
    for late, host in enumerate(hosts):
        delay_us = late * int(fault.size * _NOTICED_LATER_US)
        world.schedule.after(delay_us, lambda h=host: _lose(world, h, fault.duration_us))  # type: ignore[misc]


def _lose(world: World, host: Host, lasting_us: int) -> None:
    if host.probes.uplink_us is not None:
        return
    host.probes.uplink_us = world.schedule.now

    def back() -> None:
        host.probes.uplink_us = None

    world.undo_after(lasting_us, back)


def _disk_bad(world: World, fault: Fault) -> None:
    """The data volume fails; or it does not answer, nor then does the worker that waits for it."""
    host = world.hosts[fault.who]
    if host.probes.disk_us is not None:
        return
    host.probes.disk_us = world.schedule.now
    process = host.data
    hangs = host.probes.disk_hangs = fault.size < 0.5
    if hangs:
        process.stop()
        host.suspect_sessions()

    def well() -> None:
        host.probes.disk_us = None
        if hangs:
            process.resume()

    world.undo_after(fault.duration_us, well)


APPLY: Final = {"uplink-lost": _uplink_lost, "disk-bad": _disk_bad}


def with_health(seed: int, faults: list[Fault], storm_us: int, draw: Any) -> list[Fault]:
    """Faults of disks and uplinks among the others, on some seeds, which lose half of those."""
    rng = random.Random(f"health {seed}")  # of its own: other seeds stay what they were
    if rng.random() > _SHARE:
        return faults
    kept = [fault for fault in faults if rng.random() < 0.5]
    at = rng.uniform(3, 6)
    while at * S < storm_us:
        lasting_us = int(rng.uniform(2, 15) * S)
        kept.append(
            replace(draw(rng, int(at * S), rng.choice(tuple(APPLY))), duration_us=lasting_us)
        )
        at += lasting_us / S * rng.random() + rng.expovariate(1 / 5)
    return sorted(kept, key=lambda fault: fault.at_us)


def drill(
    rng: random.Random, make: Callable[..., list[Fault]], who: tuple[NodeId, NodeId]
) -> list[Fault]:
    """Both lose their uplink, one later; a disk fails and the other host loses its power."""
    at = rng.uniform(4, 6)
    one, other = who
    found: list[Fault] = []
    while at < 38:
        if rng.random() < 0.5:
            found += make(rng, ("uplink-lost", at, one, other, 12.0, rng.uniform(0.5, 1)))
        else:
            found += make(
                rng,
                ("disk-bad", at, one, other, 14.0, rng.random()),
                ("power-off", at + rng.uniform(4.5, 8), other, one, 4.0, 0.0),
            )
        one, other = other, one
        at += rng.uniform(17, 20)
    return found


# --- guards that are taken out --------------------------------------------------------------------


def _bad_disk_is_eligible() -> None:
    real = eligibility._of_this_node
    unhealthy = eligibility.Against.UNHEALTHY
    put(
        eligibility,
        "_of_this_node",
        lambda *known: (found for found in real(*known) if found.code is not unhealthy),
    )


def _doubts_do_not_count() -> None:
    put(defects.NodeHealth, "suspected", property(lambda self: self.kinds))


def _compared_with_nobody() -> None:
    """Who has a defect hands over, whatever the other has."""
    put(defects.NodeHealth, "suspected", property(lambda _: frozenset()))


_LASTS: Final = "the other has to stay better for longer than one of two notices later"
PATCHES: Final = (
    ("bad disk does not bar a standby", _bad_disk_is_eligible, "", ("health",)),
    ("doubts do not count against a standby", _doubts_do_not_count, _LASTS, ("health",)),
    ("handed over without comparing", _compared_with_nobody, "", ("health",)),
)
