"""Members of a Raft group in virtual time, over real stores."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from staqraft.consensus import versions
from staqraft.consensus.codec import ID_BYTES, encode_proposal
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.member import RaftMember
from staqraft.consensus.openings import make_opening, named
from staqraft.consensus.ready import (
    Connected,
    Disconnected,
    Failure,
    Happening,
    Received,
    Submitted,
    Timing,
)
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.errors import StoreFull
from staqraft.model import Announce, Command, Generation, NodeId, NoteEvent, Outcome
from staqraft.wire.v1 import raft_pb2 as pb

A, B, W = NodeId("a"), NodeId("b"), NodeId("w")
NODES = (A, B, W)
STEP_S = 0.01
TIMING = Timing(election_min_s=0.3, election_max_s=0.6, heartbeat_s=0.095)


@contextlib.contextmanager
def release(format_: int) -> Iterator[None]:
    """What is done within is done by software that knows this format."""
    before = versions.FORMAT
    versions.FORMAT = format_
    try:
        yield
    finally:
        versions.FORMAT = before


class FlakyStore(LogStore):
    """A log on a volume that can be full."""

    full = False

    def persist(self) -> None:
        if self.full:
            raise StoreFull("the volume is full (test)")
        super().persist()


class World:
    """Members, a clock, and links that can be cut, one way or both."""

    def __init__(self, directory: Path, seed: int = 1, nodes: tuple[NodeId, ...] = NODES) -> None:
        self.directory = directory
        self.nodes = nodes
        self.rng = random.Random(seed)
        self.now = 100.0
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.inbox: dict[NodeId, list[Happening]] = {}
        self.members: dict[NodeId, RaftMember] = {}
        self.outcomes: dict[bytes, Outcome] = {}
        self.failures: list[Failure] = []
        self.offences: list[str] = []
        self.answers: list[str] = []  # to those who would go on alone
        self.leaders: list[NodeId] = []
        self.wiretap: list[tuple[NodeId, NodeId, pb.Envelope]] = []
        self.format = dict.fromkeys(NODES, versions.FORMAT)  # what each node's software knows
        for node in self.nodes:
            self.boot(node)
        for node in self.nodes:
            self.connect_all(node)

    def log_of(self, node: NodeId) -> FlakyStore:
        log = self.members[node]._log
        assert isinstance(log, FlakyStore)
        return log

    def boot(self, node: NodeId) -> None:
        with release(self.format[node]):
            self._boot(node)

    def _boot(self, node: NodeId) -> None:
        home = self.directory / node
        log = FlakyStore.open(home / "log", cluster="test", node=node)
        assert isinstance(log, FlakyStore)
        self.inbox[node] = []
        self.members[node] = RaftMember(
            me=node,
            peers=[other for other in self.nodes if other != node],
            heirs=(A, B) if node == W else (),
            timing=TIMING,
            log=log,
            snapshots=SnapshotStore(home / "snapshot", cluster="test"),
            clock=lambda: self.now,
            rng=self.rng,
        )

    def connect_all(self, node: NodeId) -> None:
        for other in self.nodes:
            if other != node and other in self.members:
                self.connect(node, other)

    def connect(self, one: NodeId, other: NodeId) -> None:
        """A new session, in which both name their generation."""
        first, second = self._said(one), self._said(other)
        self.inbox[one].append(Connected(other, first, second))
        self.inbox[other].append(Connected(one, second, first))

    def _said(self, node: NodeId) -> Generation:
        """The node's generation, as its opening tells it."""
        generation = self.members[node].generation
        return named(make_opening("test", node, b"", "", generation), self.nodes)

    def crash(self, node: NodeId) -> None:
        """Power off: what was not persisted is gone."""
        self.members.pop(node)._log.close()
        for other in self.members:
            self.inbox[other].append(Disconnected(node))

    def restart(self, node: NodeId) -> None:
        self.boot(node)
        self.connect_all(node)

    def isolate(self, node: NodeId) -> None:
        self.cut |= {pair for other in self.nodes for pair in ((node, other), (other, node))}

    def heal(self) -> None:
        self.cut.clear()

    def step(self) -> None:
        self.now += STEP_S
        redial: set[tuple[NodeId, NodeId]] = set()
        for node, member in list(self.members.items()):
            happenings, self.inbox[node] = self.inbox[node], []
            with release(self.format[node]):
                ready = member.step(happenings)
            self.outcomes.update(ready.outcomes)
            self.failures += [failure for _, failure in ready.failures]
            self.offences += ready.offenders.values()
            self.answers += ready.alone
            redial |= {(node, other) for other in ready.redial}
            for to, message in ready.messages:
                self.wiretap.append((node, to, message))
                if to in self.members and (node, to) not in self.cut:
                    copy = pb.Envelope.FromString(message.SerializeToString())
                    self.inbox[to].append(Received(node, copy))
        for one, other in sorted(redial):
            if one in self.members and other in self.members and (one, other) not in self.cut:
                self.inbox[one].append(Disconnected(other))
                self.inbox[other].append(Disconnected(one))
                self.connect(one, other)
        leading = [node for node, member in self.members.items() if member.leads]
        if len(leading) == 1 and self.leaders[-1:] != leading:
            self.leaders += leading

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP_S)):
            self.step()

    def until(self, condition: Callable[[], bool], limit_s: float = 10) -> None:
        for _ in range(int(limit_s / STEP_S)):
            if condition():
                return
            self.step()
        raise AssertionError(f"it did not come to pass in {limit_s} s")

    def leader(self) -> NodeId | None:
        leading = [node for node, member in self.members.items() if member.leads]
        return leading[0] if len(leading) == 1 else None

    def lead(self, node: NodeId) -> None:
        """Makes `node` the leader, the way a leader hands over."""
        self.until(lambda: self.leader() is not None)
        self.run(0.3)
        leader = self.leader()
        assert leader is not None
        if leader != node:
            self.members[leader].hand_over(node)
            self.until(lambda: self.leader() == node)
        self.run(0.3)

    def submit(self, node: NodeId, text: str) -> bytes:
        return self.propose(NoteEvent(node=node, group=None, kind="test", text=text))

    def propose(self, command: Command) -> bytes:
        """In the format that the proposer believes everyone to understand, as the daemon does."""
        identity = self.rng.randbytes(ID_BYTES)
        spoken = versions.spoken(self.members[command.node].record, self.nodes)
        with release(self.format[command.node]):
            data = encode_proposal(identity, command, spoken)
        self.inbox[command.node].append(Submitted(identity, data))
        return identity

    def commit(self, node: NodeId, text: str) -> None:
        self.confirm(NoteEvent(node=node, group=None, kind="test", text=text))

    def announce(self, node: NodeId) -> None:
        """As a daemon does when it has started."""
        known = self.format[node]
        self.confirm(
            Announce(node=node, version=f"{known}.0", config_fingerprint="f", format=known)
        )

    def confirm(self, command: Command) -> None:
        """Proposes until it is applied where it was proposed."""
        self.until(lambda: self.members[command.node].leader is not None)
        identity = self.propose(command)
        self.until(lambda: identity in self.outcomes)

    def texts(self, node: NodeId) -> list[str]:
        return [event.text for event in self.members[node].record.events]
