"""The one thread that ticks every Raft member of this process.

Where there are many, those that are due together are ticked side by side: each waits for the disk
to sync its own log, and a file system syncs many for little more than the price of one. A member is
never ticked twice at the same time.

A member is ticked when it wished to be, or when it is woken (a message, a proposal), whichever is
first; an idle member wishes seldom, so an idle process sleeps. Members are staggered, and an
exception in one is logged and does not stop another. A tick that comes late by more than the member
allows is counted and logged: elections that nobody understands usually begin there.
"""

from __future__ import annotations

import bisect
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

logger = logging.getLogger(__name__)

LATENESS_S: Final = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
_LOG_LATE_EVERY_S: Final = 10.0


class Ticked(Protocol):
    """What is ticked."""

    @property
    def name(self) -> str:
        """For the log."""

    def tick(self) -> float:
        """One step, on the ticker's thread; in how many seconds the next one is due."""


@dataclass(slots=True)
class _Slot:
    member: Ticked
    shortest_s: float
    late_s: float
    due: float
    late: int = 0
    said_late_at: float = float("-inf")
    failed: str = ""


class RaftTicker:
    """Runs a thread while it has members. `clock` gives seconds that never go back."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        together_s: float = 0.0,
        at_once: int = 1,
    ) -> None:
        """For many members: `together_s` is a pause after each tick, so that their work comes in
        one go, and `at_once` how many of them may wait for the disk side by side.
        """
        self._clock = clock
        self._together_s = together_s
        self._at_once = at_once
        self._condition = threading.Condition()
        self._slots: dict[int, _Slot] = {}
        self._woken: set[int] = set()
        self._busy: set[int] = set()
        self._thread: threading.Thread | None = None
        self._looks_at = float("inf")  # when the thread wakes up by itself
        self._lateness = [0] * (len(LATENESS_S) + 1)

    def add(self, member: Ticked, *, shortest_s: float, late_s: float) -> None:
        """Ticks `member` from now on, unless woken at least `shortest_s` apart.

        A tick that comes more than `late_s` after it was due counts as late.
        """
        with self._condition:
            place = len(self._slots)
            due = self._clock() + shortest_s * (place % 8) / 8
            self._slots[id(member)] = _Slot(member, shortest_s, late_s, due)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def remove(self, member: Ticked) -> None:
        """Returns when `member` is not being ticked and will not be again."""
        key = id(member)
        with self._condition:
            self._slots.pop(key, None)
            self._woken.discard(key)
            self._condition.notify_all()
            self._condition.wait_for(lambda: key not in self._busy)
            thread = self._thread if not self._slots else None
        if thread is not None:
            thread.join()

    def wake(self, member: Ticked, *, within_s: float = 0.0) -> None:
        """Ticks `member` at once, or `within_s` from now at the latest. From any thread."""
        with self._condition:
            slot = self._slots.get(id(member))
            if slot is None:
                return
            if within_s > 0:
                slot.due = min(slot.due, self._clock() + within_s)
                if slot.due >= self._looks_at:
                    return  # the thread is up by then
            else:
                self._woken.add(id(member))
            self._condition.notify_all()

    def late_ticks(self, member: Ticked) -> int:
        """How many ticks of `member` came late."""
        slot = self._slots.get(id(member))
        return slot.late if slot is not None else 0

    @property
    def lateness(self) -> tuple[int, ...]:
        """How many ticks of all members came late by up to each of `LATENESS_S`, and by more."""
        return tuple(self._lateness)

    def _run(self) -> None:
        disk = ThreadPoolExecutor(self._at_once, "raft-disk") if self._at_once > 1 else None
        with disk or contextlib.nullcontext() as pool:
            while (batch := self._next()) is not None:
                if pool is None or len(batch) == 1:
                    for key, slot in batch:
                        self._tick_if_wanted(key, slot)
                else:
                    list(pool.map(self._tick_if_wanted, *zip(*batch, strict=True)))
                if self._together_s:
                    time.sleep(self._together_s)

    def _tick_if_wanted(self, key: int, slot: _Slot) -> None:
        with self._condition:
            if key not in self._slots:
                return
            self._busy.add(key)
        self._tick(slot)
        with self._condition:
            self._busy.discard(key)
            if not self._slots or key not in self._slots:
                self._condition.notify_all()

    def _next(self) -> list[tuple[int, _Slot]] | None:
        """Waits; who is to be ticked now, or None when there is nobody left."""
        with self._condition:
            while self._slots:
                now = self._clock()
                batch = [
                    (key, slot)
                    for key, slot in self._slots.items()
                    if key in self._woken or slot.due <= now
                ]
                if batch:
                    self._woken.clear()
                    return batch
                self._looks_at = min(slot.due for slot in self._slots.values())
                self._condition.wait(self._looks_at - now)
            self._thread = None
            return None

    def _tick(self, slot: _Slot) -> None:
        now = self._clock()
        behind = now - slot.due
        with self._condition:
            self._lateness[bisect.bisect_left(LATENESS_S, behind)] += 1
        if behind > slot.late_s:
            slot.late += 1
            if now - slot.said_late_at > _LOG_LATE_EVERY_S:
                slot.said_late_at = now
                logger.warning(
                    "the Raft tick of %s came %d ms late (%d late so far): the machine or its disk"
                    " is overloaded, and elections may follow",
                    slot.member.name,
                    behind * 1000,
                    slot.late,
                )
        wish_s = slot.shortest_s
        try:
            wish_s = slot.member.tick()
            slot.failed = ""
        except Exception as error:
            if str(error) != slot.failed:
                logger.exception("the Raft tick of %s failed", slot.member.name)
            slot.failed = str(error)
        slot.due = self._clock() + max(wish_s, slot.shortest_s)
