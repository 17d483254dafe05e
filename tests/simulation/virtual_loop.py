"""asyncio in virtual time: what the product wrote as coroutines runs here as it is.

Only what the code under test uses is there: tasks, futures and `sleep`. Callbacks run within the
process that the loop belongs to, so they wait while that is stopped, and end with it.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from simulation.machine import Clock, Process
from staqraft.errors import StaqraftError

_ROUNDS = 50  # in which what is cancelled has to end


class VirtualLoop:
    """The loop of one life of a process."""

    def __init__(self, process: Process, clock: Clock) -> None:
        self._process = process
        self._clock = clock
        self._ready: deque[asyncio.Handle] = deque()
        self._armed = False  # there is a turn in the schedule, or one is under way
        self._tasks: list[asyncio.Task[Any]] = []
        self._broken: BaseException | None = None
        self._loop = cast("asyncio.AbstractEventLoop", self)  # as much of one as is asked for

    # --- what asyncio asks for --------------------------------------------------------------------

    def get_debug(self) -> bool:
        """It is not."""
        return False

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """In this turn, or in one at this very instant."""
        handle = asyncio.Handle(callback, args, self._loop, context)
        self._ready.append(handle)
        if not self._armed:
            self._armed = True
            self._process.after(0, self._turn)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """One of this loop."""
        return asyncio.Future(loop=self._loop)

    def create_task(self, coro: Any, **named: Any) -> asyncio.Task[Any]:
        """It is kept, so that nothing of it ends by itself when nobody waits for it any more."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self._loop, **named)
        self._tasks.append(task)
        task.add_done_callback(self._ended)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback raised."""
        error = context.get("exception")
        self._broken = error if error is not None else AssertionError(context["message"])

    # --- for the models ---------------------------------------------------------------------------

    async def sleep(self, delay_s: float) -> None:
        """By the clock of this machine."""
        over = self.create_future()

        def ring() -> None:
            if not over.done():
                over.set_result(None)

        self._process.after(self._clock.true_us(delay_s * 1000), ring)
        await over

    def outside(self, action: Callable[[], None]) -> None:
        """`action` at this instant, and not within a task, which would take what it raises."""
        self._process.after(0, action)

    def spawn(
        self, work: Coroutine[Any, Any, None], ended: Callable[[asyncio.Task[None]], None]
    ) -> None:
        """Does the work; `ended` is called at the instant at which it is done."""
        task = self.create_task(work)
        task.add_done_callback(lambda task: self.outside(lambda: ended(task)))

    def close(self) -> None:
        """The process is gone: no task is left behind. Nothing of what they do matters any more."""
        self._armed = True
        for _ in range(_ROUNDS):
            waiting = [task for task in self._tasks if not task.done()]
            for task in waiting:
                task.cancel()
            self._run_ready()
            if not waiting:
                return
        raise AssertionError("a task does not end although it is cancelled")

    def _turn(self) -> None:
        self._armed = True
        try:
            self._run_ready()
        finally:
            self._armed = False
        if (broken := self._broken) is not None:
            self._broken = None
            raise broken

    def _run_ready(self) -> None:
        before = events._get_running_loop()
        events._set_running_loop(self._loop)
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(before)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """What the product does not expect to be raised is a finding."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StaqraftError):
            self._broken = error


__all__ = ["VirtualLoop"]
