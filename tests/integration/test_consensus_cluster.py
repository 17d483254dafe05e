"""Three members on loopback with real TLS: elect, propose, lose the leader, come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from fakes.patience import LONG_MS, PATIENCE_S
from fakes.ports import free_port
from staqraft import certs
from staqraft.config import schema
from staqraft.consensus import syncobj
from staqraft.consensus.endpoint import RaftEndpoint
from staqraft.consensus.exchange import EOF
from staqraft.consensus.group import Group
from staqraft.consensus.manners import SERVER_OPTIONS
from staqraft.consensus.ticker import RaftTicker
from staqraft.errors import OutcomeUnknown
from staqraft.model import (
    Accepted,
    Acquire,
    Epoch,
    GroupId,
    NodeId,
    NodeRole,
    NoteEvent,
    Position,
    Renew,
)
from staqraft.wire import tls
from staqraft.wire.v1 import raft_pb2 as pb
from staqraft.wire.v1 import raft_pb2_grpc

CLUSTER = "test"
A, B, W = NodeId("a"), NodeId("b"), NodeId("w")
ADDRESS = {A: "127.0.0.11", B: "127.0.0.12", W: "127.0.0.13"}
GROUP = GroupId("default")


class Member:
    """One node of the cluster in this process, with its own server and ticker."""

    def __init__(self, config: schema.Config) -> None:
        self.config = config
        self.node = config.node
        self.ticker = RaftTicker()
        self.endpoint = RaftEndpoint()
        self.group = Group(config, self.ticker, self.endpoint)
        self.server: grpc.aio.Server | None = None

    async def start(self) -> None:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        self.endpoint.add_to_server(server)
        target = tls.target(ADDRESS[self.node], self.config.ports.control)
        server.add_secure_port(target, tls.server_credentials(self.config.tls))
        await server.start()
        await self.group.start()
        self.server = server

    async def stop(self) -> None:
        if self.server is not None:
            await self.group.stop()
            await self.server.stop(None)
            self.server = None


class Cluster:
    def __init__(
        self, directory: Path, preferred: dict[NodeId, tuple[schema.Ring, ...]] | None = None
    ) -> None:
        """`preferred`: rings that come before a node's own."""
        self.preferred = preferred or {}
        certs.init(directory / "ca", CLUSTER)
        self.directory = directory
        self.port = free_port()
        self.members: dict[NodeId, Member] = {}

    def config(self, node: NodeId) -> schema.Config:
        issued = self.directory / "ca" / f"{node}.pem"
        if not issued.exists():
            certs.issue(self.directory / "ca", node)
        files = schema.Tls(
            ca=self.directory / "ca" / "ca.pem",
            certificate=issued,
            key=self.directory / "ca" / f"{node}.key",
        )
        nodes = {
            name: schema.Node(
                id=name,
                role=NodeRole.WITNESS if name == W else NodeRole.REPLICA,
                rings=(
                    *self.preferred.get(name, ()),
                    schema.Ring(name="service", address=address),
                ),
            )
            for name, address in ADDRESS.items()
        }
        return schema.Config(
            cluster=CLUSTER,
            node=node,
            nodes=nodes,
            tls=files,
            groups={},
            ports=schema.Ports(control=self.port),
            state_dir=self.directory / node,
        )

    async def start(self, node: NodeId) -> Member:
        member = self.members[node] = Member(self.config(node))
        await member.start()
        return member

    async def stop(self) -> None:
        for member in self.members.values():
            await member.stop()

    def leaders(self) -> set[NodeId]:
        views = [m.group.status() for m in self.members.values() if m.server is not None]
        return {view.leader for view in views if view.leader is not None}


@asynccontextmanager
async def running(
    directory: Path, preferred: dict[NodeId, tuple[schema.Ring, ...]] | None = None
) -> AsyncIterator[Cluster]:
    cluster = Cluster(directory, preferred)
    try:
        for node in ADDRESS:
            await cluster.start(node)
        yield cluster
    finally:
        await cluster.stop()


