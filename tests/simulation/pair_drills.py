"""What two replicas without a witness need; see `drills`."""

from __future__ import annotations

import random

from simulation.drilling import LAST_S, made
from simulation.fault import REPLICAS, Fault


def pair_parted(rng: random.Random) -> list[Fault]:
    """Two without a witness lose each other, and the devices of both work."""
    at = rng.uniform(4, 6)
    one, other = REPLICAS
    faults = made(rng, ("device-mood", 1.0, one, other, 0.0, 0.0))
    faults += made(rng, ("device-mood", 1.0, other, one, 0.0, 0.0))
    while at < LAST_S:
        lasting = rng.uniform(9, 15)
        faults += made(rng, ("isolate", at, one, other, lasting, 0.0))
        if rng.random() < 0.5:  # and the one that goes on alone is restarted
            faults += made(rng, ("power-off", at + lasting - 1, one, other, 2.0, 0.0))
            faults += made(rng, ("power-off", at + lasting - 1, other, one, 2.5, 0.0))
        one, other = other, one
        at += lasting + rng.uniform(8, 14)
    return faults


def old_proof(rng: random.Random) -> list[Fault]:
    """A device says late that it turned the active off: that is back, serves, and is cut off."""
    active, standby = REPLICAS
    at = rng.uniform(4, 6)
    return made(
        rng,
        ("device-mood", 1.0, standby, active, 0.0, 0.4),  # it refuses
        ("device-mood", 1.0, active, standby, 0.0, 0.9),  # it dawdles
        ("isolate", at, active, standby, 9.5, 0.0),
        ("isolate", at + rng.uniform(24, 26), active, standby, 6.0, 0.0),
    )


def pair_stopped(rng: random.Random) -> list[Fault]:
    """The active of two without a witness hangs for about as long as its lease lasts."""
    at = rng.uniform(4, 6)
    faults: list[Fault] = []
    for one, other in (REPLICAS, REPLICAS[::-1]):
        faults += made(rng, ("device-mood", 1.0, one, other, 0.0, 0.4))  # it refuses
    while at < LAST_S:
        lasting = rng.uniform(3.5, 6)
        faults += made(rng, ("stop-active", at, REPLICAS[0], REPLICAS[1], lasting, 0.0))
        at += lasting + rng.uniform(4, 7)
    return faults


def farewell(rng: random.Random) -> list[Fault]:
    """One of two stops in order and stays away; then the other has to go on without it."""
    one, other = REPLICAS
    faults = made(rng, ("device-mood", 1.0, one, other, 0.0, rng.choice((0.0, 0.4))))
    faults += made(rng, ("device-mood", 1.0, other, one, 0.0, rng.choice((0.0, 0.4))))
    at = rng.uniform(3, 5)
    if rng.random() < 0.5:  # the one that went on alone is not reached when the other is back
        faults = []
        for who in REPLICAS:
            faults += made(rng, ("device-mood", 1.0, who, who, 0.0, 0.0))
        who, stays = other, one
        faults += made(
            rng, ("leave", at, who, stays, 10.0, 0.0), ("isolate", at + 9, stays, who, 16.0, 0.0)
        )
        return faults
    while at < LAST_S:
        who, stays = rng.sample(REPLICAS, 2)
        lasting = rng.uniform(1, 12)
        faults += made(rng, ("leave", at, who, stays, lasting, 0.0))
        kind = rng.choice(("power-off", "isolate", "kill", "none"))
        if kind != "none":
            when = at + rng.uniform(0.3, lasting + 4)
            faults += made(rng, (kind, when, rng.choice(REPLICAS), stays, rng.uniform(1, 8), 0.0))
        at += lasting + rng.uniform(8, 14)
    return faults


def given_up(rng: random.Random) -> list[Fault]:
    """The active goes on alone and dies; an operator forces the other; then the first is back."""
    one, other = REPLICAS
    return made(
        rng,
        ("device-mood", 1.0, one, other, 0.0, 0.0),
        ("device-mood", 1.0, other, one, 0.0, 0.0),
        ("given-up", rng.uniform(4, 8), one, other, 1.0, 0.0),
    )
