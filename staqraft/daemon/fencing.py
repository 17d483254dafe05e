"""What an operator asks to be done about the other replica: off, on, or "take my word for it"."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import assert_never

from staqraft.actions.fence_agent import FenceDevices
from staqraft.api.node import FenceAction, FenceWish
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.history import note
from staqraft.daemon.loop import GroupLoop
from staqraft.errors import ActionError
from staqraft.model import GroupId, NodeId

logger = logging.getLogger(__name__)

_GOES_ON_S = 2.0


async def fence(
    raft: RaftGroup,
    me: NodeId,
    loops: Mapping[GroupId, GroupLoop],
    devices: FenceDevices,
    wish: FenceWish,
) -> str:
    """Do it; returns a sentence. ActionError when it was not done, or nobody waits for it."""
    match wish.action:
        case FenceAction.CONFIRM_OFF:
            return await _vouch(me, loops, wish)
        case FenceAction.OFF:
            text = f"{wish.requested_by} has {wish.node} turned off"
            work = devices.turn_off(wish.node)
        case FenceAction.ON:
            text = f"{wish.requested_by} has {wish.node} turned on"
            work = devices.turn_on(wish.node)
        case _:
            assert_never(wish.action)
    try:
        proof = await work
    except ActionError as error:
        await _note(raft, me, f"{text}, which failed: {error}")
        raise ActionError(
            f"{wish.node} could not be turned {wish.action.value}: {error}"
        ) from error
    await _note(raft, me, f"{text}: {proof}")
    return f"{wish.node} is {wish.action.value}: {proof}"


async def _vouch(me: NodeId, loops: Mapping[GroupId, GroupLoop], wish: FenceWish) -> str:
    waiting = [loop for loop in loops.values() if loop.waits_for(wish.node)]
    whys = {loop.why_not_alone() for loop in loops.values() if loop.state.settings.pair}
    if not waiting and whys:
        raise ActionError(f"{me} does not go on alone: {'; '.join(sorted(whys))}")
    if not waiting:
        raise ActionError(
            f"no takeover on {me} waits until {wish.node} is off, so nothing was done: 'staqctl"
            f" status' on {me} says what each group does"
        )
    verb = "goes on alone" if all(loop.state.fencing is None for loop in waiting) else "takes over"
    for loop in waiting:
        loop.vouch_off(wish.node, wish.requested_by)
    try:
        async with asyncio.timeout(_GOES_ON_S):
            for loop in waiting:
                while loop.waits_for(wish.node):
                    await loop.changed()
    except TimeoutError as error:
        raise ActionError(f"{me} was told, and has not gone on: see 'staqctl status'") from error
    groups = ", ".join(loop.group for loop in waiting)
    return f"{me} {verb} (group {groups}): on your word {wish.node} counts as off"


async def _note(raft: RaftGroup, me: NodeId, text: str) -> None:
    logger.warning("%s", text)
    await note(raft, me, "fence", text)
