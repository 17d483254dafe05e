"""Waiting for what Raft applies, and the history as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from staqraft.consensus.group import Group as RaftGroup
from staqraft.model import ClusterEvent, ClusterRecord


class RaftChanges:
    """Whoever waits is woken by every change of the replicated record."""

    def __init__(self, raft: RaftGroup) -> None:
        self._raft = raft
        self._changed = asyncio.Event()
        raft.subscribe(self._on_raft)

    def _on_raft(self, _: ClusterRecord) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def next(self) -> None:
        """Returns when something was applied after the call."""
        await self._changed.wait()

    async def events(self, after: int, *, follow: bool) -> AsyncIterator[ClusterEvent]:
        """The history behind `after`; with `follow` for ever."""
        while True:
            changed = self._changed
            for event in self._raft.state.events:
                if event.index > after:
                    after = event.index
                    yield event
            if not follow:
                return
            await changed.wait()
