"""What chance brings together too seldom: sequences that a known hazard needs.

A drill is a plan of faults like any other, over a workload that knows nothing of it. Each is
repeated, with other figures, until the storm is over.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from simulation import group_drill, health
from simulation.fault import NODES, REPLICAS, Fault, draw
from simulation.hardware import NONE, WITHOUT_LEASE, Hardware
from simulation.schedule import S
from staqraft.model import NodeId

STORM_S: Final = 45
_LAST_S: Final = 40
_CALM_S: Final = 6.0
_SEEN_LATER: Final = ("slow-election", "hand-over-cut")

Step = tuple[str, float, NodeId, NodeId, float, float]  # kind, at, who, other, seconds, size


def _faults(rng: random.Random, *steps: Step) -> list[Fault]:
    return [
        replace(
            draw(rng, int(at * S), kind),
            who=who,
            other=other,
            duration_us=int(lasting * S),
            size=size,
        )
        for kind, at, who, other, lasting, size in steps
    ]


def _elections(rng: random.Random) -> list[Fault]:
    """Leaders come and go: cut off with entries of their own, or killed while others vote."""
    kinds = rng.choice(
        (
            ("isolate",),
            ("isolate-leader",),
            ("vote-crash",),
            ("slow-election",),
            ("hand-over-cut",),
            ("isolate-leader", "vote-crash", "slow-election"),
        )
    )
    at = rng.uniform(2, 4)
    faults: list[Fault] = []
    while at < _LAST_S:
        kind = rng.choice(kinds)
        long = kind.startswith("isolate")
        lasting = rng.uniform(5, 9) if long else rng.uniform(0.5, 2.0)
        fault = draw(rng, int(at * S), kind)
        who = rng.choice(REPLICAS) if kind == "isolate" else fault.who
        faults.append(replace(fault, who=who, duration_us=int(lasting * S)))
        if kind == "slow-election" and rng.random() < 0.5:
            lost = rng.choice(NODES)
            faults += _faults(
                rng, ("power-off", at + rng.uniform(0.3, 2), lost, lost, lasting + 6.5, 0.0)
            )
        calm = _CALM_S if kinds[0] in _SEEN_LATER else 0.0  # so that who is left behind is seen
        at += lasting + calm + rng.uniform(1, 3)
    return faults


def _join_and_die(rng: random.Random) -> list[Fault]:
    """A standby comes back over a slow link, and the active dies while it joins."""
    at = rng.uniform(2, 4)
    active, standby = REPLICAS
    faults: list[Fault] = []
    while at < _LAST_S:
        back = at + rng.uniform(4, 5)
        size = rng.uniform(0.7, 1)
        faults += _faults(
            rng,
            ("worker-stop", at, standby, active, back - at, size),
            ("slow-link", back - 0.5, active, standby, 6.0, size),
        )
        if rng.random() < 0.5:
            dies = ("power-off", back + rng.uniform(0.3, 2.5), active, standby, 6.0, size)
        else:
            dies = ("cut-when-admitted", back - 0.1, active, standby, 6.0, rng.random())
        faults += _faults(rng, dies)
        active, standby = standby, active
        at = back + rng.uniform(14, 18)
    return faults


def _late_news(rng: random.Random) -> list[Fault]:
    """A replica hears late of what is committed, and then is not heard any more."""
    at = rng.uniform(2, 4)
    faults: list[Fault] = []
    while at < _LAST_S:
        who = rng.choice(REPLICAS)
        sources = [node for node in NODES if node != who]
        slow: list[Step] = [
            ("slow-link", at, source, who, 6, rng.uniform(0.9, 1)) for source in sources
        ]
        mute = ("mute", at + rng.uniform(1, 2), who, sources[0], 5.0, 0.0)
        faults += _faults(rng, *slow, mute)
        at += rng.uniform(12, 16)
    return faults


def _late_grant(rng: random.Random) -> list[Fault]:
    """A switchover, and the new active learns late that it is, and is not heard any more."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < _LAST_S:
        who = rng.choice(REPLICAS)
        half = rng.choice((0.0, 0.9))
        faults += _faults(
            rng,
            ("late-grant", at, who, who, 5.0, rng.random()),
            ("switchover", at + 0.1, who, who, 1.0, half),
            ("switchover", at + 0.3, who, who, 1.0, 0.9 - half),
        )
        at += rng.uniform(13, 17)
    return faults


