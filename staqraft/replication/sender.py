"""The active's end of the stream: for each peer, one session at a time over the best ring there is.

The journal is the send buffer: while a write is pending nothing is read, so what gathers meanwhile
goes out as one batch. At the journal's end reading happens in the event loop (the pages were written
a moment ago; a thread hop would cost more than the read); behind it, in the executor and one batch
ahead, so that disk, lz4 and network work at the same time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from staqraft.config.schema import Replication, Ring
from staqraft.errors import JournalError, StaqraftError
from staqraft.journal.cursor import Corrupt, Cursor, Frames, Trimmed, bounds
from staqraft.journal.doorbell import RECHECK_MS
from staqraft.model import ORIGIN, Epoch, EpochStart, GroupId, NodeId, Position
from staqraft.replication import frame
from staqraft.replication.messages import EOF, from_position, to_hello, to_position
from staqraft.replication.plan import Offer
from staqraft.replication.problems import Problems
from staqraft.replication.session import BATCH_BYTES, HEARTBEAT_MS, SendWindow
from staqraft.replication.status import PeerStatus, State
from staqraft.replication.tasks import first_ended, never, on_disk
from staqraft.wire.v1 import replication_pb2 as pb
from staqraft.wire.v1 import replication_pb2_grpc as pb_grpc

logger = logging.getLogger(__name__)

CONNECT_MS = 500
FINISH_MS = 500
BACKOFF_MS = (20, 100, 250, 500)
PREFERRED_CHECK_MS = 1000

Call = Any  # grpc.aio.StreamStreamCall: the generated stubs are not typed
Dial = Callable[[Ring], grpc.aio.Channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """In which cluster, group and epoch this node is active, with the history from Raft."""

    cluster: str
    group: GroupId
    node: NodeId
    epoch: Epoch
    epoch_starts: tuple[EpochStart, ...]
    version: str


class Ended(Exception):
    """A session is over. `problem` is a sentence, or empty when there is nothing to report."""

    def __init__(self, problem: str = "") -> None:
        super().__init__(problem)
        self.problem = problem


class PeerSender:
    """Keeps one peer supplied. `rings` in order of preference; `clock` is ms on CLOCK_BOOTTIME."""

    def __init__(
        self,
        *,
        active: Active,
        peer: NodeId,
        rings: Sequence[Ring],
        dial: Dial,
        directory: Path,
        settings: Replication,
        executor: Executor,
        clock: Callable[[], int],
        problems: Problems,
    ) -> None:
        self.status = PeerStatus(node=peer)
        self._active = active
        self._rings = tuple(rings)
        self._dial = dial
        self._directory = directory
        self._settings = settings
        self._executor = executor
        self._clock = clock
        self._problems = problems
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop_reason = ""
        self._waiters: list[tuple[Position, asyncio.Future[Position | None]]] = []
        self._readable_from: Position | None = None  # damage: nothing before this can be sent
        self._warm: tuple[Ring, grpc.aio.Channel] | None = None

    def ring_bell(self) -> None:
        """There may be something new in the journal."""
        self._news.set()

    async def wait_durable(self, position: Position) -> Position | None:
        """What is durable at the peer, as soon as that is at least `position`; None: stopped before."""
        if self.status.durable >= position:
            return self.status.durable
        waiter: asyncio.Future[Position | None] = asyncio.get_running_loop().create_future()
        self._waiters.append((position, waiter))
        return await waiter

    def stop(self, reason: str) -> None:
        """Ends the session with Finish; `run` returns soon after."""
        self._stop_reason = reason
        self._stopping.set()

    async def run(self) -> None:
        """Sessions until stopped. Never raises for what a peer, a network or a disk does."""
        failures = 0
        try:
            while not self._stopping.is_set():
                streamed = await self._one_session()
                failures = 0 if streamed else min(failures + 1, len(BACKOFF_MS) - 1)
                if not self._stopping.is_set() and self._warm is None:
                    await _wait(self._stopping, BACKOFF_MS[failures])
        finally:
            await self._cool()
            for _, waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # --- one session -----------------------------------------------------------------------------

    async def _one_session(self) -> bool:
        """True when the standby let us stream, however it ended."""
        channel: grpc.aio.Channel | None = None
        session: _Session | None = None
        try:
            channel, call, session = await self._connect()
            await session.run(call)
        except Ended as end:
            self._note_end(end.problem)
        except grpc.aio.AioRpcError as error:
            self._note_end(f"the connection to {self.status.node} broke: {error.details()}")
        except (StaqraftError, OSError) as error:
            self._note_end(f"cannot read the journal to send it to {self.status.node}: {error}")
        finally:
            if channel is not None:
                await channel.close(None)
        return session is not None and session.window is not None

    def _note_end(self, problem: str) -> None:
        self.update(state=State.DISCONNECTED, problem=problem)
        if problem:
            self._problems.set(f"peer-{self.status.node}", problem)

    async def _connect(self) -> tuple[grpc.aio.Channel, Call, _Session]:
        """The first ring over which the peer takes our call; Ended says of each why not."""
        warm, self._warm = self._warm, None
        ways = [(ring, None) for ring in self._rings]
        problems = []
        for ring, channel in [warm, *ways] if warm else ways:
            channel = channel or self._dial(ring)  # noqa: PLW2901
            call = None
            try:
                call = pb_grpc.ReplicationServiceStub(channel).Replicate()  # type: ignore[no-untyped-call]
                # The server sends its metadata at once: a peer that does not is not there.
                await asyncio.wait_for(call.initial_metadata(), CONNECT_MS / 1000)
                if call.done():
                    raise Ended(await call.details())  # noqa: TRY301
            except (TimeoutError, Ended, grpc.aio.AioRpcError) as error:
                problems.append(f"{ring.name} ({ring.address}): {_why(error)}")
                if call is not None:
                    call.cancel()
                await channel.close(None)
            except BaseException:
                await channel.close(None)
                raise
            else:
                return channel, call, _Session(self, ring)
        raise Ended(f"{self.status.node} cannot be reached: {'; '.join(problems)}")

    # --- for the session -------------------------------------------------------------------------

    @property
    def settings(self) -> Replication:
        """The configuration of the stream."""
        return self._settings

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the sender is to end."""
        return self._stopping

    @property
    def stop_reason(self) -> str:
        """Why it is to end."""
        return self._stop_reason

    @property
    def news(self) -> asyncio.Event:
        """Set when the journal or the window may have changed."""
        return self._news

    def now_ms(self) -> int:
        """The worker's clock."""
        return self._clock()

    def update(self, **changes: Any) -> None:
        """Changes the status."""
        self.status = replace(self.status, **changes)

    def healthy(self) -> None:
        """Records flow: what was wrong with the peer is over."""
        self.update(problem="")
        self._problems.clear(f"peer-{self.status.node}")

    async def offer(self) -> Offer:
        """What our Hello says now."""
        active = self._active
        first, last = await self.disk(lambda: bounds(self._directory))
        if self._readable_from is not None and first.seq < self._readable_from.seq <= last.seq + 1:
            first = self._readable_from
        return Offer(
            cluster=active.cluster,
            group=active.group,
            node=active.node,
            epoch=active.epoch,
            epoch_starts=active.epoch_starts,
            first=first,
            last=last,
        )

    def hello(self, offer: Offer) -> pb.ReplicateRequest:
        """The first message."""
        return to_hello(offer, self._active.version)

    def heartbeat(self, sent: Position) -> pb.ReplicateRequest:
        """The message that says we are alive."""
        beat = pb.Heartbeat(epoch=self._active.epoch, last=to_position(sent))
        return pb.ReplicateRequest(heartbeat=beat)

    def cursor(self, after: Position) -> Cursor:
        """A reader of our journal."""
        return Cursor(self._directory, after)

    async def disk(self, work: Callable[[], Any]) -> Any:
        """Runs `work` in the executor."""
        return await on_disk(self._executor, work)

    def unreadable(self, end: Position) -> None:
        """The journal is damaged somewhere up to `end`: offer only what comes behind."""
        self._readable_from = Position(end.epoch, end.seq + 1)

    def acknowledged(self, durable: Position, applied: Position, heard_ms: int) -> None:
        """Wakes whoever waits for this."""
        self.update(durable=durable, applied=applied, heard_ms=heard_ms)
        still = []
        for position, waiter in self._waiters:
            if waiter.done():
                continue
            if durable >= position:
                waiter.set_result(durable)
            else:
                still.append((position, waiter))
        self._waiters = still

    async def better_ring(self, ring: Ring) -> str:
        """Returns when a ring that is preferred to `ring` can be used; a channel is then ready."""
        better = self._rings[: self._rings.index(ring)]
        while better:
            await asyncio.sleep(PREFERRED_CHECK_MS / 1000)
            for candidate in better:
                channel = self._dial(candidate)
                try:
                    await asyncio.wait_for(channel.channel_ready(), CONNECT_MS / 1000)
                except TimeoutError:
                    await channel.close(None)
                except BaseException:
                    await channel.close(None)
                    raise
                else:
                    await self._cool()
                    self._warm = (candidate, channel)
                    return f"ring {candidate.name} is back"
        await never()  # the best one is in use
        return ""

    async def _cool(self) -> None:
        warm, self._warm = self._warm, None
        if warm is not None:
            await warm[1].close(None)


