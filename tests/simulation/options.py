"""A seed becomes a plan: the cluster's figures, and which fault happens when, to whom, how long.

Swarm testing (Groce et al., 2012): each seed draws the kinds of fault that it uses at all, so that
rare ones are not drowned by common ones. A plan is data; what is left of it after `without` still
makes sense, since the world draws from another generator.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from simulation import hardware, upgrades
from simulation.drilling import STORM_S
from simulation.drills import Drill, drill_of
from simulation.fault import NODES, REPLICAS, Fault, draw
from simulation.faults import KINDS
from simulation.hardware import Hardware, hardware_of
from simulation.health import with_health
from simulation.planned import with_plans
from simulation.schedule import S
from simulation.service_faults import with_services
from simulation.services import ServicePlan, plan_of_services
from staqraft.model import NodeId

_GATE_SHARE: Final = 0.5
_PARTED_SHARE: Final = 0.25
DRILL_EVERY: Final = 3


_GROUPS_SHARE: Final = 0.06  # each costs twice as much
PAIR_EVERY: Final = 8
_PAIR_STORM_S: Final = 80


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
    real_files: bool
    parted_in_the_end: bool
    active_lost_in_the_end: bool
    gate: bool
    fast: bool  # the fast profile, which needs the gate
    hardware: Hardware
    pair: bool  # without a witness, and with fence devices
    two_groups: bool  # a second one, first active on the other replica
    planned: bool  # switchovers are scheduled, and a third host takes the address
    services: ServicePlan | None  # None: one that does as it is told
    kind: str  # the name of its drill, or what kind of cluster it is

    def without(self, at: int) -> Plan:
        """The plan with one fault left out."""
        return replace(self, faults=self.faults[:at] + self.faults[at + 1 :])


def only(plan: Plan, kinds: Collection[str]) -> Plan:
    """The plan with faults of these kinds only; all of them if none is named."""
    if not kinds:
        return plan
    return replace(plan, faults=tuple(fault for fault in plan.faults if fault.kind in kinds))


def plan_of(seed: int, *, real_files_share: float = 0.05) -> Plan:
    """The plan of a seed, always the same."""
    rng = random.Random(f"plan {seed}")
    storm_us = int(rng.uniform(15, 60) * S)
    share = rng.choice((0.1, 0.2, 0.35, 0.6))
    kinds = [kind for kind in KINDS if rng.random() < share] or [rng.choice(KINDS)]
    gap_s = rng.choice((0.7, 2.0, 4.0, 8.0))
    faults: list[Fault] = []
    at = rng.uniform(1, 5)
    while at * S < storm_us:
        faults.append(draw(rng, int(at * S), rng.choice(kinds)))
        at += rng.expovariate(1 / gap_s)
    allowed = rng.choice((1000, 1000, 20_000))
    extra = random.Random(f"extra {seed}")  # of its own: added later, old seeds stay what they were
    drilled = seed % DRILL_EVERY == DRILL_EVERY - 1
    pair = not drilled and seed % PAIR_EVERY == PAIR_EVERY - 1
    gates = random.Random(f"gate {seed}")
    # What a drill does is timed for the default profile.
    gate = not drilled and gates.random() < _GATE_SHARE
    drill: Drill | None = None
    if drilled:
        storm_us = STORM_S * S
        drill, faults = drill_of(seed, extra)
    around = None if drilled or pair else hardware_of(seed)
    if around is not None:
        faults = _with_hardware(around[1], faults, storm_us)
    if not drilled:
        faults = with_health(seed, faults, storm_us, draw)
    services: ServicePlan | None = None
    if not drilled:
        services, faults, storm_us = with_services(seed, faults, storm_us, draw)
    two_groups = False
    if not drilled and not pair:
        two_groups, faults = _with_groups(seed, faults, storm_us)
    planned = False
    if not drilled:
        planned, faults = with_plans(seed, faults, storm_us, draw)
    if pair:
        storm_us = _PAIR_STORM_S * S
        faults = sorted([*faults, *_long_losses(seed)], key=lambda fault: fault.at_us)
    plan = Plan(
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
        real_files=rng.random() < real_files_share,
        parted_in_the_end=rng.random() < _PARTED_SHARE and not (pair or two_groups),
        active_lost_in_the_end=extra.random() < _PARTED_SHARE and not pair,
        gate=gate,
        fast=gate and around is None and gates.random() < _GATE_SHARE and not pair,
        hardware=around[0] if around is not None else hardware.NONE,
        pair=pair,
        two_groups=two_groups,
        planned=planned,
        services=services,
        kind=drill.name if drill is not None else "",
    )
    if drill is not None:
        plan = _fitted(plan, drill)
    if (
        plan.two_groups
    ):  # twice as many entries: a snapshot is to be done before the next one begins
        chunk_bytes, snapshot_after = max(1000, plan.chunk_bytes), max(60, plan.snapshot_after)
        plan = replace(plan, chunk_bytes=chunk_bytes, snapshot_after=snapshot_after)
    return plan if plan.kind else replace(plan, kind=_cluster(plan))


def _fitted(plan: Plan, drill: Drill) -> Plan:
    """The cluster that a drill needs."""
    if drill.clocks_part:
        most = 20_000
        ppm = random.Random(f"clocks {plan.seed}").choice((most, -most))
        drift_ppm = dict(zip(NODES, (ppm, -ppm, 0), strict=True))
        plan = replace(plan, drift_ppm=drift_ppm, allowed_drift_ppm=most, margin_ms=10)
    if drill.pair:
        plan = replace(plan, pair=True, parted_in_the_end=False, active_lost_in_the_end=False)
    if drill.groups:
        services = plan_of_services(random.Random(f"services of groups {plan.seed}"))
        plan = replace(plan, two_groups=True, services=services)
        plan = replace(plan, parted_in_the_end=False, active_lost_in_the_end=True)
    return replace(plan, gate=drill.fast, fast=drill.fast, hardware=drill.hardware)


CLUSTERS: Final = (
    "pair",
    "groups",
    "services",
    "lasting",
    "hardware",
    "fast",
    "gate",
    "planned",
    "plain",
)


def _cluster(plan: Plan) -> str:
    if plan.pair:
        return "pair"
    if plan.two_groups:
        return "groups"
    if plan.services is not None:
        return "lasting" if plan.services.lasting else "services"
    if plan.hardware is not hardware.NONE:
        return "hardware"
    if plan.fast:
        return "fast"
    if plan.gate:
        return "gate"
    return "planned" if plan.planned else "plain"


def _with_hardware(rng: random.Random, faults: list[Fault], storm_us: int) -> list[Fault]:
    """Faults of the hardware among the others, or, to see it at work, nearly alone."""
    kept = [fault for fault in faults if rng.random() < 0.5] if rng.random() < 0.5 else []
    at = rng.uniform(2, 5)
    while at * S < storm_us:
        kind = rng.choice(tuple(hardware.APPLY))
        lasting_us = int(rng.uniform(1, 9) * S)
        kept.append(replace(draw(rng, int(at * S), kind), duration_us=lasting_us))
        at += lasting_us / S * rng.random() + rng.expovariate(1 / 4)
    return sorted(kept, key=lambda fault: fault.at_us)


def _long_losses(seed: int) -> list[Fault]:
    """What lasts for longer than a pair waits for its other half."""
    rng = random.Random(f"pair {seed}")
    faults: list[Fault] = []
    at = rng.uniform(2, 6)
    while at < _PAIR_STORM_S:
        kind = rng.choice(
            (
                "isolate",
                "isolate",
                "power-off",
                "power-off",
                "power-off-both",
                "stop",
                "kill",
                "leave",
            )
        )
        lasting_us = int(rng.uniform(2, 20) * S)
        one, other = rng.sample(REPLICAS, 2)
        fault = draw(rng, int(at * S), kind)
        faults.append(replace(fault, who=one, other=other, duration_us=lasting_us))
        at += rng.uniform(1, 12)
    return faults


def _with_groups(seed: int, faults: list[Fault], storm_us: int) -> tuple[bool, list[Fault]]:
    """Whether a seed has two groups, and its faults with those of the second."""
    rng = random.Random(f"groups {seed}")  # of its own: other seeds stay what they were
    if rng.random() >= _GROUPS_SHARE:
        return False, faults
    kept = [fault for fault in faults if fault.kind not in upgrades.APPLY]
    at = rng.uniform(3, 9)
    while at * S < storm_us:
        kept.append(draw(rng, int(at * S), "other-switchover"))
        at += rng.uniform(4, 16)
    return True, sorted(kept, key=lambda fault: fault.at_us)


def _drift(rng: random.Random, allowed: int) -> int:
    return rng.choice((-allowed, allowed, 0, rng.randint(-allowed, allowed)))
