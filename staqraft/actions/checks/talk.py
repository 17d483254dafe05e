"""SMTP, LMTP, IMAP, POP3 and FTP: the greeting, and the answer to the first question."""

from __future__ import annotations

import re

from staqraft.actions.checks.lines import (
    LINES_MOST,
    CheckFailed,
    Conversation,
    conversation,
    quoted,
)
from staqraft.config.services import Protocol, TalkCheck

_REPLY = re.compile(rb"(\d{3})([ -]|$)")
_NAME = b"staqraft-check"


async def talk(check: TalkCheck) -> None:
    """CheckFailed unless the server greets and answers as its protocol asks for."""
    direct = None if check.starttls else check.tls
    async with conversation(
        check.endpoint, source=check.source, tls=direct, timeout_ms=check.timing.timeout_ms
    ) as server:
        match check.protocol:
            case Protocol.SMTP:
                await _mail(server, check, b"EHLO " + _NAME)
            case Protocol.LMTP:
                await _mail(server, check, b"LHLO " + _NAME)
            case Protocol.FTP:
                await _ftp(server, check)
            case Protocol.IMAP:
                await _imap(server, check)
            case Protocol.POP3:
                await _pop3(server, check)


async def _mail(server: Conversation, check: TalkCheck, hello: bytes) -> None:
    await _expect(server, "greeting", b"220")
    offers = await _asked(server, hello, b"250")
    if check.starttls:
        if not any(line[4:].strip().upper() == b"STARTTLS" for line in offers):
            raise CheckFailed("it does not offer STARTTLS")
        await _asked(server, b"STARTTLS", b"220")
        await _secure(server, check)
        await _asked(server, hello, b"250")
    await server.say(b"QUIT\r\n")


async def _ftp(server: Conversation, check: TalkCheck) -> None:
    await _expect(server, "greeting", b"220")
    if check.starttls:
        await _asked(server, b"AUTH TLS", b"234")
        await _secure(server, check)
    # NOOP may need a login (530); that it is answered is enough.
    await server.say(b"NOOP\r\n")
    await _reply(server, "answer to NOOP")
    await server.say(b"QUIT\r\n")


async def _imap(server: Conversation, check: TalkCheck) -> None:
    greeting = await server.line("greeting")
    if not greeting.upper().startswith((b"* OK", b"* PREAUTH")):
        raise CheckFailed(f"its greeting is {quoted(greeting)}, not '* OK'")
    if check.starttls:
        await _imap_asked(server, b"STARTTLS")
        await _secure(server, check)
    await _imap_asked(server, b"NOOP")
    await server.say(b"b LOGOUT\r\n")


async def _imap_asked(server: Conversation, command: bytes) -> None:
    await server.say(b"a " + command + b"\r\n")
    words = command.decode()
    for _ in range(LINES_MOST):
        line = await server.line(f"answer to {words}")
        if line.startswith(b"a "):
            if not line.upper().startswith(b"A OK"):
                raise CheckFailed(f"it answers {words} with {quoted(line[2:])}")
            return
    raise CheckFailed(f"its answer to {words} does not end")


async def _pop3(server: Conversation, check: TalkCheck) -> None:
    await _pop3_ok(server, "greeting")
    if check.starttls:
        await server.say(b"STLS\r\n")
        await _pop3_ok(server, "answer to STLS")
        await _secure(server, check)
    await server.say(b"QUIT\r\n")
    await _pop3_ok(server, "answer to QUIT")


async def _pop3_ok(server: Conversation, what: str) -> None:
    line = await server.line(what)
    if not line.upper().startswith(b"+OK"):
        raise CheckFailed(f"its {what} is {quoted(line)}, not '+OK'")


async def _secure(server: Conversation, check: TalkCheck) -> None:
    assert check.tls is not None, "starttls without saying how"
    await server.start_tls(check.tls)


async def _asked(server: Conversation, command: bytes, code: bytes) -> list[bytes]:
    await server.say(command + b"\r\n")
    return await _expect(server, f"answer to {command.split()[0].decode()}", code)


async def _expect(server: Conversation, what: str, code: bytes) -> list[bytes]:
    lines = await _reply(server, what)
    if lines[0][:3] != code:
        raise CheckFailed(f"its {what} is {quoted(lines[-1])}, not '{code.decode()}'")
    return lines


async def _reply(server: Conversation, what: str) -> list[bytes]:
    """The lines of one numbered reply, as SMTP and FTP have them."""
    lines: list[bytes] = []
    for _ in range(LINES_MOST):
        line = await server.line(what)
        match = _REPLY.match(line)
        if not lines and match is None:
            raise CheckFailed(f"its {what} is {quoted(line)}, which does not begin with a number")
        lines.append(line)
        # FTP allows any text between the first line of a long reply and the last one.
        if match is not None and match[1] == lines[0][:3] and match[2] != b"-":
            return lines
    raise CheckFailed(f"its {what} does not end")
