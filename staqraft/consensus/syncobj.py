"""One member of a Raft group: PySyncObj 0.3.17 with everything around it that it lacks.

This is the only module that imports pysyncobj. Nothing in it does network input or output, starts a
thread or reads a clock of its own: `RaftMember.step` takes what happened and returns what is to be
sent and said (after etcd's `Ready`), with the log synced in between:

    deliver -> tick -> persist -> send

so that a vote, an acknowledgement or a commit is on disk before anyone hears of it. The simulator
runs the same class in virtual time.

The library is subclassed, and its private methods that would load pickle, swallow an error or
apply a command are replaced by name. `check_library` refuses any version on which that would not
take effect.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.serializer
import pysyncobj.syncobj
import pysyncobj.version
from pysyncobj.config import FAIL_REASON, SERIALIZER_STATE, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from staqraft.consensus import statemachine
from staqraft.consensus.codec import KIND_NO_OP, KIND_REGULAR, Snapshot, decode_proposal
from staqraft.consensus.elections import ElectionRules
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.message_codec import RaftMessage, message_from_wire, message_to_wire
from staqraft.consensus.snapshot_store import MAX_SNAPSHOT_BYTES, SnapshotStore
from staqraft.errors import ConsensusError, StoreFull
from staqraft.model import ClusterRecord, NodeId, Outcome, Refused
from staqraft.wire.v1 import raft_pb2 as pb

logger = logging.getLogger(__name__)

LIBRARY_VERSION: Final = "0.3.17"
SNAPSHOT_AFTER_ENTRIES: Final = 2000
_SNAPSHOT_AFTER_S: Final = 3600
_RETRY_SNAPSHOT_S: Final = 5.0
_CHUNK_BYTES: Final = 256 << 10
_BATCH_BYTES: Final = 16 << 20
_LEADER: Final = 2  # pysyncobj.syncobj._RAFT_STATE
_FOLLOWER: Final = 0

_PRIVATE_METHODS: Final = (
    "__applyLogEntries",
    "__callErrCallback",
    "__deleteEntriesFrom",
    "__deleteEntriesTo",
    "__doApplyCommand",
    "__generateRaftTimeout",
    "__loadDumpFile",
    "__onLeaderChanged",
    "__onMessageReceived",
    "__sendAppendEntries",
    "__setCurrentTerm",
    "__setState",
)
_PRIVATE_VALUES: Final = (
    "__commandsWaitingCommit",
    "__commandsWaitingReply",
    "__connectedNodes",
    "__needLoadDumpFile",
    "__noopIDx",
    "__raftCommitIndex",
    "__raftCurrentTerm",
    "__raftElectionDeadline",
    "__raftLastApplied",
    "__raftLeader",
    "__raftLog",
    "__raftMatchIndex",
    "__raftState",
    "__serializer",
    "__transferInProgress",
    "__transport",
)
_MODULE_NAMES: Final = (
    "PIPE_NOTIFIER_ENABLED",
    "Serializer",
    "createJournal",
    "createPoller",
    "monotonicTime",
    "pickle",
)


# --- what happens to a member, and what it answers ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """A session with the peer is open."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The session with the peer is gone."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the peer."""

    node: NodeId
    message: pb.Envelope


@dataclass(frozen=True, slots=True)
class Submitted:
    """A command of this node, encoded, with its identity."""

    identity: bytes
    command: bytes


Happening = Connected | Disconnected | Received | Submitted


class Failure(Enum):
    """Why a submitted command will not be answered by an outcome of this attempt."""

    NOT_TAKEN = "it was not taken: there is no leader"
    UNKNOWN = "the leader changed: it may or may not take effect"
    STORE_FULL = "the Raft volume has no space"


@dataclass(slots=True)
class Ready:
    """What a step produced, after everything that it promises was synced."""

    messages: list[tuple[NodeId, pb.Envelope]] = field(default_factory=list)
    outcomes: list[tuple[bytes, Outcome]] = field(default_factory=list)
    failures: list[tuple[bytes, Failure]] = field(default_factory=list)
    offenders: dict[NodeId, str] = field(default_factory=dict)  # whose session is to be closed
    record: ClusterRecord | None = None  # the new record if it changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Raft's timers, in seconds."""

    election_min_s: float
    election_max_s: float
    heartbeat_s: float


# --- the library's seams ------------------------------------------------------------------------


