"""org.freedesktop.systemd1 on a private bus: jobs that end as systemd's do, and no units behind.

It has what `staqraft.actions.systemd` uses of the manager's API, with systemd's answers: a job's
path at once, JobRemoved when it has ended (only for who subscribed), errors by their names.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    message_bus,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.asyncio import DBusConnection, DBusRouter, Proxy, open_dbus_connection

from fakes.patience import PATIENCE_S

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = DBusAddress(PATH, interface=f"{NAME}.Manager")

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_type="method_call"/>
    <allow send_type="signal"/> <allow receive_type="method_call"/>
    <allow receive_type="method_return"/> <allow receive_type="error"/>
    <allow receive_type="signal"/> <allow send_requested_reply="true"/>
  </policy>
</busconfig>
"""


@dataclass
class Unit:
    """A unit, and how its next jobs end."""

    load: str = "loaded"
    active: str = "inactive"
    sub: str = "dead"
    file_state: str = "disabled"
    result: str = "success"
    ends: str = "done"  # how a job of it ends; "": never
    took_s: float = 0.0


@dataclass
class Systemd:
    """The manager. `units` may be changed at any time."""

    units: dict[str, Unit] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    denies: bool = False
    mute: bool = False  # it answers nothing
    heard: asyncio.Event = field(default_factory=asyncio.Event)  # a job was asked for
    noise: int = 0  # so many jobs of others end before ours
    _jobs: int = 0
    _connection: DBusConnection | None = None
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, address: str) -> None:
        """On this bus, until cancelled."""
        connection = await open_dbus_connection(address)
        self._connection = connection
        try:
            async with DBusRouter(connection) as router:
                await Proxy(message_bus, router).RequestName(NAME)
            while True:
                call = await connection.receive()
                if call.header.message_type is MessageType.method_call and not self.mute:
                    await self._answer(call)
        finally:
            connection.writer.transport.abort()

    async def _answer(self, call: Message) -> None:
        assert self._connection is not None
        member = call.header.fields[HeaderFields.member]
        self.calls.append(" ".join([member, *map(str, call.body)]))
        if self.denies and member in {"StartUnit", "StopUnit"}:
            reply = _error(call, "org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
        else:
            reply = getattr(self, f"_{member}")(call)
        await self._connection.send(reply)

    def _Subscribe(self, call: Message) -> Message:  # noqa: N802 - systemd's name
        return new_method_return(call)

    def _StartUnit(self, call: Message) -> Message:  # noqa: N802
        return self._job(call, "active", "running")

    def _StopUnit(self, call: Message) -> Message:  # noqa: N802
        return self._job(call, "inactive", "dead")

    def _job(self, call: Message, active: str, sub: str) -> Message:
        name, mode = call.body
        assert mode == "replace"
        unit = self.units.get(name)
        if unit is None:
            text = f"Unit {name} not loaded." if active == "inactive" else f"Unit {name} not found."
            return _error(call, f"{NAME}.NoSuchUnit", text)
        if unit.load == "masked" and active == "active":
            return _error(call, f"{NAME}.UnitMasked", f"Unit {name} is masked.")
        self._jobs += 1
        self.heard.set()
        job = f"{PATH}/job/{self._jobs}"
        if unit.ends:
            task = asyncio.create_task(self._end(job, name, unit, active, sub))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        return new_method_return(call, "o", (job,))

    async def _end(self, job: str, name: str, unit: Unit, active: str, sub: str) -> None:
        assert self._connection is not None
        await asyncio.sleep(unit.took_s)
        if unit.ends == "done":
            unit.active, unit.sub = active, sub
        elif active == "active":
            unit.active, unit.sub = "failed", "failed"
        for number in range(self.noise):
            await self._removed(f"{PATH}/job/9{number}", "other.service", "done")
        await self._removed(job, name, unit.ends)

    async def _removed(self, job: str, name: str, result: str) -> None:
        assert self._connection is not None
        body = (int(job.rpartition("/")[2]), job, name, result)
        await self._connection.send(new_signal(MANAGER, "JobRemoved", "uoss", body))

    def _ListUnitsByNames(self, call: Message) -> Message:  # noqa: N802
        (names,) = call.body
        found = []
        for name in names:
            unit = self.units.get(name, Unit(load="not-found"))
            path = f"{PATH}/unit/{name.replace('.', '_2e')}"
            found.append((name, name, unit.load, unit.active, unit.sub, "", path, 0, "", "/"))
        return new_method_return(call, "a(ssssssouso)", (found,))

    def _Get(self, call: Message) -> Message:  # noqa: N802
        path = call.header.fields[HeaderFields.path]
        name = path.rpartition("/")[2].replace("_2e", ".")
        return new_method_return(call, "v", (("s", self.units[name].result),))

    def _GetUnitFileState(self, call: Message) -> Message:  # noqa: N802
        (name,) = call.body
        if name not in self.units:
            return _error(call, "org.freedesktop.DBus.Error.FileNotFound", "No such file")
        return new_method_return(call, "s", (self.units[name].file_state,))


def _error(call: Message, name: str, text: str) -> Message:
    return new_error(call, name, "s", (text,))


class Bus:
    """A private dbus-daemon with that systemd on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._daemon: subprocess.Popen[bytes] | None = None
        self._serving: asyncio.Task[None] | None = None
        self.systemd = Systemd()
        self.address = f"unix:path={directory}/bus"

    async def start(self) -> None:
        """Returns when both are there."""
        configuration = self._directory / "bus.conf"
        configuration.write_text(CONFIGURATION.format(path=self._directory / "bus"))
        argv = ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--print-address"]
        self._daemon = subprocess.Popen(argv, stdout=subprocess.PIPE)  # noqa: ASYNC220 - a test's
        assert self._daemon.stdout is not None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._daemon.stdout.readline)
        await self.appear()

    async def appear(self) -> None:
        """systemd comes to the bus."""
        self._serving = asyncio.create_task(self.systemd.serve(self.address))
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_there():  # noqa: ASYNC110 - another program's doing
                await asyncio.sleep(0.02)

    async def _is_there(self) -> bool:
        connection = await open_dbus_connection(self.address)
        async with DBusRouter(connection) as router:
            (there,) = await Proxy(message_bus, router).NameHasOwner(NAME)
        await connection.close()
        return bool(there)

    async def vanish(self) -> None:
        """systemd leaves the bus (it is being re-executed)."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    async def stop(self) -> None:
        """The bus itself is gone."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            assert self._daemon.stdout is not None
            self._daemon.stdout.close()
            self._daemon = None
        with contextlib.suppress(FileNotFoundError):
            (self._directory / "bus").unlink()
        await self.vanish()


@asynccontextmanager
async def bus_with_systemd(directory: Path, **units: Any) -> AsyncIterator[Bus]:
    """`units` by their names without ".service"."""
    bus = Bus(directory)
    bus.systemd.units = {f"{name}.service": unit for name, unit in units.items()}
    try:
        await bus.start()
        yield bus
    finally:
        await bus.stop()
