"""Raft sessions are dialled again whatever becomes of an attempt, at sockets that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable

import pytest

from fakes.pki import Pki, cluster_pki
from fakes.ports import free_port
from staqraft.config.schema import Node, Ring
from staqraft.consensus.generations import first
from staqraft.consensus.manners import Manners
from staqraft.consensus.session import Sink
from staqraft.consensus.transport import RaftTransport
from staqraft.model import Generation, NodeId, NodeRole
from staqraft.wire.v1 import raft_pb2 as pb

A, B = NodeId("a"), NodeId("b")
ADDRESS, NOBODY = "127.0.3.11", "127.0.3.12"  # of the peer; on the second nothing listens


class Unused(Sink):
    """No session is ever opened."""

    def connected(self, node: NodeId, told: Generation, heard: Generation) -> None:
        raise AssertionError

    def disconnected(self, node: NodeId) -> None:
        raise AssertionError

    def received(self, node: NodeId, envelopes: Iterable[pb.Envelope]) -> None:
        raise AssertionError


class Peer:
    """Takes every connection, and opens no session on any."""

    def __init__(self, pki: Pki, *, closes: bool) -> None:
        self._closes = closes
        self._files = pki.node("a")
        self.taken: asyncio.Queue[int] = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._files.certificate, self._files.key)
        context.set_alpn_protocols(["h2"])
        async with await asyncio.start_server(self._take, ADDRESS, port, ssl=context):
            yield

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken.put_nowait(1)
        with contextlib.suppress(OSError):
            if not self._closes:  # as a host that lost its power just now: nothing comes back
                while await reader.read(4096):
                    pass
        writer.close()


def transport(pki: Pki, port: int) -> RaftTransport:
    rings = (Ring(name="sync", address=NOBODY), Ring(name="service", address=ADDRESS))
    return RaftTransport(
        cluster=pki.cluster,
        me=B,
        peers={A: Node(id=A, role=NodeRole.REPLICA, rings=rings)},
        port=port,
        files=pki.node("b"),
        version="1",
        generation=lambda: first((A, B)),
        random_bytes=bytes,
        sink=Unused(),
        calm_ms=1000,
        manners=Manners(attempt_s=10.0, answer_s=0.2),
    )


@pytest.mark.parametrize("closes", [True, False], ids=["refuses", "is-silent"])
async def test_who_opens_no_session_is_dialled_again_while_another_network_is_dead(
    closes: bool,
) -> None:
    """A witness is on one of the networks only; a host may die between two packets (chaos, seeds
    9201 and 9202: it was never dialled again).
    """
    pki, port = cluster_pki(), free_port()
    peer, dialling = Peer(pki, closes=closes), transport(pki, port)
    async with peer.listening(port), asyncio.timeout(60):
        await dialling.start()
        try:
            for _ in range(3):
                await peer.taken.get()
        finally:
            await dialling.stop()
