"""The default timing of a decision core in tests, and its settings."""

from __future__ import annotations

from dataclasses import replace

from staqraft.decision.lease import Timing
from staqraft.decision.state import Settings
from staqraft.model import GroupId, NodeId

A, B, W = NodeId("a"), NodeId("b"), NodeId("w")
GROUP = GroupId("default")
TIMING = Timing(
    ttl_ms=3000,
    renew_ms=300,
    margin_ms=100,
    drift_ppm=1000,
    let_go_ms=250,
    in_sync_timeout_ms=3000,
    retry_ms=200,
    cooldown_ms=10_000,
    rest_ms=20_000,
)


FAST = replace(TIMING, ttl_ms=1000, renew_ms=100, let_go_ms=100)


def settings(node: NodeId = A) -> Settings:
    """The settings of a group of a and b in which a goes first."""
    return Settings(node=node, group=GROUP, replicas=(A, B), initial_active=A, timing=TIMING)
