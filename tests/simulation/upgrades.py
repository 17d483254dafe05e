"""Nodes of two adjacent releases, and a node that is put back to the older one.

What a release knows is the format of commands and snapshots (`staqraft.consensus.versions`), so
that is what differs here: each member steps with the format of its own host. As in the daemon, a
member announces its format when it starts; one that meets a newer format lets go of everything,
ends, and is not started again before somebody installs the newer release.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from simulation.schedule import MS, S
from simulation.violation import Violation
from staqraft.consensus import versions
from staqraft.consensus.codec import ID_BYTES, KIND_NO_OP, encode_proposal
from staqraft.consensus.ready import Ready
from staqraft.model import Announce, Epoch, NodeId
from staqraft.wire.v1 import raft_pb2 as pb

if TYPE_CHECKING:
    from simulation.fault import Fault
    from simulation.host import Host
    from simulation.raft import RaftNode
    from simulation.world import World

OLD: Final = versions.FORMAT
NEW: Final = OLD + 1
_ANNOUNCED_AGAIN_US: Final = 1 * S
_RESTART_US: Final = 300 * MS
_NEXT_NODE_US: Final = 1500 * MS
_ANY_EPOCH: Final = Epoch(1 << 62)
_LETS_GO_FOR_US: Final = 60 * S


@contextmanager
def release(format_: int) -> Iterator[None]:
    """What is done within is done by software that knows this format."""
    before = versions.FORMAT
    versions.FORMAT = format_
    try:
        yield
    finally:
        versions.FORMAT = before


class Announcing:
    """Says which release runs here until it is known: mirrors `staqraft.daemon.announcing`."""

    def __init__(self, raft: RaftNode, rng: random.Random) -> None:
        self._raft = raft
        self._rng = rng
        self._identity = b""
        self._try()

    def _try(self) -> None:
        raft, format_ = self._raft, self._raft.format
        if self._identity:
            raft.withdraw(self._identity)
        self._identity = self._rng.getrandbits(8 * ID_BYTES).to_bytes(ID_BYTES, "big")
        command = Announce(
            node=raft.me, version=f"{format_}.0", config_fingerprint="", format=format_
        )
        with release(format_):
            data = encode_proposal(self._identity, command, raft.member.spoken())
        raft.submit(self._identity, data)
        known = self._identity

        def again() -> None:
            if self._identity == known:
                self._try()

        raft.process.after(_ANNOUNCED_AGAIN_US, again)

    def heard(self, ready: Ready) -> None:
        """Of what a step of the member produced."""
        if any(identity == self._identity for identity, _ in ready.outcomes):
            self._identity = b""


# --- what must be true ----------------------------------------------------------------------------


class Releases:
    """Nobody applies what it does not know, and nobody ends who was not put back."""

    def __init__(self) -> None:
        self._put_back = False

    def put_back(self) -> None:
        """Somebody installs an older release than the others speak by now."""
        self._put_back = True

    def understood(self, me: NodeId, known: int, command: bytes) -> None:
        """It applies this, and knows this format."""
        if known >= NEW or command == KIND_NO_OP:
            return
        format_ = pb.Proposal.FromString(command[1:]).format
        if format_ > known:
            raise Violation("12 releases", f"{me} applies format {format_}, and knows {known}")

    def outdated(self, me: NodeId) -> None:
        """It stops, since it cannot follow."""
        if not self._put_back:
            raise Violation("12 releases", f"{me} cannot follow, and nobody was put back")


# --- a host ---------------------------------------------------------------------------------------


def install(host: Host, format_: int) -> None:
    """Another release: the daemon is stopped and started, as a package does it."""
    host.say(f"gets release {format_}")
    host.format = format_
    host.kill()
    host.later(_RESTART_US, host.start)


def cannot_follow(host: Host) -> None:
    """Its member met a newer format: it lets go of everything, and ends."""
    raft, daemon = host.raft, host.daemon
    assert raft is not None, "it is the one who says so"
    host.outdated = True
    host.judge_outdated()

    def end(_: bool = True) -> None:
        if host.raft is raft:
            host.say("ends: its release is too old")
            host.kill()

    if daemon is None:
        end()
        return
    daemon.fence.let_go(_ANY_EPOCH, lambda let_go: end() if let_go else None)
    host.control.after(_LETS_GO_FOR_US, end)


# --- faults ---------------------------------------------------------------------------------------


def _upgrade(world: World, fault: Fault) -> None:
    """One node gets the newer release, or all one after the other."""
    nodes = [fault.who]
    if fault.size < 0.7:
        nodes += [node for node in world.nodes if node != fault.who]
    for place, node in enumerate(nodes):
        world.moments.later(place * _NEXT_NODE_US, lambda n=node: _newer(world, n))  # type: ignore[misc]


def _newer(world: World, node: str) -> None:
    host = next(host for host in world.hosts.values() if host.me == node)
    if host.powered and host.format < NEW:
        world.disturbed()
        host.outdated = False
        install(host, NEW)


def _put_back(world: World, fault: Fault) -> None:
    """Somebody installs the older release again, and after a while sees what came of it."""
    host = world.hosts[fault.who]
    if host.format == OLD or not host.powered:
        return
    world.checks.releases.put_back()
    install(host, OLD)

    def newer() -> None:
        host.outdated = False
        install(host, NEW)

    world.undo_after(fault.duration_us, newer)


APPLY: Final = {"upgrade": _upgrade, "put-back": _put_back}
