"""The library that shifts the wall clock of a process, and nothing else of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import clocks

pytestmark = pytest.mark.skipif(not clocks.can_shift(), reason="needs a C compiler")

PROGRAM = """
import json, threading, time
input()
begun = time.monotonic()
threading.Event().wait(0.05)
print(json.dumps([time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic() - begun]))
"""


class FakeLab:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "etc").mkdir()

    def host_directory(self, _: str) -> Path:
        return self._directory


@pytest.mark.parametrize("seconds", [3600.0, -86400.0, 0.0])
def test_only_the_wall_clock_is_shifted_also_while_it_runs(tmp_path: Path, seconds: float) -> None:
    lab = FakeLab(tmp_path)
    inside = clocks.install(lab, "a")  # type: ignore[arg-type] # a directory is all that it needs
    environment = {
        name: value.replace(clocks.INSIDE, f"{tmp_path}/etc") for name, value in inside.items()
    }
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        clocks.set_offset(lab, "a", seconds)  # type: ignore[arg-type]
        output, _ = process.communicate("\n", timeout=60)
    wall, boot, waited = json.loads(output)
    expected = seconds + clocks.wall_less_boottime()
    assert abs(wall - boot - expected) < 1
    assert 0.05 <= waited < 30
