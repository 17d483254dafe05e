"""Where the time of a failover goes: changes of phase, laid against the client's outage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from lab.phases import Change

# Phase that the group is in -> what the time goes for, as the report names it. The new active's
# phases come after the old one's; while the old one has none, the standby waits for the lease.
PARTS = {
    "standby": "detection",
    "acquiring": "acquire",
    "fencing": "fencing",
    "finishing": "apply",
    "opening": "open epoch",
    "capturing": "capture",
    "starting": "services",
    "addressing": "address",
    "admitting": "gate",
    "active": "first answer",
    "preparing": "prepare",
    "draining": "gate",
    "stopping": "stop services",
    "flushing": "flush",
    "unaddressing": "give address",
    "releasing": "release",
    "dropping": "drop address",
    "halting": "halt services",
}


def split(
    since: float, until: float, loser: Iterable[Change], winner: Iterable[Change]
) -> dict[str, float]:
    """Seconds from `since` to `until` by part; their sum is the whole.

    What the loser does counts until the winner moves: letting go comes before taking.
    """
    took = sorted((c for c in winner if c.at > since), key=lambda c: c.at)
    begun = took[0].at if took else until
    gave = sorted((c for c in loser if since < c.at < begun), key=lambda c: c.at)
    inside = [c for c in (*gave, *took) if c.at < until]
    marks = [(since, "standby"), *((c.at, c.phase) for c in inside), (until, "")]
    parts: dict[str, float] = defaultdict(float)
    for (at, phase), (after, _) in pairwise(marks):
        parts[PARTS.get(phase, phase)] += after - at
    return dict(parts)