class _Clock(threading.local):
    """The clock of the member that is at work in this thread: the library asks a global one."""

    now: Callable[[], float]


_clock = _Clock()


def _no_pickle(*_: object, **__: object) -> Any:
    raise BadMessage("pickle is neither made nor loaded here")


class _NoPoller:
    """The library has no sockets of its own to poll."""

    def poll(self, _timeout: float) -> None:
        """Nothing."""


def check_library() -> None:
    """ConsensusError unless this is the version, name by name, that the guards were made for."""
    module, base = pysyncobj.syncobj, pysyncobj.syncobj.SyncObj
    found = pysyncobj.version.VERSION
    missing = [name for name in _MODULE_NAMES if not hasattr(module, name)]
    missing += [name for name in _PRIVATE_METHODS if not hasattr(base, f"_SyncObj{name}")]
    if found != LIBRARY_VERSION or missing:
        raise ConsensusError(
            f"pysyncobj {found} is installed; StaqRaft's guards against its hazards were made for"
            f" {LIBRARY_VERSION} only{': missing ' + ', '.join(missing) if missing else ''}."
            f" Install pysyncobj=={LIBRARY_VERSION}"
        )


def _take_over_library() -> None:
    """Replaces what the library would do by itself: files, pickles, sockets, and its clock."""
    check_library()
    module = pysyncobj.syncobj
    module.createJournal = lambda store: store
    module.Serializer = lambda _file, _size, _fork, transfer, _load, _check: transfer
    module.createPoller = lambda _kind: _NoPoller()
    module.monotonicTime = lambda: _clock.now()
    module.PIPE_NOTIFIER_ENABLED = False
    for name in ("load", "loads", "dump", "dumps"):
        setattr(pysyncobj.pickle, name, _no_pickle)
    pysyncobj.journal.loads = pysyncobj.journal.dumps = _no_pickle


_take_over_library()


class _Outbox(Transport):  # type: ignore[misc]  # the library has no types
    """The library's transport: what it sends waits here until the step has persisted."""

    ready = True

    def __init__(self, rules: ElectionRules) -> None:
        super().__init__(None, None, ())
        self._rules = rules
        self.connected: set[NodeId] = set()
        self.messages: list[tuple[NodeId, RaftMessage]] = []
        self.term: Callable[[], int] = int

    def send(self, node: Node, message: RaftMessage) -> bool:
        """False when there is no session: the message is lost, as Raft expects of networks."""
        if node.id not in self.connected:
            return False
        message = self._rules.outgoing(message)
        if message["type"] == "next_node_idx":
            message = {**message, "term": self.term()}
        self.messages.append((node.id, message))
        return True

    def destroy(self) -> None:
        """Nothing to close."""


