"""The two clocks of a daemon: one to decide by, one for people."""

from __future__ import annotations

import time


def boottime_ms() -> int:
    """CLOCK_BOOTTIME in ms: never steps, and goes on while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def wall_ms() -> int:
    """Milliseconds since 1970, to be shown to people only."""
    return time.time_ns() // 1_000_000
