"""What a node without a witness says to its peer when that one is back, over real sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio

from fakes.patience import PATIENCE_S
from fakes.pki import Pki, new_pki
from fakes.ports import free_port
from fakes.trio import trio_config
from staqraft.config.schema import Config
from staqraft.consensus import Group, RaftEndpoint, RaftTicker
from staqraft.consensus.manners import SERVER_OPTIONS
from staqraft.model import FenceRung, NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import raft_pb2 as pb
from staqraft.wire.v1 import raft_pb2_grpc

A, B = NodeId("a"), NodeId("b")


class Listener(raft_pb2_grpc.RaftServiceServicer):
    """A peer that is back, and only listens to what it is told first."""

    def __init__(self) -> None:
        self.openings: asyncio.Queue[pb.SessionOpen] = asyncio.Queue()

    async def Exchange(self, _: object, context: tls.Context) -> None:  # noqa: N802 - the call's
        first = await context.read()
        self.openings.put_nowait(first.envelopes[0].session_open)


@asynccontextmanager
async def listening(config: Config) -> AsyncIterator[Listener]:
    listener = Listener()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *SERVER_OPTIONS])
    raft_pb2_grpc.add_RaftServiceServicer_to_server(listener, server)  # type: ignore[no-untyped-call]
    place = tls.target(config.me.rings[0].address, config.ports.control)
    server.add_secure_port(place, tls.server_credentials(config.tls))
    await server.start()
    try:
        yield listener
    finally:
        await server.stop(0)


@asynccontextmanager
async def off(config: Config) -> AsyncIterator[asyncio.Event]:
    """A host whose daemon is not there yet; the event says that somebody tried to reach it."""
    tried = asyncio.Event()

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.set()
        writer.close()

    address = config.me.rings[0].address
    async with await asyncio.start_server(refuse, address, config.ports.control):
        yield tried


def replica(node: NodeId, pki: Pki, directory: Path, port: int) -> Config:
    """One of two on one network, without a witness."""
    trio = trio_config(node, pki, directory, control_port=port)
    nodes = {name: replace(trio.nodes[name], rings=trio.nodes[name].rings[:1]) for name in (A, B)}
    return replace(trio, nodes=nodes)


async def test_an_opening_names_the_generation_in_which_it_is_sent(tmp_path: Path) -> None:
    """b calls a all the while that a is off; what it says when a is back is of that moment."""
    pki, port = new_pki(tmp_path / "pki"), free_port()
    a, b = (replica(node, pki, tmp_path, port) for node in (A, B))
    raft = Group(b, RaftTicker(), RaftEndpoint())
    await raft.start()
    try:
        async with off(a) as tried, asyncio.timeout(PATIENCE_S):
            await tried.wait()
            await raft.go_alone(FenceRung.OPERATOR, raft.status().contacts)
        async with listening(a) as listener, asyncio.timeout(PATIENCE_S):
            said = await listener.openings.get()
        assert (said.generation, list(said.generation_members)) == (2, [B])
    finally:
        await raft.stop()
