"""A session takes the place of an older one: nothing of that is heard any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from staqraft.config.schema import Tls
from staqraft.consensus.generations import first
from staqraft.consensus.session import Read, Sink
from staqraft.consensus.transport import RaftTransport
from staqraft.model import Generation, NodeId
from staqraft.wire.v1 import raft_pb2 as pb

A, B = NodeId("a"), NodeId("b")


class _Told(Sink):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.heard: asyncio.Queue[int] = asyncio.Queue()

    def connected(self, node: NodeId, told: Generation, heard: Generation) -> None:
        self.said.append("connected")

    def disconnected(self, node: NodeId) -> None:
        self.said.append("disconnected")

    def received(self, node: NodeId, envelopes: Iterable[pb.Envelope]) -> None:
        for envelope in envelopes:
            self.said.append(f"term {envelope.request_vote.term}")
            self.heard.put_nowait(envelope.request_vote.term)


def _vote(term: int) -> pb.ExchangeResponse:
    vote = pb.Envelope(request_vote=pb.RequestVote(term=term))
    return pb.ExchangeResponse(envelopes=[vote])


async def _nowhere(_envelopes: list[pb.Envelope]) -> None:
    pass


async def test_an_older_session_is_purged_before_the_next_begins() -> None:
    """Hazard 8: what it still brings would come behind what is newer."""
    sink = _Told()
    transport = RaftTransport(
        cluster="test",
        me=A,
        peers={},
        port=1,
        files=Tls(ca=Path("ca"), certificate=Path("c"), key=Path("k")),
        version="1",
        generation=lambda: first((A, B)),
        random_bytes=bytes,
        sink=sink,
        calm_ms=1000,
    )
    arriving: tuple[asyncio.Queue[pb.ExchangeResponse], ...] = (asyncio.Queue(), asyncio.Queue())

    def session(read: Read) -> asyncio.Task[None]:
        opening = pb.SessionOpen(cluster="test", node=B)
        return asyncio.create_task(transport.carry(B, read, _nowhere, opening, opening))

    older = session(arriving[0].get)
    await arriving[0].put(_vote(1))
    async with asyncio.timeout(30):
        assert await sink.heard.get() == 1
        newer = session(arriving[1].get)
        await asyncio.sleep(0)
        await arriving[0].put(_vote(2))
        await arriving[1].put(_vote(3))
        await older
        assert await sink.heard.get() == 3
    assert sink.said == ["connected", "term 1", "disconnected", "connected", "term 3"]
    newer.cancel()
    await asyncio.gather(newer, return_exceptions=True)
