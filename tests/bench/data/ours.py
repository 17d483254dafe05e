"""StaqRaft as it runs on replicas: both processes of a data worker, TLS, journal on b's disk.

Only the control process is missing: the bench says what it would say, so that no lease and no
election is part of what is measured.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from bench.data.hosts import NETWORK, Host, Hosts
from bench.data.results import Measured
from bench.data.systems import Job, System
from fakes.data_pair import History, NodeControl
from fakes.pki import Pki, new_pki
from fakes.records import LAB, MAIL
from lab.cluster import program
from lab.errors import LabError
from lab.processes import TESTS
from staqraft.config.loader import load
from staqraft.model import NodeId, Position
from staqraft.replication.messages import from_position

T = TypeVar("T")
STAQRAFT_DATA: Final = program("staqraft-data", "staqraft.cli.data")
ASK_EVERY_S: Final = 0.005


@cache
def _pki(directory: Path) -> Pki:
    return new_pki(directory / "pki", LAB, ("a", "b"))


class StaqRaft(System):
    """The pair."""

    name = "staqraft"
    durable = True
    keeps_all = True

    def __init__(self, hosts: Hosts, job: Job) -> None:
        super().__init__(hosts, job)
        self._runner = asyncio.Runner()
        self.history = History()
        self._acknowledged_s = 0.0
        self._installed: list[NodeControl] = []
        self._processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def prepare(self) -> None:
        self.a, self.b = self.install(self.hosts.a), self.install(self.hosts.b)
        self.start(self.hosts.a)
        self.start(self.hosts.b)
        self.ask(self._both_answer())

    async def _both_answer(self) -> None:
        for node in (self.a, self.b):
            await node.status()
            await node.stream_status()

    def install(self, host: Host) -> NodeControl:
        """Its configuration and keys; what talks to it."""
        files = _pki(self.hosts.directory).node(host.name)
        rings = {
            n: {
                "role": "replica" if n != "w" else "witness",
                "rings": {"sync": f"{NETWORK}.{number}"},
            }
            for number, n in enumerate(("a", "b", "w"), start=1)
        }
        tree = {"path": str(host.tree), "profile": self.job.profile}
        # JSON is YAML, so nothing else is needed to write it.
        text = {
            "cluster": LAB,
            "node": host.name,
            "nodes": rings,
            "tls": {
                "ca": str(files.ca),
                "certificate": str(files.certificate),
                "key": str(files.key),
            },
            "groups": {MAIL: {"initial_active": "a", "trees": {"mail": tree}}},
            "state_dir": str(host.disk / "state"),
            "run_dir": str(self.hosts.directory / f"run-{host.name}"),
        }
        path = self.configuration(host)
        path.write_text(json.dumps(text))
        self._installed.append(self.ask(self._connect(path, host)))
        return self._installed[-1]

    async def _connect(self, path: Path, host: Host) -> NodeControl:
        return NodeControl(load(path, NodeId(host.name)))

    def configuration(self, host: Host) -> Path:
        """The file."""
        return self.hosts.directory / f"{host.name}.yaml"

    def start(self, host: Host, *processes: str) -> None:
        """Starts them as staqraftd would."""
        for process in processes or ("trees", "stream"):
            words = [process, "--config", str(self.configuration(host)), "--group", MAIL]
            place = {"PYTHONPATH": str(TESTS.parent)}
            started = host.start([*STAQRAFT_DATA, *words], env=place)
            self._processes[process, host.name] = started

    def kill(self, process: str, host: Host) -> None:
        """With SIGKILL."""
        self._processes[process, host.name].kill()
        self._processes[process, host.name].wait()

    def watch(self) -> None:
        """Only a runs, and captures."""
        self.a = self.install(self.hosts.a)
        self.start(self.hosts.a)
        self.ask(self.history.promote(self.a))
        self.ask(self.a.barrier())

    def copy(self) -> None:
        self.ask(self._copy())

    async def _copy(self) -> None:
        began, limit_s = time.monotonic(), self.job.limit_s
        await self.history.promote(self.a, self.b)
        position = await self.a.barrier(limit_s)
        await self.a.acknowledged(self.b.node, position, limit_s)
        self._acknowledged_s = time.monotonic() - began
        await self.applied(position)

    def more(self) -> list[Measured]:
        return [Measured(measure="acknowledged", value=self._acknowledged_s, unit="s")]

    async def apply_what_is_received(self) -> tuple[float, int]:
        """Starts b's trees process, which was killed, when b has received everything.

        Returns the seconds, and how many records it applied in them; its start is not counted.
        """
        position = await self.a.barrier(self.job.limit_s)
        await self.a.acknowledged(self.b.node, position, self.job.limit_s)
        self.start(self.hosts.b, "trees")
        await self.history.follow(self.b, self.a)
        began, first = await self._first_applied()
        await self.applied(position)
        return time.monotonic() - began, position.seq - first.seq

    async def _first_applied(self) -> tuple[float, Position]:
        """When something more was applied than at the start, and how far that was."""
        start = from_position((await self.b.status()).applied)
        deadline = time.monotonic() + self.job.limit_s
        while (now := from_position((await self.b.status()).applied)) == start:
            if time.monotonic() > deadline:
                raise LabError(f"b applies nothing: {self.hosts.b.said()}")
            await asyncio.sleep(ASK_EVERY_S)
        return time.monotonic(), now

    async def applied(self, position: Position) -> None:
        """Returns when b has applied it, durably. LabError when that takes too long."""
        deadline = time.monotonic() + self.job.limit_s
        status = await self.b.status()
        while status.needs_reconcile or from_position(status.applied) < position:
            if time.monotonic() > deadline:
                raise LabError(f"not applied in {self.job.limit_s:g} s: {status}")
            await asyncio.sleep(ASK_EVERY_S)
            status = await self.b.status()

    def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Runs it in the loop that the connections belong to. LabError when a process refuses."""
        try:
            return self._runner.run(question)
        except grpc.aio.AioRpcError as error:
            said = f"{error.code().name}: {error.details()}"
            logs = f"a: {self.hosts.a.said()}\nb: {self.hosts.b.said()}"
            raise LabError(f"{said}\n{logs}") from error

    def close(self) -> None:
        for node in self._installed:
            self.ask(node.close())
        self._runner.close()
