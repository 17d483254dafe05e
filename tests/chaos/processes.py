"""Processes that are killed, stopped, or restarted in order."""

from __future__ import annotations

import signal

from chaos.ground import Ground, send
from chaos.nemesis import Nemesis, repeat
from lab.cluster import DAEMON

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

        def restore() -> None:
            if lab.has_power(host):  # one that is still ending is started when it has ended
                lab.ask_init(host, op="start", unit=DAEMON)

        self._repairs.callback(restore)
        lab.ask_init(host, op="stop", unit=DAEMON)
