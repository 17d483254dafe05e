"""Until when the addresses of a group may stay, where the next life of the daemon finds it.

The kernel ends an address by timers that stand still while the machine sleeps, but the lease goes
on. A daemon that is started after such a sleep and does not reach the Raft majority knows nothing
of the lease; this tells it. The file is on a file system that a reboot empties, as the addresses.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_DIGITS: Final = 20  # always as long, so that one write replaces all of it


class LeaseNote:
    """One instant on CLOCK_BOOTTIME in milliseconds, in a file. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._problem = ""

    def write(self, until_ms: int) -> None:
        """Before the addresses are set. Without the file they end by the kernel's timers alone."""
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644)
            os.pwrite(self._file, f"{until_ms:0{_DIGITS}d}\n".encode(), 0)
        except OSError as error:
            if str(error) != self._problem:
                logger.warning(
                    "%s cannot be written (%s): should this machine sleep and staqraftd be"
                    " restarted meanwhile, the virtual addresses may stay some seconds too long",
                    self._path,
                    error,
                )
            self._problem = str(error)

    def read(self) -> int | None:
        """What was written last, also by an earlier life; None: nothing, or nothing legible."""
        try:
            text = self._path.read_text()
        except (OSError, UnicodeDecodeError):
            return None
        return int(text) if len(text) == _DIGITS + 1 and text[:_DIGITS].isdecimal() else None

    def close(self) -> None:
        """Gives the file back; it stays for the next life."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