def _die_while_comparing(rng: random.Random) -> list[Fault]:
    """A standby in sync has to compare its trees all of a sudden, and the active dies meanwhile."""
    at = rng.uniform(5, 7)
    active, standby = REPLICAS
    faults: list[Fault] = []
    while at < _LAST_S:
        faults += _faults(
            rng,
            ("die-while-comparing", at, active, standby, 2.0, rng.random()),
            ("worker-kill", at, standby, active, 1.0, 0.0),
            ("trim-journal", at + 0.18, active, standby, 1.0, 0.0),
            ("trim-journal", at + 0.6, active, standby, 1.0, 0.0),
        )
        active, standby = standby, active
        at += rng.uniform(14, 18)
    return faults


def _asleep_at_the_restart(rng: random.Random) -> list[Fault]:
    """The active's daemon is restarted, its machine sleeps meanwhile, and wakes cut off."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < _LAST_S:
        for who in REPLICAS:
            faults += _faults(
                rng,
                ("isolate", at, who, who, rng.uniform(7, 9), 0.0),
                ("kill", at + 0.05, who, who, 0.1, 0.0),
                ("sleep", at + rng.uniform(0.06, 0.5), who, who, rng.uniform(3.5, 5), 0.0),
            )
            at += rng.uniform(13, 16)
    return faults


def _stopped_while_clocks_part(rng: random.Random) -> list[Fault]:
    """Whoever is active stands still from one instant to the next, and counts on its lease."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < _LAST_S:
        lasting = rng.uniform(4, 5.5)
        faults += _faults(rng, ("stop-active", at, REPLICAS[0], REPLICAS[1], lasting, 0.0))
        at += lasting + rng.uniform(4, 6)
    return faults


def _restarted_too_late(rng: random.Random) -> list[Fault]:
    """The active's daemon is back just before its lease ends, and is cut off as it goes on."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < _LAST_S:
        faults += _faults(
            rng, ("restart-late", at, REPLICAS[0], REPLICAS[1], 6.0, rng.uniform(0.2, 1))
        )
        at += rng.uniform(11, 14)
    return faults


def _held_up(rng: random.Random) -> list[Fault]:
    """Calls of the kernel take from an instant to more than a lease, on the active and beside."""
    at = rng.uniform(2, 4)
    faults: list[Fault] = []
    while at < _LAST_S:
        for who in REPLICAS:
            faults += _faults(rng, ("vip-held-up", at, who, who, rng.uniform(0.2, 4), 0.0))
        at += rng.uniform(4, 7)
    return faults


def _late_refresh(rng: random.Random) -> list[Fault]:
    """Nothing is wrong but that for a moment addresses and gate are refreshed too late."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < _LAST_S:
        for who in REPLICAS:
            lasting, size = rng.uniform(0.3, 1.2), rng.uniform(0.5, 0.8)
            faults += _faults(rng, ("actions-slow", at, who, who, lasting, size))
        at += rng.uniform(5, 9)
    return faults


def _pair_parted(rng: random.Random) -> list[Fault]:
    """Two without a witness lose each other, and the devices of both work."""
    at = rng.uniform(4, 6)
    one, other = REPLICAS
    faults = _faults(rng, ("device-mood", 1.0, one, other, 0.0, 0.0))
    faults += _faults(rng, ("device-mood", 1.0, other, one, 0.0, 0.0))
    while at < _LAST_S:
        lasting = rng.uniform(9, 15)
        faults += _faults(rng, ("isolate", at, one, other, lasting, 0.0))
        if rng.random() < 0.5:  # and the one that goes on alone is restarted
            faults += _faults(rng, ("power-off", at + lasting - 1, one, other, 2.0, 0.0))
            faults += _faults(rng, ("power-off", at + lasting - 1, other, one, 2.5, 0.0))
        one, other = other, one
        at += lasting + rng.uniform(8, 14)
    return faults


