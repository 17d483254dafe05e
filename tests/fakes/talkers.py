"""Servers for checks: right, wrong, slow, endless."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from staqraft.config.services import Endpoint

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """A server on loopback that treats each connection like this."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # a check hangs up as soon as it knows enough
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield Endpoint(address=host, port=port)
    finally:
        server.close()


def says(*lines: str) -> Talk:
    """Says each line: the first at once, each of the others when a line came in."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(lines):
            if number:
                await reader.readuntil(b"\n")
            writer.write(line.encode() + b"\r\n")
            await writer.drain()
        await reader.read()

    return talk


def answers(data: bytes) -> Talk:
    """Says this when a line came in, and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n")
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return talk


def upgrades(tls: ssl.SSLContext, before: Sequence[str], after: Sequence[str]) -> Talk:
    """Says the lines in clear text, then goes on encrypted; each answers a line, the first none."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate(before):
            if number:
                await reader.readuntil(b"\n")
            writer.write(line.encode() + b"\r\n")
            await writer.drain()
        await writer.start_tls(tls)
        for line in after:
            await reader.readuntil(b"\n")
            writer.write(line.encode() + b"\r\n")
            await writer.drain()
        await reader.read()

    return talk


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, and says nothing."""
    del writer
    await reader.read()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A banner without a line end, and without an end."""
    del reader
    while True:
        writer.write(b"2" * 65536)
        await writer.drain()


async def endless_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lines of one reply that never ends."""
    del reader
    while True:
        writer.write(b"220-more\r\n" * 1000)
        await writer.drain()


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte every tenth of a second."""
    del reader
    while True:
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.1)


def junk(data: bytes) -> Talk:
    """Says this and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
            await reader.read()

    return talk


class Name(asyncio.DatagramProtocol):
    """A name server that answers each question with what `answer` makes of it."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self.asked += 1
        if reply := self._answer(data):
            self._transport.sendto(reply, addr)


@asynccontextmanager
async def name_server(answer: Callable[[bytes], bytes]) -> AsyncIterator[tuple[Endpoint, Name]]:
    """One on loopback."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Name(answer), local_addr=("127.0.0.1", 0)
    )
    try:
        host, port = transport.get_extra_info("sockname")[:2]
        yield Endpoint(address=host, port=port), server
    finally:
        transport.close()
