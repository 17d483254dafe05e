"""The line that a run leaves in the history: circumstances and figures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).with_name("history.jsonl")


def circumstances() -> dict[str, Any]:
    """When, what, and where, as far as it explains figures; asked before the run."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def commit() -> str:
    """The commit that is measured, with "+" if the checkout differs from it."""

    def git(*words: str) -> str:
        argv = ["git", "-C", str(HISTORY.parent), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    try:
        name = git("rev-parse", "--short=12", "HEAD")
        # The history itself changes at every run.
        changed = git(
            "status", "--porcelain", "--", ":/", f":(exclude,top)tests/bench/{HISTORY.name}"
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"  # an unpacked archive is measured, not a checkout
    return f"{name}+" if changed else name


def append(line: dict[str, Any], history: Path = HISTORY) -> None:
    """Adds one line."""
    with history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
