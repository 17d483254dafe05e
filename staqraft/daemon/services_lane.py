"""Starts, stops, restarts and watches a group's services for the executor.

Stopping comes first: it ends a start or a restart that is under way, and those that wait, because
a node that lets go must not wait until a service that hangs has had its time to start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from staqraft.actions.services import ServiceHealth, ServiceManager
from staqraft.errors import ActionError

logger = logging.getLogger(__name__)


class ServicesLane:
    """Works for one group. `tell` hears of each service's new state."""

    def __init__(
        self,
        services: ServiceManager,
        tell: Callable[[ServiceHealth], None],
        serving: Callable[[], bool],
    ) -> None:
        self._services = services
        self._tell = tell
        self._serving = serving
        self._watch: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._stops = 0

    def start(self) -> Coroutine[Any, Any, None]:
        """Starts all of them, and watches them from then on."""
        return self._unless_stopped(self._start, self._stops)

    def restart(self, name: str) -> Coroutine[Any, Any, None]:
        """Restarts one. ServiceStopFailed, ServiceStartFailed."""
        return self._unless_stopped(lambda: self._restart(name), self._stops)

    def stop(self) -> Coroutine[Any, Any, None]:
        """Stops all of them; what is under way ends now."""
        self._stops += 1
        if self._working is not None:
            self._working.cancel()
        return self._stop()

    async def _unless_stopped(
        self, work: Callable[[], Coroutine[Any, Any, None]], stops: int
    ) -> None:
        if stops != self._stops:
            raise ActionError("the services are being stopped instead")
        self._working = task = asyncio.create_task(work())
        try:
            await asyncio.wait({task})
        finally:
            self._working = None
            if not task.done():  # the executor itself ends
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            raise ActionError("it was ended, because the services are to stop")
        task.result()

    async def _start(self) -> None:
        await self._unwatch()
        problem: ActionError | None = None
        try:
            await self._services.start_all()
        except ActionError as error:
            problem = error
        for health in self._services.health:
            self._tell(health)
        watch = self._services.watch(self._tell, self._serving)
        self._watch = asyncio.create_task(watch)
        self._watch.add_done_callback(_complain)
        if problem is not None:
            raise problem

    async def _restart(self, name: str) -> None:
        try:
            await self._services.restart(name)
        finally:
            for health in self._services.health:
                if health.name == name:
                    self._tell(health)

    async def _stop(self) -> None:
        await self._unwatch()
        await self._services.stop_all()

    async def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None


def _complain(watch: asyncio.Task[None]) -> None:
    """A watch that ends by itself is a bug, and nobody looks at the services any more: say so."""
    if not watch.cancelled() and (error := watch.exception()) is not None:
        logger.critical(
            "the services are not watched any more, restart staqraftd: %r", error, exc_info=error
        )
