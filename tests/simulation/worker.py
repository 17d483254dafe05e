"""A group's data worker on one replica: a journal of positions, and the stream to the standby.

A record is a change, and a change that was not captured does not exist; `trees` has the journal and
what is in the trees. The plan of a session and the order of its records are judged by the real
code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from simulation.machine import Process
from simulation.moments import Moment
from simulation.network import Network, Session
from simulation.schedule import MS
from simulation.trees import Journal, Record, Trees
from staqraft.decision.following import Following
from staqraft.errors import ActionError
from staqraft.model import NO_EPOCH, ORIGIN, DataRole, Epoch, EpochStart, GroupId, NodeId, Position
from staqraft.replication.plan import Holding, Offer, Reconcile, Refuse, Resume, plan
from staqraft.replication.session import BatchHead, ReceiveOrder

if TYPE_CHECKING:
    from simulation.checks import Checks

_DEAD_US: Final = 1000 * MS
_LOOK_US: Final = 200 * MS
_CLUSTER: Final = "simulated"
_BATCH: Final = 10  # records
_WINDOW: Final = 40  # sent, and not known to be durable there


@dataclass(slots=True)
class Peer:
    """The standby as the active's stream process sees it."""

    durable: Position = ORIGIN
    settling: bool = False
    streaming: bool = False
    heard_us: int = 0

    @property
    def following(self) -> Following:
        if not self.streaming:
            return Following.LOST
        return Following.SETTLES if self.settling else Following.WHOLE


@dataclass(frozen=True, slots=True)
class Said:
    """What a standby says of itself: an acknowledgement, or from where it is to be sent records."""

    durable: Position
    settling: bool
    resumes: bool = False


