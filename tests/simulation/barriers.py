"""An application's barrier: the waiting of `staqraft.daemon.barriers` in virtual time.

For what it waits, and when it may be answered, is the product's (`staqraft.decision.barrier`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from simulation.daemon import Answer, Daemon
from simulation.schedule import MS
from simulation.worker import Worker
from staqraft.decision import barrier
from staqraft.decision.barrier import Verdict
from staqraft.model import Epoch, NodeId, Position, ReadBarrier

_LIMIT_MS: Final = 5000
_TOLD_US: Final = 300  # the data worker tells the control process of an acknowledgement

Reached = Callable[[Position, Epoch, int], None]  # with its epoch, and when it was asked for


def confirm_with_raft(daemon: Daemon, answer: Callable[[Answer], None]) -> None:
    """A linearizable read: this node's record is current."""
    daemon.propose(ReadBarrier(node=daemon.me), answer)


class Barrier:
    """One call. `reached` is called if it is acknowledged to the application."""

    def __init__(self, daemon: Daemon, worker: Worker, reached: Reached) -> None:
        self._daemon = daemon
        self._worker = worker
        self._reached = reached
        self._epoch = barrier.active_epoch(daemon.core)
        self._position: Position | None = None
        self._confirmed: frozenset[NodeId] = frozenset()
        self._asked_us = daemon.true_now_us
        self._deadline_ms = daemon.clock.boot_ms() + _LIMIT_MS
        self._asked_raft = False
        self._told_of_change = False  # it is going to be
        self._told_of_ack = False
        if self._epoch is not None:
            daemon.process.after(2 * MS, self._begin)

    def _begin(self) -> None:
        if self._worker.process.alive and not self._worker.process.stopped:
            self._position = self._worker.barrier()
        if self._position is not None:
            self._wait()

    def _wait(self) -> None:
        """Until everybody who must has acknowledged the position."""
        if self._asked_raft:
            return
        assert self._position is not None
        if self._worker.acknowledged(self._position):
            self._confirmed |= frozenset(self._daemon.core.settings.peers)
        if not barrier.missing(self._daemon.core, self._confirmed):
            self._asked_raft = True
            confirm_with_raft(self._daemon, self._raft_said)
        elif self._daemon.clock.boot_ms() < self._deadline_ms and self._worker.process.alive:
            self._wait_for_news()

    def _wait_for_news(self) -> None:
        if not self._told_of_change:
            self._told_of_change = True
            self._daemon.on_change.append(self._changed)
        if not self._told_of_ack:
            self._told_of_ack = True
            self._worker.on_ack.append(self._acknowledged)

    def _changed(self) -> None:
        self._told_of_change = False
        self._wait()

    def _acknowledged(self) -> None:
        self._told_of_ack = False
        self._daemon.process.after(_TOLD_US, self._wait)

    def _raft_said(self, answer: Answer) -> None:
        if isinstance(answer, str):
            return
        assert self._position is not None
        assert self._epoch is not None
        match barrier.verdict(self._daemon.core, self._epoch, self._confirmed):
            case Verdict.REACHED:
                self._reached(self._position, self._epoch, self._asked_us)
            case Verdict.WAIT:
                self._asked_raft = False
                self._wait()
            case Verdict.VOID:
                pass
