"""One fault: what is drawn of it before a run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from simulation.faults import ACTIONS
from simulation.hardware import OF_REPLICAS
from simulation.health import APPLY as OF_HEALTH
from simulation.planned import APPLY as OF_PLANS
from simulation.schedule import S
from simulation.service_faults import APPLY as OF_SERVICES
from staqraft.model import NodeId

A, B, W = NodeId("a"), NodeId("b"), NodeId("w")
NODES: Final = (A, B, W)
REPLICAS: Final = (A, B)
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
        "leave",
        "trim-journal",
        "volume-reset",
        "switchover",
        "other-switchover",
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


def draw(rng: random.Random, at_us: int, kind: str) -> Fault:
    """A fault of that kind at that time; on whom, how long and how big is drawn."""
    of_replicas = kind in {*_REPLICAS_ONLY, *OF_REPLICAS, *OF_HEALTH, *OF_SERVICES, *OF_PLANS}
    who = rng.choice(REPLICAS if of_replicas else NODES)
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
