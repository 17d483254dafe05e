"""One session at the active: Hello, the standby's answer, then records out, acknowledgements in.

The journal is the send buffer: while a write is pending nothing is read, so what gathers meanwhile
goes out as one batch. At the journal's end reading happens in the event loop (the pages were
written a moment ago; a thread hop would cost more than the read); behind it, in the executor and
one batch ahead, so that disk, lz4 and network work at the same time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from staqraft.config.schema import Ring
from staqraft.journal.cursor import Corrupt, Cursor, Frames, Trimmed
from staqraft.journal.doorbell import RECHECK_MS
from staqraft.model import ORIGIN, Position
from staqraft.replication import frame
from staqraft.replication.messages import EOF, from_position, to_position
from staqraft.replication.plan import Offer
from staqraft.replication.session import BATCH_BYTES, HEARTBEAT_MS, SendWindow
from staqraft.replication.status import State
from staqraft.replication.tasks import first_ended, never
from staqraft.wire.v1 import replication_pb2 as pb

if TYPE_CHECKING:
    from staqraft.replication.sender import PeerSender

logger = logging.getLogger(__name__)

Call = Any  # grpc.aio.StreamStreamCall: the generated stubs are not typed
FINISH_MS = 500


class Ended(Exception):
    """A session is over. `problem` is a sentence, or empty when there is nothing to report."""

    def __init__(self, problem: str = "") -> None:
        super().__init__(problem)
        self.problem = problem


class SendSession:
    """One call: Hello, the standby's answer, then records and acknowledgements until it ends.

    One task reads and one writes for the whole call, since grpc.aio cancels a call when a pending
    read or write of it is cancelled: leaving on purpose is done by the writer, with Finish.
    """

    def __init__(self, sender: PeerSender, ring: Ring) -> None:
        self.window: SendWindow | None = None
        self._sender = sender
        self._ring = ring
        self._heard_ms = self._beat_ms = sender.now_ms()
        self._leaving: str | None = None

    async def run(self, call: Call) -> None:
        """Raises Ended, or what the call raises."""
        sender = self._sender
        sender.update(ring=self._ring.name)
        try:
            offer = await sender.offer()
            await first_ended(
                self._read_all(call),
                self._write_all(call, offer),
                self._watch(),
                self._leave_when(_reason_of(sender.stopping, lambda: sender.stop_reason)),
                self._leave_when(sender.better_ring(self._ring)),
            )
        except asyncio.InvalidStateError as error:
            # grpc.aio says so when one writes to a call that has ended; its status says why.
            raise Ended(
                f"{sender.status.node} ended the session: {await call.details()}"
            ) from error
        finally:
            call.cancel()

    async def _watch(self) -> None:
        """Ends the session when the peer is silent for too long."""
        sender = self._sender
        limit_ms = sender.settings.dead_peer_ms
        while True:
            silent_ms = sender.now_ms() - self._heard_ms
            if silent_ms >= limit_ms:
                raise Ended(
                    f"{sender.status.node} has been silent for {silent_ms} ms over ring "
                    f"{self._ring.name} ({self._ring.address}): is it, or the network, down?"
                )
            await asyncio.sleep((limit_ms - silent_ms) / 1000)

    async def _leave_when(self, reason: Coroutine[Any, Any, str]) -> None:
        """Has the writer say Finish; gives the standby a moment to confirm."""
        self._leaving = await reason
        self._sender.news.set()
        await asyncio.sleep(FINISH_MS / 1000)
        logger.info(f"{self._sender.status.node} did not confirm the end of the session in time")
        raise Ended

    # --- from the standby ------------------------------------------------------------------------

    async def _read_all(self, call: Call) -> None:
        resume = await self._answer(call)
        after = from_position(resume.after)
        sender = self._sender
        window_bytes = sender.settings.window_bytes
        self.window = SendWindow(after=after, window_bytes=window_bytes)
        sender.update(state=State.CATCHING_UP, objects_done=0, objects_total=0)
        sender.acknowledged(after, sender.status.applied, self._heard_ms, settling=resume.settling)
        sender.healthy()
        sender.news.set()
        logger.info(
            f"sending to {sender.status.node} over ring {self._ring.name} what follows {after}"
        )
        await self._acks(call, self.window)

    async def _answer(self, call: Call) -> pb.Resume:
        sender = self._sender
        while True:
            response = await self._read(call)
            match response.WhichOneof("message"):
                case "resume":
                    return response.resume
                case "reconciling":
                    progress = response.reconciling
                    if sender.status.state is not State.RECONCILING:
                        text = f"{sender.status.node} compares its trees first: {progress.reason}"
                        logger.info(text)
                    sender.healthy()
                    sender.update(
                        state=State.RECONCILING,
                        durable=ORIGIN,
                        heard_ms=self._heard_ms,
                        objects_done=progress.objects_done,
                        objects_total=progress.objects_total,
                        bytes_done=progress.bytes_done,
                        bytes_per_s=progress.bytes_per_s,
                        left_ms=progress.left_ms,
                    )
                case other:
                    raise Ended(f"{sender.status.node} answered our Hello with {other}")

    async def _acks(self, call: Call, window: SendWindow) -> None:
        sender = self._sender
        while True:
            response = await self._read(call)
            if response.WhichOneof("message") != "ack":
                raise Ended(
                    f"{sender.status.node} sent {response.WhichOneof('message')} in between"
                )
            full = window.full
            durable = from_position(response.ack.durable)
            applied = from_position(response.ack.applied)
            wrong = window.on_ack(durable=durable, applied=applied)
            if wrong is not None:
                raise Ended(f"{sender.status.node} contradicts itself: {wrong.reason}")
            sender.acknowledged(durable, applied, self._heard_ms, settling=response.ack.settling)
            sender.update(state=State.STREAMING if window.streaming else State.CATCHING_UP)
            if full and not window.full:
                sender.news.set()

    async def _read(self, call: Call) -> pb.ReplicateResponse:
        """The next message; Ended for a refusal and for the end of the call."""
        name = self._sender.status.node
        response = await call.read()
        if response is EOF:
            if self._leaving is not None:
                raise Ended
            details = await call.details() or "it closed the connection"
            raise Ended(f"{name} ended the session: {details}")
        self._heard_ms = self._sender.now_ms()
        message: pb.ReplicateResponse = response
        if message.WhichOneof("message") == "refusal":
            raise Ended(f"{name} refused: {message.refusal.reason}")
        return message

    # --- to the standby --------------------------------------------------------------------------

    async def _write_all(self, call: Call, offer: Offer) -> None:
        """Beats until the standby says from where (that may take hours), then sends records."""
        sender = self._sender
        await call.write(sender.hello(offer))
        while self.window is None and self._leaving is None:
            sender.news.clear()
            await wait(sender.news, RECHECK_MS)
            await self._beat(call, offer.last)
        if self.window is not None:
            await self._send(call, self.window)
        await call.write(pb.ReplicateRequest(finish=pb.Finish(reason=self._leaving or "")))
        await call.done_writing()
        await never()  # the reader or the clock ends it

    async def _beat(self, call: Call, last: Position) -> None:
        now_ms = self._sender.now_ms()
        if now_ms - self._beat_ms >= HEARTBEAT_MS:
            self._beat_ms = now_ms
            await call.write(self._sender.heartbeat(last))

    async def _send(self, call: Call, window: SendWindow) -> None:
        """Records, until it is time to leave."""
        sender = self._sender
        cursor = sender.cursor(window.sent)
        ahead: asyncio.Task[Prepared | None] | None = None
        try:
            while self._leaving is None:
                sender.news.clear()
                prepared = await ahead if ahead else await self._prepare(cursor, window)
                ahead = None
                if prepared is None:
                    if not sender.news.is_set():
                        await wait(sender.news, RECHECK_MS)
                    await self._beat(call, window.sent)
                    continue
                found, raw_bytes = prepared.frames, len(prepared.frames.data)
                window.on_sent(last=found.last, records=found.records, raw_bytes=raw_bytes)
                if window.budget > BATCH_BYTES:
                    ahead = asyncio.ensure_future(self._prepare(cursor, window))
                self._beat_ms = sender.now_ms()
                await call.write(prepared.request)
                sender.update(
                    raw_bytes=sender.status.raw_bytes + raw_bytes,
                    wire_bytes=sender.status.wire_bytes + prepared.wire_bytes,
                )
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)
            cursor.close()

    async def _prepare(self, cursor: Cursor, window: SendWindow) -> Prepared | None:
        """The next batch, packed; None when there is none or the window is full."""
        budget = window.budget
        if not budget:
            return None
        policy = self._sender.settings.compression
        if budget > BATCH_BYTES or not window.streaming:
            found = await self._sender.disk(lambda: _read_batch(cursor, budget, policy))
        else:
            found = _read_batch(cursor, budget, policy)
        match found:
            case Prepared():
                return found
            case None:
                window.nothing_to_send()
                return None
            case Corrupt():
                end = (await self._sender.offer()).last
                self._sender.unreadable(max(end, found.after))
                raise Ended(f"{found.reason} {self._sender.status.node} will compare its trees.")
            case Trimmed():
                offer = await self._sender.offer()
                if offer.first.seq <= cursor.after.seq + 1:
                    # Not trimmed: the journals parted where Raft's history does not. Who was made
                    # active by force may lack an epoch of the other's.
                    self._sender.unreadable(max(offer.last, cursor.after))
                raise Ended(f"{self._sender.status.node} fell behind: {found.reason}")
        raise AssertionError(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch, ready to be written."""

    frames: Frames
    request: pb.ReplicateRequest
    wire_bytes: int


def _read_batch(cursor: Cursor, budget: int, policy: str) -> Prepared | Trimmed | Corrupt | None:
    found = cursor.read(budget)
    if not isinstance(found, Frames):
        return found
    codec, packed = frame.compress(found.data, policy)
    batch = pb.Batch(
        first=to_position(found.first),
        last=to_position(found.last),
        records=found.records,
        codec=codec,
        raw_bytes=len(found.data),
        frames=packed,
    )
    return Prepared(frames=found, request=pb.ReplicateRequest(batch=batch), wire_bytes=len(packed))


async def wait(event: asyncio.Event, timeout_ms: int) -> None:
    """Returns when the event is set, or after so long."""
    try:
        async with asyncio.timeout(timeout_ms / 1000):  # wait_for would make a task each time
            await event.wait()
    except TimeoutError:
        return


async def _reason_of(event: asyncio.Event, reason: Callable[[], str]) -> str:
    await event.wait()
    return reason()
