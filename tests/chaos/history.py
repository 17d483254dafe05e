"""Whether a recorded history of epochs could have been right (PURE).

What members said is not exact: a view was taken at some instant between `begun` and `ended`. The
right to be active is a register that is handed on: epoch n belongs to one node, and when epoch n+1
was granted, n was over. So a history is right if each claim can be put at one instant of its span
such that epochs never decrease. For a register that only grows this holds exactly if no claim
begins after something newer had been said (Herlihy and Wing, Linearizability, 1990).

Three things are said: a node *claims* an epoch (it holds a lease or the address in it, or answered
a barrier in it); a *change* to an epoch was reported as completed; a node *knows* an epoch, which
is a local read, may be old, and proves only that the epoch had been granted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Said(Enum):
    """What kind of thing was said."""

    CLAIM = "claims"
    CHANGE = "was made active in"
    KNOWS = "knows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Something said about an epoch, true at some instant from `begun` to `ended` (seconds).

    `active` is whose the epoch is by this word; "" if it says nothing of that, or nobody's any
    more. `life` is one run of a daemon, within which its knowledge only grows.
    """

    said: Said
    node: str
    epoch: int
    begun: float
    ended: float
    active: str = ""
    life: int = 0
    how: str = ""

    def __str__(self) -> str:
        whose = f" ({self.active}'s)" if self.active and self.active != self.node else ""
        how = f", {self.how}" if self.how else ""
        span = f"{self.begun:.3f}..{self.ended:.3f}"
        return f"{self.node} {self.said.value} epoch {self.epoch}{whose}{how} at {span}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What cannot be, and the instant (seconds) around which to look for its cause."""

    at: float
    text: str


def violations(ops: Iterable[Op]) -> list[Violation]:
    """Everything that no right history can contain, in the order of time."""
    history = sorted(ops, key=lambda op: op.begun)
    found = [*_shared(history), *_foreign(history), *_reversed(history), *_forgotten(history)]
    return sorted(found, key=lambda violation: violation.at)


def _shared(history: list[Op]) -> Iterator[Violation]:
    """An epoch belongs to one node."""
    owners: dict[int, Op] = {}
    for op in history:
        if not op.active:
            continue
        first = owners.setdefault(op.epoch, op)
        if first.active != op.active:
            yield Violation(at=op.begun, text=f"one epoch has two owners: {first}; {op}")


def _foreign(history: list[Op]) -> Iterator[Violation]:
    """Nobody claims what is another's."""
    for op in history:
        if op.said is Said.CLAIM and op.active and op.active != op.node:
            yield Violation(at=op.begun, text=f"a node claims another's epoch: {op}")


def _reversed(history: list[Op]) -> Iterator[Violation]:
    """No claim or change begins after a newer epoch had been spoken of."""
    over = sorted(history, key=lambda op: op.ended)
    newest: Op | None = None
    done = 0
    for op in history:
        while done < len(over) and over[done].ended < op.begun:
            if newest is None or over[done].epoch > newest.epoch:
                newest = over[done]
            done += 1
        if op.said is not Said.KNOWS and newest is not None and op.epoch < newest.epoch:
            yield Violation(at=op.begun, text=f"an old epoch is used: {newest}; then {op}")


def _forgotten(history: list[Op]) -> Iterator[Violation]:
    """What a daemon knows only grows while it lives."""
    last: dict[tuple[str, int], Op] = {}
    for op in history:
        if op.said is not Said.KNOWS:
            continue
        before = last.get((op.node, op.life))
        if before is not None and op.epoch < before.epoch:
            yield Violation(at=op.begun, text=f"a daemon forgot an epoch: {before}; then {op}")
        last[op.node, op.life] = op
