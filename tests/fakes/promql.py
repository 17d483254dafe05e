"""What expressions for Prometheus ask for, and promtool, which knows whether they are right."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fakes.metrics_table import node_families, witness_families
from staqraft.metrics import Family

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def promtool(*words: str | Path) -> tuple[int, str]:
    """Its exit code, and all that it says."""
    done = subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def asked_for(expression: str) -> list[tuple[str, set[str]]]:
    """Each metric of ours in an expression, with the labels that its selector names."""
    return [
        (name, set(re.findall(r"(\w+)\s*[=!]~?\s*\"", selector or "")))
        for name, selector in re.findall(r"\b(staqraft_\w+)(?:\{([^}]*)\})?", expression)
    ]


def declared() -> dict[str, Family]:
    """Every name that a query may use."""
    found: dict[str, Family] = {}
    for family in [*node_families(), *witness_families()[1]]:
        endings = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        found |= {f"{family.name}{ending}": family for ending in endings}
    return found
