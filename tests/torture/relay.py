"""A link between the two that can be cut or frozen: what goes over it goes through here."""

from __future__ import annotations

import asyncio
import contextlib
import enum

_PIECE_BYTES = 256 << 10


class Link(enum.Enum):
    """How a link is."""

    UP = "up"
    CUT = "cut"  # connections end and are refused
    FROZEN = "frozen"  # nothing arrives and nobody is told


class Relay:
    """Passes on what comes to one address to another one, both with the same port."""

    def __init__(self, listen: str, to: str, port: int) -> None:
        self._listen, self._to, self._port = listen, to, port
        self._server: asyncio.Server | None = None
        self._link = Link.UP
        self._moves = asyncio.Event()
        self._moves.set()
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(
            self._accepted, self._listen, self._port, limit=_PIECE_BYTES
        )

    async def stop(self) -> None:
        """Ends all connections."""
        assert self._server is not None
        self._server.close()
        self._moves.set()
        await self._end_all()

    async def set(self, link: Link) -> None:
        """Changes how the link is."""
        self._link = link
        if link is Link.FROZEN:
            self._moves.clear()
        else:
            self._moves.set()
        if link is Link.CUT:
            await self._end_all()

    async def _end_all(self) -> None:
        connections = tuple(self._open)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if self._link is not Link.CUT:
                await self._pass_on(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side ended, or the link was cut
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to, self._port, limit=_PIECE_BYTES)
        pumps = [
            asyncio.ensure_future(self._pump(reader, back)),
            asyncio.ensure_future(self._pump(there, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE_BYTES):
            await self._moves.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
