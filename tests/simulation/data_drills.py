"""Standbys that are not whole when something happens; see `drills`."""

from __future__ import annotations

import random
from typing import Final

from simulation.drilling import LAST_S, made
from simulation.fault import REPLICAS, Fault

_ONE_WAY: Final = 0.6  # of a slow link's size: only to the standby


def join_and_die(rng: random.Random) -> list[Fault]:
    """A standby comes back over a slow link, and the active dies while it joins."""
    at = rng.uniform(2, 4)
    active, standby = REPLICAS
    faults: list[Fault] = []
    while at < LAST_S:
        back = at + rng.uniform(4, 5)
        size = rng.uniform(0.7, 1)
        faults += made(
            rng,
            ("worker-stop", at, standby, active, back - at, size),
            ("slow-link", back - 0.5, active, standby, 6.0, size),
        )
        if rng.random() < 0.5:
            dies = ("power-off", back + rng.uniform(0.3, 2.5), active, standby, 6.0, size)
        else:
            dies = ("cut-when-admitted", back - 0.1, active, standby, 6.0, rng.random())
        faults += made(rng, dies)
        active, standby = standby, active
        at = back + rng.uniform(14, 18)
    return faults


def die_while_comparing(rng: random.Random) -> list[Fault]:
    """A standby in sync has to compare its trees all of a sudden, and the active dies meanwhile."""
    at = rng.uniform(5, 7)
    active, standby = REPLICAS
    faults: list[Fault] = []
    while at < LAST_S:
        faults += made(
            rng,
            ("die-while-comparing", at, active, standby, 2.0, rng.random()),
            ("worker-kill", at, standby, active, 1.0, 0.0),
            ("trim-journal", at + 0.18, active, standby, 1.0, 0.0),
            ("trim-journal", at + 0.6, active, standby, 1.0, 0.0),
        )
        active, standby = standby, active
        at += rng.uniform(14, 18)
    return faults


def struck_while_settling(rng: random.Random) -> list[Fault]:
    """A standby in sync has to compare its trees, and is killed, or its active dies, just after.

    Or nothing happens but that records are slow to come.
    """
    at = rng.uniform(5, 7)
    active, standby = REPLICAS
    faults: list[Fault] = []
    while at < LAST_S:
        if rng.random() < 0.5:
            faults += made(rng, ("slow-link", at, active, standby, 5.0, rng.uniform(_ONE_WAY, 1.0)))
        else:
            size = rng.random()
            faults += made(rng, ("strike-settling", at, active, standby, 2.0, size))
        faults += made(
            rng,
            ("worker-kill", at, standby, active, 1.0, 0.0),
            ("trim-journal", at + 0.18, active, standby, 1.0, 0.0),
            ("trim-journal", at + 0.6, active, standby, 1.0, 0.0),
        )
        active, standby = standby, active
        at += rng.uniform(12, 16)
    return faults
