"""The Raft group of a cluster, as the daemon sees it: propose, barrier, state, subscribe.

Commands go to the ticker's thread through a queue and outcomes come back with
`call_soon_threadsafe`; the loop never waits for a disk, and the Raft thread never for the loop.

A command's outcome is taken where it is applied **on this node**, recognised by its identity, and
not from an answer of the leader: an answer of an old session can then never be mistaken for
another command's, and whoever sees `Accepted` finds the effect in `state`. An attempt that may or
may not have been taken is repeated under the same identity, which is harmless because all commands
are idempotent; when the deadline is over the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import staqraft
from staqraft.config.schema import Config
from staqraft.consensus import versions
from staqraft.consensus.bundles import only_appends
from staqraft.consensus.codec import ID_BYTES, encode_proposal
from staqraft.consensus.endpoint import RaftEndpoint
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.manners import PLAIN, Manners
from staqraft.consensus.member import RaftMember
from staqraft.consensus.ready import (
    Connected,
    Disconnected,
    Failure,
    GoAlone,
    Happening,
    Ready,
    Received,
    Resign,
    Submitted,
    Timing,
    Withdrawn,
)
from staqraft.consensus.session import Sink
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.consensus.ticker import RaftTicker
from staqraft.consensus.transport import RaftTransport
from staqraft.errors import ConsensusError, OutcomeUnknown, Outdated, StoreFull
from staqraft.model import (
    ClusterRecord,
    Command,
    FenceRung,
    Generation,
    NodeId,
    NodeRole,
    Outcome,
    ReadBarrier,
)
from staqraft.wire.v1 import raft_pb2 as pb

logger = logging.getLogger(__name__)

INBOX_LIMIT: Final = 10_000
PENDING_LIMIT: Final = 1_000
_AT_ONCE: Final = 1_000  # taken in by one step: the other groups of the process wait for it
_RETRY_S: Final = 0.03
_STORE_RETRY_S: Final = 1.0
_IDLE_S: Final = 0.25  # a member is ticked so often even if it has no timer

Subscriber = Callable[[ClusterRecord], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftView:
    """What this node believes of its Raft group. Who leads is for people and metrics only.

    `reachable` are the peers with a session in this generation, of which `contacts` were opened;
    `newer` is a generation that went on without this node; `problem` is why this node does not take
    part, or "".
    """

    leader: NodeId | None
    term: int
    commit_index: int
    applied_index: int
    has_quorum: bool
    late_ticks: int
    problem: str
    reachable: frozenset[NodeId]
    generation: Generation | None = None
    contacts: int = 0
    newer: Generation | None = None
    log_entries: int = 0
    log_bytes: int = 0


class Group(Sink):
    """A cluster's Raft group, with this node's member of it. All methods in the asyncio loop."""

    def __init__(
        self,
        config: Config,
        ticker: RaftTicker,
        endpoint: RaftEndpoint,
        *,
        directory: Path | None = None,
        manners: Manners = PLAIN,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`directory` holds log and snapshot (default: `raft` in the state directory).

        `manners` are a host's that many clusters share, or of one cluster alone.
        """
        self._config = config
        self._ticker = ticker
        self._endpoint = endpoint
        self._directory = directory if directory is not None else config.state_dir / "raft"
        self._clock = clock
        self._rng = rng if rng is not None else random.SystemRandom()
        self._random_bytes = random_bytes
        self._peers = {node.id: node for node in config.nodes.values() if node.id != config.node}
        self._transport = RaftTransport(
            cluster=config.cluster,
            me=config.node,
            peers=self._peers,
            port=config.ports.control,
            files=config.tls,
            version=staqraft.__version__,
            generation=self._generation,
            random_bytes=random_bytes,
            sink=self,
            calm_ms=config.consensus.election_min_ms,
            manners=manners,
        )
        self._manners = manners
        self._in_company = False  # as of the last tick
        self._linger_s = manners.linger * config.consensus.election_min_ms / 1000
        self._member: RaftMember | None = None
        self._problem = ""
        self._inbox: deque[Happening] = deque()
        self._going: deque[asyncio.Future[str]] = deque()  # who asked to go on alone, in order
        self._pending: dict[bytes, asyncio.Future[Outcome | Failure]] = {}
        self._subscribers: list[Subscriber] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resigned: asyncio.Event | None = None  # while it stops: somebody else leads
        self._state = ClusterRecord()
        self._outdated = asyncio.Event()

    @property
    def name(self) -> str:
        """For the ticker's log."""
        return f"cluster {self._config.cluster}"

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the stores and begins to take part; ConsensusError when they cannot be used.

        Waits, and says so, while the volume has no space even to open them.
        """
        self._loop = asyncio.get_running_loop()
        self._member = await self._open()
        self._state = self._member.record
        consensus = self._config.consensus
        self._ticker.add(
            self,
            shortest_s=consensus.tick_ms / 1000,
            late_s=consensus.election_min_ms / 3000,
        )
        self._endpoint.register(self._transport)
        await self._transport.start()

    async def stop(self) -> None:
        """Leaves: sessions end, what waits gets OutcomeUnknown, the stores are closed."""
        await self._resign()
        self._endpoint.unregister(self._transport)
        await self._transport.stop()
        await asyncio.to_thread(self._ticker.remove, self)
        member, self._member = self._member, None
        self._problem = "Raft is stopped"
        if member is not None:
            await asyncio.to_thread(member.close)
        for future in self._pending.values():
            if not future.done():
                future.set_result(Failure.UNKNOWN)
        for answer in self._going:
            if not answer.done():
                answer.set_result(self._problem)

    async def _resign(self) -> None:
        """Another member is to lead before this one is gone; no longer than an election takes."""
        if self._member is None or not self._member.leads:
            return
        self._resigned = asyncio.Event()
        self._put(Resign())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.consensus.election_max_ms / 1000):
                await self._resigned.wait()

    async def _open(self) -> RaftMember:
        while True:
            try:
                return await asyncio.to_thread(self._build)
            except StoreFull as error:
                if self._problem != str(error):
                    logger.error("%s", error)  # noqa: TRY400 - a sentence, not a trace
                self._problem = str(error)
                await asyncio.sleep(_STORE_RETRY_S)

    def _generation(self) -> Generation:
        if self._member is None:
            raise BadMessage("Raft is stopped on this node")
        return self._member.generation

    def _build(self) -> RaftMember:
        config, consensus = self._config, self._config.consensus
        log = LogStore.open(self._directory / "log", cluster=config.cluster, node=config.node)
        try:
            member = RaftMember(
                me=config.node,
                peers=self._peers,
                heirs=config.replicas if config.me.role is NodeRole.WITNESS else (),
                timing=Timing(
                    election_min_s=consensus.election_min_ms / 1000,
                    election_max_s=consensus.election_max_ms / 1000,
                    heartbeat_s=consensus.heartbeat_ms / 1000,
                    snapshot_after=self._manners.snapshot_after,
                ),
                log=log,
                snapshots=SnapshotStore(self._directory / "snapshot", cluster=config.cluster),
                clock=self._clock,
                rng=self._rng,
            )
            log.persist()
        except BaseException:
            log.close()
            raise
        return member

    # --- what the daemon uses -------------------------------------------------------------------

    @property
    def state(self) -> ClusterRecord:
        """The newest record that was applied here. It may be old: `barrier` makes it current."""
        return self._state

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Calls `subscriber` in the loop after each change of `state`; returns the way out."""
        self._subscribers.append(subscriber)

        def leave() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return leave

    def status(self) -> RaftView:
        """What this node believes of its Raft group."""
        member = self._member
        if member is None:
            return _not_running(self._problem or "Raft is not started")
        return RaftView(
            leader=member.leader,
            term=member.term,
            commit_index=member.commit_index,
            applied_index=member.applied_index,
            has_quorum=member.has_quorum,
            late_ticks=self._ticker.late_ticks(self),
            problem=member.outdated or member.problem or member.membership.conflict,
            reachable=member.reachable,
            generation=member.generation,
            contacts=member.membership.contacts,
            newer=member.membership.newer,
            log_entries=member.log_length,
            log_bytes=member.log_bytes,
        )

    async def outdated(self) -> Outdated:
        """Waits until this node met what only a newer version understands; the error to end with.

        It takes nothing in any more: what is active here is to be let go of.
        """
        await self._outdated.wait()
        return Outdated(
            f"{self.status().problem}. {self._config.node} has stopped and is not active; it goes"
            " on from where it is when the version of the other nodes is installed here"
        )

    async def go_alone(self, rung: FenceRung, contacts: int, *, forced: bool = False) -> None:
        """Opens the next generation, of this node only; the other is off by `rung`.

        `forced`: the other is given up, even if it went on alone before. ConsensusError says why
        not: it was heard since `contacts`, for instance.
        """
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._going.append(answer)
        self._put(GoAlone(rung, contacts, forced))
        if refusal := await answer:
            raise ConsensusError(f"{self._config.node} does not go on alone: {refusal}")

    async def propose(self, command: Command, timeout_ms: int | None = None) -> Outcome:
        """Proposes on whatever node this is; returns when the command is applied here.

        OutcomeUnknown when the time is over (it may or may not take effect: re-read, then decide),
        StoreFull or Outdated when this node cannot take part.
        """
        usual_ms = self._config.consensus.propose_timeout_ms
        limit_ms = timeout_ms if timeout_ms is not None else usual_ms
        if len(self._pending) >= PENDING_LIMIT:
            raise ConsensusError(
                f"{PENDING_LIMIT} proposals of {self._config.node} wait already: is there a quorum?"
            )
        identity = self._random_bytes(ID_BYTES)
        spoken = versions.spoken(self._state, self._config.nodes)
        data = encode_proposal(identity, command, spoken)
        outcome: Outcome | None = None
        try:
            async with asyncio.timeout(limit_ms / 1000):
                outcome = await self._attempt(identity, data)
        except TimeoutError as error:
            raise OutcomeUnknown(
                f"no majority confirmed {type(command).__name__} of {self._config.node} within"
                f" {limit_ms} ms: {self._why_slow()}"
            ) from error
        finally:
            self._pending.pop(identity, None)
            if outcome is None:
                self._put(Withdrawn(identity))
        return outcome

    async def barrier(self, timeout_ms: int | None = None) -> ClusterRecord:
        """`state`, as new as the moment of this call. Errors as of `propose`."""
        await self.propose(ReadBarrier(node=self._config.node), timeout_ms)
        return self._state

    async def _attempt(self, identity: bytes, data: bytes) -> Outcome:
        """Submits until there is an outcome; the caller's time limit ends it."""
        loop = asyncio.get_running_loop()
        while True:
            if self._member is None:
                raise OutcomeUnknown(self._problem or "Raft is not started on this node")
            future: asyncio.Future[Outcome | Failure] = loop.create_future()
            self._pending[identity] = future
            self._put(Submitted(identity, data))
            result = await future
            if not isinstance(result, Failure):
                return result
            if result is Failure.STORE_FULL:
                raise StoreFull(self.status().problem or result.value)
            if result is Failure.OUTDATED:
                raise Outdated(self.status().problem or result.value)
            await asyncio.sleep(_RETRY_S)

    def _why_slow(self) -> str:
        view = self.status()
        if view.problem:
            return view.problem
        if not view.has_quorum:
            seen = ", ".join(sorted(view.reachable)) or "nobody"
            return f"it reaches {seen} of {', '.join(sorted(self._peers))}; check the network"
        return f"leader {view.leader or 'not elected yet'}, term {view.term}"

    # --- the sessions tell ----------------------------------------------------------------------

    def connected(self, node: NodeId, told: Generation, heard: Generation) -> None:
        """A session is open."""
        self._put(Connected(node, told, heard))

    def disconnected(self, node: NodeId) -> None:
        """A session is gone."""
        self._put(Disconnected(node))

    def received(self, node: NodeId, envelopes: Iterable[pb.Envelope]) -> None:
        """Messages; when the Raft thread is stuck the session is dropped instead of hoarding."""
        if len(self._inbox) > INBOX_LIMIT:
            self._transport.drop(node, "this node's Raft thread does not keep up")
            return
        at = self._clock()
        received = [Received(node, envelope, at) for envelope in envelopes]
        self._inbox.extend(received)
        if (
            self._linger_s
            and self._in_company
            and not self._transport.bundled(node)
            and all(only_appends(message.message) for message in received)
        ):
            self._ticker.wake(self, within_s=self._linger_s)
        else:
            self._ticker.wake(self)

    def _put(self, happening: Happening) -> None:
        self._inbox.append(happening)
        self._ticker.wake(self)

    # --- the ticker's thread --------------------------------------------------------------------

    def tick(self) -> float:
        """One step of the member, on the ticker's thread."""
        member, loop = self._member, self._loop
        if member is None or loop is None:
            return _IDLE_S
        some = min(len(self._inbox), _AT_ONCE)
        happenings = [self._inbox.popleft() for _ in range(some)]
        ready = member.step(happenings)
        self._in_company = member.follows_in_company
        self._transport.post(ready.messages, calm=member.leads_in_company)
        for node, reason in ready.offenders.items():
            self._transport.drop(node, f"what {node} sent was refused: {reason}")
        for node in ready.redial:
            self._transport.drop(node, "this node is in another generation now")
        if self._inbox:
            self._ticker.wake(self)
        if self._resigned is not None and member.leader not in {None, self._config.node}:
            loop.call_soon_threadsafe(self._resigned.set)
        if ready.record is not None or ready.outcomes or ready.failures or ready.alone:
            loop.call_soon_threadsafe(self._deliver, ready)
        if member.outdated:
            loop.call_soon_threadsafe(self._outdated.set)
            return _STORE_RETRY_S
        idle_s = max(_IDLE_S, 2 * self._linger_s)
        return _STORE_RETRY_S if member.problem else min(member.next_due_s(), idle_s)

    def _deliver(self, ready: Ready) -> None:
        if ready.record is not None:
            self._publish(ready.record)
        for identity, outcome in ready.outcomes:
            self._resolve(identity, outcome)
        for identity, failure in ready.failures:
            self._resolve(identity, failure)
        for refusal in ready.alone:
            answer = self._going.popleft()
            if not answer.done():
                answer.set_result(refusal)

    def _publish(self, record: ClusterRecord) -> None:
        before, self._state = self._state, record
        if (
            before.groups is record.groups
            and before.members is record.members
            and before.events is record.events
        ):
            return  # only the index moved on
        for subscriber in list(self._subscribers):
            try:
                subscriber(record)
            except Exception:
                logger.exception("a subscriber of the Raft state failed")

    def _resolve(self, identity: bytes, result: Outcome | Failure) -> None:
        future = self._pending.get(identity)
        if future is not None and not future.done():
            future.set_result(result)


def _not_running(problem: str) -> RaftView:
    return RaftView(
        leader=None,
        term=0,
        commit_index=0,
        applied_index=0,
        has_quorum=False,
        late_ticks=0,
        problem=problem,
        reachable=frozenset(),
    )