def _old_proof(rng: random.Random) -> list[Fault]:
    """A device says late that it turned the active off: that is back, serves, and is cut off."""
    active, standby = REPLICAS
    at = rng.uniform(4, 6)
    return _faults(
        rng,
        ("device-mood", 1.0, standby, active, 0.0, 0.4),  # it refuses
        ("device-mood", 1.0, active, standby, 0.0, 0.9),  # it dawdles
        ("isolate", at, active, standby, 9.5, 0.0),
        ("isolate", at + rng.uniform(24, 26), active, standby, 6.0, 0.0),
    )


def _pair_stopped(rng: random.Random) -> list[Fault]:
    """The active of two without a witness hangs for about as long as its lease lasts."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    for one, other in (REPLICAS, REPLICAS[::-1]):
        faults += _faults(rng, ("device-mood", 1.0, one, other, 0.0, 0.4))  # it refuses
    while at < _LAST_S:
        lasting = rng.uniform(3.5, 6)
        faults += _faults(rng, ("stop-active", at, REPLICAS[0], REPLICAS[1], lasting, 0.0))
        at += lasting + rng.uniform(4, 7)
    return faults


def _rested(rng: random.Random) -> list[Fault]:
    """The active's daemon stops in maintenance, and somebody ends that before it is back, or not.

    Sometimes its machine goes with it, or it is cut off as it comes back.
    """
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < _LAST_S:
        lasting = rng.choice((rng.uniform(0.2, 2), rng.uniform(3, 12), 12.0))
        who, other = rng.sample(REPLICAS, 2)
        faults += _faults(rng, ("rest", at, who, other, lasting, rng.random()))
        kind = rng.choice(("power-off", "isolate", "kill", "switchover", "none", "none"))
        if kind != "none":
            when = at + rng.uniform(0.5, lasting + 2)
            faults += _faults(rng, (kind, when, who, other, rng.uniform(1, 5), rng.random()))
        at += lasting + rng.uniform(5, 10)
    return faults


def _in_a_phase(rng: random.Random) -> list[Fault]:
    """Switchovers, restarts and losses of the active, each struck in a phase of milliseconds."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < _LAST_S:
        one, other = rng.sample(REPLICAS, 2)
        half = rng.choice((0.0, 0.9))
        faults += _faults(rng, ("in-phase", at, one, other, 1.0, rng.random()))
        if rng.random() < 0.7:
            for target, later in ((half, 0.1), (0.9 - half, 0.4)):
                faults += _faults(rng, ("switchover", at + later, one, other, 1.0, target))
        else:
            kind = rng.choice(("kill", "power-off"))
            faults += _faults(rng, (kind, at + 0.1, one, other, rng.uniform(0.3, 3), 0.0))
        at += rng.uniform(8, 12)
    return faults


def _farewell(rng: random.Random) -> list[Fault]:
    """One of two stops in order and stays away; then the other has to go on without it."""
    one, other = REPLICAS
    faults = _faults(rng, ("device-mood", 1.0, one, other, 0.0, rng.choice((0.0, 0.4))))
    faults += _faults(rng, ("device-mood", 1.0, other, one, 0.0, rng.choice((0.0, 0.4))))
    at = rng.uniform(3, 5)
    if rng.random() < 0.5:  # the one that went on alone is not reached when the other is back
        faults = []
        for who in REPLICAS:
            faults += _faults(rng, ("device-mood", 1.0, who, who, 0.0, 0.0))
        who, stays = other, one
        faults += _faults(
            rng, ("leave", at, who, stays, 10.0, 0.0), ("isolate", at + 9, stays, who, 16.0, 0.0)
        )
        return faults
    while at < _LAST_S:
        who, stays = rng.sample(REPLICAS, 2)
        lasting = rng.uniform(1, 12)
        faults += _faults(rng, ("leave", at, who, stays, lasting, 0.0))
        kind = rng.choice(("power-off", "isolate", "kill", "none"))
        if kind != "none":
            when = at + rng.uniform(0.3, lasting + 4)
            faults += _faults(
                rng, (kind, when, rng.choice(REPLICAS), stays, rng.uniform(1, 8), 0.0)
            )
        at += lasting + rng.uniform(8, 14)
    return faults


