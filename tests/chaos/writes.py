"""Whether each write that a client was told of can have been made by who had the right (PURE).

A write names no epoch. So it is legal if there is an epoch of the host that took it which was
neither over before the write began nor not yet there when it ended: at least as new as whatever had
been spoken of before it, and not newer than anything that was claimed after it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

from chaos.courier import Sent
from chaos.history import Op, Said, Violation


def foreign(ops: Iterable[Op], writes: Iterable[Sent]) -> list[Violation]:
    """Writes that a host took in the reign of another, in the order of time."""
    history = list(ops)
    owners = {op.epoch: op.active for op in history if op.active}
    told = sorted((op.ended, op.epoch) for op in history)
    newest = list(accumulate((epoch for _, epoch in told), max))
    said = sorted((op.begun, op.epoch) for op in history if op.said is not Said.KNOWS)
    oldest = list(accumulate((epoch for _, epoch in reversed(said)), min))[::-1]
    last = max((op.epoch for op in history), default=0)

    def epochs(write: Sent) -> range:
        before = bisect_left(told, (write.begun, 0))
        after = bisect_right(said, (write.ended, last + 1))
        least = newest[before - 1] if before else 0
        most = oldest[after] if after < len(said) else last
        return range(least, most + 1)

    return [
        Violation(
            at=write.begun,
            text=f"{write.host} took {write.kind} number {write.number} in the reign of another:"
            f" at {write.begun:.3f}..{write.ended:.3f} the epoch was {_span(epochs(write))}",
        )
        for write in sorted(writes, key=lambda write: write.begun)
        if not any(owners.get(epoch, write.host) == write.host for epoch in epochs(write))
    ]


def _span(epochs: range) -> str:
    return str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
