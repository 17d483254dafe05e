"""Logs that outlive their lab."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from lab.lab import Lab

TAIL_LINES = 25


def keep_logs(lab: Lab, who: str, *, tail: bool) -> Path:
    """Copies the members' logs and says where; with `tail` shows their ends, too."""
    kept = Path(tempfile.mkdtemp(prefix=f"staqraft-{who}-logs-"))
    for name in lab.members:
        logs = lab.host_directory(name) / "log"
        if logs.exists():
            shutil.copytree(logs, kept / name, dirs_exist_ok=True)
    for path in sorted(kept.glob("*/staqraftd.log")) if tail else ():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        print(f"--- the end of {path}", *lines, sep="\n", file=sys.stderr)
    print(f"{who}: all logs are in {kept}", file=sys.stderr)
    return kept
