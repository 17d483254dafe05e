"""Seeds over processes: many of them, one with a trace, one made smaller, and mutations."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from typing import Final

from simulation.mutations import MUTATIONS, Mutation
from simulation.options import Plan, plan_of
from simulation.world import Result, run
from staqraft.decision.phases import Phase

_BATCH: Final = 4


@dataclass(slots=True)
class Total:
    """What many runs came to."""

    seeds: int = 0
    virtual_us: int = 0
    cpu_s: float = 0.0
    events: int = 0
    takeovers: int = 0
    acknowledgements: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[Phase, Phase]] = field(default_factory=Counter)
    violations: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.virtual_us += result.virtual_us
        self.cpu_s += result.cpu_s
        self.events += result.events
        self.takeovers += result.takeovers
        self.acknowledgements += result.acknowledgements
        self.faults += result.faults
        self.notes += result.notes
        self.transitions += result.transitions
        if result.violation:
            self.violations.append(result)


def _run_batch(seeds: list[int]) -> list[Result]:
    return [run(plan_of(seed)) for seed in seeds]


def _batches(seeds: Iterable[int]) -> Iterator[list[int]]:
    batch: list[int] = []
    for seed in seeds:
        batch.append(seed)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def run_many(
    seeds: Iterable[int],
    *,
    jobs: int,
    until: float = float("inf"),
    said: Callable[[Result], None] = lambda _: None,
) -> Total:
    """Runs the seeds, the time given; `said` hears of each result."""
    total = Total()
    batches = _batches(seeds)

    def take(results: list[Result]) -> None:
        for result in results:
            total.add(result)
            said(result)

    if jobs == 1:
        for batch in batches:
            if time.monotonic() >= until:
                break
            take(_run_batch(batch))
        return total
    with ProcessPoolExecutor(jobs) as pool:
        running: set[Future[list[Result]]] = set()
        while True:
            while len(running) < 2 * jobs and time.monotonic() < until:
                batch = next(batches, [])
                if not batch:
                    break
                running.add(pool.submit(_run_batch, batch))
            if not running:
                return total
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                take(future.result())


def shrink(plan: Plan, rule: str) -> Plan:
    """The plan with as few faults as break the same rule, each left out in turn."""
    at = len(plan.faults) - 1
    while at >= 0:
        smaller = plan.without(at)
        if run(smaller).rule == rule:
            plan = smaller
        at -= 1
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """How a mutation was found out; `seed` None: it was not."""

    mutation: str
    seed: int | None
    after: int  # seeds
    violation: str
    why: str


def try_mutation(number: int, first: int, limit: int, step: int) -> Caught:
    """Applies the mutation to this process, for good, and runs seeds until one is caught."""
    mutation = MUTATIONS[number]
    mutation.patch()
    for tried in range(limit):
        seed = first + tried * step
        result = run(plan_of(seed, sqlite_share=0))
        if result.violation:
            return _caught(mutation, seed, tried + 1, result.violation)
    return _caught(mutation, None, limit, "")


def _caught(mutation: Mutation, seed: int | None, after: int, violation: str) -> Caught:
    return Caught(
        mutation=mutation.name, seed=seed, after=after, violation=violation, why=mutation.why
    )


def try_mutations(
    numbers: Iterable[int], *, first: int, limit: int, step: int, jobs: int
) -> Iterator[Caught]:
    """Each in a process of its own."""
    with ProcessPoolExecutor(jobs, max_tasks_per_child=1) as pool:
        for future in as_completed(
            [pool.submit(try_mutation, number, first, limit, step) for number in numbers]
        ):
            yield future.result()


def commit() -> str:
    """Of the code that runs; with a mark when it was changed since."""
    try:
        ended = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ended.stdout.strip()
