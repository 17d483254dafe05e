"""PySyncObj 0.3.17, subdued: the only module that imports it, but for `snapshot_transfer`.

The library is subclassed, and its private methods that would load pickle, swallow an error or
apply a command are replaced by name; its files, sockets, pickles and clock are replaced in its
modules. `check_library` refuses any version on which that would not take effect.

`Engine` has the few names that the member around it needs; the spelling of the library ends here.
"""

from __future__ import annotations

import _socket
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import pysyncobj.journal
import pysyncobj.pickle
import pysyncobj.syncobj
import pysyncobj.version
from pysyncobj.config import FAIL_REASON, SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from staqraft.consensus.codec import Entry
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.message_codec import RaftMessage
from staqraft.consensus.ready import Failure, Timing
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.consensus.snapshot_transfer import SnapshotTransfer
from staqraft.errors import ConsensusError
from staqraft.model import ClusterRecord, NodeId

logger = logging.getLogger(__name__)

LIBRARY_VERSION: Final = "0.3.17"
SNAPSHOT_AFTER_ENTRIES: Final = 2000
_SNAPSHOT_AFTER_S: Final = 3600
_BATCH_BYTES: Final = 1 << 20  # far above any entry: the library splits larger ones, as pickle
_FOLLOWER: Final = 0  # pysyncobj.syncobj._RAFT_STATE
_LEADER: Final = 2

_PRIVATE_METHODS: Final = (
    "doApplyCommand",
    "generateRaftTimeout",
    "loadDumpFile",
    "onLeaderChanged",
    "onMessageReceived",
    "setCurrentTerm",
    "setState",
)
_PRIVATE_VALUES: Final = (
    "commandsWaitingCommit",
    "commandsWaitingReply",
    "lastResponseTime",
    "needLoadDumpFile",
    "newAppendEntriesTime",
    "noopIDx",
    "raftCommitIndex",
    "raftCurrentTerm",
    "raftElectionDeadline",
    "raftLastApplied",
    "raftLeader",
    "raftLog",
    "raftMatchIndex",
    "raftState",
    "serializer",
    "transferInProgress",
    "transport",
)
_MODULE_NAMES: Final = (
    "PIPE_NOTIFIER_ENABLED",
    "Serializer",
    "createJournal",
    "createPoller",
    "monotonicTime",
    "pickle",
)
_NOT_TAKEN: Final = frozenset(
    {
        FAIL_REASON.QUEUE_FULL,
        FAIL_REASON.MISSING_LEADER,
        FAIL_REASON.DISCARDED,
        FAIL_REASON.NOT_LEADER,
    }
)


# --- the library's seams ------------------------------------------------------------------------


class _Clock(threading.local):
    """The instant of the step under way in this thread: the library asks a global clock.

    Within a step time stands still: what happens in it happens at once.
    """

    now: float


_clock = _Clock()


def _now() -> float:
    return _clock.now


def _is_news(record: logging.LogRecord) -> bool:
    """Drops the library's alarm when a late message makes it cut applied entries.

    They come back (`LogStore.settle`), and a message that contradicts one never gets so far.
    """
    return "truncating already-applied" not in record.getMessage()


def _no_pickle(*_: object, **__: object) -> Any:
    raise BadMessage("pickle is neither made nor loaded here")


class _NoPoller:
    """The library has no sockets of its own to poll."""

    def poll(self, _timeout: float) -> None:
        """Nothing."""


