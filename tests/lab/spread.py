"""Percentiles of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How values are distributed. A percentile is a value that was measured (nearest rank)."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError when there are none."""
        if not values:
            raise ValueError("nothing was measured")
        ordered = sorted(values)

        def rank(percent: int) -> float:
            return ordered[math.ceil(percent * len(ordered) / 100) - 1]

        return cls(count=len(ordered), p50=rank(50), p90=rank(90), p99=rank(99), max=ordered[-1])

    def rounded(self, digits: int) -> dict[str, float]:
        """For JSON."""
        return {name: round(value, digits) for name, value in asdict(self).items()}
