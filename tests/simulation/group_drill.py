"""What two groups that share their hosts need to be told apart; see `drills`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from simulation.fault import REPLICAS, Fault

_KINDS: Final = ("service-clings", "service-clings", "mute", "isolate", "power-off")


def faults(rng: random.Random, made: Callable[..., list[Fault]], last_s: int) -> list[Fault]:
    """One has services that do not stop, or either is to be fenced; on one host or on two."""
    at = rng.uniform(4, 6)
    found: list[Fault] = []
    while at < last_s:
        who, other = rng.sample(REPLICAS, 2)
        kind = rng.choice(_KINDS)
        lasting = rng.uniform(17, 20) if kind == "service-clings" else rng.uniform(4, 6)
        if rng.random() < 0.5:
            found += made(rng, ("other-switchover", at, who, other, 1.0, rng.random()))
        found += made(rng, (kind, at + 3, who, other, lasting, 0.3))
        at += 3 + lasting + rng.uniform(6, 9)
    return found
