"""What chance brings together too seldom: sequences that a known hazard needs.

A drill is a plan of faults like any other, over a workload that knows nothing of it. Each is
repeated, with other figures, until the storm is over.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from simulation import data_drills, group_drill, health, pair_drills, rest_drills
from simulation.drilling import LAST_S, Step, made
from simulation.fault import NODES, REPLICAS, Fault, draw
from simulation.hardware import NONE, WITHOUT_LEASE, Hardware
from simulation.schedule import S

_CALM_S: Final = 6.0
_SEEN_LATER: Final = ("slow-election", "hand-over-cut")


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
    while at < LAST_S:
        kind = rng.choice(kinds)
        long = kind.startswith("isolate")
        lasting = rng.uniform(5, 9) if long else rng.uniform(0.5, 2.0)
        fault = draw(rng, int(at * S), kind)
        who = rng.choice(REPLICAS) if kind == "isolate" else fault.who
        faults.append(replace(fault, who=who, duration_us=int(lasting * S)))
        if kind == "slow-election" and rng.random() < 0.5:
            lost = rng.choice(NODES)
            faults += made(
                rng, ("power-off", at + rng.uniform(0.3, 2), lost, lost, lasting + 6.5, 0.0)
            )
        calm = _CALM_S if kinds[0] in _SEEN_LATER else 0.0  # so that who is left behind is seen
        at += lasting + calm + rng.uniform(1, 3)
    return faults


def _late_news(rng: random.Random) -> list[Fault]:
    """A replica hears late of what is committed, and then is not heard any more."""
    at = rng.uniform(2, 4)
    faults: list[Fault] = []
    while at < LAST_S:
        who = rng.choice(REPLICAS)
        sources = [node for node in NODES if node != who]
        slow: list[Step] = [
            ("slow-link", at, source, who, 6, rng.uniform(0.9, 1)) for source in sources
        ]
        mute = ("mute", at + rng.uniform(1, 2), who, sources[0], 5.0, 0.0)
        faults += made(rng, *slow, mute)
        at += rng.uniform(12, 16)
    return faults


def _late_grant(rng: random.Random) -> list[Fault]:
    """A switchover, and the new active learns late that it is, and is not heard any more."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < LAST_S:
        who = rng.choice(REPLICAS)
        half = rng.choice((0.0, 0.9))
        faults += made(
            rng,
            ("late-grant", at, who, who, 5.0, rng.random()),
            ("switchover", at + 0.1, who, who, 1.0, half),
            ("switchover", at + 0.3, who, who, 1.0, 0.9 - half),
        )
        at += rng.uniform(13, 17)
    return faults


def _asleep_at_the_restart(rng: random.Random) -> list[Fault]:
    """The active's daemon is restarted, its machine sleeps meanwhile, and wakes cut off."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < LAST_S:
        for who in REPLICAS:
            faults += made(
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
    while at < LAST_S:
        lasting = rng.uniform(4, 5.5)
        faults += made(rng, ("stop-active", at, REPLICAS[0], REPLICAS[1], lasting, 0.0))
        at += lasting + rng.uniform(4, 6)
    return faults


def _restarted_too_late(rng: random.Random) -> list[Fault]:
    """The active's daemon is back just before its lease ends, and is cut off as it goes on."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < LAST_S:
        faults += made(
            rng, ("restart-late", at, REPLICAS[0], REPLICAS[1], 6.0, rng.uniform(0.2, 1))
        )
        at += rng.uniform(11, 14)
    return faults


def _held_up(rng: random.Random) -> list[Fault]:
    """Calls of the kernel take from an instant to more than a lease, on the active and beside."""
    at = rng.uniform(2, 4)
    faults: list[Fault] = []
    while at < LAST_S:
        for who in REPLICAS:
            faults += made(rng, ("vip-held-up", at, who, who, rng.uniform(0.2, 4), 0.0))
        at += rng.uniform(4, 7)
    return faults


def _late_refresh(rng: random.Random) -> list[Fault]:
    """Nothing is wrong but that for a moment addresses and gate are refreshed too late."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < LAST_S:
        for who in REPLICAS:
            lasting, size = rng.uniform(0.3, 1.2), rng.uniform(0.5, 0.8)
            faults += made(rng, ("actions-slow", at, who, who, lasting, size))
        at += rng.uniform(5, 9)
    return faults


def _in_a_phase(rng: random.Random) -> list[Fault]:
    """Switchovers, restarts and losses of the active, each struck in a phase of milliseconds."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < LAST_S:
        one, other = rng.sample(REPLICAS, 2)
        half = rng.choice((0.0, 0.9))
        faults += made(rng, ("in-phase", at, one, other, 1.0, rng.random()))
        if rng.random() < 0.7:
            for target, later in ((half, 0.1), (0.9 - half, 0.4)):
                faults += made(rng, ("switchover", at + later, one, other, 1.0, target))
        else:
            kind = rng.choice(("kill", "power-off"))
            faults += made(rng, (kind, at + 0.1, one, other, rng.uniform(0.3, 3), 0.0))
        at += rng.uniform(8, 12)
    return faults


