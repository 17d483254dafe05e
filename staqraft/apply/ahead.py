"""Writing out ahead of a commit, so that applying does not stand still for the disk.

A commit has to wait until everything applied is on the disk, and nothing is applied meanwhile: what
comes in those tenths of a second is late on the standby. So most of it is written out by another
thread first, while applying goes on, and the commit finds little left to wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future

from staqraft.apply.safety import TreeRoot, sync_filesystem


class WriteAhead:
    """Of one applier's trees. `done` is called in another thread when a commit may follow."""

    def __init__(self, executor: Executor, done: Callable[[], None]) -> None:
        self._executor = executor
        self._done = done
        self._running: Future[None] | None = None

    def is_done(self, roots: Iterable[TreeRoot]) -> bool:
        """Whether a commit would be short now. It is begun by the first call, and over with True.

        Raises the OSError that writing met.
        """
        if self._running is None:
            # Of their own: the roots may be closed while this goes on.
            numbers = [os.dup(root.fd) for root in roots]
            self._running = self._executor.submit(self._write, numbers)
            return False
        if not self._running.done():
            return False
        running, self._running = self._running, None
        running.result()
        return True

    def _write(self, numbers: list[int]) -> None:
        try:
            written: set[int] = set()
            for number in numbers:
                device = os.fstat(number).st_dev
                if device not in written:
                    sync_filesystem(number)
                    written.add(device)
        finally:
            for number in numbers:
                os.close(number)
            self._done()
