"""A group's data worker on one replica: a journal of positions, and the stream to the standby.

The trees are what the journal says: a record is a change, and a change that was not captured does
not exist. The plan of a session and the order of its records are judged by the real code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from simulation.machine import Process
from simulation.moments import Moment
from simulation.network import Network, Session
from simulation.schedule import MS
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
_MOVED: Final = 0.05  # of the objects: where they were they are gone, where they go not yet there

Record = tuple[int, int]  # epoch, and a number that no other record ever has


@dataclass(slots=True)
class Journal:
    """What one replica has: record `seq` is at `seq - 1`. `synced` survive the loss of power."""

    records: list[Record] = field(default_factory=list)
    synced: int = 0
    kept_from: int = 1  # older ones were trimmed: a standby that needs them is compared
    epoch: int = 0  # the newest that ever wrote here
    lost_epoch: int = 0
    needs_reconcile: str = ""
    unsettled: set[int] = field(default_factory=set)  # in the journal, at present not in the trees

    @property
    def last(self) -> Position:
        seq = len(self.records)
        return Position(Epoch(self.records[-1][0]), seq) if seq else ORIGIN

    def sync(self) -> None:
        self.synced = len(self.records)

    def numbers(self) -> set[int]:
        """Whose change the trees show."""
        return {number for _, number in self.records} - self.unsettled

    def power_off(self, keep: float) -> None:
        """A part of what was not synced may be there all the same."""
        if self.epoch and len(self.records) > self.synced:
            left = self.synced + int(keep * (len(self.records) - self.synced + 1))
            del self.records[left:]
        if self.epoch:
            self.lost_epoch = self.epoch
        self.synced = len(self.records)


@dataclass(slots=True)
class Peer:
    """The standby as the active's stream process sees it."""

    durable: Position = ORIGIN
    streaming: bool = False
    heard_us: int = 0


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
        journal.needs_reconcile = ""
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
        if self.role is not DataRole.ACTIVE and not accept_loss:
            self.refuse_unfinished()
        self.idle()
        self.journal.sync()
        return self.journal.last

    def refuse_unfinished(self) -> None:
        if self.journal.needs_reconcile:
            raise ActionError(f"not all is there: {self.journal.needs_reconcile}")

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

    def heard(self) -> None:
        if self.session is not None and self.session.open:
            other = self._peer_of()
            if other is not None and not other.process.stopped:
                self.peer.heard_us = self._network.schedule.now

    def _look(self) -> None:
        """The active dials whenever it has no session."""
        self.process.after(_LOOK_US, self._look)
        other = self._peer_of()
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

    def _on_answer(self, answer: Resume | Position | None) -> None:
        if self.session is None or self.role is not DataRole.ACTIVE:
            return
        match answer:
            case Resume(after=after) if not self._has(after):
                self.journal.kept_from = len(self.journal.records) + 1  # as SendSession does
                self.session.end(self.me)
            case Resume(after=after):
                self._sent = after.seq
                self.peer.durable = after
                self.peer.heard_us = self._network.schedule.now
                self.peer.streaming = True  # or catching up, which counts as well
                self._send()
                self._acknowledged()
            case Position():
                self.peer.durable = answer
                self.peer.heard_us = self._network.schedule.now
                self._send()
                self._acknowledged()
            case None:  # it compares, or refuses
                self._sent = -1

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
                self.journal.needs_reconcile = reason
                self._order = None
                self._unsettle()
                session.send(self.me, None)
                took = int((0.2 + 2 * self._network.rng.random()) * 1000 * MS)
                self.process.after(took, lambda: self._reconciled(session, offer))

    def _unsettle(self) -> None:
        """While it compares, objects that moved meanwhile are at neither place."""
        rng, journal = self._network.rng, self.journal
        journal.unsettled = {n for _, n in journal.records if rng.random() < _MOVED}
        self._checks.moments.reached(Moment.COMPARES, self.me)

    def _resume(self, session: Session, offer: Offer, after: Position) -> None:
        self._order = ReceiveOrder(epoch=offer.epoch, epoch_starts=offer.epoch_starts, after=after)
        session.send(self.me, Resume(after))

    def _reconciled(self, session: Session, offer: Offer) -> None:
        """The trees are compared: they are the active's, at the end of its journal."""
        other = self._peer_of()
        if self.session is not session or other is None:
            return
        if not session.open:  # it waits for the link, or for the end of the session
            self.process.after(_LOOK_US, lambda: self._reconciled(session, offer))
            return
        if other.session is not session or other.role is not DataRole.ACTIVE:
            return
        other.journal.sync()
        journal = self.journal
        self._checks.data.overwritten(self.me, journal.records, other.journal.records)
        journal.records = list(other.journal.records)
        journal.unsettled = set(other.journal.unsettled)
        journal.sync()
        journal.epoch = max(journal.epoch, offer.epoch)
        journal.lost_epoch = 0
        journal.needs_reconcile = ""
        self._resume(session, offer, journal.last)

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
                session.send(self.me, position)

        self.process.after(self._sync_us(), synced)
