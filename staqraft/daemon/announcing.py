"""What every daemon says into the cluster's history when it starts."""

from __future__ import annotations

import asyncio
import logging

from staqraft import __version__
from staqraft.consensus import versions
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.clock import wall_ms
from staqraft.errors import ConsensusError
from staqraft.model import Announce, Command, NodeId

logger = logging.getLogger(__name__)

_RETRY_S = 1.0


async def propose_until_known(raft: RaftGroup, command: Command) -> None:
    """Propose again until the outcome is known; commands are idempotent."""
    while True:
        try:
            await raft.propose(command)
        except ConsensusError as error:
            logger.debug("%s is proposed again: %s", type(command).__name__, error)
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def announce(raft: RaftGroup, node: NodeId, fingerprint: str) -> None:
    """Say which software and configuration run here."""
    command = Announce(
        node=node,
        version=__version__,
        config_fingerprint=fingerprint,
        format=versions.FORMAT,
        wall_ms=wall_ms(),
    )
    await propose_until_known(raft, command)
