"""What many seeds came to, one made smaller, and mutations."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import count, islice

from simulation.mutations import MUTATIONS, Mutation
from simulation.options import Plan, plan_of
from simulation.world import Result, run
from staqraft.decision.phases import Phase


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


def kept(plan: Plan, places: Iterable[int]) -> Plan:
    """The plan with the faults at these places only."""
    return replace(plan, faults=tuple(plan.faults[place] for place in sorted(places)))


def plain(plan: Plan) -> Plan:
    """The plan with nothing special in the end, and no real files."""
    return replace(plan, parted_in_the_end=False, active_lost_in_the_end=False, sqlite=False)


def shrink(plan: Plan, rule: str, said: Callable[[str], None] = lambda _: None) -> Plan:
    """The plan with as few faults as break the same rule: without halves, quarters, single ones."""

    def still_breaks(smaller: Plan) -> bool:
        return run(smaller).rule == rule

    if still_breaks(plain(plan)):
        plan = plain(plan)
    size = max(1, len(plan.faults) // 2)
    while plan.faults:
        before = len(plan.faults)
        at = before
        while at > 0:
            at = max(0, at - size)
            smaller = replace(plan, faults=plan.faults[:at] + plan.faults[at + size :])
            if still_breaks(smaller):
                plan = smaller
        said(f"{len(plan.faults)} faults are enough")
        if size == 1 and len(plan.faults) == before:
            return plan
        size = max(1, size // 2)
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """How a mutation was found out; `seed` None: it was not."""

    mutation: str
    seed: int | None
    after: int  # seeds
    violation: str
    why: str


def mutation_named(name: str) -> Mutation:
    """SystemExit with the names when there is none of exactly that name."""
    for mutation in MUTATIONS:
        if mutation.name == name:
            return mutation
    raise SystemExit(f"no mutation {name!r}; there are: {', '.join(m.name for m in MUTATIONS)}")


def try_mutation(number: int, first: int, limit: int, step: int) -> Caught:
    """Applies the mutation to this process, for good, and runs seeds until one is caught."""
    mutation = MUTATIONS[number]
    mutation.patch()
    if mutation.why:
        limit //= 2
    for tried, plan in enumerate(_plans(mutation.kinds, first, limit, step), 1):
        result = run(plan)
        if result.violation:
            return _caught(mutation, plan.seed, tried, result.violation)
    return _caught(mutation, None, limit, "")


def _plans(kinds: Collection[str], first: int, limit: int, step: int) -> Iterator[Plan]:
    """Half of them of the kinds that can catch it, then others; no seed twice."""
    every = (plan_of(seed, sqlite_share=0) for seed in count(first, step))
    aimed = limit // 2 if kinds else 0
    yield from islice((plan for plan in every if plan.kind in kinds), aimed)
    every = (plan_of(seed, sqlite_share=0) for seed in count(first, step))
    yield from islice((plan for plan in every if plan.kind not in kinds), limit - aimed)


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
