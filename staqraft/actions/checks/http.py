"""HTTP and HTTPS: one GET, the status, and a text in the beginning of the page."""

from __future__ import annotations

import re
from http import HTTPStatus

from staqraft.actions.checks.lines import (
    LINES_MOST,
    CheckFailed,
    Conversation,
    conversation,
    quoted,
)
from staqraft.config.services import HttpCheck

LOOKED_AT = 64 << 10  # bytes of a page in which the text is looked for
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: |$)")


async def page(check: HttpCheck) -> None:
    """CheckFailed unless the page is answered as the check wants it."""
    async with conversation(
        check.endpoint, source=check.source, tls=check.tls, timeout_ms=check.timing.timeout_ms
    ) as server:
        # 1.0, so that a page comes as it is: no chunks, and the end of the connection ends it.
        await server.say(
            f"GET {check.path} HTTP/1.0\r\nHost: {check.host}\r\nUser-Agent: staqraft-check\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode()
        )
        line = await server.line("answer")
        if (match := _STATUS.match(line)) is None:
            raise CheckFailed(f"it does not speak HTTP: it answered {quoted(line)}")
        status = int(match[1])
        if not _wanted(check, status):
            wanted = " or ".join(map(str, check.statuses)) or "200 to 399"
            raise CheckFailed(f"answered with status {_named(status)}, wanted is {wanted}")
        if check.text:
            await _skip_head(server)
            await _look_for(server, check.text)


def _wanted(check: HttpCheck, status: int) -> bool:
    if check.statuses:
        return status in check.statuses
    return HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST


def _named(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


async def _skip_head(server: Conversation) -> None:
    for _ in range(LINES_MOST):
        if not await server.line("end of the answer's head"):
            return
    raise CheckFailed("the head of its answer does not end")


async def _look_for(server: Conversation, text: str) -> None:
    wanted = text.encode()
    seen = b""
    what = f"page with the text {quoted(text)}"
    while len(seen) < LOOKED_AT:
        data = await server.read(LOOKED_AT - len(seen), what)
        if not data:
            break
        seen += data
        if wanted in seen:
            return
    where = "in its page" if len(seen) < LOOKED_AT else f"in the first {LOOKED_AT >> 10} KiB"
    raise CheckFailed(f"the text {quoted(text)} is not {where}")