def _given_up(rng: random.Random) -> list[Fault]:
    """The active goes on alone and dies; an operator forces the other; then the first is back."""
    one, other = REPLICAS
    return _faults(
        rng,
        ("device-mood", 1.0, one, other, 0.0, 0.0),
        ("device-mood", 1.0, other, one, 0.0, 0.0),
        ("given-up", rng.uniform(4, 8), one, other, 1.0, 0.0),
    )


def _begun_anew(rng: random.Random) -> list[Fault]:
    """The active stands still, nothing turns it off, and who takes over loses its lease meanwhile.

    It begins anew in an epoch of its own, and still nobody knows what became of the other.
    """
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < _LAST_S:
        lasting = rng.uniform(12, 14)
        faults += _faults(rng, ("begin-anew", at, REPLICAS[0], REPLICAS[1], lasting, rng.random()))
        at += lasting + rng.uniform(7, 9)
    return faults


def _upgraded_and_put_back(rng: random.Random) -> list[Fault]:
    """All nodes get the newer release, one is put back, and meanwhile others are restarted."""
    at = rng.uniform(3, 5)
    who = rng.choice(NODES)
    faults: list[Fault] = []
    if rng.random() < 0.5:  # one is not heard from the start, and the others do not wait for it
        faults += _faults(rng, ("isolate", 0.0, who, who, at + 8, 0.0))
        for node in NODES:
            if node != who:
                faults += _faults(rng, ("upgrade", at, node, who, 1.0, 1.0))
                at += 2
        at += 9
    faults += _faults(rng, ("upgrade", at, who, who, 1.0, 0.0))
    at += rng.uniform(5, 7)
    while at < _LAST_S:
        lasting = rng.uniform(2, 8)
        back, other = rng.sample(NODES, 2)
        faults += _faults(
            rng,
            ("put-back", at, back, other, lasting, 0.0),
            ("kill", at + rng.uniform(0, lasting), other, back, 0.3, 0.0),
        )
        if rng.random() < 0.5:
            replica = rng.choice(REPLICAS)
            faults += _faults(rng, ("power-off", at + 1, replica, back, lasting, 0.0))
        at += lasting + rng.uniform(4, 8)
    return faults


def _rests_too_long(rng: random.Random) -> list[Fault]:
    """The active's daemon stops in maintenance, and is away when that ends, and for long after."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < _LAST_S:
        who = REPLICAS[0]  # and whoever else is active by then stays so
        faults += _faults(rng, ("maintenance", at, who, who, rng.uniform(2.5, 5), 0.45))
        at += rng.uniform(16, 20)
    return faults


def _rests_twice(rng: random.Random) -> list[Fault]:
    """The active's daemon is back from a rest, and rests again before that is in the record."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < _LAST_S:
        who = REPLICAS[0]
        faults += _faults(rng, ("rest-twice", at, who, who, 12.0, rng.random()))
        at += rng.uniform(16, 20)
    return faults


