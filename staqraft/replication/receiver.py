"""The standby's end of the stream: whom it listens to, one session at a time.

A new Hello of the same or a newer epoch ends the session before it, since the active knows better
than we do that its old connection is dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import grpc
import grpc.aio

from staqraft.errors import JournalBusy, JournalError, JournalFull, ReplicationError, StaqraftError
from staqraft.model import Epoch, GroupId, NodeId, Position
from staqraft.replication.messages import EOF, from_hello, refusal
from staqraft.replication.plan import Holding, Offer, RefusalKind, Refuse, plan
from staqraft.replication.problems import Problems
from staqraft.replication.receive_session import Broken, Context, ReceiveSession, Refused
from staqraft.replication.status import PeerStatus, State
from staqraft.replication.store import Store
from staqraft.replication.trees import Trees

logger = logging.getLogger(__name__)

TREES_POLL_MS = 500
SETTLING_POLL_MS = 100  # somebody waits for its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """In which cluster and group this node is a standby, and whom it follows in which epoch."""

    cluster: str
    group: GroupId
    node: NodeId
    epoch: Epoch
    active: NodeId | None
    dead_peer_ms: int


class Receiver:
    """Serves sessions while this node is a standby. `clock` is ms on CLOCK_BOOTTIME."""

    def __init__(
        self,
        *,
        standby: Standby,
        store: Store,
        trees: Trees,
        clock: Callable[[], int],
        problems: Problems,
    ) -> None:
        # As long as the trees did not say that they are whole, nobody may count on them.
        self.status = PeerStatus(node=standby.active or NodeId(""), settling=True)
        self.epoch = standby.epoch
        self.active = standby.active
        self.store = store
        self.trees = trees
        self.clock = clock
        self._standby = standby
        self._problems = problems
        self._session: ReceiveSession | None = None
        self._stopping = False
        self._polling: asyncio.Task[None] | None = None
        self._comparisons = 0

    async def start(self) -> None:
        """Takes the journal. JournalBusy when another process does not let go of it.

        A journal that cannot be opened for another reason is a problem that is shown, and tried
        again at each Hello: a full disk must not keep a standby from saying what is wrong with it.
        """
        try:
            await self.store.open()
        except JournalBusy:
            raise
        except JournalError as error:
            self.journal_trouble(str(error))
        self._polling = asyncio.create_task(self._poll_trees())

    async def stop(self) -> None:
        """Makes everything that was received durable and lets go of the journal."""
        self._stopping = True
        if self._session is not None:
            await self._session.end(self._not_standby(), drain=True)
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self.store.close()

    async def follow(self, epoch: Epoch, active: NodeId | None) -> None:
        """Control knows of a newer epoch: the session of an older one ends here."""
        if epoch > self.epoch or (epoch == self.epoch and self.active is None):
            self.epoch, self.active = epoch, active
        session = self._session
        if session is not None and session.offer.epoch < self.epoch:
            text = f"epoch {self.epoch} has begun with {self.active} active"
            await session.end(Refused(RefusalKind.STALE_EPOCH, text), drain=False)

    async def serve(self, node: NodeId, ring: str, context: Context) -> None:
        """One call of the active, whose certificate says `node`. Returns when it is over."""
        session: ReceiveSession | None = None
        try:
            offer = await self._hello(node, context)
            session = await self._admit(offer, ring, context)
            await session.run()
        except JournalFull as full:
            self.journal_trouble(str(full))
            self._note(str(full))
            await context.write(refusal(RefusalKind.JOURNAL_FULL, str(full)))
        except Refused as refused:
            self._note(refused.reason)
            await context.write(refusal(refused.kind, refused.reason))
        except (Broken, StaqraftError, OSError) as broken:
            self._note(str(broken))
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(broken))
        finally:
            if session is not None:
                session.over.set()
                if self._session is session:
                    self._session = None
                    self.update(state=State.DISCONNECTED)

    async def _hello(self, node: NodeId, context: Context) -> Offer:
        try:
            first = await asyncio.wait_for(context.read(), self._standby.dead_peer_ms / 1000)
        except TimeoutError:
            raise Broken(f"{node} connected and said nothing") from None
        if first is EOF or first.WhichOneof("message") != "hello":
            raise Refused(RefusalKind.BAD_FRAME, f"{node} did not begin with Hello")
        offer = from_hello(first.hello)
        if offer.node != node:
            raise Refused(
                RefusalKind.IDENTITY, f"the certificate says {node}, its Hello says {offer.node}"
            )
        return offer

    async def _admit(self, offer: Offer, ring: str, context: Context) -> ReceiveSession:
        """A session for the offer, in the place of the one before."""
        while True:
            # What was true before waiting for the other session to end need not be so after it.
            if self._stopping:
                raise self._not_standby()
            verdict = plan(offer, self.holding(offer.last, ""))
            if isinstance(verdict, Refuse):
                raise Refused(verdict.kind, verdict.reason)
            before = self._session
            if before is None:
                break
            text = f"{offer.node} opened another session"
            await before.end(Broken(text), drain=offer.epoch == before.offer.epoch)
        session = self._session = ReceiveSession(self, offer, context)
        self.epoch, self.active = offer.epoch, offer.node
        self.update(node=offer.node, ring=ring, heard_ms=self.clock())
        return session

    def _not_standby(self) -> Refused:
        return Refused(RefusalKind.NOT_STANDBY, f"{self._standby.node} is not a standby any more")

    # --- for the session -------------------------------------------------------------------------

    def holding(self, last: Position, needs_reconcile: str) -> Holding:
        """What this standby is and has, for the plan."""
        standby = self._standby
        return Holding(
            cluster=standby.cluster,
            group=standby.group,
            node=standby.node,
            epoch=self.epoch,
            active=self.active,
            last=last,
            needs_reconcile=needs_reconcile,
        )

    @property
    def dead_peer_ms(self) -> int:
        """After so long a silence the active counts as gone."""
        return self._standby.dead_peer_ms

    def update(self, **changes: Any) -> None:
        """Changes the status."""
        self.status = replace(self.status, **changes)

    def healthy(self) -> None:
        """Records flow: what was wrong with the stream is over."""
        self.update(problem="")
        self._problems.clear("stream")
        # The active has the history up to here, so what the journal had lost is sent again.
        self._problems.clear("journal-repaired")

    def journal_trouble(self, text: str) -> None:
        """The journal could not take what came (empty: it can again)."""
        if text:
            self._problems.set("journal-full", text)
        else:
            self._problems.clear("journal-full")

    async def needs_reconcile(self) -> str:
        """Why the trees have to be compared, as far as is known now."""
        unfinished = await self.store.unfinished_reconcile()
        if unfinished:
            return unfinished
        try:
            status = await self.trees.status()
        except ReplicationError as error:
            self._problems.set("trees-unreachable", str(error))
            return ""  # it says so when it is back, and the session ends then
        self.update(settling=status.settling)
        return status.needs_reconcile

    def compared(self) -> None:
        """A comparison ended: whatever the trees said of themselves before is void."""
        self._comparisons += 1
        self.update(settling=True)

    def _note(self, reason: str) -> None:
        self.update(problem=reason)
        self._problems.set("stream", reason)

    async def _poll_trees(self) -> None:
        """Learns what is applied, and whether the trees went wrong."""
        while True:
            for _ in range(TREES_POLL_MS // SETTLING_POLL_MS):
                await asyncio.sleep(SETTLING_POLL_MS / 1000)
                if self.status.settling:
                    break
            session, comparisons = self._session, self._comparisons
            resumed = session is not None and session.resumed
            try:
                status = await self.trees.status()
            except ReplicationError as error:
                self._problems.set("trees-unreachable", str(error))
                continue
            self._problems.clear("trees-unreachable")
            self.update(applied=status.applied)
            if comparisons == self._comparisons and status.settling != self.status.settling:
                self.update(settling=status.settling)
                if session is not None:
                    session.say_how_it_is()
            await self.store.hold(status.applied)
            if status.needs_reconcile and session is not None and resumed:
                text = f"the trees have to be compared: {status.needs_reconcile}"
                await session.end(Broken(text), drain=True)
