"""The services of a host, and the product's supervision of them in virtual time.

Real: `ServicesLane`, `ServiceManager`, its checks, `decision.services`. Modelled: systemd and what
the units do. For a share of the seeds; the others have one service that does as it is told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

from simulation.lanes import Done, Services
from simulation.schedule import MS
from simulation.virtual_loop import VirtualLoop
from staqraft.actions.process import Finished
from staqraft.actions.services import ServiceHealth, ServiceManager, State
from staqraft.config.services import Service, Timing, UnitCheck
from staqraft.daemon.services_lane import ServicesLane
from staqraft.decision import commands as do
from staqraft.decision import events as on
from staqraft.decision.phases import Phase
from staqraft.decision.state import ServicePolicy
from staqraft.errors import ActionError

if TYPE_CHECKING:
    from simulation.daemon import Daemon
    from simulation.machine import Process

NAMES: Final = ("mail", "web")
SHARE: Final = 0.2  # of the seeds without a drill
_CHECK_MS: Final = 5
_START_MS: Final = 60
_STOP_MS: Final = 40
_TIMEOUT_MS: Final = 2_000

ServiceCommand = do.StartServices | do.StopServices | do.RestartService


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """What the configuration of a group says of its services."""

    services: tuple[Service, ...]
    moves_most: int
    moves_window_ms: int
    lasting: bool = False  # one thing is wrong with them, and for long

    @property
    def settings(self) -> dict[str, Any]:
        """Of it what the decision core is told."""
        policies = {
            service.name: ServicePolicy(
                restarts=service.restarts,
                window_ms=service.restart_window_ms,
                failover=service.failover,
            )
            for service in self.services
        }
        return {
            "services": policies,
            "moves_most": self.moves_most,
            "moves_window_ms": self.moves_window_ms,
        }


def plan_of_services(rng: random.Random) -> ServicePlan:
    """One or two, checked every second or so, with windows that a run outlasts."""
    names = NAMES[: rng.choice((1, 2))]
    return ServicePlan(
        services=tuple(
            Service(
                name=name,
                unit=f"{name}.service",
                checks=(
                    UnitCheck(
                        unit=f"{name}.service",
                        timing=Timing(
                            interval_ms=rng.choice((500, 1000)), failures=rng.choice((1, 2))
                        ),
                    ),
                ),
                start_timeout_ms=_TIMEOUT_MS,
                stop_timeout_ms=_TIMEOUT_MS,
                restarts=rng.choice((0, 1, 1, 2)),
                restart_window_ms=rng.choice((6_000, 15_000)),
                failover=rng.random() < 0.85,
            )
            for name in names
        ),
        moves_most=rng.choice((1, 2, 3)),
        moves_window_ms=rng.choice((15_000, 25_000)),
    )


# --- systemd --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Unit:
    """One unit of a host, and what is wrong with it."""

    running: bool = False
    broken: bool = False  # it does not run, however often it is started
    clings: bool = False  # it does not stop
    sick: bool = False  # it runs and does not do its work, until it is started anew
    slow_ms: int = 0  # to start it takes so much longer
    job: int = 0  # the newest: an older one is cancelled by it


class Units(Services):
    """The units of a host; implements `staqraft.actions.services.Units` in virtual time.

    systemd does what it was told to also when the daemon that told it is gone.
    """

    def __init__(
        self,
        plan: ServicePlan,
        machine: Callable[[], Process],
        took_ms: Callable[[float], float],
    ) -> None:
        self.plan = plan
        self.units = {service.unit: Unit() for service in plan.services}
        self._machine = machine
        self._took_ms = took_ms
        super().__init__()

    @property
    def running(self) -> bool:
        """All of them."""
        return all(unit.running for unit in self.units.values())

    @running.setter
    def running(self, runs: bool) -> None:
        for unit in self.units.values():
            unit.running, unit.sick = runs and not unit.broken, False

    @property
    def any_runs(self) -> bool:
        """Something of the group is here."""
        return any(unit.running for unit in self.units.values())

    @property
    def cling(self) -> bool:
        """Something does not stop."""
        return any(unit.clings for unit in self.units.values())

    @property
    def well(self) -> bool:
        """All run, and do their work."""
        return all(unit.running and not unit.sick for unit in self.units.values())

    @property
    def flawless(self) -> bool:
        """Nothing is wrong with any, whether it runs or not."""
        units = self.units.values()
        return not any(unit.broken or unit.clings or unit.slow_ms for unit in units)

    def stop(self) -> None:
        """There is no power any more."""
        for unit in self.units.values():
            unit.running = unit.sick = False
            unit.job += 1

    def fail(self, name: str) -> None:
        """It ends by itself."""
        self.units[name].running = False
        self.failed = True  # what clients are told now is not the gate's doing

    def sicken(self, name: str) -> None:
        """It does not do its work any more."""
        self.units[name].sick = self.units[name].running

    def break_(self, name: str) -> None:
        """It ends, and so it does each time that it is started."""
        self.units[name].broken = True
        self.fail(name)

    def cling_to(self, name: str) -> None:
        """It does not stop, whoever tells it to."""
        self.units[name].clings = True

    def slow_down(self, name: str, slow_ms: int) -> None:
        """To start it takes so much longer."""
        self.units[name].slow_ms = slow_ms

    def mend(self, name: str) -> None:
        """What was wrong with it is over; what ended stays so until somebody starts it."""
        unit = self.units[name]
        unit.broken = unit.clings = False
        unit.slow_ms = 0

    def seen_by(self, loop: VirtualLoop, failing: set[str]) -> UnitsOf:
        """As one life of the daemon sees them; `failing`: commands that are to fail."""
        return UnitsOf(self, loop, failing)

    def begin(self, name: str) -> int:
        """A job begins; its number."""
        self.units[name].job += 1
        return self.units[name].job

    def started(self, name: str, job: int) -> None:
        """The start is done."""
        unit = self.units[name]
        if unit.job == job and not unit.running:  # what runs is left as it is, sick or not
            unit.running, unit.sick = not unit.broken, False

    def stopped(self, name: str, job: int) -> None:
        """The stop is done."""
        unit = self.units[name]
        if unit.job == job and not unit.clings:
            unit.running = unit.sick = False

    def after_ms(self, usual_ms: float, done: Callable[[], None]) -> float:
        """Has systemd do this; says how long it takes, in ms."""
        took_ms = self._took_ms(usual_ms)
        self._machine().after(int(took_ms * MS), done)
        return took_ms


class UnitsOf:
    """systemd, as a daemon speaks to it."""

    def __init__(self, host: Units, loop: VirtualLoop, failing: set[str]) -> None:
        self._host = host
        self._loop = loop
        self._failing = failing

    async def start(self, unit: str, timeout_ms: int) -> str:
        """As `Units.start` of the product."""
        host, known = self._host, self._host.units[unit]
        if "StartServices" in self._failing:
            host.failed = True
            return "it fails (simulated)"
        job = host.begin(unit)
        took_ms = host.after_ms(_START_MS + known.slow_ms, lambda: host.started(unit, job))
        await self._loop.sleep(min(took_ms + 1, timeout_ms) / 1000)
        if not known.running:
            host.failed = True
            return "it ends at once (simulated)" if known.broken else "it takes long (simulated)"
        return ""

    async def stop(self, unit: str, timeout_ms: int) -> str:
        """As `Units.stop` of the product."""
        host, known = self._host, self._host.units[unit]
        job = host.begin(unit)
        if "StopServices" in self._failing:
            return "it fails (simulated)"
        took_ms = host.after_ms(_STOP_MS, lambda: host.stopped(unit, job))
        await self._loop.sleep((timeout_ms if known.clings else took_ms + 1) / 1000)
        return "it does not stop (simulated)" if known.running else ""

    async def why_not_active(self, unit: str, timeout_ms: int) -> str:
        """As `Units.why_not_active` of the product."""
        await self._loop.sleep(_CHECK_MS / 1000)
        known = self._host.units[unit]
        if known.sick:
            return "does not do its work (simulated)"
        return "" if known.running else "is not active (simulated)"

    async def why_unusable(self, unit: str, timeout_ms: int) -> str:
        """Here all of them can be started."""
        raise AssertionError(f"nobody asks for {unit}, {timeout_ms}")


async def _no_program(argv: Sequence[str], timeout_ms: int, *, keep: int = 0) -> Finished:
    raise AssertionError(f"these services have no commands: {argv}, {timeout_ms}, {keep}")


# --- the daemon's ---------------------------------------------------------------------------------


class ServiceHands:
    """How one life of a daemon has services started and stopped: one, which is not checked."""

    def __init__(self, daemon: Daemon, services: Services) -> None:
        self._daemon = daemon
        self._services = services

    def carry_out(self, command: ServiceCommand) -> None:
        """Answered as done or failed."""
        work, usual_ms = {
            do.StartServices: (self._services.start, 60),
            do.StopServices: (self._services.stop, 40),
            do.RestartService: (self._services.start, 90),
        }[type(command)]
        self._daemon.act("services", usual_ms, command, command.token, work)

    def not_done(self, command: do.Command) -> None:
        """It failed."""
        if isinstance(command, do.StartServices):
            self._services.failed = True

    def close(self) -> None:
        """This life ends."""


class Supervised(ServiceHands):
    """With the product's `ServicesLane`; the executor's lane before it is mirrored."""

    def __init__(self, daemon: Daemon, units: Units) -> None:
        super().__init__(daemon, units)
        self._units = units
        self._loop = loop = VirtualLoop(daemon.process, daemon.clock)
        self._waiting: list[Coroutine[Any, Any, None]] = []
        manager = ServiceManager(
            daemon.core.settings.group,
            units.plan.services,
            run=_no_program,
            units=units.seen_by(loop, daemon.trouble.failing),
            clock=daemon.clock.boot_ms,
            sleep=loop.sleep,
        )
        self._lane = ServicesLane(manager, self._changed, lambda: daemon.core.phase is Phase.ACTIVE)

    def carry_out(self, command: ServiceCommand) -> None:
        match command:
            case do.StartServices():
                work = self._lane.start()
            case do.StopServices():
                work = self._lane.stop()
            case do.RestartService(service=name):
                self._units.failed = True  # whoever comes in meanwhile is refused
                work = self._lane.restart(name)
            case _:
                assert_never(command)
        self._waiting.append(work)
        self._daemon.put("services", lambda done: self._do(command, work, done))

    def _do(self, command: ServiceCommand, work: Coroutine[Any, Any, None], done: Done) -> None:
        self._waiting.remove(work)
        token = command.token

        def ended(task: asyncio.Task[None]) -> None:
            daemon = self._daemon
            error = task.exception()
            if isinstance(error, ActionError):
                failed = on.ActionFailed(now_ms=daemon.now_ms, token=token, detail=str(error))
                daemon.tell(failed)
            elif error is None:
                if isinstance(command, do.StartServices):
                    self._units.failed = False
                daemon.tell(on.ActionDone(now_ms=daemon.now_ms, token=token))
            done()

        self._loop.spawn(work, ended)

    def _changed(self, health: ServiceHealth) -> None:
        problem = health.detail if health.state is State.FAILED else ""
        self._loop.outside(
            lambda: self._daemon.tell(
                on.ServiceReported(
                    now_ms=self._daemon.now_ms,
                    service=health.name,
                    problem=problem,
                    stuck=health.stuck,
                )
            )
        )

    def close(self) -> None:
        for work in self._waiting:
            work.close()
        self._waiting.clear()
        self._loop.close()


def hands_of(daemon: Daemon, services: Services) -> ServiceHands:
    """Those that fit what the host has."""
    return (
        Supervised(daemon, services)
        if isinstance(services, Units)
        else ServiceHands(daemon, services)
    )


__all__ = ["SHARE", "ServiceHands", "ServicePlan", "Supervised", "Unit", "Units", "hands_of"]
