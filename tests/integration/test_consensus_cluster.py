"""Three members on loopback with real TLS: elect, propose, lose the leader, come back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from staqraft import certs
from staqraft.config import schema
from staqraft.consensus.group import Group
from staqraft.consensus.ticker import RaftTicker
from staqraft.consensus.transport import SERVER_OPTIONS, RaftEndpoint
from staqraft.errors import OutcomeUnknown
from staqraft.model import (
    Accepted,
    Acquire,
    Announce,
    Epoch,
    GroupId,
    NodeId,
    NodeRole,
    NoteEvent,
    Position,
    Refused,
    Renew,
)
from staqraft.wire import tls

CLUSTER = "test"
A, B, W = NodeId("a"), NodeId("b"), NodeId("w")
ADDRESS = {A: "127.0.0.11", B: "127.0.0.12", W: "127.0.0.13"}
GROUP = GroupId("default")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
    def __init__(self, directory: Path) -> None:
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
                rings=(schema.Ring(name="service", address=address),),
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
async def running(directory: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(directory)
    try:
        for node in ADDRESS:
            await cluster.start(node)
        yield cluster
    finally:
        await cluster.stop()


async def until(condition: Callable[[], bool], group: Group | None = None, limit_s: float = 5) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.002)


async def test_smoke(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        t = time.perf_counter()
        await until(lambda: len(cluster.leaders()) == 1)
        print("elected", cluster.leaders(), time.perf_counter() - t)
        for member in cluster.members.values():
            outcome = await member.group.propose(
                Announce(node=member.node, version="1", config_fingerprint="x")
            )
            assert isinstance(outcome, Accepted)
        a = cluster.members[A].group
        assert isinstance(await a.propose(Acquire(node=A, group=GROUP, base_epoch=Epoch(0), base_renewal=0, reason="first")), Accepted)
        for member in cluster.members.values():
            times = []
            for _ in range(100):
                t = time.perf_counter()
                await member.group.barrier(2000)
                times.append(time.perf_counter() - t)
            times.sort()
            print(member.node, member.group.status().leader, "p50 %.2f p99 %.2f ms" % (times[50]*1e3, times[98]*1e3))
        assert cluster.members[B].group.state.groups == a.state.groups
