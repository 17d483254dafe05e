"""What was promised to the client: which mails and pages count as acknowledged.

One counts when, after it arrived on a host, a barrier that was asked of *that* host's daemon was
reached in the epoch in which that daemon served before it was sent. Only this makes the barrier
speak of it: in between another node may have been active, and what was written here alone is in
quarantine.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType

import grpc

from chaos.courier import Sent
from chaos.history import Op, Said
from lab.errors import LabError
from lab.lab import Lab
from lab.linux import boottime
from lab.views import View, Views, admin
from staqraft.wire.v1 import admin_pb2

BARRIER_MS = 2_000
EVERY_MS = 50
STOPS_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Something acknowledged; `at` is when the barrier was asked."""

    sent: Sent
    epoch: int
    at: float

    def __str__(self) -> str:
        return (
            f"{self.sent.kind} {self.sent.place} (number {self.sent.number}), written on"
            f" {self.sent.host} in epoch {self.epoch}, acknowledged at {self.at:.3f}"
        )


@dataclass(slots=True)
class Kept:
    """All that arrived, and what of it was acknowledged."""

    arrived: list[Sent] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    barriers: list[Op] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


def epoch_before(views: Iterable[View], instant: float) -> int:
    """In which epoch a node served, by its last word before an instant; 0: it did not."""
    before = [view for view in views if view.ended <= instant]
    return before[-1].epoch if before and before[-1].serves else 0


class Promises(AbstractContextManager["Promises"]):
    """The courier in the client's host, and barriers for what it brought; ends with `stop`."""

    def __init__(self, lab: Lab, views: Views) -> None:
        self._lab = lab
        self._views = views
        self.kept = Kept()
        self._waiting: queue.SimpleQueue[Sent | None] = queue.SimpleQueue()
        self._courier: subprocess.Popen[str] = lab.popen(
            "client", lab.module("courier", "--interval-ms", str(EVERY_MS), package="chaos")
        )
        self._threads = [
            threading.Thread(target=work, name=work.__name__, daemon=True)
            for work in (self._read, self._acknowledge)
        ]
        for thread in self._threads:
            thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """After what is under way."""
        if self._courier.stdin is not None and not self._courier.stdin.closed:
            self._courier.stdin.close()
        for thread in self._threads:
            thread.join(timeout=STOPS_WITHIN_S)
        self._courier.wait(timeout=STOPS_WITHIN_S)
        if self._courier.stdout is not None:
            self._courier.stdout.close()

    def _read(self) -> None:
        assert self._courier.stdout is not None
        for line in self._courier.stdout:
            if line == "ready\n":
                continue
            sent = Sent(**json.loads(line))
            if sent.error:
                self.kept.failures[f"{sent.kind}: {sent.error}"] += 1
            else:
                self.kept.arrived.append(sent)
                self._waiting.put(sent)
        self._waiting.put(None)

    def _acknowledge(self) -> None:
        while (first := self._waiting.get()) is not None:
            together = [first]
            while not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    self._waiting.put(None)
                    break
                together.append(more)
            for host in sorted({sent.host for sent in together}):
                self._ask(host, [sent for sent in together if sent.host == host])

    def _ask(self, host: str, sent: list[Sent]) -> None:
        begun = boottime()
        try:
            with admin(self._lab, host) as daemon:
                reached = daemon.Barrier(
                    admin_pb2.BarrierRequest(timeout_ms=BARRIER_MS), timeout=2 * BARRIER_MS / 1000
                )
        except LabError:
            self.kept.failures["barrier: the host has no power"] += len(sent)
            return
        except grpc.RpcError as error:
            self.kept.failures[f"barrier: {error.code().name}"] += len(sent)
            return
        epoch = int(reached.position.epoch)
        self.kept.barriers.append(
            Op(
                said=Said.CLAIM,
                node=host,
                active=host,
                epoch=epoch,
                begun=begun,
                ended=boottime(),
                how="barrier",
            )
        )
        views = list(self._views.histories[host].views[-200:])
        for each in sent:
            if epoch_before(views, each.begun) == epoch:
                self.kept.receipts.append(Receipt(sent=each, epoch=epoch, at=begun))
            else:
                self.kept.failures["barrier: of another epoch"] += 1
