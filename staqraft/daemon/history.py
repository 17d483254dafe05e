"""What a daemon writes into the cluster's history by itself, besides the decisions."""

from __future__ import annotations

import asyncio
import logging

from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.announcing import propose_until_known
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.loop import GroupLoop
from staqraft.errors import ConsensusError, StaqraftError
from staqraft.model import NodeId, NoteEvent

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
_NAMED = 20  # objects that are named in one line of the history


async def note(raft: RaftGroup, me: NodeId, kind: str, text: str) -> None:
    """For the history of the cluster, if there is a majority to keep it; the caller logs it."""
    try:
        await raft.propose(NoteEvent(node=me, group=None, kind=kind, text=text, wall_ms=wall_ms()))
    except ConsensusError as error:
        logger.warning("the history does not have that: %s", error)


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
            event = NoteEvent(
                node=node,
                group=loop.group,
                kind="quarantine",
                text=text,
                epoch=loop.state.record.epoch,
                wall_ms=wall_ms(),
            )
            await propose_until_known(raft, event)


async def report_scrub(raft: RaftGroup, loop: GroupLoop) -> None:
    """Tell in the history what the scrubber of this node found, until cancelled."""
    told = 0
    while True:
        await asyncio.sleep(_LOOK_S)
        trees = loop.watch.latest.trees
        if trees is None or not trees.HasField("scrub"):
            continue
        if trees.scrub.found > told and trees.scrub.last_finding:
            note = NoteEvent(
                node=loop.state.settings.node,
                group=loop.group,
                kind="scrub",
                text=trees.scrub.last_finding,
                epoch=loop.state.record.epoch,
                wall_ms=wall_ms(),
            )
            await propose_until_known(raft, note)
        told = trees.scrub.found  # begins anew with the process
