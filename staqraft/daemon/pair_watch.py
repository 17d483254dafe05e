"""Tells a decision core how this node stands to the other replica, where there is no witness."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from staqraft.daemon.clock import wall_ms
from staqraft.daemon.right import Right
from staqraft.decision import events as on
from staqraft.decision import pair
from staqraft.decision.phases import Phase
from staqraft.errors import ConsensusError
from staqraft.model import NO_EPOCH, ClusterRecord, Epoch, Farewell, Generation, NodeId

if TYPE_CHECKING:
    from staqraft.consensus.group import Group as RaftGroup
    from staqraft.decision.state import GroupState, Settings

logger = logging.getLogger(__name__)

_LOOK_S = 0.1
_BARRIER_MS = 1_000
_RESTARTED_MS = 300  # so long a daemon that may go on by itself waits for the other first
_ALONE_MS = 2_000  # so long a host that started, and is alone, looks whether the other was forced


def favourite(cluster: ClusterRecord, settings: Settings) -> NodeId:
    """Who of the two acts first when they lose each other: the active of the first group."""
    for _, record in sorted(cluster.groups.items()):
        if record.active is not None and not record.released:
            return record.active
    return settings.initial_active


class PairWatch:
    """Looks at Raft's view some times a second; `begin` once, before the first record."""

    def __init__(
        self,
        raft: RaftGroup,
        right: Right,
        settings: Settings,
        *,
        post: Callable[[on.Event], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._raft = raft
        self._right = right
        self._settings = settings
        self._post = post
        self._now_ms = now_ms
        self._confirmed: Generation | None = None  # the record is current in this one
        self._asking: asyncio.Task[bool] | None = None
        self._said: on.RaftReported | None = None
        self._began_ms = now_ms()
        self._leaves = False  # the right was given up, for the rest of this life

    async def begin(self) -> Epoch | None:
        """Returns when the record is current: NO_EPOCH, or the epoch in which this node may go on.

        None: neither is known yet, ask again.
        """
        right = self._right.read()
        view = self._raft.status()
        self.look()
        generation = view.generation
        if generation is None:
            return None
        if generation.members == {self._settings.node}:
            looks = right is None and self._now_ms() < self._began_ms + _ALONE_MS
            if looks or view.newer is not None:
                return None
        if await self._ask(_BARRIER_MS if right is None else _RESTARTED_MS):
            return NO_EPOCH if await self._is_back() else None
        view = self._raft.status()
        proven = right is not None and right[0] == generation.number
        still = view.generation == generation and view.newer is None and not view.reachable
        if right is None or not (proven and still) or view.applied_index < view.commit_index:
            return None
        self._confirmed = generation
        self.look()
        return right[1]

    async def _ask(self, timeout_ms: int) -> bool:
        """Make the record current by a committed read, in one generation."""
        generation = self._raft.status().generation
        try:
            await self._raft.barrier(timeout_ms)
        except ConsensusError:
            return False
        if self._raft.status().generation != generation:
            return False
        self._confirmed = generation
        self.look()
        return True

    async def _is_back(self) -> bool:
        """After a farewell the other knows that this node is back, before this one has its right.

        The second commit makes that sure: whoever has that entry knows that the first is committed.
        """
        me, group = self._settings.node, self._settings.group
        record = self._raft.state.groups.get(group)
        if record is None or me not in record.away:
            return True
        back = Farewell(node=me, group=group, gone=False, wall_ms=wall_ms())
        try:
            await self._raft.propose(back, _BARRIER_MS)
            await self._raft.barrier(_BARRIER_MS)
        except ConsensusError:
            return False
        return True

    def give_up_right(self) -> None:
        """The daemon stops: the next life starts as after a boot. ActionError if that fails."""
        self._leaves = True
        self._right.remove()

    async def say_farewell(self) -> None:
        """For a node that stops in order: it holds nothing, and has given its right up."""
        assert self._leaves, "a farewell of who still has the right to go on alone"
        me, group = self._settings.node, self._settings.group
        farewell = Farewell(node=me, group=group, gone=True, wall_ms=wall_ms())
        try:
            await self._raft.propose(farewell, _BARRIER_MS)
        except ConsensusError as error:
            logger.warning(
                "group %s: the other replica may not know that this stop is meant, and have %s"
                " turned off: %s",
                group,
                me,
                error,
            )

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(_LOOK_S)
        finally:
            if self._asking is not None:
                self._asking.cancel()

    def look(self) -> None:
        """Report what changed. A generation that took this node in counts once it is current."""
        view, me = self._raft.status(), self._settings.node
        generation = view.generation
        if generation is None:
            return
        confirmed = self._confirmed
        if confirmed is not None and generation != confirmed:
            if generation.founder == me:
                confirmed = self._confirmed = generation
            elif self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask(_BARRIER_MS))
        newer = str(view.newer) if view.newer is not None else ""
        said = on.RaftReported(
            now_ms=0,
            generation=confirmed or generation,
            reached=bool(view.reachable) and confirmed in {None, generation},
            contacts=view.contacts,
            newer=newer,
            favoured=favourite(self._raft.state, self._settings) == me,
        )
        if said != self._said:
            self._said = said
            self._post(said)

    def keep(self, before: GroupState, after: GroupState) -> None:
        """Keep for the next daemon what this one may go on with. Before anybody is told."""
        if after.pair is not None and after.phase is not Phase.STARTUP and not self._leaves:
            self._right.write(after.pair.generation.number, pair.epoch_kept(after))
        self._log(before, after)

    def _log(self, before: GroupState, after: GroupState) -> None:
        was, is_ = pair.lost(before), pair.lost(after)
        group, peer = after.settings.group, pair.peer_of(after)
        if is_ and not was:
            logger.warning("group %s: %s", group, pair.story(after, self._now_ms()))
        elif was and not is_:
            logger.info("group %s: %s is not waited for any more", group, peer)
