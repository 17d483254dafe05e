"""A seed becomes a plan: the cluster's figures, and which fault happens when, to whom, how long.

Swarm testing (Groce et al., 2012): each seed draws the kinds of fault that it uses at all, so that
rare ones are not drowned by common ones. A plan is data; what is left of it after `without` still
makes sense, since the world draws from another generator.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

from simulation.faults import ACTIONS, KINDS
from simulation.schedule import S
from staqraft.model import NodeId

A, B, W = NodeId("a"), NodeId("b"), NodeId("w")
NODES: Final = (A, B, W)
REPLICAS: Final = (A, B)
_PARTED_SHARE: Final = 0.25
DRILL_EVERY: Final = 5
_LATE_NEWS_SHARE: Final = 0.35
_JOIN_SHARE: Final = 0.35
_REPLICAS_ONLY: Final = frozenset(
    {
        "worker-kill",
        "worker-stop",
        "slow-sync",
        "action-fails",
        "actions-slow",
        "vip-refuses",
        "vip-held-up",
        "shutdown",
        "trim-journal",
        "switchover",
        "force-active",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: it begins, lasts and ends. `size` (0 to 1) is for the kind to make sense of."""

    at_us: int
    kind: str
    who: NodeId
    other: NodeId
    duration_us: int
    size: float
    action: str

    def __str__(self) -> str:
        what = f" {self.action}" if self.kind == "action-fails" else ""
        return (
            f"{self.at_us / S:8.3f} {self.kind}{what} {self.who} (other: {self.other})"
            f" for {self.duration_us / S:.3f} s, size {self.size:.2f}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a run depends on."""

    seed: int
    storm_us: int
    faults: tuple[Fault, ...]
    drift_ppm: dict[NodeId, int]
    allowed_drift_ppm: int
    margin_ms: int
    offset_us: dict[NodeId, int]
    snapshot_after: int
    chunk_bytes: int
    write_ms: int
    barrier_ms: int
    sqlite: bool
    parted_in_the_end: bool
    active_lost_in_the_end: bool

    def without(self, at: int) -> Plan:
        """The plan with one fault left out."""
        return replace(self, faults=self.faults[:at] + self.faults[at + 1 :])


def plan_of(seed: int, *, sqlite_share: float = 0.05) -> Plan:
    """The plan of a seed, always the same."""
    rng = random.Random(f"plan {seed}")
    storm_us = int(rng.uniform(15, 60) * S)
    share = rng.choice((0.1, 0.2, 0.35, 0.6))
    kinds = [kind for kind in KINDS if rng.random() < share] or [rng.choice(KINDS)]
    gap_s = rng.choice((0.7, 2.0, 4.0, 8.0))
    faults: list[Fault] = []
    at = rng.uniform(1, 5)
    while at * S < storm_us:
        faults.append(_fault(rng, int(at * S), rng.choice(kinds)))
        at += rng.expovariate(1 / gap_s)
    allowed = rng.choice((1000, 1000, 20_000))
    extra = random.Random(f"extra {seed}")  # of its own: added later, old seeds stay what they were
    drilled = seed % DRILL_EVERY == DRILL_EVERY - 1
    if drilled:
        storm_us = 45 * S
        faults = _drill(extra)
    return Plan(
        seed=seed,
        storm_us=storm_us,
        faults=tuple(faults),
        drift_ppm={node: _drift(rng, allowed) for node in NODES},
        allowed_drift_ppm=allowed,
        margin_ms=100 if allowed == 1000 else 10,  # so that it is the drift that is allowed for
        offset_us={node: rng.randrange(0, 10**6 * S) for node in NODES},
        snapshot_after=20 if drilled else rng.choice((20, 60, 200, 2000)),
        chunk_bytes=200 if drilled else rng.choice((200, 1000, 4000)),
        write_ms=rng.choice((60, 150, 400)),
        barrier_ms=rng.choice((100, 300, 1000)),
        sqlite=rng.random() < sqlite_share,
        parted_in_the_end=rng.random() < _PARTED_SHARE,
        active_lost_in_the_end=extra.random() < _PARTED_SHARE,
    )


def _drill(rng: random.Random) -> list[Fault]:
    """What chance brings together too seldom: a sequence that a known hazard needs."""
    which = rng.random()
    if which < _LATE_NEWS_SHARE:
        return _late_news(rng)
    if which < _LATE_NEWS_SHARE + _JOIN_SHARE:
        return _join_and_die(rng)
    kinds = rng.choice((("isolate",), ("vote-crash",), ("isolate", "vote-crash")))
    at = rng.uniform(2, 4)
    faults: list[Fault] = []
    while at < 40:
        kind = rng.choice(kinds)
        fault = _fault(rng, int(at * S), kind)
        lasting = rng.uniform(5, 9) if kind == "isolate" else rng.uniform(0.5, 1.5)
        who = rng.choice(REPLICAS) if kind == "isolate" else fault.who
        faults.append(replace(fault, who=who, duration_us=int(lasting * S)))
        at += lasting + rng.uniform(1, 3)
    return faults


def _join_and_die(rng: random.Random) -> list[Fault]:
    """A standby comes back over a slow link, and the active dies while it joins."""
    at = rng.uniform(2, 4)
    active, standby = REPLICAS
    faults: list[Fault] = []
    while at < 40:
        back = at + rng.uniform(4, 5)
        steps = (
            ("worker-stop", at, standby, active, back - at),
            ("slow-link", back - 0.5, active, standby, 6.0),
            ("power-off", back + rng.uniform(0.3, 2.5), active, standby, 6.0),
        )
        for kind, when, who, other, lasting in steps:
            fault = _fault(rng, int(when * S), kind)
            size = rng.uniform(0.7, 1)
            lasting_us = int(lasting * S)
            faults.append(replace(fault, who=who, other=other, duration_us=lasting_us, size=size))
        active, standby = standby, active
        at = back + rng.uniform(14, 18)
    return faults


def _late_news(rng: random.Random) -> list[Fault]:
    """A replica hears late of what is committed, and then is not heard any more."""
    at = rng.uniform(2, 4)
    faults: list[Fault] = []
    while at < 40:
        who = rng.choice(REPLICAS)
        for source in NODES:
            if source != who:
                slow = _fault(rng, int(at * S), "slow-link")
                faults.append(
                    replace(
                        slow, who=source, other=who, duration_us=6 * S, size=rng.uniform(0.9, 1)
                    )
                )
        mute = _fault(rng, int((at + rng.uniform(1, 2)) * S), "mute")
        faults.append(replace(mute, who=who, duration_us=5 * S))
        at += rng.uniform(12, 16)
    return faults


def _drift(rng: random.Random, allowed: int) -> int:
    return rng.choice((-allowed, allowed, 0, rng.randint(-allowed, allowed)))


def _fault(rng: random.Random, at_us: int, kind: str) -> Fault:
    who = rng.choice(REPLICAS if kind in _REPLICAS_ONLY else NODES)
    other = rng.choice([node for node in NODES if node != who])
    return Fault(
        at_us=at_us,
        kind=kind,
        who=who,
        other=other,
        duration_us=int(rng.choice((0.05, 0.4, 1.0, 2.5, 4.0, 8.0)) * rng.uniform(0.5, 1.5) * S),
        size=rng.random(),
        action=rng.choice(ACTIONS),
    )
