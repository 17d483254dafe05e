"""The history that the replicas share, as far as Raft knows it (PURE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from staqraft.model import ORIGIN, Epoch, EpochStart, Position


@dataclass(frozen=True, slots=True)
class SharedHistory:
    """Which positions every replica agrees on: an epoch's records up to the next epoch's start."""

    ends: tuple[tuple[Epoch, int | None], ...]  # epoch, seq of the first record that is not of it

    @classmethod
    def of(cls, starts: Sequence[EpochStart]) -> Self:
        """From the epoch starts that Raft keeps."""
        ordered = sorted(starts, key=lambda start: start.epoch)
        ends: list[tuple[Epoch, int | None]] = [(a.epoch, b.seq) for a, b in pairwise(ordered)]
        ends += [(start.epoch, None) for start in ordered[-1:]]
        return cls(tuple(ends))

    def has(self, position: Position) -> bool:
        """Whether the record at `position` belongs to it; `ORIGIN` is no record."""
        if position == ORIGIN:
            return False
        return any(
            epoch == position.epoch and (end is None or position.seq < end)
            for epoch, end in self.ends
        )
