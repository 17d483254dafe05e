"""Unix sockets: where they may be, and how bytes are passed on to them. Without gRPC."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Final

from staqraft.errors import StaqraftError

LONGEST_SOCKET_PATH: Final = 107
BUFFER_BYTES: Final = 64 << 10


class CannotListen(StaqraftError):
    """A port or socket of ours cannot be opened."""

    retryable = True
    grpc_status = "UNAVAILABLE"


def make_way(path: Path) -> None:
    """CannotListen unless an admin socket may be made at `path`, in a directory that is root's."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise CannotListen(
            f"the path of the admin socket is too long: {path} has more than"
            f" {LONGEST_SOCKET_PATH} bytes; set a shorter 'admin_socket'"
        )
    private_directory(path.parent)
    _refuse_live(path)


def private_directory(directory: Path) -> None:
    """Makes `directory` if it is not there. CannotListen when it is not root's alone."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise CannotListen(
            f"cannot make {directory} for the admin socket: {error.strerror}"
        ) from error
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise CannotListen(
            f"the admin socket must be in a directory that is root's alone, and {directory} is not:"
            f" 'chown root {directory}; chmod 700 {directory}', or set another 'admin_socket'"
        )


def _refuse_live(path: Path) -> None:
    """A daemon that still runs keeps its socket, which gRPC would take from it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except BlockingIOError:
            pass  # its queue is full: somebody is there
        except OSError as error:
            raise CannotListen(f"cannot use the admin socket {path}: {error.strerror}") from error
    raise CannotListen(
        f"another staqraftd answers on {path}: stop it first ('systemctl stop staqraftd')"
    )


async def dial_unix(path: Path, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connects to a cluster's server, from a socket whose name says on whose behalf."""
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours.setblocking(False)
        ours.bind(f"\0{name}")
        await asyncio.get_running_loop().sock_connect(ours, str(path))
        return await asyncio.open_unix_connection(sock=ours, limit=BUFFER_BYTES)
    except BaseException:
        ours.close()
        raise


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes on until one side ends; then the other is told, whatever waits is sent."""
    while data := await reader.read(BUFFER_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()
