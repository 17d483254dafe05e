"""What a run gives (PURE)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What has been used since the hosts were built."""

    wire_bytes: int  # over the cable, both directions
    processor_s: float  # of everything that runs in both hosts

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            wire_bytes=self.wire_bytes - other.wire_bytes,
            processor_s=self.processor_s - other.processor_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure of one run; less is better unless the unit is a rate."""

    measure: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one live run gave. `lags_s`: of each change, in order, where they are told apart."""

    figures: list[Measured]
    lags_s: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)  # when the change was made, since the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What it gave. `problem`: why it does not count; empty when it does."""

    workload: str
    system: str
    durable: bool
    figures: list[Measured] = field(default_factory=list)
    usage: Usage | None = None
    problem: str = ""
    lags_s: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
