"""Golden scenarios: each file is a script, a line of dashes, and the trace that it must give.

`STAQRAFT_REWRITE=1 scripts/test tests/scenarios` writes the traces anew; read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from scenarios.pair_world import PairWorld
from scenarios.world import World

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))
RULE = "-" * 60


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    script, _, expected = path.read_text().partition(RULE + "\n")
    lines = [line for line in script.splitlines() if line and not line.startswith("#")]
    world = PairWorld() if lines[0] == "pair" else World()
    for line in lines[lines[0] == "pair" :]:
        world.obey(line)
    trace = "\n".join(world.trace) + "\n"
    if os.environ.get("STAQRAFT_REWRITE"):
        path.write_text(f"{script}{RULE}\n{trace}")
        return
    assert trace == expected


def test_there_are_scenarios() -> None:
    assert len(SCRIPTS) >= 10