def _health(rng: random.Random) -> list[Fault]:
    """Both lose their uplink, or a disk hangs and the other host goes; see `health`."""
    return health.drill(rng, _faults, REPLICAS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A way to draw faults, and the cluster that it needs."""

    name: str
    faults: Callable[[random.Random], list[Fault]]
    pair: bool = False
    fast: bool = False  # with the gate
    groups: bool = False  # two of them, the first with services
    clocks_part: bool = False  # one as fast, the other as slow as is allowed
    hardware: Hardware = NONE


def _named(faults: Callable[[random.Random], list[Fault]]) -> Drill:
    return Drill(name=faults.__name__.strip("_"), faults=faults)


_DRILLS: Final = tuple(
    map(
        _named,
        (
            _elections,
            _elections,
            _join_and_die,
            _join_and_die,
            _late_news,
            _late_grant,
            _die_while_comparing,
            _asleep_at_the_restart,
        ),
    )
)
# Added later, and drawn apart: seeds of the others stay what they were.
_LATER: Final = (
    replace(_named(_stopped_while_clocks_part), clocks_part=True),
    _named(_restarted_too_late),
    _named(_held_up),
    replace(_named(_late_refresh), fast=True),
    replace(_named(_pair_parted), pair=True),
    replace(_named(_old_proof), pair=True),
)
_LATER_SHARE: Final = 0.4
_LATEST: Final = (
    replace(
        _named(_begun_anew),
        hardware=Hardware(fenced_by=WITHOUT_LEASE, devices=True, delay_ms=500),
    ),
    _named(_upgraded_and_put_back),
    replace(_named(_given_up), pair=True),
    Drill(name="held_up_gate", faults=_held_up, fast=True),
    _named(_in_a_phase),
    replace(_named(_in_a_phase), fast=True),
    _named(_rested),
    replace(_named(_rested), pair=True),
    replace(_named(_farewell), pair=True),
)
_LATEST_SHARE: Final = 0.4
_RESTS: Final = _named(_rests_too_long)
_RESTS_SHARE: Final = 0.06
_RESTS_TWICE: Final = _named(_rests_twice)
_RESTS_TWICE_SHARE: Final = 0.04
_HEALTH: Final = _named(_health)
_HEALTH_SHARE: Final = 0.06
_PAIR_STOPPED: Final = replace(_named(_pair_stopped), pair=True)
_PAIR_STOPPED_SHARE: Final = 0.03
_GROUPS: Final = Drill(
    name="two_groups",
    faults=lambda rng: group_drill.faults(rng, _faults, _LAST_S),
    groups=True,
    hardware=Hardware(watchdog_s=2, outside=True, ttl_ms=4000, renew_ms=200),
)
_GROUPS_SHARE: Final = 0.05
_APART: Final = (_RESTS, _RESTS_TWICE, _HEALTH, _PAIR_STOPPED, _GROUPS)
NAMES: Final = frozenset(drill.name for drill in (*_DRILLS, *_LATER, *_LATEST, *_APART))


def drill_of(seed: int, rng: random.Random) -> tuple[Drill, list[Fault]]:
    """The drill of a seed, and its faults; `rng` is the one that the others are drawn from."""
    sharing = random.Random(f"two groups drill {seed}")
    if sharing.random() < _GROUPS_SHARE:
        return _GROUPS, _GROUPS.faults(sharing)
    stopped = random.Random(f"pair stopped drill {seed}")
    if stopped.random() < _PAIR_STOPPED_SHARE:
        return _PAIR_STOPPED, _PAIR_STOPPED.faults(stopped)
    unwell = random.Random(f"health drill {seed}")
    if unwell.random() < _HEALTH_SHARE:
        return _HEALTH, _HEALTH.faults(unwell)
    twice = random.Random(f"resting twice drill {seed}")
    if twice.random() < _RESTS_TWICE_SHARE:
        return _RESTS_TWICE, _RESTS_TWICE.faults(twice)
    resting = random.Random(f"resting drill {seed}")
    if resting.random() < _RESTS_SHARE:
        return _RESTS, _RESTS.faults(resting)
    latest = random.Random(f"latest drill {seed}")
    if latest.random() < _LATEST_SHARE:
        drill = latest.choice(_LATEST)
        return drill, drill.faults(latest)
    apart = random.Random(f"drill {seed}")
    if apart.random() < _LATER_SHARE:
        drill = apart.choice(_LATER)
        return drill, drill.faults(apart)
    drill = rng.choice(_DRILLS)
    return drill, drill.faults(rng)
