"""Processes that are killed, stopped, or restarted in order."""

from __future__ import annotations

import signal
from contextlib import suppress

from chaos.ground import Ground, send
from chaos.nemesis import Nemesis, repeat
from lab.cluster import DAEMON
from lab.errors import LabError
from lab.processes import wait_until

LOOP = "crash loop of"
ENDED_WITHIN_S = 60.0  # a daemon that was told to end: it hands over, and its workers end before it


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

        def strike() -> None:
            send(ground.processes(host, self._what), signal.SIGKILL)

        strike()
        if self._again:
            self._repairs.callback(repeat(strike, lambda: 0.5))


class Stop(Nemesis):
    """SIGSTOP of one process, of the daemon with its workers, or of the whole host; SIGCONT."""

    def __init__(self, role: str, what: str, hold_s: float) -> None:
        super().__init__(f"stop {what}", f"stop {what}, {role}", hold_s)
        self._role = role
        self._what = what

    def inject(self, ground: Ground) -> None:
        pids = ground.processes(ground.host(self._role), self._what)
        # The last to go on is the first that was stopped: the daemon wakes up among its workers.
        self._repairs.callback(send, pids[::-1], signal.SIGCONT)
        send(pids, signal.SIGSTOP)


class Restart(Nemesis):
    """Not a fault: the daemon is stopped in order, as for an upgrade, and started again."""

    def __init__(self, role: str, hold_s: float) -> None:
        super().__init__("restart in order", f"restart in order, {role}", hold_s)
        self._role = role

    def inject(self, ground: Ground) -> None:
        lab, host = ground.lab, ground.host(self._role)
        if not lab.has_power(host):
            return

        def ended() -> bool:
            if not lab.has_power(host):
                return True
            with suppress(LabError, OSError):  # the power went while it was asked
                return lab.ask_init(host, op="status")[DAEMON]["pid"] is None
            return False

        def restore() -> None:
            wait_until(ended, ENDED_WITHIN_S, f"the daemon of {host} has ended, as it was told to")
            if lab.has_power(host):
                lab.ask_init(host, op="start", unit=DAEMON)

        self._repairs.callback(restore)
        lab.ask_init(host, op="stop", unit=DAEMON)
