"""Starts, stops, restarts and watches a group's services, in the configured order."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from staqraft.actions.checks.run import Checker, Runner, name_of
from staqraft.actions.process import run, story
from staqraft.actions.systemd import Systemd
from staqraft.actions.vip import boottime_ms
from staqraft.config.services import (
    Check,
    CommandCheck,
    PluginCheck,
    ProcessCheck,
    Service,
    UnitCheck,
)
from staqraft.errors import ActionError
from staqraft.model import GroupId

logger = logging.getLogger(__name__)

_ASKED_MS = 2_000  # for systemd's word about a unit
RECHECK_MS = 100  # between checks while a service is starting


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
    """A service's state; `detail` is a sentence when it is not well.

    `last_failure` is what a check, a start or a stop said when it failed last. `stuck`: it could
    not be stopped.
    """

    name: str
    state: State
    detail: str = ""
    last_failure: str = ""
    stuck: bool = False


class Units(Protocol):
    """Starts, stops and looks at systemd's units. Answers are what went wrong, or nothing."""

    async def start(self, unit: str, timeout_ms: int) -> str:
        """Starts it and waits until it is started."""

    async def stop(self, unit: str, timeout_ms: int) -> str:
        """Stops it and waits until it is stopped."""

    async def why_not_active(self, unit: str, timeout_ms: int) -> str:
        """Why it is not active."""

    async def why_unusable(self, unit: str, timeout_ms: int) -> str:
        """Why it could not be started at all."""


