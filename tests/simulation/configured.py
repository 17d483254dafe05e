"""What the configuration of a plan says to the decision core of a replica."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from simulation.daemon import GROUP
from simulation.fault import REPLICAS, A
from simulation.faults import REST_US
from simulation.options import CLUSTERS
from simulation.schedule import MS
from staqraft.decision.conflict import OnConflict
from staqraft.decision.lease import Timing
from staqraft.decision.state import EVERY_RUNG, Settings
from staqraft.model import FenceRung, NodeId

if TYPE_CHECKING:
    from simulation.options import Plan

_FAILBACK_SHARE: Final = 0.25
_FAILBACK_SHARE_PLANNED: Final = 0.6


def settings_of(plan: Plan, node: NodeId) -> Settings:
    """Of the group on a replica."""
    hardware = plan.hardware
    timing = Timing(
        ttl_ms=1000 if plan.fast else hardware.ttl_ms,
        renew_ms=100 if plan.fast else hardware.renew_ms,
        margin_ms=plan.margin_ms,
        drift_ppm=plan.allowed_drift_ppm,
        let_go_ms=100 if plan.gate else 250,
        in_sync_timeout_ms=3000,
        retry_ms=200,
        cooldown_ms=10_000,
        favoured_waits_ms=1_500,
        other_waits_ms=7_000,  # a device takes up to 4 s
        rest_ms=REST_US // MS,
    )
    return Settings(
        node=node,
        group=GROUP,
        replicas=REPLICAS,
        initial_active=A,
        timing=timing,
        gate=plan.gate,
        pair=plan.pair,
        fenced_by=EVERY_RUNG - {FenceRung.LEASE} if plan.pair else hardware.fenced_by,
        devices=dict.fromkeys(REPLICAS, 1000)
        if plan.pair
        else {r: hardware.delay_ms for r in REPLICAS if r != node and hardware.devices},
        watchdog_ms=1000 * hardware.watchdog_s,
        on_conflict=on_conflict_of(plan),
        **failback_of(plan),
        **(plan.services.settings if plan.services is not None else {}),
    )


def on_conflict_of(plan: Plan) -> OnConflict:
    """What a drill does is timed without."""
    if plan.kind not in CLUSTERS:
        return OnConflict.IGNORE
    return random.Random(f"conflict {plan.seed}").choice(tuple(OnConflict))


def failback_of(plan: Plan) -> dict[str, Any]:
    """For a share of the plans; what a drill does is timed without."""
    rng = random.Random(f"failback {plan.seed}")
    share = _FAILBACK_SHARE_PLANNED if plan.planned else _FAILBACK_SHARE
    if plan.kind not in CLUSTERS or rng.random() > share:
        return {}
    return {"prefer": rng.choice(REPLICAS), "failback_ms": rng.choice((1000, 5000))}