class _SnapshotTransfer:
    """The library's serializer: snapshots to and from the store, in pieces."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._state = SERIALIZER_STATE.NOT_SERIALIZING
        self._index = 0
        self._retry_at: float | None = None
        self._sending: dict[Node, tuple[bytes, int]] = {}
        self._receiving: bytearray | None = None
        self.record: Callable[[], ClusterRecord] = ClusterRecord
        self.applied: Callable[[], int] = int

    def serialize(self, data: tuple[Any, ...], index: int) -> None:
        """Takes a snapshot at the last applied entry. Without space it tries again later."""
        _, last, previous, _ = data
        self._index = index
        try:
            self._store.save(Snapshot(last=last, previous=previous, record=self.record()))
        except ConsensusError as error:
            logger.error("the Raft log stays long, no snapshot was taken: %s", error)  # noqa: TRY400
            self._retry_at = _clock.now() + _RETRY_SNAPSHOT_S
            return
        self._state = SERIALIZER_STATE.SUCCESS

    def checkSerializing(self) -> tuple[int, int]:  # noqa: N802
        """The library shortens its log when this says SUCCESS, once."""
        if self._retry_at is not None:
            if _clock.now() < self._retry_at:
                return SERIALIZER_STATE.SERIALIZING, self._index
            self._retry_at = None
        state, self._state = self._state, SERIALIZER_STATE.NOT_SERIALIZING
        return state, self._index

    def getTransmissionData(self, node: Node) -> tuple[bytes, bool, bool]:  # noqa: N802
        """The next piece for a member that lags; an empty one ends the transfer."""
        content, at = self._sending.get(node, (self._store.file_bytes, 0))
        piece = content[at : at + _CHUNK_BYTES]
        if piece:
            self._sending[node] = (content, at + len(piece))
        else:
            self._sending.pop(node, None)
        return piece, at == 0, not piece

    def setTransmissionData(self, chunk: tuple[bytes, bool, bool]) -> bool:  # noqa: N802
        """True when a whole, newer snapshot is on disk. BadMessage for one that is not whole."""
        data, first, last = chunk
        if first:
            self._receiving = bytearray()
        if self._receiving is None:
            return False
        self._receiving += data
        if len(self._receiving) > MAX_SNAPSHOT_BYTES:
            self._receiving = None
            raise BadMessage("a snapshot that does not end")
        if not last:
            return False
        content, self._receiving = bytes(self._receiving), None
        if self._store.decode(content).last[1] <= self.applied():
            return False  # what is here is newer
        self._store.install(content)
        return True

    def cancelTransmisstion(self, node: Node) -> None:  # noqa: N802 - the library's spelling
        """The member is not connected."""
        self._sending.pop(node, None)


class _Engine(pysyncobj.syncobj.SyncObj):  # type: ignore[misc]  # the library has no types
    """The library with its dangerous private methods replaced."""

    def __init__(self, member: RaftMember, conf: SyncObjConf, transport: _Outbox) -> None:
        self._member = member
        peers = [Node(peer) for peer in sorted(member.peers)]
        super().__init__(Node(member.me), peers, conf, transport=transport)

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that do not exist; the library's own appear as _SyncObj__name.
        raise AttributeError(name)

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802
        return self._member.election_timeout()

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: N802
        self._member.apply(self.raftLastApplied + 1, command)

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:  # noqa: N802, N803, FBT001
        self._member.load_snapshot(replace_log=clearJournal)


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
        self.peers = frozenset(peers)
        self.record = ClusterRecord()
        self.problem = ""
        self.reachable: frozenset[NodeId] = frozenset()
        self._timing = timing
        self._witness = bool(tuple(heirs))
        self._log = log
        self._snapshots = snapshots
        self._now = clock
        self._rng = rng
        self._mine: set[bytes] = set()
        self._ready = Ready()
        self._rules = ElectionRules(
            me=me,
            peers=self.peers,
            heirs=frozenset(heirs),
            loyalty_s=timing.election_min_s,
        )
        _clock.now = clock
        snapshot = snapshots.load()
        if snapshot is not None:
            log.adopt_snapshot(snapshot.previous, snapshot.last)
        elif log.first_index > 1:
            raise ConsensusError(
                "the Raft log was shortened for a snapshot that is gone; move the directory with"
                " the log away while the other members run, and this node learns everything again"
            )
        self._outbox = _Outbox(self._rules)
        self._transfer = _SnapshotTransfer(snapshots)
        self._engine = _Engine(self, self._conf(), self._outbox)
        self._check_instance()
        self._outbox.term = lambda: self.term
        self._transfer.record = lambda: self.record
        self._transfer.applied = lambda: self.applied_index
        if snapshot is not None:
            self.load_snapshot(replace_log=False)
        self._set("needLoadDumpFile", value=False)

    # --- what others see ------------------------------------------------------------------------

    @property
    def term(self) -> int:
        """Raft's term. For people and for Raft: nothing of ours is decided by it."""
        return int(self._get("raftCurrentTerm"))

    @property
    def leads(self) -> bool:
        """Whether this member believes that it leads; it may be wrong."""
        return bool(self._get("raftState") == _LEADER)

    @property
    def leader(self) -> NodeId | None:
        """Whom this member believes to lead; it may be wrong. Nobody who cannot be reached."""
        node = self._get("raftLeader")
        if node is None or (node.id != self.me and node.id not in self.reachable):
            return None
        return NodeId(node.id)

    @property
    def commit_index(self) -> int:
        """The last entry known to be committed."""
        return int(self._get("raftCommitIndex"))

    @property
    def applied_index(self) -> int:
        """The last entry in `record`."""
        return int(self._get("raftLastApplied"))

    @property
    def log_length(self) -> int:
        """Entries in the log since the last snapshot."""
        return len(self._log)

    @property
    def has_quorum(self) -> bool:
        """Whether this member and those it has sessions with are a majority, and it takes part."""
        return not self.problem and 2 * (len(self.reachable) + 1) > len(self.peers) + 1

    # --- a step ---------------------------------------------------------------------------------

    def step(self, happenings: Iterable[Happening]) -> Ready:
        """Takes in what happened, ticks once, persists, and says what is to be done now.

        While the volume has no space it takes nothing in but its connections, and sends nothing.
        """
        _clock.now = self._now
        ready = self._ready = Ready()
        before = self.record
        if self.problem and not self._persist():
            for happening in happenings:
                self._stand_still(happening)
            return ready
        for happening in happenings:
            self._take(happening)
        now = self._now()
        self._rules.before_tick(self, now)
        self._engine.doTick(0)
        self._rules.after_tick(self, now)
        self._drop_waiting()
        outgoing, self._outbox.messages = self._outbox.messages, []
        if self._persist():
            ready.messages = [(node, message_to_wire(message)) for node, message in outgoing]
        if self.record is not before:
            ready.record = self.record
        return ready

    def close(self) -> None:
        """Persists what it can and closes the log."""
        self._persist()
        self._log.close()

    def _persist(self) -> bool:
        try:
            self._log.persist()
        except ConsensusError as error:
            if str(error) != self.problem:
                logger.error("%s", error)  # noqa: TRY400
            self.problem = str(error)
            self._outbox.messages.clear()
            return False
        if self.problem:
            logger.warning("the Raft log of %s can be written again: it takes part again", self.me)
            self.problem = ""
        return True

    def _stand_still(self, happening: Happening) -> None:
        match happening:
            case Submitted(identity=identity):
                self._ready.failures.append((identity, Failure.STORE_FULL))
            case Connected() | Disconnected():
                self._take(happening)
            case Received():
                pass  # as if it were lost

    def _take(self, happening: Happening) -> None:
        match happening:
            case Received(node=node, message=wire):
                self._receive(node, wire)
            case Submitted(identity=identity, command=command):
                self._mine.add(identity)
                self._engine._applyCommand(  # noqa: SLF001
                    KIND_REGULAR + command, lambda _, reason: self._failed(identity, reason)
                )
            case Connected(node=node):
                self._outbox.connected.add(node)
                self.reachable = frozenset(self._outbox.connected)
                self._outbox._onNodeConnected(Node(node))  # noqa: SLF001
            case Disconnected(node=node):
                self._outbox.connected.discard(node)
                self.reachable = frozenset(self._outbox.connected)
                self._rules.disconnected(node)
                self._outbox._onNodeDisconnected(Node(node))  # noqa: SLF001
                leader = self._get("raftLeader")
                if leader is not None and leader.id == node:
                    self._call("onLeaderChanged")  # answers to what was forwarded are lost

    def _receive(self, node: NodeId, wire: pb.Envelope) -> None:
        if node not in self.peers:
            self._ready.offenders[node] = f"{node} is not a member"
            return
        try:
            message = message_from_wire(wire)
            if self._rules.receive(self, node, message, self._now()) and self._guard(message):
                self._outbox._onMessageReceived(Node(node), message)  # noqa: SLF001
        except BadMessage as error:
            self._ready.offenders[node] = str(error)
        except StoreFull as error:
            logger.error("a snapshot of %s was not taken: %s", node, error)  # noqa: TRY400
        finally:
            self._log.settle()

    def _guard(self, message: RaftMessage) -> bool:
        """Whether the library is to see the message; corrects what the library would take amiss."""
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
        if self._witness:
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
            self._ready.outcomes.append((identity, outcome))

    def load_snapshot(self, *, replace_log: bool) -> None:
        """Makes the state the snapshot's, and the log begin at it, keeping what follows."""
        snapshot = self._snapshots.current
        assert snapshot is not None, "a snapshot is loaded that was not verified"
        if replace_log:
            self._log.clear()
            self._log.add(*snapshot.previous)
            self._log.add(*snapshot.last)
        self.record = snapshot.record
        self._set("raftLastApplied", value=snapshot.last[1])

    def _failed(self, identity: bytes, reason: int) -> None:
        if identity not in self._mine or reason == FAIL_REASON.SUCCESS:
            return  # its outcome was taken where it was applied
        taken = {
            FAIL_REASON.QUEUE_FULL,
            FAIL_REASON.MISSING_LEADER,
            FAIL_REASON.DISCARDED,
            FAIL_REASON.NOT_LEADER,
        }
        failure = Failure.NOT_TAKEN if reason in taken else Failure.UNKNOWN
        self._ready.failures.append((identity, failure))

    def forget(self, identity: bytes) -> None:
        """Nobody waits for this command any more."""
        self._mine.discard(identity)

    def _drop_waiting(self) -> None:
        """Forgets callbacks for entries that a snapshot jumped over; the library keeps them."""
        waiting = self._get("commandsWaitingCommit")
        applied = self.applied_index
        for index in [index for index in waiting if index <= applied]:
            for _, callback in waiting.pop(index):
                callback(None, FAIL_REASON.UNKNOWN_OUTCOME)

    # --- for the election rules -----------------------------------------------------------------

    @property
    def last_entry(self) -> tuple[int, int]:
        """Term and index of the last entry."""
        _, index, term = self._log[-1]
        return term, index

    @property
    def election_due(self) -> bool:
        """Whether the library would hold an election at the next tick."""
        alone = not self.reachable and bool(self.peers)
        return not self.leads and not alone and self._get("raftElectionDeadline") < self._now()

    @property
    def asked_to_stand(self) -> bool:
        """Whether the leader asked this member to stand."""
        return bool(self._get("transferInProgress"))

    def postpone_election(self, *, retry: bool) -> None:
        """Starts the election timer again."""
        timeout = self.election_timeout()
        if retry:
            timeout *= 0.5
        self._set("raftElectionDeadline", value=self._now() + timeout)

    def hold_election(self) -> None:
        """Makes the library hold an election at the next tick."""
        self._set("raftElectionDeadline", value=0.0)

    def give_up_leader(self) -> None:
        """Forwarded commands are told that the leader is gone."""
        if self._get("raftLeader") is not None:
            self._set("raftLeader", value=None)
            self._call("onLeaderChanged")

    def adopt_term(self, term: int) -> None:
        """Takes over a newer term as a follower without a leader."""
        self._call("setCurrentTerm", term, None)
        self._call("setState", _FOLLOWER)
        self.give_up_leader()

    def send(self, node: NodeId, message: RaftMessage) -> None:
        """Queues a message of the election rules."""
        self._outbox.send(Node(node), message)

    def caught_up(self) -> list[NodeId]:
        """The connected members with this leader's whole log, once its term has committed."""
        no_op = self._get("noopIDx")
        if no_op is None or self.commit_index < no_op:
            return []
        match = self._get("raftMatchIndex")
        last = self._log.last_index
        return [node.id for node, index in match.items() if index == last]

    def hand_over(self, node: NodeId) -> None:
        """Asks `node` to stand for election at once."""
        self._engine.transferLeadership(Node(node))

    # --- the library's private names ------------------------------------------------------------

    def _conf(self) -> SyncObjConf:
        timing = self._timing
        return SyncObjConf(
            autoTick=False,
            raftMinTimeout=timing.election_min_s,
            raftMaxTimeout=timing.election_max_s,
            appendEntriesPeriod=timing.heartbeat_s,
            # A leader cut off steps down before the others elect another one.
            leaderFallbackTimeout=0.9 * timing.election_min_s,
            connectionTimeout=max(60.0, timing.election_max_s),
            connectionRetryTime=0.5,
            appendEntriesUseBatch=False,
            appendEntriesBatchSizeBytes=_BATCH_BYTES,
            commandsWaitLeader=False,
            commandsQueueSize=10_000,
            logCompactionMinEntries=SNAPSHOT_AFTER_ENTRIES,
            logCompactionMinTime=_SNAPSHOT_AFTER_S,
            useFork=False,
            dynamicMembershipChange=False,
            journalFile=self._log,
            fullDumpFile="-",
            serializer=self._transfer,
            deserializer=_no_pickle,
        )

    def _check_instance(self) -> None:
        missing = [name for name in _PRIVATE_VALUES if not hasattr(self._engine, f"_SyncObj{name}")]
        if missing or self._get("raftLog") is not self._log:
            raise ConsensusError(
                f"pysyncobj {LIBRARY_VERSION} is not what it was: {', '.join(missing) or 'its log'}"
                " differs. Reinstall it"
            )

    def _get(self, name: str) -> Any:
        return getattr(self._engine, f"_SyncObj__{name}")

    def _set(self, name: str, *, value: object) -> None:
        setattr(self._engine, f"_SyncObj__{name}", value)

    def _call(self, name: str, *arguments: object) -> None:
        getattr(self._engine, f"_SyncObj__{name}")(*arguments)
