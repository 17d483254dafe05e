"""Keeps one child process running: starts it, reads its end, starts it again.

Children are executed, never forked: gRPC's threads do not survive a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from staqraft.model import GroupId

logger = logging.getLogger(__name__)

_BACKOFF_MS = (100, 200, 500, 1000, 2000)
_STABLE_MS = 10_000  # having run for so long, the next restart is at once again
_STOP_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to run."""

    name: str  # "trees" or "stream"
    group: GroupId
    argv: tuple[str, ...]


def worker_argv(process: str, group: GroupId, config: str, node: str) -> tuple[str, ...]:
    """The command line of a data worker's process."""
    return (
        *(sys.executable, "-m", "staqraft.cli.data", process),
        *("--config", config, "--group", group, "--node", node, "--parent", str(os.getpid())),
    )


class Child:
    """A supervised process. `restarts` counts its ends since the daemon started."""

    def __init__(
        self, spec: ChildSpec, *, now_ms: Callable[[], int], on_start: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.restarts = 0
        self.pid: int | None = None
        self._now_ms = now_ms
        self._on_start = on_start

    async def run(self) -> None:
        """Run it until cancelled; then end it in order."""
        attempt = 0
        while True:
            started = self._now_ms()
            process = await asyncio.create_subprocess_exec(*self.spec.argv)
            self.pid = process.pid
            self._on_start()
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await self._stop(process)
                raise
            finally:
                self.pid = None
            self.restarts += 1
            attempt = 0 if self._now_ms() - started > _STABLE_MS else attempt + 1
            pause_ms = _BACKOFF_MS[min(attempt, len(_BACKOFF_MS) - 1)]
            logger.error(
                "the %s process of group %s ended with %s; it is started again in %d ms",
                self.spec.name,
                self.spec.group,
                _describe(code),
                pause_ms,
            )
            await asyncio.sleep(pause_ms / 1000)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_MS / 1000):
                await process.wait()
        except TimeoutError:
            logger.warning("the %s process did not stop in %d ms: killed", self.spec.name, _STOP_MS)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _describe(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
