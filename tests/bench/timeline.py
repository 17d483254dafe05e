"""Where the time of a failover goes: the daemons' own log lines, laid against the client's outage.

The log of staqraftd names every change of phase with the wall clock's milliseconds. All hosts of
the lab share one clock, so the lines of both replicas make one timeline.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from lab.linux import boottime

_LINE = re.compile(
    r"^(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \w+ +"
    r"daemon\.loop: group \S+: (?P<before>[a-z]+) -> (?P<phase>[a-z]+) in epoch (?P<epoch>\d+)"
)

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
    "active": "first answer",
    "stopping": "stop services",
    "flushing": "flush",
    "unaddressing": "give address",
    "releasing": "release",
    "dropping": "drop address",
    "halting": "halt services",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A replica entered a phase; `at` is CLOCK_BOOTTIME in seconds."""

    at: float
    node: str
    phase: str
    epoch: int


def changes(node: str, log: Iterable[str]) -> list[Change]:
    """All changes of phase that a log tells of."""
    offset = boottime() - time.time()
    found = []
    for line in log:
        told = _LINE.match(line)
        if told:
            wall = datetime.strptime(told["when"], "%Y-%m-%d %H:%M:%S.%f")  # noqa: DTZ007 - local
            found.append(
                Change(
                    at=wall.timestamp() + offset,
                    node=node,
                    phase=told["phase"],
                    epoch=int(told["epoch"]),
                )
            )
    return found


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
