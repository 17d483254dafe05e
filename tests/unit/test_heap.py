"""Free memory of the data processes: kept while they work, given back afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from staqraft.daemon import heap

PROGRAM = """
from pathlib import Path
from staqraft.daemon import heap

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

heap.keep()
before = resident_mib()
blocks = [bytes(1 << 20) + b"x" for _ in range(48)]
del blocks
kept = resident_mib() - before
heap.give_back()
print(kept, resident_mib() - before)
"""


@pytest.mark.skipif(not heap._is_glibc(), reason="only glibc is told")
def test_blocks_are_kept_until_they_are_given_back() -> None:
    argv = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    kept, left = map(int, done.stdout.split())
    assert kept >= 40
    assert left <= 8
