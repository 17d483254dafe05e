"""Raft's stores when the power fails, the process is killed or the disk refuses, at any operation.

The operations are those of a real process that strace recorded, or disturbs.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from fakes.power_cut import Disk, Tree
from fakes.raft_stores import Allowed, look, reopen, said
from fakes.recorded_disk import Call, Injection, Link, Note, Sync, Write, disturb, record
from fakes.scratch import memory_directory

# Others, of up to a minute each: STAQRAFT_POWER_CUTS=1,2,3 scripts/test -k wherever_the_power
SEEDS = [int(seed) for seed in os.environ.get("STAQRAFT_POWER_CUTS", "2").split(",")]
STEPS = "aaaaatcsrRb"
SNAPSHOT = "aacas"


def argv(scratch: Path, steps: str, seed: int = 1) -> list[str]:
    state, notes = scratch / "root/state/raft", scratch / "notes"
    return [sys.executable, "-m", "fakes.raft_writer", str(state), str(notes), str(seed), steps]


def recorded(scratch: Path, steps: str, seed: int = 1) -> tuple[Path, list[Call]]:
    root = scratch / "root"
    root.mkdir()
    return root, record(argv(scratch, steps, seed), root, scratch / "notes", scratch)


def check(tree: Tree, root: Path, at: Path, allowed: Allowed) -> None:
    tree.lay_out(root, at)
    try:
        allowed.check(reopen(at / "state/raft"))
    finally:
        shutil.rmtree(at)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_promised_is_lost_wherever_the_power_fails(seed: int) -> None:
    rng = random.Random(seed)
    steps = "a" + "".join(rng.choices(STEPS, k=8)) + "sa"
    with memory_directory() as scratch:
        root, calls = recorded(scratch, steps, seed)
        disk, allowed = Disk(root), Allowed()
        for number, call in enumerate(calls):
            if isinstance(call.operation, Note):
                for note in said(call.operation.text):
                    allowed.take(note)
                continue
            disk.do(call.operation)
            try:
                check(disk.cached, root, scratch / "killed", allowed)
                for tree in disk.after_power_cut(rng):
                    check(tree, root, scratch / "cut", allowed)
            except Exception as error:
                error.add_note(f"seed {seed}, after operation {number}: {str(call)[:200]}")
                raise
        assert replaced(calls) > 1, "the log was never replaced"


def replaced(calls: list[Call]) -> int:
    """How often another file took the log's place."""
    names = [c.operation for c in calls if isinstance(c.operation, Link)]
    return sum(link.path.name == "log" and link.instead_of is not None for link in names)


def of_the_snapshot(calls: list[Call], *, closing: bool) -> list[Call]:
    """What the last step did, a snapshot; and the closing of the log that follows."""
    notes = [at for at, call in enumerate(calls) if isinstance(call.operation, Note)]
    begin = notes[-4]  # the snapshot: begun, done; then the log: begun, done
    end = len(calls) if closing else notes[-1]
    return [call for call in calls[begin:end] if not isinstance(call.operation, Note)]


@pytest.mark.slow
def test_a_process_is_killed_at_every_step_of_a_snapshot(tmp_path: Path) -> None:
    with memory_directory() as scratch:
        root, calls = recorded(scratch, SNAPSHOT)
        points = of_the_snapshot(calls, closing=True)
        assert any(isinstance(c.operation, Link) and c.operation.instead_of for c in points)
        for point in points:
            shutil.rmtree(root)
            (scratch / "notes").unlink()
            root.mkdir()
            done = disturb(argv(scratch, SNAPSHOT), Injection(point, "signal=KILL"))
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), f"{point}: {done}"
            allowed = Allowed()
            for note in said((scratch / "notes").read_text()):
                allowed.take(note)
            allowed.check(reopen(root / "state/raft"))


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_disk_that_refuses_once_costs_nothing(error: str) -> None:
    with memory_directory() as scratch:
        root, calls = recorded(scratch, SNAPSHOT)
        whole = look(root / "state/raft")
        during = of_the_snapshot(calls, closing=False)
        points = [call for call in during if isinstance(call.operation, Write | Sync)]
        assert len(points) > 5
        for point in points:
            shutil.rmtree(root)
            root.mkdir()
            done = disturb(argv(scratch, SNAPSHOT), Injection(point, f"error={error}"))
            assert done.returncode == 0, f"{point}: {done.stderr}"
            assert "Raft" in done.stderr, f"nobody was told of {point}"
            assert look(root / "state/raft") == whole
