"""The bookkeeping of one session, at both ends (PURE): window, acknowledgements, order, epochs.

What the other side may not say is returned as a Violation with the refusal that it deserves;
nothing here raises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from staqraft.model import Epoch, EpochStart, Position
from staqraft.replication.plan import RefusalKind, on_history

HEARTBEAT_MS = 200
BATCH_BYTES = 256 << 10
CATCH_UP_BYTES = 1 << 20
WINDOW_RECORDS = 65_536
MAX_BATCH_BYTES = 20 << 20  # one frame of the largest size fits


@dataclass(frozen=True, slots=True)
class Violation:
    """What the other side did wrong."""

    kind: RefusalKind
    reason: str


@dataclass(frozen=True, slots=True)
class _Sent:
    last: Position
    records: int
    raw_bytes: int


class SendWindow:
    """The active's end: what is on its way, and how much more may follow.

    `streaming` means that the standby keeps up: it has had everything at some time since the window
    was last full.
    """

    def __init__(self, *, after: Position, window_bytes: int) -> None:
        self.sent = after
        self.durable = after
        self.applied = Position()
        self.streaming = False
        self._window_bytes = window_bytes
        self._on_the_way: deque[_Sent] = deque()
        self._bytes = 0
        self._records = 0
        self._filled = False

    @property
    def full(self) -> bool:
        """Nothing more may be sent before an acknowledgement."""
        return self._bytes >= self._window_bytes or self._records >= WINDOW_RECORDS

    @property
    def budget(self) -> int:
        """How many bytes the next batch may have: larger ones when it is behind; 0: wait."""
        if self.full:
            return 0
        return CATCH_UP_BYTES if self._filled else BATCH_BYTES

    def nothing_to_send(self) -> None:
        """The journal's end was reached."""
        self._filled = False
        if self.durable == self.sent:
            self.streaming = True

    def on_sent(self, *, last: Position, records: int, raw_bytes: int) -> None:
        """A batch was handed to the connection."""
        self._filled = raw_bytes >= BATCH_BYTES - BATCH_BYTES // 8
        self._on_the_way.append(_Sent(last, records, raw_bytes))
        self._bytes += raw_bytes
        self._records += records
        self.sent = last
        if self.full:
            self.streaming = False

    def on_ack(self, *, durable: Position, applied: Position) -> Violation | None:
        """The standby said what it has."""
        if durable < self.durable or durable > self.sent:
            return Violation(
                RefusalKind.BAD_FRAME,
                f"it acknowledged {durable}, but had {self.durable} and was sent up to {self.sent}",
            )
        self.durable, self.applied = durable, applied
        while self._on_the_way and self._on_the_way[0].last <= durable:
            done = self._on_the_way.popleft()
            self._bytes -= done.raw_bytes
            self._records -= done.records
        if not self._filled and durable == self.sent:
            self.streaming = True
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHead:
    """What a batch says of itself, before its frames are looked at."""

    first: Position
    last: Position
    records: int
    raw_bytes: int


class ReceiveOrder:
    """The standby's end: each batch must follow the one before, on the history of the session."""

    def __init__(
        self, *, epoch: Epoch, epoch_starts: Sequence[EpochStart], after: Position
    ) -> None:
        self.epoch = epoch
        self.expected_after = after
        self.offered = after
        self._starts = tuple(epoch_starts)

    def on_batch(self, head: BatchHead) -> Violation | None:
        """Checks the head; the frames themselves are checked by the journal."""
        before, first, last = self.expected_after, head.first, head.last
        if max(first.epoch, last.epoch) > self.epoch:
            return _bad(f"record {last} is newer than the session's epoch {self.epoch}")
        if first.seq != before.seq + 1 or first.epoch < before.epoch:
            return _bad(f"record {first} cannot follow {before}")
        if last < first or last.seq - first.seq + 1 != head.records:
            return _bad(f"{first} to {last} are not {head.records} records")
        if not 0 < head.raw_bytes <= MAX_BATCH_BYTES:
            return _bad(f"a batch cannot have {head.raw_bytes} bytes")
        for position in (first, last):
            if not on_history(position, self._starts):
                return Violation(
                    RefusalKind.STALE_EPOCH, f"record {position} is of a history that was given up"
                )
        self.expected_after = last
        self.offered = max(self.offered, last)
        return None

    def on_heartbeat(self, epoch: Epoch, last: Position) -> Violation | None:
        """The active is alive and says what it has."""
        if epoch != self.epoch:
            return Violation(
                RefusalKind.STALE_EPOCH,
                f"a message of epoch {epoch} came in a session of epoch {self.epoch}",
            )
        self.offered = max(self.offered, last)
        return None


def _bad(reason: str) -> Violation:
    return Violation(RefusalKind.BAD_FRAME, reason)
