"""One member of one Raft group: the library with every guard around it.

Nothing here does network input or output, starts a thread or reads a clock of its own:
`RaftMember.step` takes what happened and returns what is to be sent and said, with the log synced
in between:

    deliver -> tick -> persist -> send

so that a vote, an acknowledgement or a commit is on disk before anyone hears of it. The simulator
runs the same class in virtual time.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable

from staqraft.consensus import statemachine, versions
from staqraft.consensus.codec import KIND_NO_OP, KIND_REGULAR, decode_proposal
from staqraft.consensus.elections import ElectionRules
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.membership import Membership
from staqraft.consensus.message_codec import RaftMessage, message_from_wire, message_to_wire
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
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.consensus.syncobj import Engine
from staqraft.errors import ConsensusError, Outdated
from staqraft.model import ClusterRecord, Generation, NodeId, Outcome
from staqraft.wire.v1 import raft_pb2 as pb

logger = logging.getLogger(__name__)


class RaftMember:
    """One member of one Raft group. All methods on one thread at a time; see the module's note."""

    def __init__(
        self,
        *,
        me: NodeId,
        peers: Iterable[NodeId],
        heirs: Iterable[NodeId] = (),
        timing: Timing,
        log: LogStore,
        snapshots: SnapshotStore,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        """`heirs`: on a witness, the replicas; it hands leadership over to one of them."""
        self.me = me
        self.membership = Membership(me, peers, log.generation)
        self.record = ClusterRecord()
        self.problem = ""
        self.outdated = ""  # why this software cannot go on with this log; for good
        self._timing = timing
        self._heirs = frozenset(heirs)
        self._log = log
        self._snapshots = snapshots
        self._now = clock
        self._rng = rng
        self._mine: set[bytes] = set()
        self._outcomes: list[tuple[bytes, Outcome]] = []  # not said yet
        self._ready = Ready()
        self._open()
        self._said = self.record

    def _open(self) -> None:
        """Begins, from the stores, in the generation that is on disk."""
        self.record = ClusterRecord()
        self._rules = ElectionRules(
            peers=self.peers, heirs=self._heirs, loyalty_s=self._timing.election_min_s
        )
        snapshot = self._snapshots.load()
        if snapshot is not None:
            self._log.adopt_snapshot(snapshot.previous, snapshot.last)
        else:
            self._log.check_complete()
        self._engine = Engine(
            self,
            me=self.me,
            peers=self.peers,
            timing=self._timing,
            log=self._log,
            snapshots=self._snapshots,
            now=self._now(),
        )
        if snapshot is not None:
            self.load_snapshot(replace_log=False)
        if not self.peers:
            self.hold_election()  # nobody else could

    # --- what others see ------------------------------------------------------------------------

    @property
    def generation(self) -> Generation:
        """What an opening is to name; it is on disk."""
        return self.membership.generation

    @property
    def peers(self) -> frozenset[NodeId]:
        """The other members of this generation."""
        return self.membership.peers

    @property
    def reachable(self) -> frozenset[NodeId]:
        """The peers with a session in this generation."""
        return self.membership.reachable

    @property
    def term(self) -> int:
        """Raft's term. For people and for Raft: nothing of ours is decided by it."""
        return self._engine.term

    @property
    def leads(self) -> bool:
        """Whether this member believes that it leads; it may be wrong."""
        return self._engine.leads

    @property
    def leader(self) -> NodeId | None:
        """Whom this member believes to lead; it may be wrong. Nobody who cannot be reached."""
        leader = self._engine.believed_leader
        return leader if leader == self.me or leader in self.reachable else None

    @property
    def commit_index(self) -> int:
        """The last entry known to be committed."""
        return self._engine.commit_index

    @property
    def applied_index(self) -> int:
        """The last entry in `record`."""
        return self._engine.applied_index

    @property
    def log_length(self) -> int:
        """Entries in the log since the last snapshot."""
        return len(self._log)

    @property
    def log_bytes(self) -> int:
        """What the log takes on its disk."""
        return self._log.bytes_on_disk

    @property
    def follows_in_company(self) -> bool:
        """Whether a leader and all other members are there: nobody waits for this one."""
        return not self.leads and self.leader is not None and self.reachable == self.peers

    @property
    def leads_in_company(self) -> bool:
        """Whether it leads, and all other members are there."""
        return self.leads and self.reachable == self.peers

    @property
    def has_quorum(self) -> bool:
        """Whether this member takes part, and with those it has sessions with is a majority."""
        halted = self.problem or self.outdated
        return not halted and 2 * (len(self.reachable) + 1) > len(self.peers) + 1

    # --- a step ---------------------------------------------------------------------------------

    def step(self, happenings: Iterable[Happening]) -> Ready:
        """Takes in what happened, ticks once, persists, and says what is to be done now.

        While the volume has no space it takes nothing in but its connections, and sends nothing;
        so it does, until its process ends, when it is outdated.
        """
        ready = self._ready = Ready()
        now = self._now()
        self._engine.begin(now)
        if self.outdated or (self.problem and not self._persist()):
            for happening in happenings:
                self._stand_still(happening)
            return ready
        try:
            for happening in happenings:
                self._take(happening)
            self._rules.before_tick(self)
            self._engine.tick()
            self._rules.after_tick(self, now)
            self._engine.drop_waiting()
        finally:
            outgoing, self._engine.outbox.messages = self._engine.outbox.messages, []
        if self._persist():
            for node, message in outgoing:
                ready.messages.append((node, message_to_wire(message)))
            self._say(ready)
        else:
            self._engine.lose_forwarded()
        return ready

    def _say(self, ready: Ready) -> None:
        """What was applied, now that it is on disk: a member that is alone commits by itself.

        A record older than the last one is not said: in a new generation the log is applied anew.
        """
        ready.outcomes, self._outcomes = self._outcomes, []
        if self.record is not self._said and self.record.log_index >= self._said.log_index:
            ready.record = self._said = self.record

    def next_due_s(self) -> float:
        """In how many seconds the next of its timers ends; it may be over already."""
        return self._engine.next_timer - self._now()

    def close(self) -> None:
        """Persists what it can and closes the log."""
        self._persist()
        self._log.close()

    def _persist(self) -> bool:
        try:
            self._log.persist()
        except ConsensusError as error:
            if str(error) != self.problem:
                logger.error("%s", error)  # noqa: TRY400 - a sentence, not a trace
            self.problem = str(error)
            return False
        if self.problem:
            logger.warning("the Raft log of %s can be written again: it takes part again", self.me)
            self.problem = ""
        return True

    def _stand_still(self, happening: Happening) -> None:
        match happening:
            case Submitted(identity=identity):
                failure = Failure.OUTDATED if self.outdated else Failure.STORE_FULL
                self._ready.failures.append((identity, failure))
            case GoAlone() if self.outdated:
                self._ready.alone.append(self.outdated)
            case Connected() | Disconnected() | Withdrawn() | GoAlone() | Resign():
                self._take(happening)
            case Received():
                pass  # as if it were lost

    def _take(self, happening: Happening) -> None:
        match happening:
            case Received(node=node, message=wire, at=at):
                self._receive(node, wire, self._engine.now if at is None else at)
            case Submitted(identity=identity, command=command):
                self._submit(identity, command)
            case Withdrawn(identity=identity):
                self._mine.discard(identity)
            case Connected(node=node, told=told, heard=heard):
                self._connect(node, told, heard)
            case Disconnected(node=node):
                self._disconnect(node)
            case Resign():
                self._rules.resign()
            case GoAlone():
                self._ready.alone.append(self._go_alone(happening))

    # --- generations ----------------------------------------------------------------------------

    def _connect(self, node: NodeId, told: Generation, heard: Generation) -> None:
        if node in self.reachable:
            self._disconnect(node)  # a new session replaced it
        generation = self.membership.connected(node, told, heard)
        if node in self.reachable:
            self._engine.connect(node)
        elif generation is not None:
            self._enter(generation)
        if generation is not None or told != self.generation:
            self._ready.redial.add(node)

    def _go_alone(self, asked: GoAlone) -> str:
        generation = self.membership.alone(asked.rung, asked.contacts, forced=asked.forced)
        if isinstance(generation, str):
            return generation
        self._enter(generation)
        return "" if self.generation is generation else self.problem

    def _disconnect(self, node: NodeId) -> None:
        if node in self.reachable:
            self.membership.disconnected(node)
            self._rules.disconnected(node)
            self._engine.disconnect(node)

    def _enter(self, generation: Generation) -> None:
        """Puts the generation on disk and begins anew in it; without space nothing happens.

        Sessions that named the old one end, what was to be sent in it is not, and who waits for an
        outcome is to ask again.
        """
        before = self._log.generation
        self._log.generation = generation
        if not self._persist():
            self._log.generation = before
            return
        self._ready.redial |= self.reachable
        self.membership.entered(generation)
        self._ready.failures += [(identity, Failure.UNKNOWN) for identity in sorted(self._mine)]
        self._mine.clear()
        self._open()

    def _submit(self, identity: bytes, command: bytes) -> None:
        def failed(failure: Failure) -> None:
            if identity in self._mine:  # else it was applied meanwhile, or nobody waits
                self._ready.failures.append((identity, failure))

        self._mine.add(identity)
        self._engine.submit(KIND_REGULAR + command, failed)

    def _receive(self, node: NodeId, wire: pb.Envelope, at: float) -> None:
        if node not in self.membership.configured:
            self._ready.offenders[node] = f"{node} is not a member"
            return
        if node not in self.reachable:
            return  # of a session that named another generation, or of an older one
        try:
            message = message_from_wire(wire)
            if self._rules.receive(self, node, message, at) and self._guard(message):
                self._engine.deliver(node, message)
        except BadMessage as error:
            self._ready.offenders[node] = str(error)
        except Outdated as error:
            self.outdated = f"{self.me} cannot follow {node}, which sent {error}"
            logger.error("%s", self.outdated)  # noqa: TRY400 - a sentence, not a trace
        except ConsensusError as error:
            logger.error("a snapshot of %s was not taken: %s", node, error)  # noqa: TRY400
        finally:
            self._log.settle()

    def _guard(self, message: RaftMessage) -> bool:
        """Whether the library is to see the message; corrects what it would take amiss."""
        match message["type"]:
            case "append_entries" if "serialized" in message:
                # It would advance the commit index although the logs were never compared.
                message["commit_index"] = 0
            case "append_entries":
                self._check_committed(message)
            case "next_node_idx":
                if message["term"] != self.term:
                    return False  # said to another leader, about another log
                following = self._log.last_index + 1
                if message["success"] and message["next_node_idx"] > following:
                    raise BadMessage("it acknowledges entries that this leader never had")
                first = 2 if self._snapshots.current is None else 1
                message["next_node_idx"] = min(max(message["next_node_idx"], first), following)
            case _:
                pass
        return True

    def _check_committed(self, message: RaftMessage) -> None:
        """An applied entry is never replaced: whoever asks for that has lost its own log."""
        for command, index, term in message["entries"]:
            at = index - self._log.first_index
            if index > self.applied_index or at < 0:
                continue
            if self._log[at] != (command, index, term):
                raise BadMessage(
                    f"it contradicts entry {index}, which is committed: has its log been deleted"
                    " or restored from an old copy?"
                )

    # --- what the engine calls ------------------------------------------------------------------

    def election_timeout(self) -> float:
        """A new election timer. A witness waits longer, so that a replica leads if one can."""
        low, high = self._timing.election_min_s, self._timing.election_max_s
        if self._rules.heirs:
            low, high = high, 2 * high - low
        return self._rng.uniform(low, high)

    def apply(self, index: int, command: bytes) -> None:
        """Applies a committed entry. It cannot raise: that would block every member for ever."""
        if command == KIND_NO_OP:
            return
        try:
            identity, decoded = decode_proposal(command[1:])
            self.record, outcome = statemachine.apply(self.record, index, decoded)
        except Exception:
            # Entries are decoded before they are taken into the log, and the state machine is
            # total; whatever this is, it is the same on every member.
            logger.exception("entry %d of the Raft log was skipped: report this", index)
            return
        if identity in self._mine:
            self._mine.discard(identity)
            self._outcomes.append((identity, outcome))

    def load_snapshot(self, *, replace_log: bool) -> None:
        """Makes the state the snapshot's, and the log begin at it, keeping what follows."""
        snapshot = self._snapshots.current
        assert snapshot is not None, "a snapshot is loaded that was not verified"
        if replace_log:
            self._log.clear()
            self._log.add(*snapshot.previous)
            self._log.add(*snapshot.last)
        self.record = snapshot.record
        self._engine.start_at(snapshot.last)

    def snapshot_record(self) -> ClusterRecord:
        """The state at the last applied entry."""
        return self.record

    def spoken(self) -> int:
        """The format that all configured members understand, as far as they announced."""
        return versions.spoken(self.record, {self.me, *self.membership.configured})

    def outgoing(self, message: RaftMessage) -> RaftMessage:
        """The message as it is to be sent: answers to a leader carry the term they are said in."""
        if message["type"] == "next_node_idx":
            return {**message, "term": self.term}
        return self._rules.outgoing(message)

    # --- for the election rules -----------------------------------------------------------------

    @property
    def last_entry(self) -> tuple[int, int]:
        """Term and index of the last entry."""
        _, index, term = self._log[-1]
        return term, index

    @property
    def election_due(self) -> bool:
        """Whether the library would hold an election at the next tick."""
        engine = self._engine
        if engine.leads or engine.election_deadline >= engine.now:
            return False
        return bool(self.reachable) or not self.peers

    @property
    def asked_to_stand(self) -> bool:
        """Whether the leader asked this member to stand."""
        return self._engine.asked_to_stand

    def postpone_election(self, *, retry: bool) -> None:
        """Starts the election timer again; after a PreVote in vain a shorter one."""
        timeout = self.election_timeout()
        self._engine.election_deadline = self._engine.now + (timeout / 2 if retry else timeout)

    def hold_election(self) -> None:
        """Makes the library hold an election at the next tick."""
        self._engine.election_deadline = 0.0

    def give_up_leader(self) -> None:
        """The leader is not heard: forwarded commands are told."""
        self._engine.give_up_leader()

    def adopt_term(self, term: int) -> None:
        """Takes over a newer term as a follower without a leader."""
        self._engine.adopt_term(term)

    def send(self, node: NodeId, message: RaftMessage) -> None:
        """Queues a message of the election rules."""
        self._engine.send(node, message)

    def caught_up(self) -> list[NodeId]:
        """Who has this leader's whole log, once its term has committed, and answers at present."""
        return self._engine.caught_up()

    @property
    def most_active(self) -> NodeId | None:
        """Who is active in more groups than this member, as far as it knows; None: nobody is."""
        groups = self.record.groups.values()
        active = Counter(group.active for group in groups if group.active and not group.released)
        best = max(sorted(active), key=lambda node: active[node], default=self.me)
        return best if active[best] > active[self.me] else None

    def hand_over(self, node: NodeId) -> None:
        """Asks `node` to stand for election at once."""
        self._engine.hand_over(node)
