"""One session at the standby: an answer to Hello, then records in, acknowledgements out.

Reading, the disk and acknowledging overlap: what arrives while one sync runs goes into the next, so
that the cost of a sync is shared by whatever came meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from staqraft.errors import JournalFull, StaleEpoch, StaqraftError
from staqraft.model import Epoch, Position
from staqraft.replication.messages import EOF, from_position, to_position
from staqraft.replication.plan import Offer, Reconcile, RefusalKind, Refuse, Resume, plan
from staqraft.replication.session import HEARTBEAT_MS, BatchHead, ReceiveOrder, Violation
from staqraft.replication.status import State
from staqraft.replication.tasks import first_ended
from staqraft.replication.trees import Progress
from staqraft.wire.v1 import replication_pb2 as pb

if TYPE_CHECKING:
    from staqraft.replication.receiver import Receiver

logger = logging.getLogger(__name__)

Context = Any  # grpc.aio.ServicerContext: the stubs do not know its read and write
QUEUE_BYTES = 16 << 20
LAST_WORD_MS = 500


class Refused(Exception):
    """The session ends with this refusal."""

    def __init__(self, kind: RefusalKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Broken(Exception):
    """The session ends without a refusal: the active is to come again."""


class ReceiveSession:
    """From an admitted Hello to the end. `over` is set by whoever ran it."""

    def __init__(self, receiver: Receiver, offer: Offer, context: Context) -> None:
        self.offer = offer
        self.over = asyncio.Event()
        self._receiver = receiver
        self._context = context
        self._outgoing: deque[pb.ReplicateResponse] = deque()
        self._to_say = asyncio.Event()
        self._ending = False
        self._told_to_end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drain = True
        self._order: ReceiveOrder | None = None
        self._durable = Position()
        self._reconciling: pb.Reconciling | None = None
        self._heard_ms = receiver.clock()
        self._pending: deque[pb.Batch] = deque()
        self._pending_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def resumed(self) -> bool:
        """Records flow."""
        return self._order is not None

    async def end(self, why: Refused | Broken, *, drain: bool) -> None:
        """Ends it and waits until it is over. `drain`: what was received is stored first."""
        self._drain = self._drain and drain
        if not self._told_to_end.done():
            self._told_to_end.set_exception(why)
        await self.over.wait()

    async def run(self) -> None:
        """Returns when the active said Finish; else raises Refused, Broken or a StaqraftError."""
        speaking = asyncio.create_task(self._speak())
        speaking.add_done_callback(_taken_note_of)
        try:
            await first_ended(
                self._read_all(),
                self._take_all(),
                self._stay_alive(),
                _ended(self._told_to_end),
                _ended(speaking),
            )
        finally:
            if self._told_to_end.done():
                self._told_to_end.exception()  # it was raised, or came too late to matter
            try:
                while self._pending and self._drain:
                    await self._store_pending()
            finally:
                await self._stop_speaking(speaking)

    # --- from the active -------------------------------------------------------------------------

    async def _read_all(self) -> None:
        receiver = self._receiver
        while True:
            request = await self._context.read()
            if request is EOF:
                raise Broken(f"{self.offer.node} closed the connection without a word")
            self._heard_ms = receiver.clock()
            receiver.update(heard_ms=self._heard_ms)
            match request.WhichOneof("message"):
                case "batch":
                    await self._on_batch(request.batch)
                case "heartbeat":
                    self._on_heartbeat(request.heartbeat)
                case "finish":
                    logger.info(f"{self.offer.node} ended the session: {request.finish.reason}")
                    return
                case other:
                    raise Refused(RefusalKind.BAD_FRAME, f"{self.offer.node} sent {other} midway")

    async def _on_batch(self, batch: pb.Batch) -> None:
        if self._order is None:
            raise Refused(RefusalKind.BAD_FRAME, "records came before they were asked for")
        head = BatchHead(
            first=from_position(batch.first),
            last=from_position(batch.last),
            records=batch.records,
            raw_bytes=batch.raw_bytes,
        )
        _check(self._order.on_batch(head))
        while self._pending_bytes >= QUEUE_BYTES:
            self._room.clear()
            await self._room.wait()
        self._pending.append(batch)
        self._pending_bytes += batch.raw_bytes
        self._arrived.set()

    def _on_heartbeat(self, beat: pb.Heartbeat) -> None:
        epoch, last = Epoch(beat.epoch), from_position(beat.last)
        if self._order is not None:
            _check(self._order.on_heartbeat(epoch, last))
            self._show()
        elif epoch != self.offer.epoch:
            text = f"a message of epoch {epoch} came in a session of epoch {self.offer.epoch}"
            raise Refused(RefusalKind.STALE_EPOCH, text)

    # --- to the journal --------------------------------------------------------------------------

    async def _take_all(self) -> None:
        after = await self._begin()
        offer = self.offer
        self._durable = after
        self._order = ReceiveOrder(epoch=offer.epoch, epoch_starts=offer.epoch_starts, after=after)
        self._order.offered = max(after, offer.last)
        self._receiver.healthy()
        self._show()
        logger.info(f"following {offer.node} in epoch {offer.epoch} behind {after}")
        self._say(pb.ReplicateResponse(resume=self._resume(after)))
        while True:
            await self._arrived.wait()
            await self._store_pending()
            self._say(self._ack())
            if self._receiver.store.wants_room and not self._pending:
                await self._receiver.store.make_room()

    async def _store_pending(self) -> None:
        """Everything that has arrived, with one sync."""
        self._arrived.clear()
        batches = list(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._room.set()
        self._durable, problem = await self._receiver.store.store(batches)
        self._show()
        self._receiver.journal_trouble(str(problem) if isinstance(problem, JournalFull) else "")
        if problem is not None:
            self._drain = False  # what follows has a gap before it
            raise Refused(_kind(problem), str(problem))

    def _show(self) -> None:
        """Our state for the status."""
        receiver, order = self._receiver, self._order
        state = receiver.status.state
        if order is not None and self._durable.seq >= order.offered.seq:
            state = State.STREAMING
        elif state is not State.STREAMING:
            state = State.CATCHING_UP
        receiver.update(state=state, durable=self._durable)

    # --- the beginning ---------------------------------------------------------------------------

    async def _begin(self) -> Position:
        """Where the active is to go on, after a comparison if there has to be one."""
        receiver = self._receiver
        needs = await receiver.needs_reconcile()
        last = await receiver.store.open()
        verdict = plan(self.offer, receiver.holding(last, needs))
        match verdict:
            case Resume(after=after):
                return after
            case Refuse(kind=kind, reason=reason):
                raise Refused(kind, reason)
            case Reconcile(reason=reason):
                return await self._reconcile(reason)

    async def _reconcile(self, reason: str) -> Position:
        receiver, offer = self._receiver, self.offer
        logger.info(f"comparing the trees with {offer.node}'s: {reason}")
        self._show_progress(reason, Progress(objects_done=0, objects_total=0, bytes_done=0))
        self._say(self._alive_message())
        await receiver.store.begin_reconcile(reason)
        position: Position | None = None
        steps = receiver.trees.reconcile(
            reason=reason, active=offer.node, epoch=offer.epoch, epoch_starts=offer.epoch_starts
        )
        async for progress in steps:
            self._show_progress(reason, progress)
            position = progress.position
        if position is None:
            raise Broken("the trees process ended the comparison before it was done")
        await receiver.store.finish_reconcile(position)
        receiver.compared()
        self._reconciling = None
        receiver.update(state=State.CATCHING_UP, objects_done=0, objects_total=0)
        logger.info(f"the trees are equal to {offer.node}'s as of {position}")
        return position

    def _show_progress(self, reason: str, progress: Progress) -> None:
        self._reconciling = pb.Reconciling(
            reason=reason,
            objects_done=progress.objects_done,
            objects_total=progress.objects_total,
            bytes_done=progress.bytes_done,
            bytes_per_s=progress.bytes_per_s,
            left_ms=progress.left_ms,
        )
        self._receiver.update(
            state=State.RECONCILING,
            problem="",
            objects_done=progress.objects_done,
            objects_total=progress.objects_total,
            bytes_done=progress.bytes_done,
            bytes_per_s=progress.bytes_per_s,
            left_ms=progress.left_ms,
        )

    # --- to the active ---------------------------------------------------------------------------

    async def _stay_alive(self) -> None:
        """Shows each 200 ms that we are there, and notices when the active is not."""
        receiver = self._receiver
        while True:
            await asyncio.sleep(HEARTBEAT_MS / 1000)
            silent_ms = receiver.clock() - self._heard_ms
            if silent_ms >= receiver.dead_peer_ms:
                raise Broken(f"{self.offer.node} has been silent for {silent_ms} ms")
            if self._order is not None or self._reconciling is not None:
                self._say(self._alive_message())

    def _alive_message(self) -> pb.ReplicateResponse:
        if self._reconciling is not None:
            return pb.ReplicateResponse(reconciling=self._reconciling)
        return self._ack()

    def _ack(self) -> pb.ReplicateResponse:
        status = self._receiver.status
        ack = pb.Ack(
            durable=to_position(self._durable),
            applied=to_position(status.applied),
            settling=status.settling,
        )
        return pb.ReplicateResponse(ack=ack)

    def say_how_it_is(self) -> None:
        """At once, not with the next acknowledgement: somebody may wait for it."""
        if self._order is not None:
            self._say(self._ack())

    def _resume(self, after: Position) -> pb.Resume:
        return pb.Resume(after=to_position(after), settling=self._receiver.status.settling)

    def _say(self, response: pb.ReplicateResponse) -> None:
        """Queues a message; an acknowledgement takes the place of one that was not written yet."""
        kind = response.WhichOneof("message")
        if self._outgoing and self._outgoing[-1].WhichOneof("message") == kind:
            self._outgoing[-1] = response
        else:
            self._outgoing.append(response)
        self._to_say.set()

    async def _speak(self) -> None:
        """Writes what is queued until the session is over.

        A task of its own, not one that is cancelled with the others: after a write that was cut off
        midway nothing can be written to a call any more, not even a refusal.
        """
        while not (self._ending and not self._outgoing):
            await self._to_say.wait()
            self._to_say.clear()
            while self._outgoing:
                await self._context.write(self._outgoing.popleft())

    async def _stop_speaking(self, speaking: asyncio.Task[None]) -> None:
        self._ending = True
        if self._order is not None:
            self._say(self._ack())
        self._to_say.set()
        await asyncio.wait([speaking], timeout=LAST_WORD_MS / 1000)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)


def _taken_note_of(task: asyncio.Task[None]) -> None:
    """A write to a peer that is gone fails; `run` hears of it, unless it is cancelled first."""
    if not task.cancelled():
        task.exception()


async def _ended(future: asyncio.Future[None]) -> None:
    """Ends as `future` does, without ending it."""
    await asyncio.shield(future)


def _check(violation: Violation | None) -> None:
    if violation is not None:
        raise Refused(violation.kind, violation.reason)


def _kind(problem: StaqraftError) -> RefusalKind:
    match problem:
        case JournalFull():
            return RefusalKind.JOURNAL_FULL
        case StaleEpoch():
            return RefusalKind.STALE_EPOCH
    return RefusalKind.BAD_FRAME
