"""Mails and changed pages, from the client's host through the VIP, one after the other.

Runs in a host: `python -m chaos.courier [--interval-ms 50]`; prints a `Sent` as a line of JSON for
each, and ends when its standard input is closed. An error says nothing of whether the mail or the
page arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from chaos.setting import MAILER_PORT
from lab.layout import VIP
from lab.linux import boottime
from lab.workload import USERS

PATIENCE_S = 1.0
PAGES = 24  # that are changed again and again
MAIL, PAGE = "mail", "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A mail or a page; `host` is who said that it has it. Instants are CLOCK_BOOTTIME."""

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
        return f"chaos/page-{self.number % PAGES:02}.html"

    @property
    def content(self) -> bytes:
        """What was sent."""
        return text(self.number)


def text(number: int) -> bytes:
    """Every mail and every version of a page is another."""
    head = f"From: chaos@example.net\nSubject: number {number}\n\n"
    return head.encode() + hashlib.blake2b(str(number).encode()).hexdigest().encode() * (
        1 + number % 40
    )


async def _mail(sent: Sent) -> str:
    """The host that took it. OSError, or ValueError with what it said instead."""
    box, _, unique = sent.place.partition("/new/")
    request = {"box": box, "unique": unique, "content": sent.content.decode()}
    reader, writer = await asyncio.open_connection(VIP, MAILER_PORT)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        reply = json.loads(await reader.readline() or "{}")
    finally:
        writer.close()
    if "host" not in reply:
        raise ValueError(reply.get("error", "no answer"))
    return str(reply["host"])


async def _page(sent: Sent) -> str:
    """Likewise, by PUT."""
    head = (
        f"PUT /{sent.place} HTTP/1.0\r\nHost: {VIP}\r\nContent-Length: {len(sent.content)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(VIP, 80)
    try:
        writer.write(head.encode() + sent.content)
        lines = (await reader.read()).decode(errors="replace").split("\r\n")
    finally:
        writer.close()
    status = lines[0].split(" ", 2)
    host = next((line[8:] for line in lines if line.startswith("X-Host: ")), "")
    if len(status) < 2 or status[1] not in ("201", "204") or not host:
        raise ValueError(lines[0] or "no answer")
    return host


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
