"""A fixed slice of seeds, a few fresh ones, and proof that the simulator can fail.

A failure names its seed: `scripts/simulate --seed N --trace` replays it, `--shrink` makes it
smaller. `scripts/simulate --minutes M` runs many.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from simulation import drills
from simulation.faults import APPLY
from simulation.models import MODELS
from simulation.mutations import MUTATIONS
from simulation.options import only, plan_of
from simulation.result import Result
from simulation.runner import commit
from simulation.world import run

ROOT = Path(__file__).parents[2]
FIXED = range(100)
FRESH_S = 15  # of fresh seeds; on one core about fifty
FOUND: tuple[int, ...] = ()  # seeds that once found a bug, each with its scenario's reason

# Caught within a few seeds: that they are is itself a test of the checks.
QUICKLY_CAUGHT = (
    "released before the address is dropped",
    "VIP lifetime rounded up",
    "barrier waits for nobody",
    "sent before persisted",
)


def _must_be_good(result: Result) -> None:
    if result.violation:
        pytest.fail(
            f"seed {result.seed}: {result.violation}\n"
            f"commit {commit()}; replay: scripts/simulate --seed {result.seed} --trace"
        )


@pytest.mark.parametrize("seed", [*FIXED, *FOUND])
def test_fixed_seeds(seed: int) -> None:
    _must_be_good(run(plan_of(seed)))


def test_fresh_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    first = random.SystemRandom().randrange(1 << 40)
    with capsys.disabled():
        sys.stdout.write(f" [fresh seeds from {first}] ")
    until = time.process_time() + FRESH_S
    for seed in count(first):
        _must_be_good(run(plan_of(seed)))
        if time.process_time() > until:
            return


def test_real_files_under_raft() -> None:
    """The log and the snapshot in their files behave as the models of them do."""
    for seed in range(1000, 1003):
        _must_be_good(run(plan_of(seed, real_files_share=1)))


def test_a_seed_is_the_reproduction() -> None:
    """Another process with another order of sets sees the very same run."""
    script = (
        "from simulation.options import plan_of; from simulation.world import run\n"
        "for seed in (6, 9):\n"
        "    r = run(plan_of(seed), tracing=True)\n"
        "    print(r.events, r.virtual_us, *r.trace, sep='\\n')"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
                "PYTHONHASHSEED": order,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for order in ("1", "2", "3")
    }
    assert len(traces) == 1
    assert "leads term" in traces.pop()


@pytest.mark.parametrize("name", QUICKLY_CAUGHT)
def test_it_can_fail(name: str) -> None:
    """In a process of its own, since a mutation is for good."""
    ended = subprocess.run(
        [ROOT / "scripts" / "simulate", "--mutations", "--only", name, "--jobs", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 mutations, 0 holes, 0 that no longer fit" in ended.stdout, ended.stdout + ended.stderr


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {fault.kind for seed in range(400) for fault in plan_of(seed).faults}
    assert drawn == set(APPLY)


def test_every_kind_of_fault_belongs_to_a_model_of_what_lies_outside() -> None:
    named = [kind for kinds in MODELS.values() for kind in kinds]
    assert sorted(named) == sorted(APPLY)


def test_a_fault_is_a_named_option() -> None:
    arguments = ("--seeds", "2", "--first", "0", "--jobs", "1", "--faults", "isolate,no-such")
    ended = subprocess.run(
        [ROOT / "scripts" / "simulate", *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "no fault no-such; there are:" in ended.stderr
    whole = plan_of(1)
    kind = whole.faults[0].kind
    assert {fault.kind for fault in only(whole, {kind}).faults} == {kind}
    assert only(whole, ()) == whole


def test_kinds_of_plans_that_mutations_are_tried_on_first_are_drawn() -> None:
    drawn = {plan_of(seed).kind for seed in range(400)}
    assert {kind for mutation in MUTATIONS for kind in mutation.kinds} <= drawn
    assert drawn >= drills.NAMES


def test_names_of_mutations_are_unique() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(names) == len(set(names)) >= 25
