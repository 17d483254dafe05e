"""What is done to the cluster, drawn from a seed: faults singly and overlapping.

A plan is a row of steps; each begins when all is well, and afterwards all must become well again. A
step has one fault, or two or three that begin and end at moments of their own. All kinds come in a
random order, then all in another, and so on, so that a short run has many and a long one all. Now
and then there is a storm of six. A disk that is dead until somebody takes over is always alone, but
for an operator: what was drawn with it comes next.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos.deeds import Busy, ClockStep, FenceFailure, Stubborn, SwitchOver
from chaos.links import Cut, Flap, Unplug
from chaos.nemesis import Nemesis, Together
from chaos.power import Power
from chaos.processes import LOOP, Kill, Restart, Stop
from chaos.volumes import Dead, Full, Hang, ReadOnly
from lab.layout import REPLICAS

LEASE_S = 3.0
Maker = Callable[[random.Random], Nemesis]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`start_s` counts from the beginning of its step."""

    number: int
    start_s: float
    nemesis: Nemesis

    @property
    def end_s(self) -> float:
        """When it is healed."""
        return self.start_s + self.nemesis.hold_s

    def __str__(self) -> str:
        return f"{self.number:4}  {self.start_s:5.1f} .. {self.end_s:5.1f} s  {self.nemesis.name}"


@dataclass(frozen=True, slots=True)
class Step:
    """Faults that are judged together."""

    faults: tuple[Fault, ...]

    @property
    def kind(self) -> str:
        """For tables: overlapping faults are a kind of their own."""
        if not self.faults:
            return "nothing"
        if len(self.faults) == 1:
            return self.faults[0].nemesis.kind
        return f"{len(self.faults)} overlapping faults"

    @property
    def name(self) -> str:
        """What all of them are."""
        return " | ".join(fault.nemesis.name for fault in self.faults)


def single(number: int, nemesis: Nemesis) -> Step:
    """A step of one fault."""
    return Step((Fault(number=number, start_s=0.0, nemesis=nemesis),))


# --- drawing --------------------------------------------------------------------------------------


def _short(rng: random.Random) -> float:
    return rng.uniform(0.2, 2.0)


def _long(rng: random.Random) -> float:
    """Longer than the lease."""
    return rng.uniform(LEASE_S + 0.5, LEASE_S + 3)


def _any(rng: random.Random) -> float:
    return rng.choice((_short, _long))(rng)


def _replica(rng: random.Random) -> str:
    return rng.choice(("active", "standby"))


def _member(rng: random.Random) -> str:
    return rng.choice(("active", "active", "standby", "w"))


def _pair(rng: random.Random) -> tuple[str, str]:
    ends = rng.choice((("active", "standby"), ("active", "w"), ("standby", "w")))
    return ends if rng.random() < 0.5 else ends[::-1]


def _network(rng: random.Random, ends: tuple[str, str]) -> str:
    return "" if "w" in ends else rng.choice(("", "service", "sync"))


def _cut(rng: random.Random, ends: tuple[str, str], *, one_way: bool = True) -> Nemesis:
    return Cut(ends, _any(rng), one_way=one_way, network=_network(rng, ends))


def _both_replicas(rng: random.Random) -> Nemesis:
    off = rng.sample(("active", "standby"), 2)
    back = rng.sample(("active", "standby"), 2)
    return Power(off, _short(rng), back=back, between_s=rng.choice((0.0, 1.0, LEASE_S + 2)))


def _stubborn(rng: random.Random) -> Nemesis:
    mood = rng.choice(("refusing", "hanging"))
    return Together(Stubborn("active", mood, rng.uniform(2, 9)), SwitchOver())


def _step_of_clock(rng: random.Random) -> float:
    # Not further back: the certificates of the lab are just made, and from an hour ago on valid.
    return rng.choice((-3000, -60, -2, 2, 60, 3600, 30 * 86400))


