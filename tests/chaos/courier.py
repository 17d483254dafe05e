"""Mails, changed pages and lines of spools, from the client's host through the VIP.

Runs in a host: `python -m chaos.courier [--interval-ms 50]`; prints a `Sent` as a line of JSON for
each, and ends when its standard input is closed. Each kind goes one after the other: a page is
fetched, and sent back with one line more. An error says nothing of whether the mail, the page or
the line arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass

from chaos import versions
from chaos.setting import MAILER_PORT
from lab.layout import VIP
from lab.linux import boottime
from lab.workload import USERS

PATIENCE_S = 1.0
PAGES, SPOOLS = 24, 4  # that are changed again and again
MAIL, PAGE, LINE = "mail", "page", "line"
TORN = "was served what nobody wrote"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: nothing is delivered after the end
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A mail, a page or a line; `host` is who said that it has it. Instants are CLOCK_BOOTTIME."""

    kind: str
    number: int
    begun: float
    ended: float
    host: str = ""
    error: str = ""

    @property
    def place(self) -> str:
        """Its path in its tree."""
        if self.kind == MAIL:
            return f"{USERS[self.number % len(USERS)]}/new/{self.number:07}.chaos.lab"
        if self.kind == PAGE:
            return f"chaos/page-{self.number % PAGES:02}.html"
        return f"chaos-{self.number % SPOOLS}"

    @property
    def content(self) -> bytes:
        """All of a mail; of a page or a spool what this one added to it."""
        if self.kind == MAIL:
            return text(self.number)
        return versions.line(self.place, self.number)


def text(number: int) -> bytes:
    """Every mail is another."""
    head = f"From: chaos@example.net\nSubject: number {number}\n\n"
    return head.encode() + hashlib.blake2b(str(number).encode()).hexdigest().encode() * (
        1 + number % 40
    )


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Streams]:
    """To the VIP. Who gives up takes back what is still on its way: it must not arrive after what
    is sent next.
    """
    reader, writer = await asyncio.open_connection(VIP, port)
    try:
        yield reader, writer
    except BaseException:
        raw: socket.socket = writer.get_extra_info("socket")
        with suppress(OSError):  # it is closed already
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        raise
    finally:
        writer.close()


async def _ask_mailer(request: dict[str, str]) -> str:
    """The host that did it. OSError, or ValueError with what it said instead."""
    async with _connected(MAILER_PORT) as (reader, writer):
        writer.write(json.dumps(request).encode() + b"\n")
        reply = json.loads(await reader.readline() or "{}")
        if "host" not in reply:
            raise ValueError(reply.get("error", "no answer"))
        return str(reply["host"])


async def _mail(sent: Sent) -> str:
    box, _, unique = sent.place.partition("/new/")
    return await _ask_mailer({"box": box, "unique": unique, "content": sent.content.decode()})


async def _line(sent: Sent) -> str:
    return await _ask_mailer({"spool": sent.place, "line": sent.content.decode()})


async def _page(sent: Sent) -> str:
    """The host whose page has one line more now; errors likewise."""
    async with _connected(80) as streams:
        status, _, before = await _http(streams, f"GET /{sent.place}")
        if status not in (200, 404):
            raise ValueError(f"status {status}")
        if status == 404:  # there is none yet
            before = b""
        if not versions.whole(sent.place, before):
            raise ValueError(f"{TORN}: {before[-200:]!r}")
        status, host, _ = await _http(streams, f"PUT /{sent.place}", before + sent.content)
        if status not in (201, 204) or not host:
            raise ValueError(f"status {status}")
        return host


async def _http(streams: Streams, request: str, body: bytes = b"") -> tuple[int, str, bytes]:
    """Status, host and body of the answer."""
    reader, writer = streams
    head = f"{request} HTTP/1.1\r\nHost: {VIP}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace").split("\r\n")
        fields = dict(line.lower().partition(": ")[::2] for line in lines)
        content = await reader.readexactly(int(fields.get("content-length", 0)))
    except asyncio.IncompleteReadError as error:
        raise ValueError("no answer") from error
    return int(first.split(" ")[1]), fields.get("x-host", ""), content


async def _send(kind: str, number: int, way: Callable[[Sent], Awaitable[str]]) -> Sent:
    begun = boottime()
    sent = Sent(kind=kind, number=number, begun=begun, ended=begun)
    host = error = ""
    try:
        async with asyncio.timeout(PATIENCE_S):
            host = await way(sent)
    except TimeoutError:
        error = "no answer in time"
    except OSError as refusal:
        error = os.strerror(refusal.errno) if refusal.errno else str(refusal)
    except ValueError as refusal:
        error = str(refusal)
    return Sent(kind=kind, number=number, begun=begun, ended=boottime(), host=host, error=error)


async def _go(kind: str, way: Callable[[Sent], Awaitable[str]], interval_s: float) -> None:
    number = 0
    while True:
        number += 1
        print(json.dumps(asdict(await _send(kind, number, way))), flush=True)
        await asyncio.sleep(interval_s)


async def send_all(interval_s: float) -> None:
    """Until standard input ends."""
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), closed.set)
    print("ready", flush=True)
    going = [
        asyncio.create_task(_go(MAIL, _mail, interval_s)),
        asyncio.create_task(_go(PAGE, _page, interval_s)),
        asyncio.create_task(_go(LINE, _line, interval_s)),
    ]
    await closed.wait()
    for task in going:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--interval-ms", type=int, default=50)
    asyncio.run(send_all(parser.parse_args().interval_ms / 1000))


if __name__ == "__main__":
    main()