async def until(condition: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
    """Waits for what no event tells: beliefs about leaders and sessions."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - a belief changes without an event
            await asyncio.sleep(0.002)


async def agreed(cluster: Cluster) -> Member:
    """The leader that all running members know, with sessions between all of them."""
    running_members = [m for m in cluster.members.values() if m.server is not None]

    def settled() -> bool:
        views = [member.group.status() for member in running_members]
        return len({view.leader for view in views}) == 1 and all(
            view.leader is not None and len(view.reachable) == len(running_members) - 1
            for view in views
        )

    await until(settled)
    leader = running_members[0].group.status().leader
    assert leader is not None
    return cluster.members[leader]


def note(member: Member, text: str) -> NoteEvent:
    return NoteEvent(node=member.node, group=None, kind="test", text=text)


async def write(member: Member, text: str) -> None:
    assert isinstance(await member.group.propose(note(member, text), LONG_MS), Accepted)


def texts(member: Member) -> list[str]:
    return [event.text for event in member.group.state.events]


async def test_every_member_proposes_and_every_member_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        leader = await agreed(cluster)
        told: dict[NodeId, list[float]] = {node: [] for node in ADDRESS}

        def subscriber(node: NodeId) -> Callable[[object], None]:
            return lambda _record: told[node].append(time.perf_counter())

        for node, member in cluster.members.items():
            member.group.subscribe(subscriber(node))
        for member in cluster.members.values():
            await write(member, f"of {member.node}")
        await until(lambda: all(len(times) == 3 for times in told.values()))
        assert texts(cluster.members[A]) == ["of a", "of b", "of w"]
        spread = max(max(t) - min(t) for t in zip(*told.values(), strict=True))
        print(f"\nall members are told within {spread * 1000:.1f} ms of the first")  # noqa: T201 - figures
        for member in cluster.members.values():
            took = []
            for _ in range(100):
                begun = time.perf_counter()
                await member.group.barrier(LONG_MS)
                took.append((time.perf_counter() - begun) * 1000)
            took.sort()
            role = "leader" if member is leader else "follower"
            print(f"commit from {member.node} ({role}): p50 {took[50]:.2f} p99 {took[98]:.2f} ms")  # noqa: T201 - figures


async def test_a_lease_is_renewed_by_compare_and_set(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await agreed(cluster)
        a, b = cluster.members[A].group, cluster.members[B].group

        def acquire(node: NodeId) -> Acquire:
            return Acquire(
                node=node, group=GROUP, base_epoch=Epoch(0), base_renewal=0, reason="first"
            )

        outcomes = await asyncio.gather(a.propose(acquire(A)), b.propose(acquire(B)))
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Accepted", "Refused"]
        active = a.state.groups[GROUP].active
        assert active is not None
        holder = cluster.members[active].group
        renew = Renew(node=active, group=GROUP, epoch=Epoch(1), renewal=1, position=Position())
        assert isinstance(await holder.propose(renew), Accepted)
        await b.barrier()
        assert b.state.groups[GROUP].renewal == 1


async def test_a_leader_that_is_stopped_hands_over_before_it_is_gone(tmp_path: Path) -> None:
    # It waits as long as an election takes; a machine may stand still so long, but not each time.
    for number in range(5):
        place = tmp_path / f"{number}"
        place.mkdir()
        async with running(place) as cluster:
            leader = await agreed(cluster)
            await write(leader, "before")
            others = [member for member in cluster.members.values() if member is not leader]
            term = leader.group.status().term
            await leader.stop()
            views = [(member.node, member.group.status()) for member in others]
            await write(others[0], "without it")
        led = [view for node, view in views if view.leader == node]
        if led:
            assert led[0].term > term
            return
    pytest.fail("nobody led yet when the former leader was gone")


async def test_the_leader_dies_and_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        leader = await agreed(cluster)
        await write(leader, "before")
        survivor = next(m for m in cluster.members.values() if m is not leader and m.node != W)
        begun = time.perf_counter()
        await leader.stop()
        await write(survivor, "without it")
        print(f"\nfirst commit {(time.perf_counter() - begun) * 1000:.0f} ms after the stop began")  # noqa: T201 - figures
        back = await cluster.start(leader.node)
        begun = time.perf_counter()
        await until(lambda: "without it" in texts(back))
        print(f"back and caught up after {(time.perf_counter() - begun) * 1000:.0f} ms")  # noqa: T201 - figures
        await write(back, "again")
        assert texts(back) == ["before", "without it", "again"]


async def test_a_member_that_missed_much_learns_from_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncobj, "SNAPSHOT_AFTER_ENTRIES", 60)
    async with running(tmp_path) as cluster:
        await agreed(cluster)
        await cluster.members[B].stop()
        for number in range(80):
            await write(cluster.members[A], f"{number}")
        await until((tmp_path / "a" / "raft" / "snapshot").exists)
        b = await cluster.start(B)
        await until(lambda: len(texts(b)) == 80)
        assert b.group.state.events == cluster.members[A].group.state.events
        await until((tmp_path / "b" / "raft" / "snapshot").exists)


async def test_without_a_majority_the_outcome_is_unknown(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await agreed(cluster)
        await cluster.members[B].stop()
        await cluster.members[W].stop()
        a = cluster.members[A]
        await until(lambda: not a.group.status().reachable)
        with pytest.raises(OutcomeUnknown, match="it reaches nobody of b, w"):
            await a.group.propose(note(a, "alone"), 300)
        assert not a.group.status().has_quorum
        await cluster.start(B)
        await write(a, "two are enough")


async def test_a_cut_ring_is_replaced_by_another(tmp_path: Path) -> None:
    """b dials a on two rings; nobody answers on the preferred one."""
    dead = schema.Ring(name="sync", address="127.0.0.99")
    async with running(tmp_path, {A: (dead,)}) as cluster:
        await agreed(cluster)
        await write(cluster.members[B], "by the other ring")


async def test_a_certificate_that_comes_late_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(tmp_path)
    try:
        await cluster.start(A)
        config = cluster.config(B)
        member = cluster.members[B] = Member(config)
        hidden = config.tls.key.rename(tmp_path / "hidden")
        await member.group.start()
        await until(lambda: "b.key" in caplog.text)
        assert not member.group.status().reachable
        hidden.rename(config.tls.key)
        await until(lambda: A in member.group.status().reachable)
        await write(member, "connected")
        await member.group.stop()
    finally:
        await cluster.stop()


# --- strangers ----------------------------------------------------------------------------------


async def knock(channel: grpc.aio.Channel, cluster: str, node: str) -> grpc.StatusCode:
    """Opens a session as whoever the channel is; the code that it ends with."""
    exchange = raft_pb2_grpc.RaftServiceStub(channel).Exchange  # type: ignore[no-untyped-call]
    call = exchange(timeout=PATIENCE_S)
    opening = pb.SessionOpen(
        cluster=cluster, node=node, session=bytes(12), format=1, version="stranger"
    )
    envelope = pb.Envelope(session_open=opening)
    try:
        await call.write(pb.ExchangeRequest(envelopes=[envelope]))
        while await call.read() is not EOF:
            pass
        code: grpc.StatusCode = await call.code()
    except grpc.aio.AioRpcError as error:
        code = error.code()
    except asyncio.InvalidStateError:
        code = await call.code()
    await channel.close(None)
    return code


async def test_strangers_are_refused_and_cost_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await agreed(cluster)
        port, me = cluster.port, cluster.config(A).tls
        address = ADDRESS[A]
        certs.issue(tmp_path / "ca", "x")
        stranger = schema.Tls(
            ca=me.ca, certificate=tmp_path / "ca" / "x.pem", key=tmp_path / "ca" / "x.key"
        )
        certs.init(tmp_path / "ca2", CLUSTER)
        certs.issue(tmp_path / "ca2", "b")
        forged = schema.Tls(
            ca=me.ca, certificate=tmp_path / "ca2" / "b.pem", key=tmp_path / "ca2" / "b.key"
        )
        member = cluster.config(B).tls

        def dial(files: schema.Tls) -> grpc.aio.Channel:
            return tls.channel(address, port, A, CLUSTER, files)

        plain = grpc.aio.insecure_channel(tls.target(address, port))
        assert await knock(plain, CLUSTER, "b") is grpc.StatusCode.UNAVAILABLE
        assert await knock(dial(forged), CLUSTER, "b") is grpc.StatusCode.UNAVAILABLE
        assert await knock(dial(stranger), CLUSTER, "x") is grpc.StatusCode.PERMISSION_DENIED
        assert await knock(dial(member), CLUSTER, "w") is grpc.StatusCode.INVALID_ARGUMENT
        assert await knock(dial(member), "other", "b") is grpc.StatusCode.INVALID_ARGUMENT
        for _ in range(30):
            await knock(dial(stranger), CLUSTER, "b")
        transport = cluster.members[A].group._transport
        assert set(transport._sessions) <= {B, W}, "no session was made"
        await write(cluster.members[A], "undisturbed")


async def test_a_member_that_talks_nonsense_is_dropped_and_heard_again(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await agreed(cluster)
        a = cluster.members[A]
        nonsense = pb.Envelope(apply_command=pb.ApplyCommand(command=b"\x02\x80\x02}q\x00."))
        session = cluster.members[B].group._transport._sessions[A]
        session.push(nonsense)
        await until(session._closed.is_set)
        await until(lambda: B in a.group.status().reachable)
        await write(cluster.members[B], "forgiven")
