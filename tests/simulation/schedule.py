"""Virtual time: what is to happen, in the order of its instants."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

Action = Callable[[], None]

MS = 1_000
S = 1_000_000


class Owner(Protocol):
    """Whose action it is: a process that may be stopped or gone when the instant comes."""

    runs: bool

    def do(self, action: Action) -> None:
        """Now, or as soon as it runs again, or never."""


class Schedule:
    """True time in microseconds, and the queue of what happens."""

    def __init__(self) -> None:
        self.now = 0
        self.events = 0
        self._queue: list[tuple[int, int, Action, Owner | None]] = []
        self._order = 0

    def after(self, delay_us: int, action: Action, owner: Owner | None = None) -> None:
        """`action` happens in so many microseconds; things of one instant in the order given."""
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay_us, self._order, action, owner))

    def run_until(self, end_us: int) -> None:
        """Lets everything happen up to that instant."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= end_us:
            self.now, _, action, owner = pop(queue)
            self.events += 1
            if owner is None or owner.runs:
                action()
            else:
                owner.do(action)
        self.now = end_us
