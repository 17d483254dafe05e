"""Many seeds: processes that die or hang, the end in time, and a failure made smaller."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from simulation import patching
from simulation.mutations import Mutation
from simulation.options import plan_of
from simulation.pool import run_all
from simulation.result import Result
from simulation.runner import try_out
from staqraft.decision import fencing, step

ROOT = Path(__file__).parents[2]
SIMULATE = ROOT / "scripts" / "simulate"
DIES, HANGS = 3, 5


def _mischief(seed: int) -> Result:
    if seed == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == HANGS:
        threading.Event().wait()
    return Result(seed=seed)


def test_a_process_that_dies_or_hangs_is_named_with_its_seed_and_loses_no_other() -> None:
    results = list(run_all(iter(range(8)), jobs=2, patience_s=5.0, work=_mischief))
    assert sorted(result.seed for result in results) == list(range(8))
    broken = {result.seed: result.violation for result in results if result.violation}
    assert broken == {
        DIES: "its process died (SIGKILL)",
        HANGS: "its process did not answer for 5 s and was killed",
    }


def test_no_seed_is_begun_when_the_time_is_over() -> None:
    until = time.monotonic() + 3.0
    results = list(run_all(count(10), jobs=1, until=until, work=_mischief))
    assert results
    assert time.monotonic() < until + 30.0, "seeds were begun later, too"


def test_a_mutation_that_no_longer_fits_the_code_is_no_catch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tried(patch: Callable[[], None]) -> str:
        return try_out(Mutation(name="stale", patch=patch), first=0, limit=1, step=1).unfit

    monkeypatch.setattr(patching, "never_called", set())
    assert "step has no '_gone'" in tried(lambda: patching.put(step, "_gone", lambda: None))
    assert tried(lambda: None) == ""

    monkeypatch.setattr(patching, "never_called", set())
    monkeypatch.setattr(fencing, "vouched", fencing.vouched)  # to be put back after this test
    assert "nobody called fencing.vouched in 1 seeds" in tried(
        lambda: patching.put(fencing, "vouched", lambda *_: None)
    )
    monkeypatch.setattr(step, "_lost", lambda: None)
    assert "TypeError" in tried(lambda: None)


def _simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SIMULATE, *arguments], capture_output=True, text=True, check=False)


def test_what_was_done_is_reported_when_somebody_interrupts_it() -> None:
    running = subprocess.Popen(
        [SIMULATE, "--minutes", "10", "--jobs", "1", "--first", "0", "--say-every", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    assert "1 seeds" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert "interrupted; so far:" in said
    assert "times real time a core" in said
    assert said.rstrip().endswith("violations: 0")
    assert running.returncode == 0


def test_a_violation_is_made_smaller_and_its_replay_breaks_the_same_rule() -> None:
    mutation = "VIP lifetime rounded up"
    plans = ((seed, plan_of(seed)) for seed in count(0))
    seed = next(
        seed for seed, plan in plans if len(plan.faults) > 6 and not (plan.pair or plan.gate)
    )
    made = _simulate("--seed", str(seed), "--mutation", mutation, "--shrink")
    assert made.returncode == 1, made.stdout + made.stderr
    rule = made.stdout.split(": ")[1]
    assert "VIOLATION" in made.stdout
    left = int(made.stdout.split("faults these ")[1].split()[0])
    assert left < len(plan_of(seed).faults) // 2

    replay = made.stdout.rstrip().rsplit("simulate ", 1)[1]
    ended = subprocess.run(
        f"{SIMULATE} {replay}", shell=True, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"seed {seed}: {rule}" in ended.stdout
    assert _simulate("--seed", str(seed)).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--mutations", "--only", "nosuch"), "no mutation has a name like 'nosuch'"),
        (("--seed", "5", "--keep", "99"), "seed 5 has the faults 0 to "),
        (("--trace",), "--trace needs --seed"),
        (("--seeds", "3", "--shrink"), "--shrink needs --seed"),
        (("--seeds", "0"), "at least 1"),
        (("--seeds", "many"), "no whole number"),
    ],
)
def test_what_would_be_done_in_vain_is_no_success(
    arguments: tuple[str, ...], sentence: str
) -> None:
    ended = _simulate(*arguments)
    assert ended.returncode == 2, ended.stdout
    assert sentence in ended.stderr


def test_a_reader_that_has_enough_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [SIMULATE, "--models"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")
