"""A service manager small enough for pid 1 of a lab host. It stands in for systemd, with the real
daemons.

A unit is a JSON file NAME.json in the units directory: {"argv": [...], "environment": {...},
"notify": bool}. All units there are started at boot, when the cables are in. A unit's main process
is restarted 100 ms after it ended (Restart=always) unless its exit code says that this is no use
(RestartPreventExitStatus); only the main process is signalled on stop
(KillMode=process), as its services must outlive a restart. NOTIFY_SOCKET is honoured: a unit with
"notify" is "starting" until it says READY=1.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESTART_DELAY_S = 0.1
FINAL = (2, 12)  # RestartPreventExitStatus
LOGS = "/var/log/staqraft"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True, kw_only=True)
class Unit:
    """A unit and how it is."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    notify: bool
    notify_socket: socket.socket | None = None
    process: subprocess.Popen[bytes] | None = None
    wanted: bool = True
    ready: bool = False
    status: str = ""
    starts: int = 0
    restart_at: float | None = None
    exits: list[int] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """For `status` of the control socket."""
        running = self.process is not None
        state = (
            ("active" if self.ready else "starting")
            if running
            else "stopped"
            if not self.wanted
            else "failed"
        )
        return {
            "state": state,
            "pid": self.process.pid if self.process else None,
            "starts": self.starts,
            "exits": self.exits[-10:],
            "status": self.status,
        }


class Supervisor:
    """Starts the units, restarts them, reaps orphans, answers on the control socket."""

    def __init__(self, *, units: Path | None, control: Path | None) -> None:
        self._directory = units
        self._units: dict[str, Unit] = {}
        self._selector = selectors.DefaultSelector()
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        self._wake = (wake_read, wake_write)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda: wake_read.recv(4096))
        if control is not None:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(control))
            listener.listen(16)
            self._selector.register(listener, selectors.EVENT_READ, lambda: self._answer(listener))

    def run(self) -> None:
        """Until the power is cut."""
        while True:
            due = [unit.restart_at for unit in self._units.values() if unit.restart_at is not None]
            timeout = max(0.0, min(due) - time.monotonic()) if due else None
            for key, _ in self._selector.select(timeout):
                callback: Callable[[], object] = key.data
                callback()
            self._reap()
            for unit in self._units.values():
                if unit.restart_at is not None and unit.restart_at <= time.monotonic():
                    self._launch(unit)

    def _start(self, name: str) -> Unit:
        assert self._directory is not None, "the switch has no units"
        text = json.loads((self._directory / f"{name}.json").read_text(encoding="utf-8"))
        unit = self._units.get(name)
        if unit is None:
            unit = Unit(name=name, argv=[], environment={}, notify=False)
            unit.notify_socket = self._listen_for_notifications(unit)
            self._units[name] = unit
        unit.argv, unit.notify = text["argv"], text.get("notify", False)
        unit.environment = text.get("environment", {})
        unit.wanted = True
        if unit.process is None:
            self._launch(unit)
        return unit

    def _listen_for_notifications(self, unit: Unit) -> socket.socket:
        assert self._directory is not None
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(f"{self._directory.parent}/{unit.name}.notify")
        listener.setblocking(False)

        def receive() -> None:
            for line in listener.recv(8192).decode(errors="replace").splitlines():
                key, _, value = line.partition("=")
                if key == "READY":
                    unit.ready = True
                elif key == "STATUS":
                    unit.status = value

        self._selector.register(listener, selectors.EVENT_READ, receive)
        return listener

    def _launch(self, unit: Unit) -> None:
        unit.restart_at = None
        unit.starts += 1
        unit.ready = not unit.notify
        assert unit.notify_socket is not None
        environment = {
            "PATH": PATH,
            "NOTIFY_SOCKET": unit.notify_socket.getsockname(),
            **unit.environment,
        }
        with Path(LOGS, f"{unit.name}.log").open("ab") as log:
            log.write(f"--- {unit.name}: start {unit.starts}: {' '.join(unit.argv)}\n".encode())
            log.flush()
            try:
                unit.process = subprocess.Popen(
                    unit.argv,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"--- {unit.name}: cannot be started: {error}\n".encode())
                unit.restart_at = time.monotonic() + 10 * RESTART_DELAY_S

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for unit in self._units.values():
                if unit.process is not None and unit.process.pid == pid:
                    self._ended(unit, os.waitstatus_to_exitcode(status))

    def _ended(self, unit: Unit, code: int) -> None:
        assert unit.process is not None
        unit.process.returncode = code  # reaped by us: Popen must not wait for that pid again
        unit.process, unit.ready = None, False
        unit.exits.append(code)
        with Path(LOGS, f"{unit.name}.log").open("ab") as log:
            log.write(f"--- {unit.name}: ended with {code}\n".encode())
        if unit.wanted and code not in FINAL:
            unit.restart_at = time.monotonic() + RESTART_DELAY_S

    def _stop(self, unit: Unit) -> None:
        unit.wanted, unit.restart_at = False, None
        if unit.process is not None:
            os.kill(unit.process.pid, signal.SIGTERM)

    def _answer(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10.0)  # a caller that says nothing must not hold up pid 1
            try:
                request = json.loads(connection.makefile("r", encoding="utf-8").readline())
                reply = self._handle(request)
            except (OSError, ValueError, KeyError) as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            try:
                connection.sendall(json.dumps(reply).encode() + b"\n")
            except OSError:
                return  # the caller has gone; there is nobody to tell

    def _handle(self, request: dict[str, str]) -> dict[str, Any]:
        match request["op"]:
            case "boot":  # the cables are in: start what is enabled
                assert self._directory is not None
                return {
                    p.stem: self._start(p.stem).describe()
                    for p in sorted(self._directory.glob("*.json"))
                }
            case "start":
                return self._start(request["unit"]).describe()
            case "stop":
                unit = self._units[request["unit"]]
                self._stop(unit)
                return unit.describe()
            case "status":
                return {name: unit.describe() for name, unit in self._units.items()}
            case other:
                return {"error": f"unknown operation {other!r}"}
