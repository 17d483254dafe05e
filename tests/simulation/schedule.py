"""Virtual time: what is to happen, in the order of its instants."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]

MS = 1_000
S = 1_000_000


class Schedule:
    """True time in microseconds, and the queue of what happens."""

    def __init__(self) -> None:
        self.now = 0
        self.events = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._order = 0

    def after(self, delay_us: int, action: Action) -> None:
        """`action` happens in so many microseconds; things of one instant in the order given."""
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay_us, self._order, action))

    def run_until(self, end_us: int) -> None:
        """Lets everything happen up to that instant."""
        queue = self._queue
        while queue and queue[0][0] <= end_us:
            self.now, _, action = heapq.heappop(queue)
            self.events += 1
            action()
        self.now = end_us
