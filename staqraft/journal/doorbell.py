"""The doorbell: "there is something new in the journal", from its writer to its reader.

An empty datagram to a unix socket. It may be lost (nobody bound yet, a full queue): a reader looks
again every 200 ms anyhow. It can never block the writer.
"""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path
from typing import Self

from staqraft.config.schema import Config
from staqraft.model import GroupId

RECHECK_MS = 200
_DRAIN_AT_ONCE = 64


def bell_path(config: Config, group: GroupId, process: str) -> Path:
    """Where a data worker's process (`trees` or `stream`) listens."""
    return config.run_dir / f"{group}.{process}.bell"


class Doorbell:
    """The writer's side: rings at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ring(self) -> None:
        """Wakes the reader if there is one. Never blocks; a loss is harmless."""
        try:
            self._socket.sendto(b"", self._path)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            return  # nobody listens, or it has rung often enough already

    def close(self) -> None:
        """Lets go of the socket."""
        self._socket.close()


class Bell:
    """The reader's side: bound to `path`. `fileno` is for an event loop; else `wait`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # of an earlier process that did not stop cleanly
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(os.fspath(path))
            path.chmod(0o600)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable when it has rung."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Forgets what has rung so far; call it before looking at the journal. True: it rang."""
        rung = False
        for _ in range(_DRAIN_AT_ONCE):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return rung
            rung = True
        return rung

    def wait(self, timeout_ms: int = RECHECK_MS) -> bool:
        """Sleeps until it rings, at most so long. True: it rang."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.poll(timeout_ms)
        return self.drain()

    def close(self) -> None:
        """Stops listening."""
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
