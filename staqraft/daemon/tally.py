"""What a group's loop counts for the metrics: takeovers and their durations, fencing, services."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState
from staqraft.model import Epoch, FenceRung


@dataclass(frozen=True, slots=True)
class Takeover:
    """By this node. `duration_ms`: see `Tally.moved`; None where nobody was active before."""

    fence: str  # a FenceRung's value, or "none"
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class _Since:
    """The last sign of the former active: a renewal, or its release."""

    epoch: Epoch
    at_ms: int
    known: bool  # there was one


@dataclass(slots=True)
class Tally:
    """Whoever shows the figures takes them out, so that each is counted once."""

    takeovers: list[Takeover] = field(default_factory=list)
    given_up: int = 0
    fencings: Counter[tuple[str, str]] = field(default_factory=Counter)  # rung, result
    service_failures: Counter[str] = field(default_factory=Counter)
    _since: _Since | None = None

    def moved(self, before: GroupState, after: GroupState, now_ms: int) -> None:
        """Call it for each change of the phase, on the clock of `observed_ms`.

        A takeover lasts from when this node last heard of the former active, which is at most one
        renewal before that one stopped, until this node serves; tries that failed in between are
        part of it. A daemon that resumes after a restart has not taken over.
        """
        if before.phase is Phase.STANDBY:
            self._begin(before)
        if self._since is None:
            return
        if after.phase is Phase.ACTIVE:
            duration_ms = now_ms - self._since.at_ms if self._since.known else None
            self.takeovers.append(Takeover(_fence(after), duration_ms))
            self._since = None
        elif after.phase is Phase.STANDBY:
            self.given_up += 1

    def _begin(self, before: GroupState) -> None:
        record = before.record
        former = record.active if record.active != before.settings.node else None
        goes_on = self._since is not None and (former is None or record.epoch <= self._since.epoch)
        if not goes_on:
            self._since = _Since(record.epoch, before.observed_ms, former is not None)

    def fenced(self, rung: FenceRung, *, proved: bool) -> None:
        """A try to make sure that the loser is fenced has ended."""
        self.fencings[rung.value, "proved" if proved else "failed"] += 1

    def clear(self) -> None:
        """They were shown."""
        self.takeovers.clear()
        self.given_up = 0
        self.fencings.clear()
        self.service_failures.clear()


def _fence(state: GroupState) -> str:
    fence = state.record.fence
    if fence is None or fence.epoch != state.record.epoch:
        return "none"
    return fence.rung.value
