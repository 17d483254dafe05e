"""Starts, watches and stops a group's services by their commands, in the configured order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from staqraft.actions.process import Finished, run
from staqraft.actions.vip import boottime_ms
from staqraft.config.schema import Service
from staqraft.errors import ActionError
from staqraft.model import GroupId

logger = logging.getLogger(__name__)

RECHECK_MS = 100  # between checks while a service is starting
CHECK_TIMEOUT_MS = 10_000  # a check that hangs is a failed check


class ServiceStartFailed(ActionError):
    """A service is not running within its start time-out."""


class ServiceStopFailed(ActionError):
    """A service may still be running: this node must be fenced before another takes over."""


class State(Enum):
    """A service as last seen."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """A service's state; `detail` is a sentence when it is not well."""

    name: str
    state: State
    detail: str = ""


class Runner(Protocol):
    """Runs a command to its end or time limit."""

    async def __call__(self, argv: Sequence[str], timeout_ms: int) -> Finished:
        """As `process.run`."""


class ServiceManager:
    """A group's services on this node. One call of start, stop or check at a time for a service."""

    def __init__(
        self,
        group: GroupId,
        services: Sequence[Service],
        *,
        run: Runner = run,
        clock: Callable[[], int] = boottime_ms,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` is in milliseconds and never goes back."""
        self._group = group
        self._services = tuple(services)
        self._run = run
        self._clock = clock
        self._sleep = sleep
        self._health = {s.name: ServiceHealth(name=s.name, state=State.UNKNOWN) for s in services}

    @property
    def health(self) -> tuple[ServiceHealth, ...]:
        """Every service as last seen, in the configured order."""
        return tuple(self._health[s.name] for s in self._services)

    async def start_all(self) -> None:
        """Starts the services one after the other, each confirmed before the next.

        ServiceStartFailed at the first that is not running in time; those before it run on, those
        after it were not touched: `stop_all` undoes it. What runs already is left as it is.
        """
        for service in self._services:
            await self._start(service)

    async def stop_all(self) -> None:
        """Stops the services in reverse order, all of them, whatever happens to one.

        ServiceStopFailed when any may still be running; the message names each.
        """
        failures: list[str] = []
        for service in reversed(self._services):
            problem = await self._stop(service)
            if problem:
                failures.append(problem)
        if failures:
            raise ServiceStopFailed("; ".join(failures))

    async def check_all(self) -> tuple[ServiceHealth, ...]:
        """Checks every service once, side by side. Without a check command the state stays."""
        await asyncio.gather(*(self._check(s) for s in self._services))
        return self.health

    async def watch(self, changed: Callable[[ServiceHealth], None]) -> None:
        """Checks each service at its interval until cancelled; tells `changed` every new state."""
        async with asyncio.TaskGroup() as tasks:
            for service in self._services:
                if service.check:
                    tasks.create_task(self._watch(service, changed))

    async def _watch(self, service: Service, changed: Callable[[ServiceHealth], None]) -> None:
        while True:
            before = self._health[service.name].state
            health = await self._check(service)
            if health.state is not before:
                changed(health)
            await self._sleep(service.check_interval_ms / 1000)

    async def _start(self, service: Service) -> None:
        deadline = self._clock() + service.start_timeout_ms
        # What we stopped ourselves need not be looked at first: a takeover has no time to lose.
        stopped = self._health[service.name].state is State.STOPPED
        if service.check and not stopped and (await self._is_running(service, deadline)).ok:
            self._note(service, State.RUNNING)
            return
        finished = await self._run(service.start, self._left(deadline))
        if not service.check:
            if finished.ok:
                self._note(service, State.RUNNING)
                return
            raise self._start_failed(service, service.start, finished)
        # The check has the last word: 'start' of some services says no when they run already.
        checked = await self._is_running(service, deadline)
        while finished.ok and not checked.ok and self._left(deadline) > RECHECK_MS:
            await self._sleep(RECHECK_MS / 1000)
            checked = await self._is_running(service, deadline)
        if checked.ok:
            self._note(service, State.RUNNING)
            return
        if finished.ok:
            raise self._start_failed(service, service.check, checked)
        raise self._start_failed(service, service.start, finished)

    def _start_failed(
        self, service: Service, argv: Sequence[str], finished: Finished
    ) -> ServiceStartFailed:
        problem = (
            f"service {service.name} of group {self._group} is not running"
            f" {_seconds(service.start_timeout_ms)} after its start at the latest:"
            f" {_story(argv, finished)}"
        )
        self._note(service, State.FAILED, problem)
        return ServiceStartFailed(f"{problem}. Try the command by hand on this node")

    async def _stop(self, service: Service) -> str:
        """Stops one service; returns why it may still be running, or nothing."""
        finished = await self._run(service.stop, service.stop_timeout_ms)
        if finished.ok:
            self._note(service, State.STOPPED)
            return ""
        problem = (
            f"service {service.name} of group {self._group} did not stop within"
            f" {_seconds(service.stop_timeout_ms)} and may still be running:"
            f" {_story(service.stop, finished)}"
        )
        self._note(service, State.FAILED, problem)
        return problem

    async def _check(self, service: Service) -> ServiceHealth:
        if service.check:
            finished = await self._run(service.check, CHECK_TIMEOUT_MS)
            if finished.ok:
                self._note(service, State.RUNNING)
            else:
                story = _story(service.check, finished)
                self._note(service, State.FAILED, f"service {service.name} is not well: {story}")
        return self._health[service.name]

    async def _is_running(self, service: Service, deadline: int) -> Finished:
        return await self._run(service.check, min(CHECK_TIMEOUT_MS, self._left(deadline)))

    def _left(self, deadline: int) -> int:
        """Milliseconds until the deadline; at least a little, so that a command is tried at all."""
        return max(RECHECK_MS, deadline - self._clock())

    def _note(self, service: Service, state: State, detail: str = "") -> None:
        before = self._health[service.name]
        self._health[service.name] = ServiceHealth(name=service.name, state=state, detail=detail)
        if state is not before.state:
            level = logging.WARNING if state is State.FAILED else logging.INFO
            logger.log(
                level,
                detail or f"service is {state.value}",
                extra={"group": self._group, "service": service.name},
            )


def _story(argv: Sequence[str], finished: Finished) -> str:
    command = " ".join(argv)
    if finished.problem:
        return f"'{command}' cannot be executed: {finished.problem}"
    if finished.code is None:
        ending = f"'{command}' did not end in time and was killed with all that it had started"
    elif finished.code < 0:
        ending = f"'{command}' was killed by signal {-finished.code}"
    else:
        ending = f"'{command}' ended with exit status {finished.code}"
    return f'{ending}, saying "{finished.output}"' if finished.output else ending


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s"
