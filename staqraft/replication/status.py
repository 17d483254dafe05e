"""How a session with a peer is, at either end: what the worker tells the control process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from staqraft.model import ORIGIN, NodeId, Position


class State(Enum):
    """How the session with the peer is."""

    DISCONNECTED = "disconnected"
    RECONCILING = "reconciling"
    CATCHING_UP = "catching up"
    STREAMING = "streaming"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """What is known of the peer. Positions are of its journal and trees."""

    node: NodeId
    state: State = State.DISCONNECTED
    durable: Position = ORIGIN
    applied: Position = ORIGIN
    settling: bool = False  # the standby's trees need the active still
    ring: str = ""
    heard_ms: int | None = None  # on the worker's clock; None: never
    problem: str = ""
    objects_done: int = 0
    objects_total: int = 0
    bytes_done: int = 0  # fetched by the standby's comparison
    bytes_per_s: int = 0
    left_ms: int = -1  # until it has everything; below 0: not known
    wire_bytes: int = 0
    raw_bytes: int = 0
