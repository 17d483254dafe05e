"""Delivers mails all the time, and remembers which of them were acknowledged.

A mail counts as acknowledged when, after its delivery on the active, a barrier that was asked of
*that* daemon was reached in the epoch in which that daemon served when the delivery began. Only
this makes the barrier speak of this mail: in between another node may have been active, and what
was written here alone is in quarantine. Real services are stopped then and need not look.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc

from chaos.history import Op, Said
from lab.errors import LabError
from lab.lab import Lab
from lab.linux import boottime
from lab.views import View, Views, admin
from lab.workload import MAIL, USERS, deliver
from staqraft.wire.v1 import admin_pb2

EVERY_S = 0.05
BARRIER_MS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """An acknowledged mail."""

    box: str
    unique: str
    digest: str
    host: str
    epoch: int
    at: float  # when the barrier was asked, CLOCK_BOOTTIME

    def __str__(self) -> str:
        return (
            f"{self.box}/new/{self.unique}, delivered on {self.host} in epoch {self.epoch},"
            f" acknowledged at {self.at:.3f}"
        )


def text(number: int) -> bytes:
    """Every mail is another."""
    head = f"From: chaos@example.net\nSubject: number {number}\n\n"
    return head.encode() + hashlib.blake2b(str(number).encode()).hexdigest().encode() * (
        1 + number % 40
    )


class Postman(AbstractContextManager["Postman"]):
    """A thread that delivers until the end; `receipts` and `barriers` are what was promised."""

    def __init__(self, lab: Lab, views: Views) -> None:
        self._lab = lab
        self._views = views
        self._over = threading.Event()
        self.receipts: list[Receipt] = []
        self.barriers: list[Op] = []
        self.failures: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="postman", daemon=True)
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """After the mail that is under way."""
        self._over.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        number = 0
        while not self._over.wait(EVERY_S):
            host = self._views.serving()
            view = self._views.latest[host] if host is not None else None
            if view is None:
                continue
            number += 1
            try:
                self._deliver(number, view)
            except OSError as error:  # the host's disk went with its power
                self.failures[f"delivery: {error.strerror}"] += 1
            except LabError:
                self.failures["barrier: the host has no power"] += 1
            except grpc.RpcError as error:
                self.failures[f"barrier: {error.code().name}"] += 1

    def _deliver(self, number: int, view: View) -> None:
        pid = self._lab.pid_of_init(view.node)
        if pid is None:
            return
        box, unique, content = USERS[number % len(USERS)], f"{number:07}.chaos.lab", text(number)
        deliver(Path(f"/proc/{pid}/root{MAIL}/{box}"), unique, content)
        begun = boottime()
        with admin(self._lab, view.node) as daemon:
            reached = daemon.Barrier(
                admin_pb2.BarrierRequest(timeout_ms=BARRIER_MS), timeout=2 * BARRIER_MS / 1000
            )
        if reached.position.epoch != view.epoch:
            self.failures["barrier: of another epoch"] += 1
            return
        self.barriers.append(
            Op(
                said=Said.CLAIM,
                node=view.node,
                active=view.node,
                epoch=view.epoch,
                begun=begun,
                ended=boottime(),
                how="barrier",
            )
        )
        self.receipts.append(
            Receipt(
                box=box,
                unique=unique,
                digest=_digest(content),
                host=view.node,
                epoch=view.epoch,
                at=begun,
            )
        )


def lost(receipts: list[Receipt], root: Path) -> list[Receipt]:
    """Acknowledged mails that are not, as they were written, below this host's root."""
    return [receipt for receipt in receipts if not _is_there(receipt, root)]


def _is_there(receipt: Receipt, root: Path) -> bool:
    try:
        content = Path(f"{root}{MAIL}/{receipt.box}/new/{receipt.unique}").read_bytes()
    except FileNotFoundError:
        return False
    return _digest(content) == receipt.digest


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
