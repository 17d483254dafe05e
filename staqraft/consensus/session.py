"""A session of two members: an opened stream, from whichever side, and what waits to be sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from staqraft.consensus.bundles import merged, only_appends
from staqraft.consensus.manners import SILENT_HEARTBEATS
from staqraft.model import Generation, NodeId
from staqraft.wire.stream import Lost
from staqraft.wire.v1 import raft_pb2 as pb

_BURST_S: Final = 2.0  # of so much time a peer may send the messages at once
_QUEUE_ENVELOPES: Final = 4096
_QUEUE_BYTES: Final = 96 << 20
_BATCH_BYTES: Final = 1 << 20


class Message(Protocol):
    """What carries envelopes, in either direction."""

    @property
    def envelopes(self) -> Iterable[pb.Envelope]:
        """In the order in which they are to be taken."""


Write = Callable[[list[pb.Envelope]], Awaitable[None]]  # both raise Lost
Read = Callable[[], Awaitable[Message]]


class Sink(Protocol):
    """Who is told what the sessions bring; called in the loop, must not block."""

    def connected(self, node: NodeId, told: Generation, heard: Generation) -> None:
        """A session is open; messages of an older one will not come any more.

        `told` and `heard` are the generations in this side's opening and in the other's.
        """

    def disconnected(self, node: NodeId) -> None:
        """The session is gone."""

    def received(self, node: NodeId, envelopes: Iterable[pb.Envelope]) -> None:
        """Messages of the open session, in order."""


class Session:
    """A stream that both sides opened, from whichever side."""

    def __init__(
        self,
        peer: NodeId,
        messages_per_s: float | None,
        heartbeat_s: float,
        patience_s: float,
        *,
        bundles: bool,
    ) -> None:
        self.peer = peer
        self.bundles = bundles
        self._patience_s = patience_s
        self._later: asyncio.TimerHandle | None = None
        self._heartbeat_s = heartbeat_s
        self._messages_per_s = messages_per_s
        self.reason = ""
        self._closed = asyncio.Event()
        self._queue: deque[pb.Envelope] = deque()
        self._queued_bytes = 0
        self._wanted = asyncio.Event()
        self._heard = True
        self._said = False

    def push(self, envelope: pb.Envelope, *, calm: bool = False) -> None:
        """Queues a message; a full queue ends the session.

        With `calm` appends wait for each other, as long as the peer has patience.
        """
        if calm and self._patience_s and only_appends(envelope):
            self._push_by_and_by(envelope)
        else:
            self._queue_up(envelope)
            self._wanted.set()

    def _push_by_and_by(self, envelope: pb.Envelope) -> None:
        if self._queue and merged(self._queue[-1], envelope):
            self._queued_bytes += envelope.ByteSize()
        else:
            self._queue_up(envelope)
        if self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(self._patience_s, self._wanted.set)

    def _queue_up(self, envelope: pb.Envelope) -> None:
        self._queued_bytes += envelope.ByteSize()
        if len(self._queue) >= _QUEUE_ENVELOPES or self._queued_bytes > _QUEUE_BYTES:
            self.close(f"{self.peer} does not take its messages")
            return
        self._queue.append(envelope)

    def close(self, reason: str) -> None:
        """Ends the session, with the first reason."""
        self.reason = self.reason or reason
        self._queue.clear()
        self._stop_waiting()
        self._closed.set()

    def _stop_waiting(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None

    async def run(self, read: Read, write: Write, sink: Sink) -> str:
        """Carries messages until the session ends; says why it did."""
        parts = (self._read(read, sink), self._write(write), self._watch(), self._closed.wait())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if isinstance(error, Lost):
                    self.close(str(error))
                elif error is not None:
                    raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self.reason

    async def _read(self, read: Read, sink: Sink) -> None:
        """A peer that sends more than it may is read later: it finds its connection full."""
        clock = asyncio.get_running_loop().time
        every_s = 1 / self._messages_per_s if self._messages_per_s else 0.0
        due = clock()
        while True:
            envelopes = list((await read()).envelopes)
            self._heard = True
            due = max(due + every_s * len(envelopes), clock() - _BURST_S)
            if (ahead_s := due - clock()) > 0:
                await asyncio.sleep(ahead_s)
            if self._closed.is_set():
                return
            envelopes = [e for e in envelopes if not e.HasField("session_heartbeat")]
            if envelopes:
                sink.received(self.peer, envelopes)

    async def _write(self, write: Write) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self._stop_waiting()
            while self._queue:
                batch, size = [], 0
                while self._queue and size < _BATCH_BYTES:
                    envelope = self._queue.popleft()
                    size += envelope.ByteSize()
                    batch.append(envelope)
                self._queued_bytes = max(0, self._queued_bytes - size)
                self._said = True
                await write(batch)

    async def _watch(self) -> None:
        """Counts its own periods, not the time: after a stall of ours the peer gets its chance."""
        silent = 0
        while silent < SILENT_HEARTBEATS:
            await asyncio.sleep(self._heartbeat_s)
            silent = 0 if self._heard else silent + 1
            self._heard = False
            if not self._said:
                self.push(pb.Envelope(session_heartbeat=pb.SessionHeartbeat()))
            self._said = False
        self.close(f"{self.peer} is connected but silent")
