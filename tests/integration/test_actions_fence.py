"""Fencing by request between three nodes on loopback addresses, with real certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fakes.patience import LONG_MS, PATIENCE_S, growing
from fakes.pki import cluster_pki
from fakes.ports import free_port
from fakes.trio import DEFAULT, SERVICE_LAN, A, B, W, trio_config
from staqraft.actions.fence import FenceClient, FenceServicer
from staqraft.config.schema import Config, Ring, Tls
from staqraft.errors import ActionError
from staqraft.model import Epoch, GroupId, NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc

SIX = Epoch(6)


@dataclass
class Loser:
    """What a node does when asked to let go: waits for `finish`, then answers."""

    answer: tuple[bool, str] | ActionError = (True, "")
    asked: list[tuple[GroupId, Epoch]] = field(default_factory=list)
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def let_go(self, group: GroupId, epoch: Epoch) -> tuple[bool, str]:
        self.asked.append((group, epoch))
        await self.finish.wait()
        self.over.set()
        if isinstance(self.answer, ActionError):
            raise self.answer
        return self.answer


@dataclass
class Trio:
    directory: Path
    port: int = field(default_factory=free_port)

    def config(self, node: NodeId) -> Config:
        return trio_config(node, cluster_pki(), self.directory, control_port=self.port)

    @asynccontextmanager
    async def serving(
        self, node: NodeId, loser: Loser, *, rings: tuple[str, ...] = ("service", "sync")
    ) -> AsyncIterator[None]:
        """The node answers on these of its rings."""
        config = self.config(node)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        servicer = FenceServicer(config, loser.let_go, FenceClient(config))
        admin_pb2_grpc.add_FenceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated
        for ring in config.me.rings:
            if ring.name in rings:
                server.add_secure_port(
                    tls.target(ring.address, self.port), tls.server_credentials(config.tls)
                )
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    def client(self, node: NodeId = B, *, cut: tuple[NodeId, ...] = ()) -> FenceClient:
        """A client that cannot reach the nodes in `cut`: nobody listens where it dials them."""
        config = self.config(node)
        nodes = dict(config.nodes)
        for name in cut:
            nowhere = tuple(Ring(name=r.name, address="127.0.9.9") for r in nodes[name].rings)
            nodes[name] = replace(nodes[name], rings=nowhere)
        return FenceClient(replace(config, nodes=nodes))


@pytest.fixture
def trio(tmp_path: Path) -> Trio:
    return Trio(tmp_path)


@pytest.fixture
def willing() -> Loser:
    loser = Loser()
    loser.finish.set()
    return loser


async def test_the_loser_confirms_and_is_asked_to_let_go_once(trio: Trio, willing: Loser) -> None:
    async with trio.serving(A, willing):
        answer = await trio.client().fence(DEFAULT, SIX, A, LONG_MS)
    assert answer.let_go
    assert "a confirmed on ring s" in answer.detail
    assert set(willing.asked) == {(DEFAULT, SIX)}


async def test_calls_that_arrive_on_several_ways_share_one_letting_go(trio: Trio) -> None:
    loser = Loser()
    config = trio.config(A)
    servicer = FenceServicer(config, loser.let_go, FenceClient(config))
    answers = [asyncio.create_task(servicer._local(DEFAULT, SIX)) for _ in range(3)]
    await asyncio.sleep(0)
    answers[0].cancel()  # one caller goes away
    loser.finish.set()
    assert await asyncio.gather(*answers[1:]) == [(True, ""), (True, "")]
    assert loser.asked == [(DEFAULT, SIX)]


async def test_one_ring_is_enough(trio: Trio, willing: Loser) -> None:
    async with trio.serving(A, willing, rings=("sync",)):
        answer = await trio.client().fence(DEFAULT, SIX, A, LONG_MS)
    assert (answer.let_go, "on ring sync (127.0.2.1)" in answer.detail) == (True, True)


async def test_the_witness_passes_it_on(trio: Trio, willing: Loser) -> None:
    async with trio.serving(A, willing), trio.serving(W, Loser()):
        answer = await trio.client(cut=(A,)).fence(DEFAULT, SIX, A, LONG_MS)
    assert answer.let_go
    assert f"through w on ring service ({SERVICE_LAN[W]})" in answer.detail


async def test_a_loser_that_says_no_is_quoted_on_every_way(trio: Trio) -> None:
    no = "service nginx did not stop within 30 s"
    loser = Loser(answer=ActionError(no))
    loser.finish.set()
    details, limits = [""], growing(1000)
    async with trio.serving(A, loser):
        while details[-1].count(no) != 2:
            answer = await trio.client().fence(DEFAULT, SIX, A, next(limits))
            assert not answer.let_go
            details.append(answer.detail)
    assert details[-1].startswith("a did not confirm that it let go of group default: ")
    assert "through w" in details[-1]
    assert details[-1].count("did not confirm") == 1, "w's words are not a sentence in a sentence"


async def test_nobody_answers_within_the_deadline(trio: Trio) -> None:
    answer = await asyncio.wait_for(trio.client().fence(DEFAULT, SIX, A, 300), PATIENCE_S)
    assert not answer.let_go
    assert "on ring service (127.0.1.1): no answer in 300 ms" in answer.detail
    assert "through w on ring service (127.0.1.3): no answer in 300 ms" in answer.detail


async def test_a_daemon_that_comes_back_in_time_is_reached(trio: Trio, willing: Loser) -> None:
    fencing = asyncio.create_task(trio.client().fence(DEFAULT, SIX, A, LONG_MS))
    await asyncio.sleep(0)
    async with trio.serving(A, willing):
        assert (await fencing).let_go


async def test_letting_go_goes_on_when_the_caller_is_gone(trio: Trio) -> None:
    loser = Loser()
    async with trio.serving(A, loser):
        limits = growing(300)
        while not loser.asked:
            assert not (await trio.client().fence(DEFAULT, SIX, A, next(limits))).let_go
        loser.finish.set()
        await asyncio.wait_for(loser.over.wait(), PATIENCE_S)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (admin_pb2.FenceRequest(cluster="other"), "a belongs to cluster lab, not other"),
        (admin_pb2.FenceRequest(cluster="lab", group="x"), "a knows no group x"),
        (admin_pb2.FenceRequest(cluster="lab", group="default", loser="z"), "a knows no node z"),
        (admin_pb2.FenceRequest(cluster="lab", group="default", loser="a"), "epoch 0 is nobody's"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    trio: Trio, willing: Loser, request_: admin_pb2.FenceRequest, words: str
) -> None:
    async with trio.serving(A, willing):
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refusal:
            await call(trio, request_, cluster_pki().node("b"))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert willing.asked == []


async def test_a_relayed_call_goes_no_further(trio: Trio, willing: Loser) -> None:
    request = admin_pb2.FenceRequest(
        cluster="lab", group="default", epoch=6, loser="b", relayed=True
    )
    async with trio.serving(A, willing), trio.serving(B, willing):
        response = await call(trio, request, cluster_pki().node("w"))
    assert not response.let_go
    assert response.detail.startswith("this is a, not b")
    assert willing.asked == []


async def test_an_administrator_cannot_fence(trio: Trio, willing: Loser) -> None:
    request = admin_pb2.FenceRequest(cluster="lab", group="default", epoch=6, loser="a")
    async with trio.serving(A, willing):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(trio, request, cluster_pki().admin())
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert willing.asked == []


async def call(trio: Trio, request: admin_pb2.FenceRequest, files: Tls) -> admin_pb2.FenceResponse:
    channel = tls.channel(SERVICE_LAN[A], trio.port, A, "lab", files)
    async with channel:
        stub = admin_pb2_grpc.FenceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response: admin_pb2.FenceResponse = await stub.Fence(request, timeout=PATIENCE_S)
        return response