class _Session:
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
        after = await self._answer(call)
        sender = self._sender
        window_bytes = sender.settings.window_bytes
        self.window = SendWindow(after=after, window_bytes=window_bytes)
        sender.update(state=State.CATCHING_UP, objects_done=0, objects_total=0)
        sender.acknowledged(after, sender.status.applied, self._heard_ms)
        sender.healthy()
        sender.news.set()
        logger.info(
            f"sending to {sender.status.node} over ring {self._ring.name} what follows {after}"
        )
        await self._acks(call, self.window)

    async def _answer(self, call: Call) -> Position:
        sender = self._sender
        while True:
            response = await self._read(call)
            match response.WhichOneof("message"):
                case "resume":
                    return from_position(response.resume.after)
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
            sender.acknowledged(durable, applied, self._heard_ms)
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
        """Beats until the standby says from where (it may compare for hours), then sends records."""
        sender = self._sender
        await call.write(sender.hello(offer))
        while self.window is None and self._leaving is None:
            sender.news.clear()
            await _wait(sender.news, RECHECK_MS)
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
        ahead: asyncio.Task[_Prepared | None] | None = None
        try:
            while self._leaving is None:
                sender.news.clear()
                prepared = await ahead if ahead else await self._prepare(cursor, window)
                ahead = None
                if prepared is None:
                    if not sender.news.is_set():
                        await _wait(sender.news, RECHECK_MS)
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

    async def _prepare(self, cursor: Cursor, window: SendWindow) -> _Prepared | None:
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
            case _Prepared():
                return found
            case None:
                window.nothing_to_send()
                return None
            case Corrupt():
                end = (await self._sender.offer()).last
                self._sender.unreadable(max(end, found.after))
                raise Ended(f"{found.reason} {self._sender.status.node} will compare its trees.")
            case Trimmed():
                raise Ended(f"{self._sender.status.node} fell behind: {found.reason}")
        raise AssertionError(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    frames: Frames
    request: pb.ReplicateRequest
    wire_bytes: int


def _read_batch(cursor: Cursor, budget: int, policy: str) -> _Prepared | Trimmed | Corrupt | None:
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
    return _Prepared(frames=found, request=pb.ReplicateRequest(batch=batch), wire_bytes=len(packed))


async def _wait(event: asyncio.Event, timeout_ms: int) -> None:
    try:
        async with asyncio.timeout(timeout_ms / 1000):  # wait_for would make a task each time
            await event.wait()
    except TimeoutError:
        return


async def _reason_of(event: asyncio.Event, reason: Callable[[], str]) -> str:
    await event.wait()
    return reason()


def _why(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {CONNECT_MS} ms"
        case grpc.aio.AioRpcError():
            return error.details() or error.code().name
        case Ended():
            return error.problem
    return str(error)
