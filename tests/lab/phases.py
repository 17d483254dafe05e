"""When which replica entered which phase: staqraftd's own log lines on the clock that all share.

The log names every change of phase with the wall clock's milliseconds. All hosts of the lab share
one clock, so the lines of all hosts make one timeline.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lab.linux import boottime

_LINE = re.compile(
    r"^(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \w+ +"
    r"daemon\.loop: group \S+: (?P<before>[a-z]+) -> (?P<phase>[a-z]+) in epoch (?P<epoch>\d+)"
)


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
