"""Reads the status of the data worker and tells the core what of it matters to a decision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from staqraft.daemon.troubles import TROUBLES
from staqraft.daemon.workers import DataWorker, WorkerStatus
from staqraft.decision import events as on
from staqraft.decision.following import Following
from staqraft.model import ORIGIN, Epoch, NodeId, Position
from staqraft.wire.v1 import data_worker_pb2 as pb

logger = logging.getLogger(__name__)

# While something changes, and at rest. Silence of a standby is counted from the report, so the
# longer one must stay far below `in_sync_timeout_ms`.
_PERIOD_S = 0.25
_PERIOD_AT_REST_S = 0.5
_SILENT = (
    "the {} process does not answer: if its disk is well, see the log of staqraftd; it is started"
    " again by itself when it ends"
)
_FLOWS = frozenset({pb.SESSION_STATE_STREAMING, pb.SESSION_STATE_CATCHING_UP})


def blockers_of(status: WorkerStatus) -> tuple[str, ...]:
    """Why the data of this node forbids a takeover, a sentence each."""
    found: list[str] = []
    if status.trees is None:
        found.append(_SILENT.format("trees"))
    elif status.trees.needs_reconcile:
        found.append(
            f"the trees must be compared with the active's first ({status.trees.needs_reconcile}):"
            " it is done by itself as soon as the active is reached, and 'staqctl status' says how"
            " far it is"
        )
    elif status.trees.role == pb.WORKER_ROLE_STANDBY:
        # To acquire an epoch that it cannot serve would shut out the one that comes back.
        found += [
            f"what it has cannot be applied: {problem.text}"
            for problem in status.trees.problems
            if problem.code in TROUBLES
        ]
    if status.stream is None:
        found.append(_SILENT.format("stream"))
    return tuple(found)


def last_position(status: WorkerStatus) -> Position:
    """Newest record in this node's journal, as far as is known."""
    places = [
        Position(Epoch(part.last.epoch), part.last.seq)
        for part in (status.trees, status.stream)
        if part is not None
    ]
    return max(places, default=ORIGIN)


def following(peer: pb.PeerSession) -> Following:
    """How far this standby is from being one that may be counted on."""
    if peer.state == pb.SESSION_STATE_RECONCILING:
        return Following.COMPARES
    if peer.state not in _FLOWS:
        return Following.LOST
    return Following.SETTLES if peer.settling else Following.WHOLE


class DataWatch:
    """Polls the data worker; `latest` is what it said last."""

    def __init__(
        self,
        data: DataWorker,
        *,
        post: Callable[[on.Event], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._data = data
        self._post = post
        self._now_ms = now_ms
        self.latest = WorkerStatus()

    async def run(self) -> None:
        """Poll until cancelled."""
        before: list[on.Event] = []
        while True:
            self.latest = await self._data.status()
            events = self._events()
            for event in events:
                self._post(event)
            said = [_without_times(event) for event in events]
            await asyncio.sleep(_PERIOD_AT_REST_S if said == before else _PERIOD_S)
            before = said

    def _events(self) -> list[on.Event]:
        now_ms = self._now_ms()
        events: list[on.Event] = [
            on.DataReported(
                now_ms=now_ms, blockers=blockers_of(self.latest), last=last_position(self.latest)
            )
        ]
        if self._data.capture_broken:
            events.append(on.CaptureBroken(now_ms=now_ms))
        stream = self.latest.stream
        if stream is not None and stream.role == pb.WORKER_ROLE_ACTIVE:
            events += [
                on.PeerReported(
                    now_ms=now_ms,
                    peer=NodeId(peer.node),
                    following=following(peer),
                    durable=Position(Epoch(peer.durable.epoch), peer.durable.seq),
                    silent_ms=peer.heard_ms_ago,
                )
                for peer in stream.peers
            ]
        return events


def _without_times(event: on.Event) -> on.Event:
    if isinstance(event, on.PeerReported):
        return replace(event, now_ms=0, silent_ms=0)
    return replace(event, now_ms=0)
