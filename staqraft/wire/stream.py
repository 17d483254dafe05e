"""A gRPC call with messages both ways on a TLS connection of its own, in few KiB.

For those who hold hundreds of them: `h2_call` speaks, and the kernel's socket is read and written
by OpenSSL in the asyncio loop, without buffers between them (asyncio's own TLS keeps 256 KiB for
each connection, a channel of gRPC a hundred and several threads).

`dial` makes the connection and shows who we are; that the other side is who we mean is checked by
its certificate, against the only authority that this context knows.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

from staqraft.config.schema import Tls
from staqraft.errors import CertificateError
from staqraft.wire.h2_call import FRAME_BYTES, Call

_READS: Final = 8  # at once: the other connections of the loop wait meanwhile
_MOST_WAITING: Final = 256 << 10  # bytes that `write` lets stand before it waits
_MOST_UNTAKEN: Final = 8 << 20  # bytes; who takes nothing and wants answers is left
_BURST_S: Final = 2.0


class Lost(Exception):
    """The connection is gone, or the call is over: why, in words for people."""


def client_context(files: Tls) -> ssl.SSLContext:
    """Trusts this authority only, and shows this certificate. CertificateError names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:  # which does not say of which file
        raise CertificateError(
            f"cannot use {files.ca}, {files.certificate} or {files.key}: {error.strerror or error}"
        ) from error
    return context


async def dial(
    address: str, port: int, context: ssl.SSLContext, name: str, call: Call, frames_per_s: float
) -> Stream:
    """Connects to `address`, an IP address, and begins `call`. OSError, also of TLS.

    Whoever answers has to have a certificate for the host `name`. More frames than `frames_per_s`
    wait (0: no limit).
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if isinstance(ip_address(address), IPv6Address) else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(plain, (address, port))
        secured = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        await _handshake(loop, secured)
    except BaseException:
        secured.close()
        raise
    return Stream(secured, call, frames_per_s)


async def _handshake(loop: asyncio.AbstractEventLoop, secured: ssl.SSLSocket) -> None:
    while True:
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(loop.add_reader, loop.remove_reader, secured.fileno())
        except ssl.SSLWantWriteError:
            await _ready(loop.add_writer, loop.remove_writer, secured.fileno())
        else:
            break
    if secured.selected_alpn_protocol() != "h2":
        raise ConnectionError("what answers there does not speak HTTP/2")


async def _ready(add: Callable[..., None], remove: Callable[..., object], descriptor: int) -> None:
    seen = asyncio.Event()
    add(descriptor, seen.set)
    try:
        await seen.wait()
    finally:
        remove(descriptor)


class Stream:
    """An open connection with its call. In the loop that made it; one reads and one writes."""

    def __init__(self, secured: ssl.SSLSocket, call: Call, frames_per_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._tls = secured
        self._descriptor = secured.fileno()
        self._call = call
        self._outgoing = bytearray()
        self._writing = False
        self._closed = False
        self._frame_s = 1 / frames_per_s if frames_per_s else 0.0
        self._due = self._loop.time()
        self._resume: asyncio.TimerHandle | None = None
        self._moved: asyncio.Future[None] | None = None  # who waits in `read`
        self._room: asyncio.Future[None] | None = None  # who waits in `write`
        self._loop.add_reader(self._descriptor, self._readable)
        self._flush()

    async def read(self) -> bytes:
        """The next message. Lost when there will be no more."""
        while True:
            message = self._call.next_message()
            self._flush()
            if message is not None:
                return message
            if self._call.ended:
                raise Lost(self._call.ended)
            self._moved = self._loop.create_future()
            await self._moved

    async def write(self, message: bytes) -> None:
        """Sends a message; waits while the other side takes nothing. Lost when it is gone."""
        if self._call.ended:
            raise Lost(self._call.ended)
        self._call.send(message)
        self._flush()
        while len(self._outgoing) + self._call.unsent > _MOST_WAITING:
            self._room = self._loop.create_future()
            await self._room
            if self._call.ended:
                raise Lost(self._call.ended)

    def close(self) -> None:
        """Ends the connection at once."""
        self._end("this node ended it")
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        if self._resume is not None:
            self._resume.cancel()
        self._tls.close()

    # --- the socket -----------------------------------------------------------------------------

    def _readable(self) -> None:
        before = self._call.frames
        try:
            for _ in range(_READS):
                data = self._tls.recv(FRAME_BYTES)
                if not data:
                    self._end("the connection was closed")
                    break
                self._call.receive(data)
                if not self._tls.pending():
                    break  # what else there may be, the kernel says
            else:
                self._loop.call_soon(self._more)  # a part of a record is no news to the kernel
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # the loop calls again when there is more
        except OSError as error:
            self._end(f"the connection is gone ({error.strerror or error})")
        if self._call.says:
            self._flush()
        self._hold_up(self._call.frames - before)
        if self._call.news:
            _wake(self._moved)

    def _more(self) -> None:
        if not self._closed and self._resume is None and not self._call.ended:
            self._readable()

    def _hold_up(self, frames: int) -> None:
        """Who sends more frames than it may is read later: it finds its connection full."""
        now = self._loop.time()
        self._due = max(self._due + frames * self._frame_s, now - _BURST_S)
        if self._call.ended:
            self._loop.remove_reader(self._descriptor)  # it would be readable for ever
        elif self._due > now and self._resume is None:
            self._loop.remove_reader(self._descriptor)
            self._resume = self._loop.call_at(self._due, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._descriptor, self._readable)
        self._more()

    def _flush(self) -> None:
        """Writes what the kernel takes; it calls again when it takes more."""
        self._outgoing += self._call.take()
        if self._closed:
            return
        if len(self._outgoing) > _MOST_UNTAKEN:
            self._end("the peer takes nothing")
        try:
            while self._outgoing:
                sent = self._tls.send(self._outgoing[:FRAME_BYTES])
                del self._outgoing[:sent]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # the rest goes when there is room again
        except OSError as error:
            self._end(f"the connection is gone ({error.strerror or error})")
        if bool(self._outgoing) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._descriptor, self._flush)
            else:
                self._loop.remove_writer(self._descriptor)
        if len(self._outgoing) + self._call.unsent <= _MOST_WAITING:
            _wake(self._room)

    def _end(self, why: str) -> None:
        self._call.ended = self._call.ended or why
        self._outgoing.clear()
        _wake(self._moved)
        _wake(self._room)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
