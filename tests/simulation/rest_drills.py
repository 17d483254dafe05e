"""Daemons that stop in maintenance; see `drills`."""

from __future__ import annotations

import random

from simulation.drilling import LAST_S, made
from simulation.fault import REPLICAS, Fault


def rested(rng: random.Random) -> list[Fault]:
    """The active's daemon stops in maintenance, and somebody ends that before it is back, or not.

    Sometimes its machine goes with it, or it is cut off as it comes back.
    """
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < LAST_S:
        lasting = rng.choice((rng.uniform(0.2, 2), rng.uniform(3, 12), 12.0))
        who, other = rng.sample(REPLICAS, 2)
        faults += made(rng, ("rest", at, who, other, lasting, rng.random()))
        kind = rng.choice(("power-off", "isolate", "kill", "switchover", "none", "none"))
        if kind != "none":
            when = at + rng.uniform(0.5, lasting + 2)
            faults += made(rng, (kind, when, who, other, rng.uniform(1, 5), rng.random()))
        at += lasting + rng.uniform(5, 10)
    return faults


def rests_too_long(rng: random.Random) -> list[Fault]:
    """The active's daemon stops in maintenance, and is away when that ends, and for long after."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    while at < LAST_S:
        who = REPLICAS[0]  # and whoever else is active by then stays so
        faults += made(rng, ("maintenance", at, who, who, rng.uniform(2.5, 5), 0.45))
        at += rng.uniform(16, 20)
    return faults


def rests_twice(rng: random.Random) -> list[Fault]:
    """The active's daemon is back from a rest, and rests again before that is in the record."""
    at = rng.uniform(3, 5)
    faults: list[Fault] = []
    while at < LAST_S:
        who = REPLICAS[0]
        faults += made(rng, ("rest-twice", at, who, who, 12.0, rng.random()))
        at += rng.uniform(16, 20)
    return faults
