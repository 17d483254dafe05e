"""`scripts/bench data` itself, on a small workload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import record
from lab import requirements

TESTS = Path(__file__).parent.parent
WANTED = {"workload", "system", "median", "unit", "ratio_to_best_peer", "bytes", "cpu_s"}

needs_disks = pytest.mark.skipif(
    os.geteuid() != 0 or not requirements.loop_devices_work(), reason="it mounts disks"
)


@needs_disks
@pytest.mark.slow
def test_a_small_run_compares_with_rsync_leaves_nothing_behind_and_no_history() -> None:
    history = record.HISTORY.read_bytes()
    words = ["--only", "W4", "--scale", "0.01", "--repeat", "1", "--peers", "rsync", "--json"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.main", *words],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(line["workload"], line["measure"], line["system"]) for line in lines} == {
        (workload, measure, system)
        for workload, measure in (("W4", "all there"), ("W4", "lag"))
        for system in ("staqraft", "rsync")
    }
    for line in lines:
        assert line.keys() >= WANTED
        assert line["median"] > 0, line
        assert line["bytes"] > 0
        assert line["cpu_s"] > 0
        assert line["scale"] == 0.01
    assert record.HISTORY.read_bytes() == history
    assert "staqraft-bench" not in Path("/proc/mounts").read_text()
