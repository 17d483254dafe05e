"""What was promised to the client: which mails, pages and lines count as acknowledged.

One counts when, after it arrived on a host, a barrier that was asked of *that* host's daemon was
reached in the epoch in which that daemon served before it was sent. Only this makes the barrier
speak of it: in between another node may have been active, and what was written here alone is in
quarantine.
"""

from __future__ import annotations

import json
import queue
import subprocess
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType

import grpc

from chaos.courier import TORN, Sent
from chaos.history import Op, Said
from lab.errors import LabError
from lab.lab import Lab
from lab.linux import boottime
from lab.processes import wait_until
from lab.views import View, Views, admin
from staqraft.wire.v1 import admin_pb2

BARRIER_MS = 2_000
EVERY_MS = 50
STOPS_WITHIN_S = 60.0
ACKNOWLEDGED_WITHIN_S = 60.0  # something, when all is well


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
    torn: list[Sent] = field(default_factory=list)  # pages that nobody wrote


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
        self._stopped = False
        self._executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="promises")
        self._works: dict[str, Future[None]] = {
            "reading what the courier says": self._executor.submit(self._read),
            "asking for barriers": self._executor.submit(self._acknowledge),
        }

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
        else:
            self._end()

    def check(self) -> None:
        """LabError if nothing is sent, or nothing acknowledged, any more."""
        for what, work in self._works.items():
            if work.done() and (error := work.exception()) is not None:
                raise LabError(f"{what} has ended: {error!r}") from error
        if (code := self._courier.poll()) is not None:
            raise LabError(f"the courier ended with {code}: see tools.log of the lab")

    def wait_acknowledged(self, within_s: float = ACKNOWLEDGED_WITHIN_S) -> None:
        """Until something more is acknowledged. LabError if nothing is."""
        before = len(self.kept.receipts)

        def more() -> bool:
            self.check()
            return len(self.kept.receipts) > before

        wait_until(
            more, within_s, "a mail, page or line of the client is acknowledged", every_s=0.05
        )

    def stop(self) -> None:
        """After what is under way. LabError if not all of it went on until now."""
        if not self._stopped:
            try:
                self.check()
            finally:
                self._end()
            for what, work in self._works.items():
                if not work.done():
                    raise LabError(f"{what} does not end")
                if (error := work.exception()) is not None:
                    raise LabError(f"{what} has ended: {error!r}") from error

    def _end(self) -> None:
        self._stopped = True
        if self._courier.stdin is not None and not self._courier.stdin.closed:
            self._courier.stdin.close()
        try:
            self._courier.wait(timeout=STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._courier.kill()
            self._courier.wait(timeout=STOPS_WITHIN_S)
        wait(self._works.values(), timeout=STOPS_WITHIN_S)
        self._executor.shutdown(wait=False)
        if self._courier.stdout is not None:
            self._courier.stdout.close()

    def _read(self) -> None:
        assert self._courier.stdout is not None
        try:
            for line in self._courier.stdout:
                if line == "ready\n":
                    continue
                sent = Sent(**json.loads(line))
                if sent.error.startswith(TORN):
                    self.kept.torn.append(sent)
                elif sent.error:
                    self.kept.failures[f"{sent.kind}: {sent.error}"] += 1
                else:
                    self.kept.arrived.append(sent)
                    self._waiting.put(sent)
        finally:
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