PROCESSES: tuple[Maker, ...] = (
    lambda _: Kill("active", "staqraftd"),
    lambda _: Kill("standby", "staqraftd"),
    lambda _: Kill("w", "staqraftd"),
    lambda _: Kill("active", "trees"),
    lambda _: Kill("active", "stream"),
    lambda rng: Kill("standby", rng.choice(("trees", "stream"))),
    lambda rng: Kill(_replica(rng), "disk_probe"),
    lambda rng: Stop(_replica(rng), "disk_probe", _any(rng)),
    lambda _: Kill("active", "nginx"),
    lambda _: Kill("active", "mailer"),
    lambda rng: Kill("active", "nginx", again=True, hold_s=rng.uniform(12, 20)),
    lambda rng: Kill("active", "staqraftd", again=True, hold_s=_long(rng)),
    lambda rng: Kill("standby", rng.choice(("trees", "stream")), again=True, hold_s=_long(rng)),
    lambda rng: Stop("active", "daemon", _long(rng)),
    lambda rng: Stop("active", "staqraftd", _any(rng)),
    lambda rng: Stop("active", "host", _long(rng)),
    lambda rng: Stop(rng.choice(("standby", "w")), rng.choice(("daemon", "host")), _any(rng)),
    lambda rng: Stop("active", rng.choice(("trees", "stream")), _any(rng)),
    lambda rng: Stop("standby", rng.choice(("trees", "stream")), _any(rng)),
    lambda rng: Stop("active", rng.choice(("nginx", "mailer")), _any(rng)),
    lambda rng: Restart(_member(rng), _short(rng)),
    lambda rng: Restart("active", _short(rng)),
)
LINKS: tuple[Maker, ...] = (
    lambda rng: _cut(rng, ("active", "standby")),
    lambda rng: _cut(rng, ("standby", "active")),
    lambda rng: _cut(rng, ("active", "w")),
    lambda rng: _cut(rng, ("w", "active")),
    lambda rng: _cut(rng, rng.choice((("standby", "w"), ("w", "standby")))),
    lambda rng: _cut(rng, _pair(rng), one_way=False),
    lambda rng: Unplug(
        "isolation of the active", [("active", "sync"), ("active", "service")], _long(rng)
    ),
    lambda rng: Unplug(
        "isolation of the standby", [("standby", "sync"), ("standby", "service")], _any(rng)
    ),
    lambda rng: Unplug("cable out", [(_replica(rng), rng.choice(("sync", "service")))], _long(rng)),
    lambda rng: Unplug("network down", [("", "service")], _any(rng)),
    lambda rng: Unplug("network down", [("", "sync")], _any(rng)),
    lambda rng: Flap(_pair(rng), rng.uniform(3, 6), rng),
    lambda rng: Flap(_pair(rng), rng.uniform(3, 6), rng, one_way=True),
)
POWER: tuple[Maker, ...] = (
    lambda rng: Power(["w"], _any(rng)),
    lambda rng: Power(["active"], _any(rng)),
    lambda rng: Power(["standby"], _any(rng)),
    _both_replicas,
    lambda rng: Power(["w", "standby"], _any(rng)),
    lambda rng: Power(["w", "active"], _any(rng)),
)
DISKS: tuple[Maker, ...] = (
    lambda rng: Together(Stop("standby", "trees", 1.0), Power(["active"], _long(rng))),
    lambda rng: Together(ReadOnly("standby", 1.0), Power(["active"], _long(rng))),
    lambda rng: Full("active", "data", _any(rng)),
    lambda rng: Full("active", "journal", _any(rng)),
    lambda rng: Full("active", "raft", _any(rng)),
    lambda rng: Full("standby", rng.choice(("data", "journal", "raft", "state")), _long(rng)),
    lambda rng: Full("w", "raft", _any(rng)),
    lambda rng: Dead(rng.choice(("data", "data", "journal", "raft"))),
    lambda rng: Hang("active", "data", _any(rng)),
    lambda rng: Hang("active", "journal", _any(rng)),
    lambda rng: Hang("active", "raft", _any(rng)),
    lambda rng: Hang("standby", rng.choice(("data", "journal", "raft", "state")), _long(rng)),
    lambda rng: Hang("w", "raft", _any(rng)),
)
DEEDS: tuple[Maker, ...] = (
    lambda _: SwitchOver(),
    _stubborn,
    lambda rng: ClockStep("active", _step_of_clock(rng), _any(rng)),
    lambda rng: ClockStep(rng.choice((*REPLICAS, "w")), _step_of_clock(rng), _any(rng)),
)


def _fence_failure(rng: random.Random, mood: str) -> Nemesis:
    """Just when the device is needed: the active is there, and does not answer who asks it."""
    away: tuple[Maker, ...] = (
        lambda rng: Stop("active", "host", _long(rng)),
        lambda rng: Unplug(
            "isolation of the active", [("active", "sync"), ("active", "service")], _long(rng)
        ),
    )
    return Together(FenceFailure("active", mood, rng.uniform(5, 9)), rng.choice(away)(rng))


FENCES: tuple[Maker, ...] = tuple(
    lambda rng, mood=mood: _fence_failure(rng, mood)  # type: ignore[misc]
    for mood in ("refusing", "hanging", "lying")
)
MAKERS = PROCESSES + LINKS + POWER + DISKS + DEEDS
MANY = (1, 2, 3, 6)  # faults of a step; six are a storm
OFTEN = (0.5, 0.25, 0.15, 0.1)
STORM_S = 12.0  # within which faults of a storm begin
MEANWHILE = 0.2  # how often an operator asks for a switchover just then
UNDER_LOAD = 0.4  # how often something that is killed, alone, is killed while users are busy


def _with_others(nemesis: Nemesis, rng: random.Random) -> Nemesis:
    """Users are busy, or an operator asks for a switchover, at that moment."""
    once = isinstance(nemesis, (Kill, Power)) and not nemesis.kind.startswith(LOOP)
    if once and rng.random() < UNDER_LOAD:
        # Only with what leaves the active in office or kills it: a former active that lives on
        # stops its services, and nobody would stop these users.
        return Together(Busy(), nemesis)
    if rng.random() < MEANWHILE and not isinstance(nemesis, SwitchOver):
        return Together(nemesis, SwitchOver())
    return nemesis


def draw(seed: int, *, devices: bool = False) -> Iterator[Step]:
    """Steps without end. With `devices` those that turn hosts off fail, too."""
    rng = random.Random(seed)
    makers = (*MAKERS, *(FENCES if devices else ()))
    waiting: list[Maker] = []
    number = 0
    while True:
        several = rng.choices(MANY, OFTEN)[0]
        if len(waiting) < several:
            waiting += rng.sample(makers, len(makers))
        drawn, waiting = waiting[:several], waiting[several:]
        chosen = [maker(rng) for maker in drawn]
        dead = [number for number, one in enumerate(chosen) if isinstance(one, Dead)]
        if dead:
            # A disk that is dead until somebody takes over would hold the others up: they wait.
            waiting = [maker for at, maker in enumerate(drawn) if at != dead[0]] + waiting
            chosen = [chosen[dead[0]]]
        if len(chosen) == 1:
            chosen = [_with_others(chosen[0], rng)]
        within_s = STORM_S if len(chosen) == MANY[-1] else chosen[0].hold_s + 1
        starts = [0.0, *(rng.uniform(0, within_s) for _ in chosen[1:])]
        faults = []
        for nemesis, start_s in zip(chosen, starts, strict=True):
            number += 1
            faults.append(Fault(number=number, start_s=start_s, nemesis=nemesis))
        yield Step(tuple(faults))