def check_library(version: str = pysyncobj.version.VERSION) -> None:
    """ConsensusError unless this is the version, name by name, that the guards were made for."""
    module, base = pysyncobj.syncobj, pysyncobj.syncobj.SyncObj
    missing = [name for name in _MODULE_NAMES if not hasattr(module, name)]
    missing += [name for name in _PRIVATE_METHODS if not hasattr(base, f"_SyncObj__{name}")]
    if version != LIBRARY_VERSION or missing:
        raise ConsensusError(
            f"pysyncobj {version} is installed; StaqRaft's guards against its hazards were made for"
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
    module.monotonicTime = _now
    module.PIPE_NOTIFIER_ENABLED = False
    for name in ("load", "loads", "dump", "dumps"):
        setattr(pysyncobj.pickle, name, _no_pickle)
    pysyncobj.journal.loads = pysyncobj.journal.dumps = _no_pickle
    module.logger.addFilter(_is_news)
    # It puts one of its own, made for old Windows, in place of the whole process's, and that one
    # returns bytes as they are: every library that is imported later would misread addresses.
    socket.inet_ntop = _socket.inet_ntop


_take_over_library()


class Host(Protocol):
    """Whom the engine asks and tells."""

    def election_timeout(self) -> float:
        """A new, random election timer in seconds."""

    def apply(self, index: int, command: bytes) -> None:
        """Applies a committed entry; must not raise."""

    def load_snapshot(self, *, replace_log: bool) -> None:
        """The snapshot in the store becomes the state; the log begins at it."""

    def snapshot_record(self) -> ClusterRecord:
        """The state, for a snapshot at the last applied entry."""

    def spoken(self) -> int:
        """The format that all members understand."""

    def outgoing(self, message: RaftMessage) -> RaftMessage:
        """The message as it is to be sent."""


class _Peer(Node):  # type: ignore[misc]  # the library has no types
    """A member; each engine makes one object a member, so that identity is equality."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__


class _Outbox(Transport):  # type: ignore[misc]  # the library has no types
    """The library's transport: what it sends waits here until the step has persisted."""

    ready = True

    def __init__(self, host: Host) -> None:
        super().__init__(None, None, ())
        self._host = host
        self.connected: set[NodeId] = set()
        self.messages: list[tuple[NodeId, RaftMessage]] = []
        self.not_forwarded: list[int] = []  # requests whose leader has no session

    def send(self, node: Node, message: RaftMessage) -> bool:
        """False when there is no session: the message is lost, as Raft expects of networks.

        The library does not look, and would wait for the answer to a forwarded command for ever.
        """
        if node.id not in self.connected:
            if message["type"] == "apply_command":
                self.not_forwarded.append(message["request_id"])
            return False
        self.messages.append((node.id, self._host.outgoing(message)))
        return True

    def destroy(self) -> None:
        """Nothing to close."""


class Engine(pysyncobj.syncobj.SyncObj):  # type: ignore[misc]  # the library has no types
    """The library with its dangerous private methods replaced, and names for what is needed."""

    def __init__(
        self,
        host: Host,
        *,
        me: NodeId,
        peers: Iterable[NodeId],
        timing: Timing,
        log: LogStore,
        snapshots: SnapshotStore,
        now: float,
    ) -> None:
        self.begin(now)
        self._may_wait = True
        self.host = host
        self.log = log
        self.outbox = _Outbox(host)
        transfer = SnapshotTransfer(snapshots, host, _now)
        conf = _configuration(timing, log, transfer)
        self._nodes = {peer: _Peer(peer) for peer in sorted(peers)}
        super().__init__(_Peer(me), list(self._nodes.values()), conf, transport=self.outbox)
        missing = [name for name in _PRIVATE_VALUES if not hasattr(self, f"_SyncObj__{name}")]
        if missing or (self._SyncObj__raftLog, self._SyncObj__serializer) != (log, transfer):
            raise ConsensusError(
                f"pysyncobj {LIBRARY_VERSION} is not what it was: {', '.join(missing) or 'its log'}"
                " differs. Reinstall it"
            )
        transfer.applied = lambda: self.applied_index
        self._SyncObj__needLoadDumpFile = False  # the owner loads the snapshot itself

    _SyncObj__raftLeader: Node | None  # else mypy takes it for what is set here

    # --- replaced -------------------------------------------------------------------------------

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802
        return self.host.election_timeout()

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:  # noqa: N802
        self.host.apply(self.applied_index + 1, command)

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:  # noqa: FBT001, N802, N803
        self.host.load_snapshot(replace_log=clearJournal)

    def _checkCommandsToApply(self) -> None:  # noqa: N802
        """The library looks whether a command waits by catching an exception, in every tick."""
        if self._may_wait:
            super()._checkCommandsToApply()
            self._may_wait = False

    # --- what is needed of it -------------------------------------------------------------------

    @property
    def term(self) -> int:
        """Raft's term."""
        return int(self._SyncObj__raftCurrentTerm)

    @property
    def leads(self) -> bool:
        """Whether it believes that it leads."""
        return bool(self._SyncObj__raftState == _LEADER)

    @property
    def believed_leader(self) -> NodeId | None:
        """Whom it believes to lead, even if cut off from it."""
        node = self._SyncObj__raftLeader
        return None if node is None else NodeId(node.id)

    @property
    def commit_index(self) -> int:
        """The last entry known to be committed."""
        return int(self._SyncObj__raftCommitIndex)

    @property
    def applied_index(self) -> int:
        """The last entry that was applied."""
        return int(self._SyncObj__raftLastApplied)

    @property
    def election_deadline(self) -> float:
        """When it would hold an election, in seconds of its clock."""
        return float(self._SyncObj__raftElectionDeadline)

    @election_deadline.setter
    def election_deadline(self, deadline: float) -> None:
        self._SyncObj__raftElectionDeadline = deadline

    @property
    def next_timer(self) -> float:
        """When its next timer ends: a leader's heartbeat, or an election."""
        return float(
            self._SyncObj__newAppendEntriesTime
            if self._SyncObj__raftState == _LEADER
            else self._SyncObj__raftElectionDeadline
        )

    @property
    def asked_to_stand(self) -> bool:
        """Whether the leader asked it to stand for election."""
        return bool(self._SyncObj__transferInProgress)

    def begin(self, now: float) -> None:
        """The next calls, in this thread, happen at `now`, in seconds of the owner's clock."""
        self.now = _clock.now = now

    def tick(self) -> None:
        """One tick."""
        self.doTick(0)
        while self.outbox.not_forwarded:
            request = self.outbox.not_forwarded.pop(0)
            answer = self._SyncObj__commandsWaitingReply.pop(request, None)
            if answer is not None:
                answer(None, FAIL_REASON.MISSING_LEADER)

    def deliver(self, node: NodeId, message: RaftMessage) -> None:
        """A message of the open session with `node`."""
        if message["type"] == "apply_command":
            self._may_wait = True
        self.outbox._onMessageReceived(self._nodes[node], message)  # noqa: SLF001

    def connect(self, node: NodeId) -> None:
        """A session is open."""
        self.outbox.connected.add(node)
        self.outbox._onNodeConnected(self._nodes[node])  # noqa: SLF001

    def disconnect(self, node: NodeId) -> None:
        """The session is gone. If it was the leader's, answers to what was forwarded are lost."""
        self.outbox.connected.discard(node)
        self.outbox._onNodeDisconnected(self._nodes[node])  # noqa: SLF001
        if self.believed_leader == node:
            self.lose_forwarded()

    def lose_forwarded(self) -> None:
        """Commands that were forwarded, or their answers, are lost: the submitters are told."""
        self._SyncObj__onLeaderChanged()

    def submit(self, command: bytes, failed: Callable[[Failure], None]) -> None:
        """Appends the command or forwards it to the leader; success is seen where it is applied."""

        def answer(_result: object, reason: int) -> None:
            if reason != FAIL_REASON.SUCCESS:
                failed(Failure.NOT_TAKEN if reason in _NOT_TAKEN else Failure.UNKNOWN)

        self._may_wait = True
        self._applyCommand(command, answer)

    def send(self, node: NodeId, message: RaftMessage) -> None:
        """Queues a message."""
        self.outbox.send(self._nodes[node], message)

    def give_up_leader(self) -> None:
        """The leader is not heard: forwarded commands are told."""
        if self.believed_leader is not None:
            self._SyncObj__raftLeader = None
            self.lose_forwarded()

    def adopt_term(self, term: int) -> None:
        """Takes over a newer term, as a follower without a leader."""
        self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__setState(_FOLLOWER)
        self.give_up_leader()

    def start_at(self, last: Entry) -> None:
        """The state is that of a snapshot whose last entry is this."""
        self._SyncObj__raftLastApplied = last[1]

    def caught_up(self) -> list[NodeId]:
        """Who has this leader's whole log, once its term has committed, and answers at present."""
        no_op = self._SyncObj__noopIDx
        if no_op is None or self.commit_index < no_op:
            return []
        answered = self._SyncObj__lastResponseTime
        lately = self.now - 3 * self.conf.appendEntriesPeriod
        return [
            NodeId(node.id)
            for node, index in self._SyncObj__raftMatchIndex.items()
            if index == self.log.last_index
            and node.id in self.outbox.connected
            and answered[node] > lately
        ]

    def hand_over(self, node: NodeId) -> None:
        """Asks `node` to stand for election at once."""
        self.transferLeadership(self._nodes[node])

    def drop_waiting(self) -> None:
        """Answers callbacks of entries that a snapshot jumped over; the library keeps them."""
        waiting = self._SyncObj__commandsWaitingCommit
        if not waiting:
            return
        applied = self.applied_index
        for index in [index for index in waiting if index <= applied]:
            for _, callback in waiting.pop(index):
                callback(None, FAIL_REASON.UNKNOWN_OUTCOME)


def _configuration(timing: Timing, log: LogStore, transfer: SnapshotTransfer) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        raftMinTimeout=timing.election_min_s,
        raftMaxTimeout=timing.election_max_s,
        appendEntriesPeriod=timing.heartbeat_s,
        # A leader that is cut off steps down before the others elect another one.
        leaderFallbackTimeout=0.9 * timing.election_min_s,
        connectionTimeout=max(60.0, timing.election_max_s),
        connectionRetryTime=0.5,
        appendEntriesUseBatch=False,
        appendEntriesBatchSizeBytes=_BATCH_BYTES,
        commandsWaitLeader=False,
        commandsQueueSize=10_000,
        logCompactionMinEntries=timing.snapshot_after or SNAPSHOT_AFTER_ENTRIES,
        logCompactionMinTime=_SNAPSHOT_AFTER_S,
        useFork=False,
        dynamicMembershipChange=False,
        journalFile=log,
        fullDumpFile="-",  # the store knows its path
        serializer=transfer,
        deserializer=_no_pickle,
    )
