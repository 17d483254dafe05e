"""Those who are told: a mail server and a webhook on loopback, well or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message as Mail
from email.parser import BytesParser
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

USER, PASSWORD = "staqraft", "gehe im"


@dataclass
class MailServer:
    """Takes mails; `refuses` are addresses that it does not know."""

    refuses: frozenset[str] = frozenset()
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address in self.refuses:
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(BytesParser(policy=default).parsebytes(content))
        return "250 taken"

    def login(
        self, _server: Any, _session: Any, _envelope: Any, _how: str, data: Any
    ) -> AuthResult:
        self.logins.append(data.login.decode())
        good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=good)


@contextlib.asynccontextmanager
async def mail_server(
    server: MailServer, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[MailServer]:
    """Listens until the block ends; with `context` it wants STARTTLS and a login."""
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(
            server,
            hostname="mail.example.org",
            loop=loop,
            tls_context=context,
            require_starttls=context is not None,
            authenticator=server.login if context is not None else None,
            auth_required=context is not None,
        )

    listening = await loop.create_server(session, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


@dataclass
class Hook:
    """Takes POSTs and answers with `answer`; silent when that is empty."""

    answer: bytes = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    port: int = 0
    posts: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head[1:])
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.posts.append((headers, json.loads(body)))
            self.asked.set()
            if not self.answer:
                await reader.read()  # until the caller has enough
            writer.write(self.answer)
            await writer.drain()


@contextlib.asynccontextmanager
async def webhook(hook: Hook) -> AsyncIterator[Hook]:
    """Listens until the block ends."""
    listening = await asyncio.start_server(hook.take, "127.0.0.1", 0)
    hook.port = listening.sockets[0].getsockname()[1]
    try:
        yield hook
    finally:
        listening.close()
