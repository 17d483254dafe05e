"""A bounded conversation with a server that may say anything, or nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from staqraft.config.services import Endpoint, TlsUse

LINE_BYTES = 4096  # RFC 5321 allows 512, IMAP greetings with capabilities are longer
LINES_MOST = 128  # of one answer
QUOTED = 80


class CheckFailed(Exception):
    """The server is not well; the text says in which way, without saying where it is."""


def quoted(said: bytes | str) -> str:
    """What a server said, short, on one line and harmless, in quotation marks."""
    text = said if isinstance(said, str) else said.decode(errors="backslashreplace")
    text = text.strip()
    short = text if len(text) <= QUOTED else f"{text[:QUOTED]}..."
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)
    return f'"{clean}"'


class Conversation:
    """Lines to and from a server, each and all of them bounded. `step` is what is waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.step = "no answer"

    async def line(self, what: str) -> bytes:
        """The next line, without its end. CheckFailed when it is none, or the server hangs up."""
        self.step = f"no {what}"
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise CheckFailed(f"the {what} is longer than {LINE_BYTES} bytes") from None
        except asyncio.IncompleteReadError as error:
            said = f" after {quoted(error.partial)}" if error.partial else ""
            raise CheckFailed(f"it hung up before its {what} was complete{said}") from None
        if len(line) > LINE_BYTES:
            raise CheckFailed(f"the {what} is longer than {LINE_BYTES} bytes")
        return line.rstrip(b"\r\n")

    async def read(self, most: int, what: str) -> bytes:
        """Whatever comes next, up to `most` bytes; nothing at the end."""
        self.step = f"no {what}"
        return await self._reader.read(most)

    async def exactly(self, count: int, what: str) -> bytes:
        """So many bytes. CheckFailed when there are fewer."""
        self.step = f"no {what}"
        try:
            return await self._reader.readexactly(count)
        except asyncio.IncompleteReadError:
            raise CheckFailed(f"it hung up before its {what} was complete") from None

    async def say(self, data: bytes) -> None:
        """Sends it."""
        self._writer.write(data)
        await self._writer.drain()

    async def start_tls(self, use: TlsUse) -> None:
        """Goes on encrypted."""
        self.step = "the TLS handshake did not end"
        if self._reader._buffer:  # type: ignore[attr-defined] # noqa: SLF001 - nothing else tells
            raise CheckFailed("it went on in clear text after it had agreed to TLS")
        await self._writer.start_tls(context(use), server_hostname=use.host)


def context(use: TlsUse) -> ssl.SSLContext:
    """How a check speaks TLS. CheckFailed when the CA cannot be read."""
    try:
        made = ssl.create_default_context(cafile=use.ca)
    except OSError as error:
        raise CheckFailed(f"its CA {use.ca} cannot be used: {error.strerror or error}") from None
    if not use.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


@asynccontextmanager
async def conversation(
    endpoint: Endpoint, *, source: str = "", tls: TlsUse | None = None, timeout_ms: int
) -> AsyncIterator[Conversation]:
    """A connection for the block, with one time limit for all of it.

    CheckFailed with what was missed: no connection, no greeting, no TLS, or what the block found.
    """
    step = "it did not accept a connection"
    talk: Conversation | None = None
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            reader, writer = await _connect(endpoint, source)
            try:
                talk = Conversation(reader, writer)
                if tls is not None:
                    await talk.start_tls(tls)
                yield talk
            finally:
                writer.transport.abort()  # no goodbyes: a server that does not read holds nobody up
    except TimeoutError:
        late = f"connected, but {talk.step}" if talk is not None else step
        raise CheckFailed(f"{late} within {timeout_ms / 1000:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise CheckFailed(f"its certificate is not accepted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise CheckFailed(f"no TLS: {error.reason or error}") from None
    except OSError as error:
        raise CheckFailed(_why(error, connected=talk is not None, source=source)) from None


async def _connect(
    endpoint: Endpoint, source: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if endpoint.path is not None:
        return await asyncio.open_unix_connection(endpoint.path, limit=LINE_BYTES)
    # By hand, since the address is one: nothing is looked up, and no thread is used for it.
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if source:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (endpoint.address, endpoint.port))
        return await asyncio.open_connection(sock=sock, limit=LINE_BYTES)
    except BaseException:
        sock.close()
        raise


def _why(error: OSError, *, connected: bool, source: str) -> str:
    if connected:
        return f"it broke the connection ({_plain(error)})"
    match error.errno:
        case errno.ECONNREFUSED:
            return "nobody listens there (connection refused)"
        case errno.ENOENT:
            return "the socket is not there"
        case errno.EADDRNOTAVAIL if source:
            return f"{source}, from which it is to be asked, is not an address of this node"
        case _:
            return f"it cannot be reached ({_plain(error)})"


def _plain(error: OSError) -> str:
    # asyncio replaces the kernel's words by its own, which repeat the address.
    return os.strerror(error.errno) if error.errno else str(error)
