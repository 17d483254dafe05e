"""A host's Raft member in virtual time: the real one, between its volume and its sessions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from simulation.disks import Crash
from simulation.machine import Clock, Process
from simulation.network import Network, Session
from simulation.schedule import MS, Schedule
from simulation.upgrades import Announcing, release
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.member import RaftMember
from staqraft.consensus.openings import make_opening, named
from staqraft.consensus.ready import (
    Connected,
    Disconnected,
    Happening,
    Ready,
    Received,
    Submitted,
    Timing,
    Withdrawn,
)
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.model import Generation, NodeId
from staqraft.wire.v1 import raft_pb2 as pb

if TYPE_CHECKING:
    from simulation.checks import Checks
    from simulation.disks import Volume

_WOKEN_US: Final = 100  # from a message to the step that takes it in
_IDLE_S: Final = 0.25
_SHORTEST_S: Final = 0.015
_FULL_RETRY_S: Final = 1.0
_DEAD_US: Final = 1000 * MS  # a session is given up after about so long
_REDIAL_US: Final = 150 * MS
_PIECE_US: Final = 40 * MS  # 256 KiB at 50 Mbit/s


class CheckedMember(RaftMember):
    """The real member; what it applies, and whom it follows, is told to the checks."""

    checks: Checks
    format: int

    def apply(self, index: int, command: bytes) -> None:
        self.checks.releases.understood(self.me, self.format, command)
        before = self.record
        super().apply(index, command)
        self.checks.applied(self.me, self.term, index, command, before, self.record)

    def load_snapshot(self, *, replace_log: bool) -> None:
        super().load_snapshot(replace_log=replace_log)
        self.checks.loaded(self.me, self.record)


class RaftNode:
    """One life of a member. `deliver` takes what a step said to the daemon."""

    def __init__(
        self,
        *,
        me: NodeId,
        members: Iterable[NodeId],
        heirs: Iterable[NodeId],
        timing: Timing,
        stores: Callable[[], tuple[LogStore, SnapshotStore]],
        volume: Volume,
        clock: Clock,
        process: Process,
        schedule: Schedule,
        rng: random.Random,
        checks: Checks,
        deliver: Callable[[Ready], None],
        crash: Callable[[], None],
        format_: int,
        cannot_follow: Callable[[], None],
    ) -> None:
        """Outdated when its release is too old for what is in the stores."""
        self.me = me
        self.format = format_
        self._cannot_follow = cannot_follow
        self._ended = False  # it said that it cannot follow
        self.process = process
        self.sessions: dict[NodeId, Session] = {}
        self._clock = clock
        self._schedule = schedule
        self._volume = volume
        self._checks = checks
        self._deliver = deliver
        self._rng = rng
        self._crash = crash
        self._inbox: list[Happening] = []
        self._woken = False
        self._busy = False
        self._due_us = 0
        self._timer_us = -1  # the earliest timer that is set
        CheckedMember.checks = checks
        with release(format_):
            log, snapshots = stores()
            self.member = CheckedMember(
                me=me,
                peers=[node for node in members if node != me],
                heirs=heirs,
                timing=timing,
                log=log,
                snapshots=snapshots,
                clock=clock.monotonic_s,
                rng=rng,
            )
            self.member.format = format_
            log.persist()
        self._announcing = Announcing(self, rng)
        self._wake()

    def put(self, happening: Happening) -> None:
        self._inbox.append(happening)
        self._wake()

    def submit(self, identity: bytes, command: bytes) -> None:
        self.put(Submitted(identity, command))

    def withdraw(self, identity: bytes) -> None:
        self.put(Withdrawn(identity))

    def received(self, node: NodeId, envelopes: list[pb.Envelope]) -> None:
        for envelope in envelopes:
            self._inbox.append(Received(node, envelope))
        self._wake()

    # --- steps ------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self.process.after(_WOKEN_US, self._step)

    def _set_timer(self, in_s: float) -> None:
        self._due_us = self._schedule.now + self._clock.true_us(in_s * 1000)
        if self._timer_us <= self._schedule.now or self._due_us < self._timer_us:
            self._timer_us = self._due_us
            self.process.after(self._due_us - self._schedule.now, self._timer)

    def _timer(self) -> None:
        now = self._schedule.now
        if now >= self._due_us:
            if not self._woken:
                self._woken = True
                self._step()
        elif self._timer_us <= now:
            self._timer_us = self._due_us
            self.process.after(self._due_us - now, self._timer)

    def _step(self) -> None:
        if self._busy:
            return  # `_free` goes on
        self._woken = False
        happenings, self._inbox = self._inbox, []
        member = self.member
        try:
            with release(self.format):
                ready = member.step(happenings)
        except Crash:
            self._crash()
            return
        if member.outdated and not self._ended:
            self._ended = True
            self._checks.say(f"{self.me}: {member.outdated}")
            self._cannot_follow()
            if not self.process.alive:
                return
        self._checks.stepped(member)
        wait_us, self._volume.waited_us = self._volume.waited_us, 0
        if wait_us:
            self._busy = True
            self.process.after(wait_us, lambda: self._free(ready))
        else:
            self._release(ready)

    def _free(self, ready: Ready) -> None:
        self._busy = False
        self._release(ready)
        if self._woken:
            self._step()

    def _release(self, ready: Ready) -> None:
        if ready.messages:
            self._send(ready.messages)
        for node in sorted(ready.redial):
            if (session := self.sessions.get(node)) is not None:
                session.end(self.me)
        if ready.offenders:
            self._drop(ready.offenders)
        if ready.record is not None or ready.outcomes or ready.failures:
            self._announcing.heard(ready)
            self._deliver(ready)
        if self.process.alive:
            due_s = _FULL_RETRY_S if self.member.problem else min(self.member.next_due_s(), _IDLE_S)
            self._set_timer(max(due_s, _SHORTEST_S))

    def _send(self, messages: list[tuple[NodeId, pb.Envelope]]) -> None:
        batches: dict[NodeId, list[pb.Envelope]] = {}
        for node, envelope in messages:
            if node in batches:
                batches[node].append(envelope)
            else:
                batches[node] = [envelope]
        for node in sorted(batches):
            for envelope in batches[node]:
                self._checks.sent(self.me, node, envelope)
            if (session := self.sessions.get(node)) is not None:
                self._send_batch(session, batches[node])

    def _drop(self, offenders: dict[NodeId, str]) -> None:
        for node in sorted(offenders):
            self._checks.offended(self.me, node, offenders[node])
            if (session := self.sessions.get(node)) is not None:
                session.end(self.me)

    def _send_batch(self, session: Session, batch: list[pb.Envelope]) -> None:
        """Small messages together; a piece of a snapshot is a message that takes its time."""
        together: list[pb.Envelope] = []
        for envelope in batch:
            together.append(envelope)
            if envelope.append_entries.HasField("snapshot"):
                long_us = int(self._rng.random() * _PIECE_US)
                session.send(self.me, together, long_us)
                together = []
        if together:
            session.send(self.me, together)


class RaftLink:
    """Keeps a session between two members: the one with the greater name dials."""

    def __init__(
        self,
        network: Network,
        one: NodeId,
        other: NodeId,
        node_of: Callable[[NodeId], RaftNode | None],
    ) -> None:
        self._network = network
        self._dialer, self._acceptor = max(one, other), min(one, other)
        self._node_of = node_of
        network.schedule.after(int(network.rng.random() * _REDIAL_US), self._look)

    def _look(self) -> None:
        self._dial()
        jitter = 0.5 + self._network.rng.random()
        self._network.schedule.after(int(_REDIAL_US * jitter), self._look)

    def _dial(self) -> None:
        dialer, acceptor = self._node_of(self._dialer), self._node_of(self._acceptor)
        if dialer is None or acceptor is None:
            return
        if dialer.process.stopped or acceptor.process.stopped:
            return
        if self._acceptor in dialer.sessions:
            return
        ring = self._network.ring_between(self._dialer, self._acceptor)
        if ring is None:
            return
        session = Session(self._network, ring, _DEAD_US)
        said = _said(dialer), _said(acceptor)
        self._attach(session, dialer, self._acceptor, said)
        self._attach(session, acceptor, self._dialer, said[::-1])

    @staticmethod
    def _attach(
        session: Session, node: RaftNode, peer: NodeId, said: tuple[Generation, Generation]
    ) -> None:
        def ended() -> None:
            if node.sessions.get(peer) is session:
                del node.sessions[peer]
                node.put(Disconnected(peer))

        before = node.sessions.get(peer)
        session.attach(node.me, node.process, lambda batch: node.received(peer, batch), ended)
        if before is not None:
            before.end(node.me)
        node.sessions[peer] = session
        node.put(Connected(peer, *said))


def _said(node: RaftNode) -> Generation:
    """The node's generation, as its opening tells it."""
    opening = make_opening("sim", node.me, b"", "", node.member.generation)
    return named(opening, node.member.membership.configured)