class ServiceManager:
    """A group's services on this node. One call of start, stop or restart at a time."""

    def __init__(
        self,
        group: GroupId,
        services: Sequence[Service],
        *,
        vips: Collection[str] = (),
        run: Runner = run,
        units: Units | None = None,
        clock: Callable[[], int] = boottime_ms,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` is in milliseconds and never goes back.

        Checks over one of `vips` are only made while the group serves: see `watch`.
        """
        self._group = group
        self._services = {service.name: service for service in services}
        self._vips = frozenset(vips)
        self._run = run
        self._units = units or Systemd(run)
        self._check = Checker(run, self._units)
        self._clock = clock
        self._sleep = sleep
        self._health = {s.name: ServiceHealth(name=s.name, state=State.UNKNOWN) for s in services}
        self._failing: dict[str, dict[Check, str]] = {s.name: {} for s in services}
        self.took_ms: dict[tuple[str, str], int] = {}  # service, check: the last time, if watched
        self._busy = Counter[str]()  # being started or stopped: what its checks say is no news

    @property
    def health(self) -> tuple[ServiceHealth, ...]:
        """Every service as last seen, in the configured order."""
        return tuple(self._health[name] for name in self._services)

    async def start_all(self) -> None:
        """Starts the services one after the other, each confirmed by its checks before the next.

        ServiceStartFailed names those that are not running in time; the others run, whatever
        happened to one, so that a broken mail server does not take the web server along. What
        runs already is left as it is.
        """
        problems = [problem for s in self._services.values() if (problem := await self._start(s))]
        if problems:
            raise ServiceStartFailed("; ".join(problems))

    async def stop_all(self) -> None:
        """Stops the services in reverse order, all of them, whatever happens to one.

        ServiceStopFailed when any may still be running; the message names each.
        """
        services = reversed(self._services.values())
        problems = [problem for s in services if (problem := await self._stop(s))]
        if problems:
            raise ServiceStopFailed("; ".join(problems))

    async def restart(self, name: str) -> None:
        """Stops a service that is not well, and starts it.

        ServiceStopFailed when it may still be running, and was not started; ServiceStartFailed.
        """
        service = self._services[name]
        with self._at_work_on(service):
            if problem := await self._stop(service):
                raise ServiceStopFailed(problem)
            if problem := await self._start(service):
                raise ServiceStartFailed(problem)

    async def missing(self) -> tuple[tuple[str, str], ...]:
        """What could not be started or stopped on this host now: the service, and a sentence.

        Nothing is done to it. A unit or a program may be installed, or be gone, at any time.
        """
        found = []
        for service in self._services.values():
            if service.unit:
                if why := await self._units.why_unusable(service.unit, _ASKED_MS):
                    text = f"service {service.name} cannot run here: {service.unit}: {why}"
                    found.append((service.name, text))
                continue
            for what, argv in (("start", service.start), ("stop", service.stop)):
                # Looked for on a disk that may hang, so not in the loop.
                if argv and await asyncio.to_thread(shutil.which, argv[0]) is None:
                    text = (
                        f"service {service.name} cannot run here: {argv[0]!r}, its {what!r}, is no"
                        " program on this host"
                    )
                    found.append((service.name, text))
        return tuple(found)

    async def watch(
        self,
        changed: Callable[[ServiceHealth], None],
        serving: Callable[[], bool] = lambda: True,
    ) -> None:
        """Makes each check at its interval until cancelled; tells `changed` every new state.

        A service has failed when one of its checks failed so often in a row as is configured.
        `serving`: the group's addresses are here, so that checks over them mean something.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for service in self._services.values():
                    for check in service.checks:
                        tasks.create_task(self._watch(service, check, changed, serving))
        finally:
            self.took_ms.clear()

    async def _watch(
        self,
        service: Service,
        check: Check,
        changed: Callable[[ServiceHealth], None],
        serving: Callable[[], bool],
    ) -> None:
        failures = 0
        while True:
            if self._busy[service.name] or (self._over_vip(check) and not serving()):
                failures = 0
            else:
                asked_ms = self._clock()
                problem = await self._check(check)
                self.took_ms[service.name, name_of(check)] = self._clock() - asked_ms
                if not self._busy[service.name]:
                    failures = failures + 1 if problem else 0
                    before = self._health[service.name].state
                    self._take(service, check, problem, failures)
                    if self._health[service.name].state is not before:
                        changed(self._health[service.name])
            await self._sleep(check.timing.interval_ms / 1000)

    def _take(self, service: Service, check: Check, problem: str, failures: int) -> None:
        """What a check said, and how often in a row it has failed by now."""
        failing = self._failing[service.name]
        if not problem:
            failing.pop(check, None)
        elif failures >= check.timing.failures or self._is_down(service):
            failing[check] = problem
        if problem:
            health = self._health[service.name]
            self._health[service.name] = replace(health, last_failure=problem)
        if failing:
            first = next(iter(failing.values()))
            self._note(service, State.FAILED, f"service {service.name} is not well: {first}")
        elif not problem:
            self._note(service, State.RUNNING)

    def _is_down(self, service: Service) -> bool:
        return self._health[service.name].state is State.FAILED

    def _over_vip(self, check: Check) -> bool:
        if isinstance(check, UnitCheck | CommandCheck | PluginCheck | ProcessCheck):
            return False
        return not self._vips.isdisjoint({check.endpoint.address, check.source})

    @contextmanager
    def _at_work_on(self, service: Service) -> Iterator[None]:
        self._busy[service.name] += 1
        try:
            yield
        finally:
            self._busy[service.name] -= 1

    # --- one service ------------------------------------------------------------------------------

    async def _start(self, service: Service) -> str:
        """Starts it; returns why it does not run, or nothing."""
        with self._at_work_on(service):
            problem = await self._started(service)
        self._failing[service.name].clear()
        if not problem:
            self._note(service, State.RUNNING)
            return ""
        problem = (
            f"service {service.name} of group {self._group} is not running"
            f" {_seconds(service.start_timeout_ms)} after its start at the latest: {problem}"
        )
        self._note(service, State.FAILED, problem)
        by = f"systemctl status {service.unit}" if service.unit else "the command by hand"
        return f"{problem}. Try '{by}' on this node" if service.unit else f"{problem}. Try {by}"

    async def _started(self, service: Service) -> str:
        deadline = self._clock() + service.start_timeout_ms
        checks = [check for check in service.checks if not self._over_vip(check)]
        # What we stopped ourselves need not be looked at first: a takeover has no time to lose.
        stopped = self._health[service.name].state is State.STOPPED
        if checks and not stopped and not await self._why_not(checks, deadline):
            return ""
        refused = await self._tell(service, "start", self._left(deadline))
        if not checks:
            return refused
        # The checks have the last word: 'start' of some services says no when they run already.
        problem = await self._why_not(checks, deadline)
        while problem and not refused and self._left(deadline) > RECHECK_MS:
            await self._sleep(RECHECK_MS / 1000)
            problem = await self._why_not(checks, deadline)
        return (refused or problem) if problem else ""

    async def _stop(self, service: Service) -> str:
        """Stops it; returns why it may still be running, or nothing."""
        with self._at_work_on(service):
            problem = await self._tell(service, "stop", service.stop_timeout_ms)
        self._failing[service.name].clear()
        if not problem:
            self._note(service, State.STOPPED)
            return ""
        problem = (
            f"service {service.name} of group {self._group} did not stop within"
            f" {_seconds(service.stop_timeout_ms)} and may still be running: {problem}"
        )
        self._note(service, State.FAILED, problem)
        self._health[service.name] = replace(self._health[service.name], stuck=True)
        return problem

    async def _tell(self, service: Service, what: str, timeout_ms: int) -> str:
        """Has it started or stopped; returns what went wrong, or nothing."""
        if service.unit:
            tell = self._units.start if what == "start" else self._units.stop
            return await tell(service.unit, timeout_ms)
        argv = service.start if what == "start" else service.stop
        finished = await self._run(argv, timeout_ms)
        return "" if finished.ok else story(argv, finished)

    async def _why_not(self, checks: Sequence[Check], deadline: int) -> str:
        """The first problem that the checks find, asked side by side; nothing if it runs."""
        left_ms = self._left(deadline)
        problems = await asyncio.gather(*(self._check(check, left_ms) for check in checks))
        return next(filter(None, problems), "")

    def _left(self, deadline: int) -> int:
        """Milliseconds until the deadline; at least a little, so that a command is tried at all."""
        return max(RECHECK_MS, deadline - self._clock())

    def _note(self, service: Service, state: State, detail: str = "") -> None:
        before = self._health[service.name]
        health = replace(before, state=state, detail=detail, stuck=False)
        if detail and state is not before.state and not self._failing[service.name]:
            health = replace(health, last_failure=detail)
        self._health[service.name] = health
        if state is not before.state:
            level = logging.WARNING if state is State.FAILED else logging.INFO
            logger.log(
                level,
                detail or f"service is {state.value}",
                extra={"group": self._group, "service": service.name},
            )


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:g} s"
