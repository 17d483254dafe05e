"""A unix socket whose server is made when somebody connects for the first time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from staqraft.api.sockets import BUFFER_BYTES, CannotListen, make_way, pump
from staqraft.errors import StaqraftError

logger = logging.getLogger(__name__)


class LateSocket:
    """Root's alone, as the server behind it is. Connections are passed on byte by byte."""

    def __init__(self, path: Path, behind: Callable[[], Awaitable[Path]]) -> None:
        """`behind` starts the server, if it does not run, and says on which socket."""
        self._path = path
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """CannotListen when the socket cannot be made, or another daemon has it."""
        make_way(self._path)
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # so that it is root's alone from its first moment
        try:
            self._path.unlink(missing_ok=True)
            plain.bind(str(self._path))
        except OSError as error:
            plain.close()
            raise CannotListen(
                f"cannot make the admin socket {self._path}: {error.strerror}"
            ) from error
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(
            self._accepted, sock=plain, limit=BUFFER_BYTES
        )

    async def stop(self) -> None:
        """Closes the socket, and what came through it."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for writer in list(self._open):
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            self._keep(writer, stack)
            try:
                path = await self._behind()
                inner_reader, inner = await asyncio.open_unix_connection(path, limit=BUFFER_BYTES)
                self._keep(inner, stack)
                await asyncio.gather(pump(reader, inner), pump(inner_reader, writer))
            except StaqraftError as error:
                logger.error("nobody can answer on %s: %s", self._path, error)  # noqa: TRY400
            except OSError:
                pass  # one side went away

    def _keep(self, writer: asyncio.StreamWriter, stack: contextlib.AsyncExitStack) -> None:
        self._open.add(writer)
        stack.callback(self._open.discard, writer)
        stack.callback(writer.transport.abort)
