"""Processes that are killed, stopped, or restarted in order."""

from __future__ import annotations

import signal

from chaos.ground import Ground, send
from chaos.nemesis import Nemesis, repeat
from lab.cluster import DAEMON
from lab.errors import LabError

LOOP = "crash loop of"


class Kill(Nemesis):
    """SIGKILL, once or again and again. Whoever supervises it starts it anew."""

    def __init__(self, role: str, what: str, *, again: bool = False, hold_s: float = 0.0) -> None:
        kind = f"{LOOP} {what}" if again else f"kill {what}"
        super().__init__(kind, f"{kind}, {role}", hold_s)
        self._role = role
        self._what = what
        self._again = again

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)

        def strike() -> int:
            return send(ground.processes(host, self._what), signal.SIGKILL)

        if not strike():
            raise LabError(f"{host} has no process {self._what} to kill")
        if self._again:
            self._repairs.callback(repeat(strike, lambda: 0.5))


class Stop(Nemesis):
    """SIGSTOP of one process, of the daemon with its workers, or of the whole host; SIGCONT."""

    def __init__(self, role: str, what: str, hold_s: float) -> None:
        super().__init__(f"stop {what}", f"stop {what}, {role}", hold_s)
        self._role = role
        self._what = what

    def inject(self, ground: Ground) -> None:
        host = ground.host(self._role)
        pids = ground.processes(host, self._what)
        # The last to go on is the first that was stopped: the daemon wakes up among its workers.
        self._repairs.callback(send, pids[::-1], signal.SIGCONT)
        if not send(pids, signal.SIGSTOP):
            raise LabError(f"{host} has no process {self._what} to stop")


class Restart(Nemesis):
    """Not a fault: the daemon is stopped in order, as for an upgrade, and started again."""

    def __init__(self, role: str, hold_s: float) -> None:
        super().__init__("restart in order", f"restart in order, {role}", hold_s)
        self._role = role

    def inject(self, ground: Ground) -> None:
        lab, host = ground.lab, ground.host(self._role)
        ground.require_power(host)

        def restore() -> None:
            if lab.has_power(host):  # one that is still ending is started when it has ended
                lab.ask_init(host, op="start", unit=DAEMON)

        self._repairs.callback(restore)
        lab.ask_init(host, op="stop", unit=DAEMON)
