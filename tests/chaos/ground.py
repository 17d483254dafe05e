"""What faults are done to: a lab with a cluster, and who is who in it at the moment."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import grpc

from chaos.history import Op, Said
from lab.cluster import DAEMON, Cluster
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import REPLICAS, other
from lab.linux import boottime
from lab.processes import command_line, descendants
from lab.views import Views, admin
from staqraft.wire.v1 import admin_pb2

SWITCHOVER_MS = 6_000


@dataclass(slots=True, kw_only=True)
class Ground:
    """`active` is who was when all was well for the last time."""

    lab: Lab
    cluster: Cluster
    views: Views
    active: str = "a"
    changes: list[Op] = field(default_factory=list)  # switchovers that were reported as done
    operators: list[threading.Thread] = field(default_factory=list)

    def host(self, role: str) -> str:
        """Roles are drawn, hosts are hit."""
        return {"active": self.active, "standby": other(self.active)}.get(role, role)

    def role(self, host: str) -> str:
        """For names of faults that read the same for any host."""
        if host not in REPLICAS:
            return host
        return "active" if host == self.active else "standby"

    def daemon(self, host: str) -> list[int]:
        """The pid of a host's staqraftd, as seen from here; none when it does not run now."""
        return self._unit(host)[:1]

    def daemon_and_workers(self, host: str) -> list[int]:
        """And those of its data workers."""
        return self._unit(host)

    def worker(self, host: str, name: str) -> list[int]:
        """The pid of a data worker: trees or stream."""
        return [pid for pid in self._unit(host) if name in command_line(pid)]

    def everything(self, host: str) -> list[int]:
        """The pids of all that runs in a host."""
        pid = self.lab.pid_of_init(host)
        return [] if pid is None else descendants(pid)

    def _unit(self, host: str) -> list[int]:
        return self.lab.unit_processes(host, DAEMON) if self.lab.has_power(host) else []

    def hold(self, seconds: float) -> None:
        """A fault lasts; nothing is waited for."""
        threading.Event().wait(seconds)

    def ask_switchover(self) -> None:
        """As an operator at a bad moment; what comes of it is for the checks to judge."""
        thread = threading.Thread(target=self._switch_over, args=(self.active,), daemon=True)
        thread.start()
        self.operators.append(thread)

    def join_operators(self) -> None:
        """Until each has got an answer, or given up."""
        for thread in self.operators:
            thread.join()
        self.operators.clear()

    def _switch_over(self, asked: str) -> None:
        begun = boottime()
        request = admin_pb2.SwitchOverRequest(
            target=other(asked), reason="chaos", timeout_ms=SWITCHOVER_MS
        )
        try:
            with admin(self.lab, asked) as daemon:
                steps = list(daemon.SwitchOver(request, timeout=2 * SWITCHOVER_MS / 1000))
        except (grpc.RpcError, LabError):
            return  # refused, or cut off in the middle: nothing was promised
        if steps and steps[-1].succeeded:
            target = other(asked)
            self.changes.append(
                Op(
                    said=Said.CHANGE,
                    node=target,
                    active=target,
                    epoch=steps[-1].epoch,
                    begun=begun,
                    ended=boottime(),
                    how="switchover",
                )
            )