def _begun_anew(rng: random.Random) -> list[Fault]:
    """The active stands still, nothing turns it off, and who takes over loses its lease meanwhile.

    It begins anew in an epoch of its own, and still nobody knows what became of the other.
    """
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < LAST_S:
        lasting = rng.uniform(12, 14)
        faults += made(rng, ("begin-anew", at, REPLICAS[0], REPLICAS[1], lasting, rng.random()))
        at += lasting + rng.uniform(7, 9)
    return faults


def _upgraded_and_put_back(rng: random.Random) -> list[Fault]:
    """All nodes get the newer release, one is put back, and meanwhile others are restarted."""
    at = rng.uniform(3, 5)
    who = rng.choice(NODES)
    faults: list[Fault] = []
    if rng.random() < 0.5:  # one is not heard from the start, and the others do not wait for it
        faults += made(rng, ("isolate", 0.0, who, who, at + 8, 0.0))
        for node in NODES:
            if node != who:
                faults += made(rng, ("upgrade", at, node, who, 1.0, 1.0))
                at += 2
        at += 9
    faults += made(rng, ("upgrade", at, who, who, 1.0, 0.0))
    at += rng.uniform(5, 7)
    while at < LAST_S:
        lasting = rng.uniform(2, 8)
        back, other = rng.sample(NODES, 2)
        faults += made(
            rng,
            ("put-back", at, back, other, lasting, 0.0),
            ("kill", at + rng.uniform(0, lasting), other, back, 0.3, 0.0),
        )
        if rng.random() < 0.5:
            replica = rng.choice(REPLICAS)
            faults += made(rng, ("power-off", at + 1, replica, back, lasting, 0.0))
        at += lasting + rng.uniform(4, 8)
    return faults


def _health(rng: random.Random) -> list[Fault]:
    """Both lose their uplink, or a disk hangs and the other host goes; see `health`."""
    return health.drill(rng, made, REPLICAS)


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
            data_drills.join_and_die,
            data_drills.join_and_die,
            _late_news,
            _late_grant,
            data_drills.die_while_comparing,
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
    replace(_named(pair_drills.pair_parted), pair=True),
    replace(_named(pair_drills.old_proof), pair=True),
)
_LATER_SHARE: Final = 0.4
_LATEST: Final = (
    replace(
        _named(_begun_anew),
        hardware=Hardware(fenced_by=WITHOUT_LEASE, devices=True, delay_ms=500),
    ),
    _named(_upgraded_and_put_back),
    replace(_named(pair_drills.given_up), pair=True),
    Drill(name="held_up_gate", faults=_held_up, fast=True),
    _named(_in_a_phase),
    replace(_named(_in_a_phase), fast=True),
    _named(rest_drills.rested),
    replace(_named(rest_drills.rested), pair=True),
    replace(_named(pair_drills.farewell), pair=True),
)
_LATEST_SHARE: Final = 0.4
# Each of a share of its own, and looked for first: of its seed, drill, share.
_APART: Final = (
    ("settling drill", _named(data_drills.struck_while_settling), 0.08),
    (
        "two groups drill",
        Drill(
            name="two_groups",
            faults=lambda rng: group_drill.faults(rng, made, LAST_S),
            groups=True,
            hardware=Hardware(watchdog_s=2, outside=True, ttl_ms=4000, renew_ms=200),
        ),
        0.05,
    ),
    ("pair stopped drill", replace(_named(pair_drills.pair_stopped), pair=True), 0.03),
    ("health drill", _named(_health), 0.06),
    ("resting twice drill", _named(rest_drills.rests_twice), 0.04),
    ("resting drill", _named(rest_drills.rests_too_long), 0.06),
)
NAMES: Final = frozenset(
    drill.name for drill in (*_DRILLS, *_LATER, *_LATEST, *(one for _, one, _ in _APART))
)


def drill_of(seed: int, rng: random.Random) -> tuple[Drill, list[Fault]]:
    """The drill of a seed, and its faults; `rng` is the one that the others are drawn from."""
    for name, drill, share in _APART:
        own = random.Random(f"{name} {seed}")
        if own.random() < share:
            return drill, drill.faults(own)
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