class Worker:
    """One life of the worker's processes: idle until told otherwise."""

    def __init__(
        self,
        *,
        me: NodeId,
        group: GroupId,
        journal: Journal,
        process: Process,
        network: Network,
        checks: Checks,
        peer_of: Callable[[], Worker | None],
        sync_us: Callable[[], int],
    ) -> None:
        self.me = me
        self.journal = journal
        self.process = process
        self.role = DataRole.IDLE
        self.epoch = NO_EPOCH
        self.starts: tuple[EpochStart, ...] = ()
        self.active: NodeId | None = None
        self.session: Session | None = None
        self.peer = Peer()
        self.on_ack: list[Callable[[], None]] = []  # each is called once
        self._group = group
        self._network = network
        self._checks = checks
        self._peer_of = peer_of
        self._sync_us = sync_us
        self._order: ReceiveOrder | None = None
        self._trees = Trees(journal, network.rng)
        self._settling = True  # as far as the stream process was told by that of the trees
        self._sent = -1  # up to here; before the standby's answer nothing is sent
        process.after(int(network.rng.random() * _LOOK_US), self._look)

    # --- roles ------------------------------------------------------------------------------------

    def idle(self) -> None:
        self.role = DataRole.IDLE
        self._leave()

    def follow(self, epoch: Epoch, active: NodeId | None, starts: tuple[EpochStart, ...]) -> None:
        if self.role is DataRole.ACTIVE:
            self.journal.sync()
        if active is None or self.role is not DataRole.STANDBY or epoch > self.epoch:
            self._leave()
        self.role = DataRole.STANDBY if active else DataRole.IDLE
        if epoch >= self.epoch:
            self.epoch, self.active, self.starts = epoch, active, starts

    def capture(self, epoch: Epoch, starts: tuple[EpochStart, ...], _node: NodeId) -> bool:
        """False: the journal lost its tail, so this epoch cannot go on."""
        if self.role is DataRole.ACTIVE and epoch == self.epoch:
            self.starts = starts
            return True
        self.idle()
        journal = self.journal
        if journal.lost_epoch and epoch <= journal.lost_epoch:
            return False
        self._trees.make_own()
        journal.lost_epoch = 0
        journal.epoch = epoch
        self.role, self.epoch, self.starts, self.active = DataRole.ACTIVE, epoch, starts, self.me
        self.peer = Peer(heard_us=-(10**12))
        return True

    @property
    def assignment(self) -> tuple[DataRole, Epoch, NodeId | None, tuple[EpochStart, ...]]:
        """What a new life of the processes is told."""
        return self.role, self.epoch, self.active, self.starts

    def assign(self, wanted: tuple[DataRole, Epoch, NodeId | None, tuple[EpochStart, ...]]) -> bool:
        """False: it was to capture, and cannot go on in this epoch."""
        role, epoch, active, starts = wanted
        if role is DataRole.ACTIVE:
            return self.capture(epoch, starts, self.me)
        if role is DataRole.STANDBY:
            self.follow(epoch, active, starts)
        return True

    def finish(self, *, accept_loss: bool) -> Position:
        """ActionError: the trees are not what the journal tells of."""
        if self.role is not DataRole.ACTIVE:
            self._trees.apply_the_rest()
            if not accept_loss:
                self.refuse_unfinished()
        self.idle()
        self.journal.sync()
        return self.journal.last

    def refuse_unfinished(self) -> None:
        journal = self.journal
        if journal.needs_reconcile:
            raise ActionError(f"not all is there: {journal.needs_reconcile}")
        if journal.lacking:
            raise ActionError(f"{len(journal.lacking)} objects are not what the journal says")

    def _leave(self) -> None:
        session, self.session = self.session, None
        self._order = None
        self.peer.streaming = False
        if session is not None:
            session.end(self.me, tell=False)

    # --- as the active ----------------------------------------------------------------------------

    def write(self, number: int) -> bool:
        """An application changes something; False: nobody captures here."""
        if self.role is not DataRole.ACTIVE or self.process.stopped or not self.process.alive:
            return False
        self.journal.records.append((self.epoch, number))
        self._send()
        return True

    def barrier(self) -> Position | None:
        """Everything written is durable here, up to this position; None: not capturing."""
        if self.role is not DataRole.ACTIVE:
            return None
        self.journal.sync()
        return self.journal.last

    def acknowledged(self, position: Position) -> bool:
        """The standby has it, and could give it without this replica."""
        return self.peer.durable >= position and not self.peer.settling

    def heard(self) -> None:
        if self.session is not None and self.session.open:
            other = self._peer_of()
            if other is not None and not other.process.stopped:
                self.peer.heard_us = self._network.schedule.now

    def _look(self) -> None:
        """The active dials whenever it has no session; the standby applies, and heals."""
        self.process.after(_LOOK_US, self._look)
        other = self._peer_of()
        if self.role is DataRole.STANDBY and not self.journal.needs_reconcile:
            self._apply(other)
        if self.role is not DataRole.ACTIVE or self.session is not None or other is None:
            return
        if other.process.stopped or not other.process.alive:
            return
        ring = self._network.ring_between(self.me, other.me)
        if ring is None:
            return
        offer = Offer(
            cluster=_CLUSTER,
            group=self._group,
            node=self.me,
            epoch=self.epoch,
            epoch_starts=self.starts,
            first=self._first(),
            last=self.journal.last,
        )
        session = Session(self._network, ring, _DEAD_US)
        session.attach(self.me, self.process, self._on_answer, lambda: self._ended(session))
        session.attach(
            other.me,
            other.process,
            lambda message: other._on_message(session, message),
            lambda: other._ended(session),
        )
        self.session = session
        self._sent = -1
        session.send(self.me, offer)

    def _first(self) -> Position:
        kept = min(self.journal.kept_from, len(self.journal.records) + 1)
        if kept > len(self.journal.records):
            return Position(self.epoch, kept)
        return Position(Epoch(self.journal.records[kept - 1][0]), kept)

    def _has(self, position: Position) -> bool:
        """Whether that record is in the journal, or was: what was trimmed cannot be compared."""
        if position.seq < self.journal.kept_from:
            return True
        if position.seq > len(self.journal.records):
            return False
        return self.journal.records[position.seq - 1][0] == position.epoch

    def _send(self) -> None:
        """What the standby has not been sent, while a session runs."""
        records = self.journal.records
        if self.session is None or self._sent < 0:
            return
        while self._sent < min(len(records), self.peer.durable.seq + _WINDOW):
            batch = records[self._sent : self._sent + _BATCH]
            self.session.send(self.me, (self._sent, batch))
            self._sent += len(batch)

    def _on_answer(self, said: Said | None) -> None:
        if self.session is None or self.role is not DataRole.ACTIVE:
            return
        if said is None:  # it compares
            self._sent = -1
            self.peer.durable = ORIGIN
            return
        if said.resumes and not self._has(said.durable):
            self.journal.kept_from = len(self.journal.records) + 1  # as SendSession does
            self.session.end(self.me)
            return
        if said.resumes:
            self._sent = said.durable.seq
            self.peer.streaming = True  # or catching up, which counts as well
        self.peer.durable, self.peer.settling = said.durable, said.settling
        self.peer.heard_us = self._network.schedule.now
        self._send()
        self._acknowledged()

    def _acknowledged(self) -> None:
        waiting, self.on_ack = self.on_ack, []
        for act in waiting:
            act()

    def _ended(self, session: Session) -> None:
        if self.session is session:
            self.session = None
            self._order = None
            self.peer.streaming = False

    # --- as the standby ---------------------------------------------------------------------------

    def _on_message(self, session: Session, message: Offer | tuple[int, list[Record]]) -> None:
        if isinstance(message, Offer):
            self._on_offer(session, message)
        elif session is self.session and self._order is not None:
            self._on_batch(session, *message)

    def _holding(self) -> Holding:
        return Holding(
            cluster=_CLUSTER,
            group=self._group,
            node=self.me,
            epoch=self.epoch,
            active=self.active,
            last=self.journal.last,
            needs_reconcile=self.journal.needs_reconcile,
        )

    def _on_offer(self, session: Session, offer: Offer) -> None:
        self.journal.sync()  # what the session before had brought
        self._checks.data.looked_at(self.me)
        answer = plan(offer, self._holding())
        if self.role is not DataRole.STANDBY or isinstance(answer, Refuse):
            session.end(self.me, tell=False)
            return
        self._checks.data.accepted_session(self.me, self.epoch, offer)
        if self.session is not None:
            self.session.end(self.me, tell=False)
        self.session = session
        self.epoch, self.active = offer.epoch, offer.node
        match answer:
            case Resume(after=after):
                self._resume(session, offer, after)
            case Reconcile(reason=reason):
                self._checks.note("reconcile")
                self._order = None
                self._trees.begin_to_compare(reason)
                self._checks.moments.reached(Moment.COMPARES, self.me)
                session.send(self.me, None)
                took = int((0.2 + 2 * self._network.rng.random()) * 1000 * MS)
                part = int(took * self._network.rng.random())
                begun = partial(self._compares, session, offer, took - part)
                self.process.after(part, lambda: self._while_open(session, begun))

    def _while_open(self, session: Session, act: Callable[[Worker], None]) -> None:
        """With the active's, as soon as the link is there; never if the session ends before."""
        other = self._peer_of()
        if self.session is not session or other is None:
            return
        if not session.open:
            self.process.after(_LOOK_US, lambda: self._while_open(session, act))
        elif other.session is session and other.role is DataRole.ACTIVE:
            act(other)

    def _compares(self, session: Session, offer: Offer, left_us: int, other: Worker) -> None:
        """Behind a barrier of the active, which goes on writing."""
        other.journal.sync()
        ended = partial(self._compared, session, offer, other.journal.last)
        self.process.after(left_us, lambda: self._while_open(session, ended))

    def _compared(self, session: Session, offer: Offer, position: Position, other: Worker) -> None:
        """The trees are the active's as of `position`, where its journal goes on."""
        journal, theirs = self.journal, other.journal
        theirs.sync()
        old, new = journal.records, theirs.records[: position.seq]
        self._checks.data.overwritten(self.me, old, new)
        self._trees.compared(theirs, position, theirs.last)
        journal.epoch = max(journal.epoch, offer.epoch)
        self._checks.data.looked_at(self.me)
        self._settling = True  # whatever they said before
        if self._trees.settling.lasts:
            self._checks.note("settles")
            self._checks.moments.reached(Moment.SETTLES, self.me)
        self._resume(session, offer, journal.last)

    def _resume(self, session: Session, offer: Offer, after: Position) -> None:
        self._order = ReceiveOrder(epoch=offer.epoch, epoch_starts=offer.epoch_starts, after=after)
        session.send(self.me, Said(after, self._settling, resumes=True))

    def _apply(self, other: Worker | None) -> None:
        """What has come since, and what is to be fetched anew; and how the trees are now."""
        journal, trees, session = self.journal, self._trees, self.session
        trees.apply(journal.durable)
        follows = session is not None and self._order is not None
        if follows and other is not None and self._can_ask(other):
            trees.heal(other.journal)
        self._checks.data.looked_at(self.me)
        if trees.settling.lasts != self._settling:
            self._settling = trees.settling.lasts
            if session is not None and follows:
                session.send(self.me, Said(journal.durable, self._settling))
        trees.commit()

    def _can_ask(self, active: Worker) -> bool:
        session = self.session
        there = session is not None and session.open and active.session is session
        return there and active.role is DataRole.ACTIVE and active.process.runs

    def _on_batch(self, session: Session, after: int, batch: list[Record]) -> None:
        journal = self.journal
        order = self._order
        assert order is not None
        head = BatchHead(
            first=Position(Epoch(batch[0][0]), after + 1),
            last=Position(Epoch(batch[-1][0]), after + len(batch)),
            records=len(batch),
            raw_bytes=100 * len(batch),
        )
        if order.on_batch(head) is not None:
            self._checks.note("refused batch")
            session.end(self.me)
            return
        self._checks.data.received(self.me, self.role, self.epoch, order.epoch)
        self._checks.data.follows(self.me, len(journal.records), after)
        journal.records.extend(batch)
        journal.epoch = max(journal.epoch, batch[-1][0])
        position = journal.last

        def synced() -> None:
            if self.session is session:
                journal.synced = max(journal.synced, min(position.seq, len(journal.records)))
                self._checks.data.looked_at(self.me)
                session.send(self.me, Said(position, self._settling))

        self.process.after(self._sync_us(), synced)
