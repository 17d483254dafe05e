"""What a daemon writes into the cluster's history by itself, besides the decisions."""

from __future__ import annotations

import asyncio
import logging

from staqraft import __version__
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.loop import GroupLoop
from staqraft.errors import ConsensusError, StaqraftError
from staqraft.model import Announce, Command, NodeId, NoteEvent

logger = logging.getLogger(__name__)

_RETRY_S = 1.0
_LOOK_S = 0.5
_NAMED = 20  # objects that are named in one line of the history


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
        node=node, version=__version__, config_fingerprint=fingerprint, wall_ms=wall_ms()
    )
    await propose_until_known(raft, command)


async def report_quarantine(raft: RaftGroup, loop: GroupLoop) -> None:
    """Name in the history whatever goes into quarantine on this node, until cancelled."""
    known: set[str] | None = None
    while True:
        await asyncio.sleep(_LOOK_S)
        trees = loop.watch.latest.trees
        if trees is None or (known is not None and trees.quarantined == len(known)):
            continue
        if known is None and trees.quarantined == 0:
            known = set()
            continue
        try:
            entries = await loop.hands.data.quarantine()
        except StaqraftError as error:
            logger.warning("group %s: cannot list the quarantine: %s", loop.group, error)
            continue
        fresh = [entry for entry in entries if known is not None and entry.id not in known]
        known = {entry.id for entry in entries}
        if fresh:
            names = [f"{e.tree}:{e.path.decode(errors='backslashreplace')}" for e in fresh]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            node = loop.state.settings.node
            text = (
                f"{len(fresh)} objects that only {node} had are in quarantine there: "
                f"{', '.join(names[:_NAMED])}{more}"
            )
            logger.warning("group %s: %s", loop.group, text)
            note = NoteEvent(
                node=node,
                group=loop.group,
                kind="quarantine",
                text=text,
                epoch=loop.state.record.epoch,
                wall_ms=wall_ms(),
            )
            await propose_until_known(raft, note)
