"""What every drill is made of; see `drills`."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

from simulation.fault import Fault, draw
from simulation.schedule import S
from staqraft.model import NodeId

STORM_S: Final = 45
LAST_S: Final = 40  # no fault begins later

Step = tuple[str, float, NodeId, NodeId, float, float]  # kind, at, who, other, seconds, size


def made(rng: random.Random, *steps: Step) -> list[Fault]:
    """The faults of these steps."""
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
