"""What can be wrong with what a peer or a disk gave us."""

from __future__ import annotations

from staqraft.errors import ConsensusError


class BadMessage(ConsensusError):
    """Bytes that are no message of ours, or of a format that this software is too old for."""

    grpc_status = "INVALID_ARGUMENT"


class StoreCorrupt(ConsensusError):
    """The Raft store does not hold what was written to it; it names the file and the way out."""

    grpc_status = "DATA_LOSS"
