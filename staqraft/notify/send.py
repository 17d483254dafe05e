"""The three ways out: SMTP, HTTP, a program. Each raises ActionError with what went wrong."""

from __future__ import annotations

import asyncio
import http.client
import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import assert_never

from staqraft import __version__
from staqraft.actions.process import STDIN_MOST, run
from staqraft.config.notify import Email, Program, Receiver, Webhook
from staqraft.errors import ActionError
from staqraft.notify.message import Message

_GRACE_S = 2.0
_SAID_MOST = 300
_ANSWER_MOST = 64 << 10


class Sender:
    """Sends to one receiver, one message at a time."""

    def __init__(self, receiver: Receiver, *, trusted: ssl.SSLContext | None = None) -> None:
        """`trusted`: which servers are believed; the system's authorities if not given."""
        self._receiver = receiver
        self._trusted = trusted
        # A thread of its own: a name server that hangs keeps it busy, and nobody else.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"notify {receiver.name}")

    async def send(self, message: Message) -> None:
        """Returns when it has arrived. ActionError within the receiver's time limit if not."""
        timeout_s = self._receiver.timeout_ms / 1000
        by = self._receiver.by
        try:
            # A program has its own limit, at which it is killed.
            async with asyncio.timeout(timeout_s + _GRACE_S):
                match by:
                    case Email():
                        await self._apart(lambda: self._mail(by, message, timeout_s))
                    case Webhook():
                        await self._apart(lambda: self._post(by, message, timeout_s))
                    case Program():
                        await _run(by, message, self._receiver.timeout_ms)
                    case _:
                        assert_never(by)
        except TimeoutError as error:
            raise ActionError(f"no answer within {timeout_s:g} s") from error
        except OSError as error:
            raise ActionError(_plain(error)) from error
        except Exception as error:  # a password or a name that a library cannot encode, say
            raise ActionError(f"it cannot be sent: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """What is under way may end, and is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _apart(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _context(self) -> ssl.SSLContext:
        return self._trusted or ssl.create_default_context()

    def _mail(self, by: Email, message: Message, timeout_s: float) -> None:
        mail = EmailMessage()
        mail["Subject"] = message.subject
        mail["From"] = by.sender
        mail["To"] = ", ".join(by.to)
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = make_msgid(domain=by.sender.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
        mail.set_content(message.as_text())
        try:
            with self._connect(by, timeout_s) as smtp:
                if by.encryption == "starttls":
                    smtp.starttls(context=self._context())
                if by.username:
                    smtp.login(by.username, _secret(by.password_file))
                refused = smtp.send_message(mail, by.sender, by.to)
        except smtplib.SMTPException as error:
            raise ActionError(f"the mail server {by.server} says: {_said(error)}") from error
        if refused:
            raise ActionError(f"the mail server {by.server} refused {', '.join(refused)}")

    def _connect(self, by: Email, timeout_s: float) -> smtplib.SMTP:
        if by.encryption == "tls":
            return smtplib.SMTP_SSL(by.server, by.port, timeout=timeout_s, context=self._context())
        return smtplib.SMTP(by.server, by.port, timeout=timeout_s)

    def _post(self, by: Webhook, message: Message, timeout_s: float) -> None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"StaqRaft/{__version__}",
        }
        if by.token_file is not None:
            headers["Authorization"] = f"Bearer {_secret(by.token_file)}"
        body = json.dumps(message.as_json()).encode()
        request = urllib.request.Request(by.url, body, headers, method="POST")  # noqa: S310 - config.notify lets only http(s) through
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=self._context()),
            _NoRedirects(),
        ]
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as answer:
                answer.read(_ANSWER_MOST)
        except urllib.error.HTTPError as error:
            error.close()
            raise ActionError(f"the webhook answered {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise ActionError(f"the webhook cannot be reached: {error.reason}") from error
        except http.client.HTTPException as error:
            raise ActionError(f"the webhook does not speak HTTP: {error!r}") from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere becomes a GET, and its token goes with it."""

    def redirect_request(self, *_: object) -> None:
        return None


async def _run(by: Program, message: Message, timeout_ms: int) -> None:
    finished = await run(
        by.argv,
        timeout_ms,
        stdin=message.as_text().encode(errors="backslashreplace")[:STDIN_MOST],
        environment=message.as_environment(),
    )
    if finished.problem:
        raise ActionError(f"{by.argv[0]} cannot be executed: {finished.problem}")
    if finished.code is None:
        raise ActionError(
            f"{by.argv[0]} did not end within {timeout_ms / 1000:g} s, and was killed"
        )
    if not finished.ok:
        ending = f"{by.argv[0]} ended with exit status {finished.code}"
        said = finished.output[-_SAID_MOST:]
        raise ActionError(f'{ending}, saying "{said}"' if said else ending)


def _secret(path: Path | None) -> str:
    """Read each time, so that it can be changed. OSError."""
    if path is None:
        return ""
    return path.read_text(encoding="utf-8").strip()


def _said(error: smtplib.SMTPException) -> str:
    text = getattr(error, "smtp_error", b"") or str(error)
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    return " ".join(str(text).split())[:_SAID_MOST]


def _plain(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
