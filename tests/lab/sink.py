"""On the client's host: a mail server, a webhook, and a port that takes all and never answers.

python -m lab.sink FILE     what arrives becomes a line of JSON in FILE each
"""

from __future__ import annotations

import asyncio
import json
import sys
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Final

from aiosmtpd.smtp import SMTP, Envelope, Session

MAIL: Final = 25
HOOK: Final = 8080
SILENT: Final = 8081
ANSWER: Final = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


class Sink:
    """Writes down what arrives."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _write(self, way: str, content: dict[str, str]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"way": way, **content}) + "\n")

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = BytesParser(policy=default).parsebytes(content)
        self._write("mail", {"subject": mail["Subject"], "to": mail["To"], "text": str(mail)})
        return "250 taken"

    async def hook(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A POST of JSON."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        self._write("webhook", json.loads(await reader.readexactly(length)))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    async def silent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the caller has enough."""
        await reader.read()
        writer.close()

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: SMTP(self), "0.0.0.0", MAIL)
        await asyncio.start_server(self.hook, "0.0.0.0", HOOK)
        await asyncio.start_server(self.silent, "0.0.0.0", SILENT)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(Sink(Path(sys.argv[1])).run())
