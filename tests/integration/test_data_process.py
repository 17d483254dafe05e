"""A data process ends with the daemon that started it, however that ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from fakes.patience import PATIENCE_S

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=1)
print(child.pid, flush=True)
child.wait()
"""
CHILD = """
import os, signal
from staqraft.cli.data import end_with
assert end_with(os.getppid())
print("bound", flush=True)
signal.pause()
"""


def test_it_is_terminated_when_its_daemon_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    lines = [parent.stdout.readline().strip() for _ in range(2)]
    child = os.pidfd_open(next(int(line) for line in lines if line.isdigit()))
    assert b"bound" in lines
    parent.kill()
    parent.wait()
    ended, _, _ = select.select([child], [], [], PATIENCE_S)
    os.close(child)
    parent.stdout.close()
    assert ended, "the data process outlived its daemon"


def test_it_does_not_begin_when_its_daemon_is_gone_already() -> None:
    command = [sys.executable, "-m", "staqraft.cli.data", "trees", "--group", "g"]
    process = subprocess.run(
        [*command, "--parent", "1", "--config", "/nonexistent"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
