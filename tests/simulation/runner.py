"""What many seeds came to, one made smaller, and mutations."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

from simulation import patching
from simulation.mutations import MUTATIONS, Mutation
from simulation.options import Plan, plan_of
from simulation.result import Result
from simulation.world import run
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
    return replace(plan, parted_in_the_end=False, active_lost_in_the_end=False, real_files=False)


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
    """How a mutation was found out; `seed` None: it was not.

    `unfit`: the code has changed so much that what was tried says nothing of it.
    """

    mutation: str
    seed: int | None
    after: int  # seeds
    violation: str
    why: str
    unfit: str = ""

    @property
    def good(self) -> bool:
        """A check saw it, and only with the mutation; or it is argued that none can."""
        return not self.unfit and (self.seed is not None or bool(self.why))

    def __str__(self) -> str:
        if self.unfit:
            verdict = f"DOES NOT FIT THE CODE ANY MORE: {self.unfit}"
        elif self.seed is not None:
            verdict = f"seed {self.seed}, after {self.after}: {self.violation}"
        elif self.why:
            verdict = f"not in {self.after} seeds, as expected: {self.why}"
        else:
            verdict = f"NOT CAUGHT in {self.after} seeds"
        return f"{self.mutation:42} {verdict[:200]}"


def mutation_named(name: str) -> Mutation:
    """SystemExit with the names when there is none of exactly that name."""
    for mutation in MUTATIONS:
        if mutation.name == name:
            return mutation
    raise SystemExit(f"no mutation {name!r}; there are: {', '.join(m.name for m in MUTATIONS)}")


def try_mutation(number: int, first: int, limit: int, step: int) -> Caught:
    """`try_out` by number, since what is sent to another process is data."""
    return try_out(MUTATIONS[number], first, limit, step)


def try_out(mutation: Mutation, first: int, limit: int, step: int) -> Caught:
    """Applies the mutation to this process, for good, and runs seeds until one is caught.

    Only a broken rule counts. Whatever else is raised comes from a mutation that no longer fits,
    and so does what is never called.
    """
    if mutation.why:
        limit //= 2
    nothing = Caught(
        mutation=mutation.name, seed=None, after=0, violation="", why=mutation.why, unfit=""
    )
    try:
        mutation.patch()
    except Exception as error:  # noqa: BLE001 - it is written for code that is not there any more
        return replace(nothing, unfit=f"{type(error).__name__}: {error}")
    for tried, plan in enumerate(_plans(mutation.kinds, first, limit, step), 1):
        result = run(plan)
        if result.crashed:
            return replace(nothing, after=tried, unfit=f"seed {plan.seed}: {result.violation}")
        if result.violation:
            return replace(nothing, seed=plan.seed, after=tried, violation=result.violation)
    if patching.never_called:
        names = ", ".join(sorted(patching.never_called))
        return replace(nothing, after=limit, unfit=f"nobody called {names} in {limit} seeds")
    return replace(nothing, after=limit)


def _plan_tried(seed: int) -> Plan:
    """In memory only: there it is told from the real files that a power cut takes something."""
    return plan_of(seed, real_files_share=0)


def _plans(kinds: Collection[str], first: int, limit: int, step: int) -> Iterator[Plan]:
    """Half of them of the kinds that can catch it, then others; no seed twice."""
    every = (_plan_tried(seed) for seed in count(first, step))
    aimed = limit // 2 if kinds else 0
    yield from islice((plan for plan in every if plan.kind in kinds), aimed)
    every = (_plan_tried(seed) for seed in count(first, step))
    yield from islice((plan for plan in every if plan.kind not in kinds), limit - aimed)


def _without(seed: int) -> str:
    """What is wrong with a seed when no guard is out; it must be nothing."""
    return run(_plan_tried(seed)).violation


def try_mutations(
    numbers: Iterable[int], *, first: int, limit: int, step: int, jobs: int
) -> Iterator[Caught]:
    """Each in a process of its own, and what catches it in one without it."""
    with ProcessPoolExecutor(jobs, max_tasks_per_child=1) as pool:
        tried = {pool.submit(try_mutation, number, first, limit, step) for number in numbers}
        control: dict[Future[str], Caught] = {}
        while tried or control:
            under_way: set[Future[Any]] = {*tried, *control}
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done & control.keys():
                caught, without = control.pop(future), future.result()
                unfit = f"seed {caught.seed} breaks without it, too: {without}" if without else ""
                yield replace(caught, unfit=unfit)
            for future in done & tried:
                tried.discard(future)
                caught = future.result()
                if caught.seed is None or caught.unfit:
                    yield caught
                else:
                    control[pool.submit(_without, caught.seed)] = caught


def commit() -> str:
    """Of the code that runs; with a mark when it was changed since."""
    try:
        ended = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ended.stdout.strip()
