"""How much of a year is lost, from rates of failures and what each of them costs (PURE).

One server:   lost = sum over k of rate(k) x repair(k)  +  updates x outage
A pair:       lost = sum over k of rate(k) x takeover(k)  +  updates x handover  +  both
              both = year x (u^2 + 2 x u x p)
              u = sum over k of rate(k) x (repair(k) + catch-up) / year
              p = updates x (outage + catch-up) / year

A pair is out for as long as a takeover takes when its active fails, whichever server that is: only
one is active at a time. `u` is the part of the year for which a server is away because it failed,
so u^2 is that for which both are, if they fail independently of each other; `p` is that for which
it is being updated, when the other may fail. Nobody updates both at once. A service that crashes
takes no server away. A failure that a system does not take over from costs what it costs on one
server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

YEAR_S = 365.25 * 86400
PLANNED = "planned"
LOCAL = frozenset({"service"})  # what takes no server away


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A way of failing of one server: how often a year, and how long it is then away (seconds)."""

    per_year: float
    repair_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is assumed of one server."""

    failures: Mapping[str, Failure]
    planned: Failure
    catch_up_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Seconds a year, by cause."""

    by_cause: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(self.by_cause.values())

    @property
    def availability(self) -> float:
        """From 0 to 1."""
        return 1 - self.seconds / YEAR_S


def one_server(assumed: Assumptions) -> Lost:
    """Without a partner."""
    causes = {name: f.per_year * f.repair_s for name, f in assumed.failures.items()}
    return Lost(by_cause={**causes, PLANNED: assumed.planned.per_year * assumed.planned.repair_s})


def pair(assumed: Assumptions, takes_s: Mapping[str, float]) -> Lost:
    """Two servers; `takes_s` is how long a takeover takes, by the way of failing, in seconds.

    What is not in it is not taken over from.
    """
    causes = {
        name: failure.per_year * takes_s.get(name, failure.repair_s)
        for name, failure in assumed.failures.items()
    }
    planned = assumed.planned.per_year * takes_s.get(PLANNED, assumed.planned.repair_s)
    failed, updated = away(assumed), being_updated(assumed)
    both = YEAR_S * (failed**2 + 2 * failed * updated)
    return Lost(by_cause={**causes, PLANNED: planned, "both": both})


def being_updated(assumed: Assumptions) -> float:
    """The part of the year for which a server is updated or catches up afterwards."""
    return assumed.planned.per_year * (assumed.planned.repair_s + assumed.catch_up_s) / YEAR_S


def away(assumed: Assumptions) -> float:
    """The part of the year for which a server has failed or catches up afterwards."""
    return sum(
        failure.per_year * (failure.repair_s + assumed.catch_up_s) / YEAR_S
        for name, failure in assumed.failures.items()
        if name not in LOCAL
    )
