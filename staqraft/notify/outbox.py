"""What one receiver has still to be told, and when (PURE)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from staqraft.notify.message import Message, Severity

MOST_WAITING = 500
_HOUR_MS = 3_600_000
_FIRST_RETRY_MS = 5_000
_LAST_RETRY_MS = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many messages have not arrived: wait, are beyond the hour's limit, were given up."""

    waiting: int
    held_back: int
    dropped: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    message: Message
    since_ms: int


class Outbox:
    """A queue with a limit per hour. Clocks are in milliseconds and never go back."""

    def __init__(self, *, severity: Severity, most_per_hour: int, retry_for_ms: int) -> None:
        self._severity = severity
        self._most_per_hour = most_per_hour
        self._retry_for_ms = retry_for_ms
        self._waiting: deque[_Waiting] = deque()
        self._sent_ms: deque[int] = deque()
        self._failures = 0
        self._not_before_ms = 0
        self._withheld: list[Message] = []  # the worst of those that were too many, and how many
        self._withheld_count = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting) + (1 if self._withheld else 0)

    @property
    def backlog(self) -> Backlog:
        """What is held back becomes one message of the next hour, and waits if that fails."""
        late = 1 if self._withheld and self._failures else 0
        return Backlog(
            waiting=len(self._waiting) + late,
            held_back=self._withheld_count,
            dropped=self.dropped,
        )

    def put(self, message: Message, now_ms: int) -> None:
        """Queues what is bad enough for this receiver. The oldest goes when there are too many."""
        if message.severity < self._severity:
            return
        if len(self._waiting) >= MOST_WAITING:
            del self._waiting[1]  # the first may be under way, and is taken out when it arrived
            self.dropped += 1
        self._waiting.append(_Waiting(message, now_ms))

    def next(self, now_ms: int) -> Message | None:
        """What is to be sent now; stays until `sent` or `failed` is said of it."""
        self._expire(now_ms)
        if now_ms < self._not_before_ms or not len(self):
            return None
        while self._sent_ms and self._sent_ms[0] <= now_ms - _HOUR_MS:
            self._sent_ms.popleft()
        if len(self._sent_ms) >= self._most_per_hour:
            self._withhold()
            return None
        if self._withheld:
            return self._summary()
        return self._waiting[0].message

    def sent(self, now_ms: int) -> None:
        """What `next` gave has arrived."""
        self._sent_ms.append(now_ms)
        self._failures = 0
        self._not_before_ms = 0
        if self._withheld:
            self._withheld, self._withheld_count = [], 0
        else:
            self._waiting.popleft()

    def failed(self, now_ms: int) -> int:
        """What `next` gave has not arrived; after how many ms it is tried again."""
        pause_ms = min(_FIRST_RETRY_MS << min(self._failures, 10), _LAST_RETRY_MS)
        self._failures += 1
        self._not_before_ms = now_ms + pause_ms
        return pause_ms

    def wake_ms(self, now_ms: int) -> int | None:
        """When `next` is worth asking again; None: when something was put."""
        if not len(self):
            return None
        if len(self._sent_ms) >= self._most_per_hour:
            return max(self._sent_ms[0] + _HOUR_MS, now_ms + 1)
        return max(self._not_before_ms, now_ms)

    # --- within ---------------------------------------------------------------------------------

    def _expire(self, now_ms: int) -> None:
        while self._waiting and now_ms - self._waiting[0].since_ms > self._retry_for_ms:
            self._waiting.popleft()
            self.dropped += 1

    def _withhold(self) -> None:
        """The hour's limit is reached: what waits becomes one message of the next."""
        messages = [waiting.message for waiting in self._waiting]
        self._withheld_count += len(messages)
        self._waiting.clear()
        # `max` takes the first of equals: with the newest first, the newest of the worst.
        worst = max([*reversed(messages), *self._withheld], key=lambda m: m.severity, default=None)
        self._withheld = [worst] if worst is not None else []

    def _summary(self) -> Message:
        (worst,) = self._withheld
        others = self._withheld_count - 1
        if not others:
            return worst
        text = (
            f"{worst.text} (and {others} more messages, which 'most_per_hour' held back:"
            " see 'staqctl events')"
        )
        return replace(worst, text=text)
