"""What the check of a configuration says about a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from staqraft.config.loader import read
from staqraft.errors import ConfigError


def findings(path: Path) -> list[str]:
    """Problems, or else warnings, without the file and the line."""
    try:
        found = list(read(path).warnings)
    except ConfigError as error:
        found = error.problems
    return [finding.split(":", 2)[2].strip() for finding in found]


def the_problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path)
    (problem,) = caught.value.problems
    return problem


def the_finding(path: Path) -> str:
    (finding,) = findings(path)
    return finding
