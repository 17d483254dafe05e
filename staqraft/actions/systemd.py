"""systemd's units over its D-Bus API: start, stop, state. Never enabled, disabled or masked.

`StartUnit` and `StopUnit` answer with a job; how that ended is told by the signal JobRemoved, which
is subscribed to before the job is asked for (org.freedesktop.systemd1(5)). The mode is "replace":
a stop takes the place of a start that is still under way, which is what a failover wants.

When the bus is gone (dbus-daemon crashed, or was restarted by an upgrade) systemd still runs, and
`systemctl` reaches it over a socket of its own: then that is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jeepney import DBusAddress
from jeepney.bus_messages import MatchRule

from staqraft.actions.checks.run import Runner
from staqraft.actions.process import run, story
from staqraft.actions.system_bus import Bus, BusGone, Refused, system_bus

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = DBusAddress(_PATH, bus_name=_NAME, interface=f"{_NAME}.Manager")
_JOB_REMOVED = MatchRule(
    type="signal",
    sender=_NAME,
    interface=f"{_NAME}.Manager",
    member="JobRemoved",
    path=_PATH,
)
_NOT_LOADED = f"{_NAME}.NoSuchUnit"
_ACTIVE = frozenset({"active", "reloading", "refreshing"})
_ENDINGS = {
    "canceled": "its job was cancelled by another one: does somebody else start and stop it?",
    "timeout": "its job timed out (JobTimeoutSec= or JobRunningTimeoutSec= of the unit)",
    "failed": "its job failed",
    "dependency": "a unit that it depends on failed",
    "skipped": "its job was skipped, since it cannot be done in its present state",
    "invalid": "it cannot be reloaded",
    "assert": "an assertion of the unit does not hold (Assert...=)",
    "unsupported": "it is of a kind that this system does not support",
}
_UNUSABLE = frozenset({"not-found", "masked", "error", "bad-setting"})
_FORBIDDEN = "org.freedesktop.DBus.Error.AccessDenied"


class Systemd:
    """The units of this host. Answers are what went wrong, or nothing."""

    def __init__(self, run: Runner = run) -> None:
        self._run = run

    async def start(self, unit: str, timeout_ms: int) -> str:
        """Starts it and waits until systemd says that it is started."""
        return await self._or_systemctl(
            unit, "start", lambda bus: _job(bus, "StartUnit", unit), timeout_ms
        )

    async def stop(self, unit: str, timeout_ms: int) -> str:
        """Stops it and waits until systemd says that it is stopped."""
        return await self._or_systemctl(
            unit, "stop", lambda bus: _job(bus, "StopUnit", unit), timeout_ms
        )

    async def why_not_active(self, unit: str, timeout_ms: int) -> str:
        """Why it is not active, in words that follow its name; nothing if it is."""
        return await self._or_systemctl(
            unit, "is-active", lambda bus: _why_not_active(bus, unit), timeout_ms
        )

    async def why_unusable(self, unit: str, timeout_ms: int) -> str:
        """Why it could not be started at all; nothing if it can, or if systemd cannot be asked."""
        try:
            async with asyncio.timeout(timeout_ms / 1000), system_bus() as bus:
                (found,) = await bus.call(_MANAGER, "ListUnitsByNames", "as", [unit])
        except (BusGone, Refused, TimeoutError):
            return ""  # it is asked again, and what is the matter is said when it is needed
        load = str(found[0][2])
        return _unusable(load) if load in _UNUSABLE else ""

    async def file_state(self, unit: str, timeout_ms: int) -> str:
        """Whether it is started at boot: "enabled", "disabled", "masked", ...; "not-found"."""
        async with asyncio.timeout(timeout_ms / 1000), system_bus() as bus:
            try:
                (state,) = await bus.call(_MANAGER, "GetUnitFileState", "s", unit)
            except Refused:
                return "not-found"
            return str(state)

    async def _or_systemctl(
        self, unit: str, verb: str, work: Callable[[Bus], Awaitable[str]], timeout_ms: int
    ) -> str:
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout_ms / 1000
        try:
            async with asyncio.timeout_at(ends), system_bus() as bus:
                return await work(bus)
        except Refused as error:
            return _refused(error, verb)
        except TimeoutError:
            return f"systemd was not done with it within {timeout_ms / 1000:g} s"
        except BusGone as error:
            left_ms = max(1, round((ends - loop.time()) * 1000))
            argv = ["systemctl", *(["--quiet"] if verb == "is-active" else []), verb, unit]
            finished = await self._run(argv, left_ms)
            return "" if finished.ok else f"{error}; {story(argv, finished)}"


def _refused(error: Refused, verb: str) -> str:
    if verb == "stop" and error.name == _NOT_LOADED:
        return ""  # what systemd does not know of does not run
    if error.name == _FORBIDDEN:
        return f"systemd does not allow it: {error}"
    return f"systemd refuses: {error}"


async def _job(bus: Bus, method: str, unit: str) -> str:
    await bus.listen(_JOB_REMOVED)
    await bus.call(_MANAGER, "Subscribe")
    (job,) = await bus.call(_MANAGER, method, "ss", unit, "replace")
    while True:
        _, removed, _, result = await bus.signal("JobRemoved")
        if removed == job:
            break
    if result == "done":
        return ""
    ending = _ENDINGS.get(result, f"its job ended as {result!r}")
    try:
        why = await _why_not_active(bus, unit)
    except Refused:
        return ending
    return f"{ending}: {why}" if why else ending


async def _why_not_active(bus: Bus, unit: str) -> str:
    (found,) = await bus.call(_MANAGER, "ListUnitsByNames", "as", [unit])
    load, active, sub = (str(part) for part in found[0][2:5])
    if active in _ACTIVE:
        return ""
    if load in _UNUSABLE:
        return _unusable(load)
    if sub == "auto-restart":
        return "it ended, and systemd is about to start it again"
    result = await _result(bus, str(found[0][6])) if active == "failed" else ""
    return f"it is {active} ({sub}){f', because of {result!r}' if result else ''}"


def _unusable(load: str) -> str:
    match load:
        case "not-found":
            return "there is no such unit on this host"
        case "masked":
            return "it is masked ('systemctl unmask' makes it usable again)"
        case _:
            return f"its unit file cannot be used ({load})"


async def _result(bus: Bus, path: str) -> str:
    """Why a service failed, in systemd's words."""
    place = DBusAddress(path, bus_name=_NAME, interface="org.freedesktop.DBus.Properties")
    try:
        ((_, result),) = await bus.call(place, "Get", "ss", f"{_NAME}.Service", "Result")
    except Refused:
        return ""  # a unit of another type has none
    return _text(result)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
