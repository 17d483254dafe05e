"""The HTTP server that shows the figures.

It is our own few lines on asyncio, because the library's starts a thread a connection and lets a
silent one stand for ever: here connections are few, short and bounded, whoever makes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Collection
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
REQUEST_BYTES = 8 << 10
REQUEST_TIMEOUT_S = 5.0

# Linux: bind to an address that is not there yet. Python has no names for them.
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78


class Source(Protocol):
    """Who knows the figures."""

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""


class MetricsServer:
    """Answers `GET /metrics` on some addresses of this host, over plain HTTP."""

    def __init__(self, metrics: Source, addresses: Collection[str], port: int) -> None:
        self._metrics = metrics
        self._addresses = tuple(dict.fromkeys(addresses))
        self._port = port
        self._connections = 0
        self.listening = asyncio.Event()
        self.bound: list[tuple[str, int]] = []

    async def run(self) -> None:
        """Serves until cancelled. An address that cannot be bound is logged and left out:
        metrics are never a reason for a node not to start.
        """
        with contextlib.ExitStack() as opened:
            for address in self._addresses:
                try:
                    listener = _listener(address, self._port)
                except OSError as error:
                    logger.error(  # noqa: TRY400 - the reason is enough, a traceback is noise
                        f"no metrics on {address} port {self._port}: {error.strerror};"
                        f" {_advice(error)}"
                    )
                    continue
                opened.enter_context(contextlib.closing(listener))
                self.bound.append(listener.getsockname()[:2])
                server = await asyncio.start_server(
                    self._answer, sock=listener, limit=REQUEST_BYTES
                )
                opened.callback(server.close)
            self.listening.set()
            await asyncio.Event().wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(request))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Somebody who does not speak HTTP, or went away: their business, and not for the log.
            writer.transport.abort()
        finally:
            self._connections -= 1

    def _response(self, request: bytes) -> bytes:
        match request.split(b"\r\n", 1)[0].split(b" "):
            case [b"GET", path, _] if path.split(b"?", 1)[0] == b"/metrics":
                return _http("200 OK", CONTENT_TYPE_LATEST, self._metrics.text())
            case [b"GET", _, _]:
                return _http("404 Not Found", "text/plain", b"It is at /metrics.\n")
            case _:
                return _http("405 Method Not Allowed", "text/plain", b"GET /metrics, please.\n")


def _http(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _listener(address: str, port: int) -> socket.socket:
    """A bound socket; at boot the address may be still to come."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has the port; choose another ports.metrics"
    return "check the node's ring address in the configuration"
