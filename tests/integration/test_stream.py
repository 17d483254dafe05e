"""The light client of a gRPC call, at a real gRPC server with mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import grpc.aio
import pytest

from fakes.pki import Pki, new_pki
from fakes.ports import free_port
from staqraft.config.schema import Tls
from staqraft.model import NodeId
from staqraft.names import tls_name
from staqraft.wire import tls
from staqraft.wire.h2_call import Call
from staqraft.wire.stream import Lost, Stream, client_context, dial
from staqraft.wire.v1 import raft_pb2 as pb
from staqraft.wire.v1 import raft_pb2_grpc

ADDRESS = "127.0.3.9"
PATH = "/staqraft.wire.v1.RaftService/Exchange"
EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it

Work = Callable[[tls.Context], Awaitable[None]]


class Service(raft_pb2_grpc.RaftServiceServicer):
    """Does with each call what it is made with."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def Exchange(  # noqa: N802 - the name of the call
        self, request_iterator: object, context: tls.Context
    ) -> None:
        del request_iterator
        await self._work(context)


async def echo(context: tls.Context) -> None:
    while (request := await context.read()) is not EOF:
        await context.write(pb.ExchangeResponse(envelopes=request.envelopes))


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return new_pki(tmp_path, "test")


@contextlib.asynccontextmanager
async def called(
    pki: Pki,
    work: Work,
    *,
    node: str = "a",
    files: Tls | None = None,
    frames_per_s: float = 0,
) -> AsyncIterator[Stream]:
    """A call of b, with `files`, to a server that is a; `node`: whom b expects."""
    port = free_port()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4 << 20)])
    raft_pb2_grpc.add_RaftServiceServicer_to_server(Service(work), server)  # type: ignore[no-untyped-call]
    server.add_secure_port(tls.target(ADDRESS, port), tls.server_credentials(pki.node("a")))
    await server.start()
    name = tls_name("test", NodeId(node))
    context = client_context(files or pki.node("b"))
    call = Call(name, PATH, most_bytes=4 << 20)
    try:
        stream = await dial(ADDRESS, port, context, name, call, frames_per_s)
        try:
            yield stream
        finally:
            stream.close()
    finally:
        await server.stop(0)


def envelope(size: int) -> bytes:
    command = pb.ApplyCommand(command=b"x" * size)
    return pb.ExchangeRequest(envelopes=[pb.Envelope(apply_command=command)]).SerializeToString()


async def write_all(stream: Stream, messages: Iterable[bytes]) -> None:
    for message in messages:
        await stream.write(message)


async def test_messages_of_any_size_come_back_as_they_were_sent(pki: Pki) -> None:
    async with called(pki, echo) as stream, asyncio.timeout(30):
        for size in (0, 1, 16_000, 70_000, 3_000_000):
            sent = envelope(size)
            _, back = await asyncio.gather(stream.write(sent), stream.read())
            assert back == sent


async def test_who_is_not_read_waits_and_loses_nothing(pki: Pki) -> None:
    """Many times what the windows hold; the reader is late, then everything is there."""
    count, sent = 300, envelope(20_000)

    async def many(context: tls.Context) -> None:
        for _ in range(count):
            request = pb.ExchangeRequest.FromString(sent)
            await context.write(pb.ExchangeResponse(envelopes=request.envelopes))
        await echo(context)

    async with called(pki, many) as stream, asyncio.timeout(60):
        writing = asyncio.create_task(write_all(stream, [sent] * count))
        got = 0
        for _ in range(2 * count):
            got += await stream.read() == sent
        await writing
        assert got == 2 * count


async def test_what_the_server_says_at_the_end_is_told(pki: Pki) -> None:
    async def refuse(context: tls.Context) -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "b may not, today")

    async with called(pki, refuse) as stream, asyncio.timeout(30):
        with pytest.raises(Lost, match="b may not, today"):
            await stream.read()
        with pytest.raises(Lost, match="b may not, today"):
            await stream.write(envelope(1))


async def test_another_node_at_the_address_is_not_spoken_to(pki: Pki) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        async with called(pki, echo, node="w"):
            pytest.fail("it was let in")


async def test_another_authority_is_not_trusted(pki: Pki, tmp_path: Path) -> None:
    other = new_pki(tmp_path / "other", "test")
    with pytest.raises(ssl.SSLCertVerificationError):
        async with called(pki, echo, files=other.node("b")):
            pytest.fail("it was let in")


async def test_who_sends_too_many_frames_waits(pki: Pki) -> None:
    async def chatter(context: tls.Context) -> None:
        while True:
            await context.write(pb.ExchangeResponse())

    async with called(pki, chatter, frames_per_s=400) as stream, asyncio.timeout(30):
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(1200):  # of which 800 may come at once
            await stream.read()
        assert loop.time() - began > 0.5
