"""Applications: they write where the services run, and ask for barriers. Checks nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from simulation.barriers import Barrier
from simulation.schedule import MS
from staqraft.model import DataRole, Epoch, Position

if TYPE_CHECKING:
    import random

    from simulation.host import Host
    from simulation.schedule import Schedule

Promised = Callable[["Host", Position, Epoch, int, Sequence[int]], None]


class Workload:
    """Writes and barriers on every replica whose services run, zombies included."""

    def __init__(
        self,
        schedule: Schedule,
        rng: random.Random,
        hosts: Sequence[Host],
        promised: Promised,
        *,
        write_ms: int,
        barrier_ms: int,
    ) -> None:
        self.running = True
        self.written = 0
        self._schedule = schedule
        self._rng = rng
        self._hosts = hosts
        self._promised = promised
        self._write_us = write_ms * MS
        self._barrier_us = barrier_ms * MS
        self._again(self._write_us, self._write)
        self._again(self._barrier_us, self._barrier)

    def _again(self, mean_us: int, action: Callable[[], None]) -> None:
        self._schedule.after(int(mean_us * (0.3 + 1.4 * self._rng.random())), action)

    def _write(self) -> None:
        self._again(self._write_us, self._write)
        if not self.running:
            return
        for host in self._hosts:
            if host.services.running and host.worker is not None:
                self.written += 1
                host.worker.write(self.written)

    def _barrier(self) -> None:
        self._again(self._barrier_us, self._barrier)
        for host in self._hosts:
            daemon, worker = host.daemon, host.worker
            if daemon is None or worker is None or daemon.process.stopped:
                continue
            if worker.role is not DataRole.ACTIVE:
                continue
            # What the application wrote before the call is what it is promised.
            written = host.journal.records[-400:]
            Barrier(
                daemon,
                worker,
                lambda at, epoch, asked_us, h=host, w=written: self._promised(  # type: ignore[misc]
                    h, at, epoch, asked_us, [number for _, number in w]
                ),
            )
