"""The active's end of the stream: for each peer, one session at a time over the best ring there is.

A session that ends, for whatever reason, is followed by another within half a second. While it runs
over a ring that is not the preferred one, the preferred is tried each second beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from staqraft.config.schema import Replication, Ring
from staqraft.errors import StaqraftError
from staqraft.journal.cursor import Cursor, bounds
from staqraft.model import Epoch, EpochStart, GroupId, NodeId, Position
from staqraft.replication.messages import to_hello, to_position
from staqraft.replication.plan import Offer
from staqraft.replication.problems import Problems
from staqraft.replication.send_session import Call, Ended, SendSession, wait
from staqraft.replication.status import PeerStatus, State
from staqraft.replication.tasks import never, on_disk
from staqraft.wire.failures import in_words
from staqraft.wire.v1 import replication_pb2 as pb
from staqraft.wire.v1 import replication_pb2_grpc as pb_grpc

logger = logging.getLogger(__name__)

CONNECT_MS = 500
BACKOFF_MS = (20, 100, 250, 500)
LASTING_MS = 1000
PREFERRED_CHECK_MS = 1000
APPLY_STUCK_MS = 10_000  # applying is told twice a second; under load it moves all the time

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
        self._applied_moved_ms = clock()
        self._apply_stuck = False
        self._warm: tuple[Ring, grpc.aio.Channel] | None = None

    def ring_bell(self) -> None:
        """There may be something new in the journal."""
        self._news.set()

    async def wait_durable(self, position: Position) -> Position | None:
        """What is durable at the peer, once that is at least `position`; None: stopped before.

        Not before its trees are whole: it could not give what it has without us.
        """
        if self.status.durable >= position and not self.status.settling:
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
                begun_ms, durable = self._clock(), self.status.durable
                streamed = await self._one_session()
                # One whose first records are refused (a full journal) was none.
                lasted = self._clock() - begun_ms >= LASTING_MS or self.status.durable > durable
                failures = 0 if streamed and lasted else min(failures + 1, len(BACKOFF_MS) - 1)
                if not self._stopping.is_set() and self._warm is None:
                    await wait(self._stopping, BACKOFF_MS[failures])
        finally:
            await self._cool()
            # Nobody would say that it is over: who sends nothing has no trouble with sending.
            self._problems.clear(f"peer-{self.status.node}")
            for _, waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # --- one session -----------------------------------------------------------------------------

    async def _one_session(self) -> bool:
        """True when the standby let us stream, however it ended."""
        channel: grpc.aio.Channel | None = None
        session: SendSession | None = None
        try:
            channel, call, session = await self._connect()
            await session.run(call)
        except Ended as end:
            self._note_end(end.problem)
        except grpc.aio.AioRpcError as error:
            self._note_end(f"the connection to {self.status.node} broke: {in_words(error)}")
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

    async def _connect(self) -> tuple[grpc.aio.Channel, Call, SendSession]:
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
                return channel, call, SendSession(self, ring)
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

    def acknowledged(
        self, durable: Position, applied: Position, heard_ms: int, *, settling: bool
    ) -> None:
        """Wakes whoever waits for this."""
        now_ms = self._clock()
        if applied != self.status.applied or applied >= durable:
            self._applied_moved_ms = now_ms
        stuck = now_ms - self._applied_moved_ms > APPLY_STUCK_MS
        if stuck != self._apply_stuck:
            self._apply_stuck = stuck
            text = (
                f"{self.status.node} keeps what it receives but does not apply it to its trees "
                f"since {applied}: 'staqctl status' on {self.status.node} says why"
            )
            self.update(problem=text if stuck else "")
        self.update(durable=durable, applied=applied, heard_ms=heard_ms, settling=settling)
        if settling:
            return
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


def _why(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {CONNECT_MS} ms"
        case grpc.aio.AioRpcError():
            return in_words(error)
        case Ended():
            return error.problem
    return str(error)
