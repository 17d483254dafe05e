"""How a check is asked in a test, and what it may take."""

from __future__ import annotations

import re
from pathlib import Path

from staqraft.actions.checks.run import Checker
from staqraft.actions.process import run
from staqraft.config.services import (
    Check,
    Timing,
)

LONG = Timing(timeout_ms=20_000)
ME = Path("/proc/self/exe").readlink()
SHORT = Timing(timeout_ms=300)


class NoUnits:
    async def why_not_active(self, unit: str, timeout_ms: int) -> str:
        assert timeout_ms
        return "" if unit == "good.service" else "it is inactive (dead)"


async def ask(check: Check) -> str:
    """The problem without the place, whose port is another each time."""
    said = await Checker(run, NoUnits())(check)
    return re.sub(r"127\.0\.0\.1:\d+", "HERE", said)
