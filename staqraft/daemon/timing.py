"""The durations that the configuration gives to the decision core."""

from __future__ import annotations

from typing import Final

from staqraft.config.schema import Config
from staqraft.decision.lease import Timing
from staqraft.model import GroupId

RETRY_MS: Final = 200
_COOLDOWN_MS: Final = 10_000


def timing_of(config: Config, group: GroupId, *, gate: bool = False) -> Timing:
    """Of a group, with the gate before its addresses or without."""
    return Timing(
        ttl_ms=config.lease.ttl_ms,
        renew_ms=config.lease.renew_ms,
        margin_ms=config.lease.margin_ms,
        drift_ppm=config.lease.drift_ppm,
        let_go_ms=config.lease.let_go_gated_ms if gate else config.lease.let_go_ms,
        in_sync_timeout_ms=config.groups[group].replication.in_sync_timeout_ms,
        retry_ms=RETRY_MS,
        cooldown_ms=_COOLDOWN_MS,
        favoured_waits_ms=config.pair.active_waits_ms,
        other_waits_ms=config.pair.standby_waits_ms,
        rest_ms=config.maintenance.rest_ms,
    )
