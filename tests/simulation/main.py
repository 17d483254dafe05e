# ruff: noqa: T201 - a program of the command line prints
"""`scripts/simulate`: runs seeds, replays one, shrinks one, tries the mutations."""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import time
from itertools import count, islice

from simulation.coverage import never_taken
from simulation.mutations import MUTATIONS
from simulation.options import DRILL_EVERY, plan_of
from simulation.runner import Total, commit, run_many, shrink, try_mutations
from simulation.world import Result, run

_TRACE_LINES = 60


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, metavar="N", help="run so many seeds")
    parser.add_argument("--minutes", type=float, metavar="M", help="run seeds for so long")
    parser.add_argument("--first", type=int, metavar="N", help="the first seed (default: random)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, metavar="N", help="run this seed alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: say all that happens")
    parser.add_argument("--shrink", action="store_true", help="with --seed: with fewer faults")
    parser.add_argument("--drills", action="store_true", help="mutations: drilled seeds only")
    parser.add_argument("--mutations", action="store_true", help="take each guard out in turn")
    parser.add_argument("--only", metavar="PATTERN", default="", help="mutations of such a name")
    return parser


def main() -> int:
    """The exit code: 0, or 1 when something is wrong."""
    options = _parser().parse_args()
    if options.seed is not None:
        return _one(options)
    if options.mutations:
        return _mutations(options)
    return _many(options)


def _one(options: argparse.Namespace) -> int:
    plan = plan_of(options.seed)
    result = run(plan, tracing=options.trace and not options.shrink)
    if options.shrink and result.violation:
        before = len(plan.faults)
        plan = shrink(plan, result.rule)
        print(f"of {before} faults these {len(plan.faults)} are enough:")
        for fault in plan.faults:
            print(f"  {fault}")
        result = run(plan, tracing=True)
    print("\n".join(result.trace))
    figures = f"{result.virtual_us / 1e6:.1f} s, {result.events} events"
    print(f"seed {options.seed}: {result.violation or 'good'} ({figures})")
    return 1 if result.violation else 0


def _many(options: argparse.Namespace) -> int:
    first = options.first if options.first is not None else random.SystemRandom().randrange(1 << 40)
    limit = options.seeds if options.seeds is not None else None
    seeds = count(first) if limit is None else islice(count(first), limit)
    minutes = options.minutes if options.minutes or limit is not None else 1.0
    until = time.monotonic() + 60 * minutes if minutes else float("inf")
    begun = time.monotonic()
    print(f"commit {commit()}, seeds from {first}")
    total = run_many(seeds, jobs=options.jobs, until=until, said=_say_violation)
    _report(total, time.monotonic() - begun)
    return 1 if total.violations else 0


def _say_violation(result: Result) -> None:
    if result.violation:
        print(f"seed {result.seed}: {result.violation}")
        print(f"  commit {commit()}; scripts/simulate --seed {result.seed} --trace", flush=True)


def _report(total: Total, wall_s: float) -> None:
    virtual_s = total.virtual_us / 1e6
    cpu_s = max(total.cpu_s, 1e-9)
    print(
        f"{total.seeds} seeds, {virtual_s / 3600:.2f} virtual hours in {wall_s:.0f} s;"
        f" {virtual_s / cpu_s:.0f} times real time a core, {total.events / cpu_s:.0f} events/s;"
        f" {total.takeovers} times active, {total.acknowledgements} barriers acknowledged"
    )
    print("faults: " + ", ".join(f"{kind} {n}" for kind, n in sorted(total.faults.items())))
    print("seen: " + ", ".join(f"{what} {n}" for what, n in sorted(total.notes.items())))
    pairs = sorted(total.transitions.items(), key=lambda item: -item[1])
    print(f"{len(pairs)} transitions of the decision table were taken; never:")
    for line in never_taken(total.transitions):
        print(f"  {line}")
    print(f"violations: {len(total.violations)}")


def _mutations(options: argparse.Namespace) -> int:
    numbers = [n for n, mutation in enumerate(MUTATIONS) if re.search(options.only, mutation.name)]
    first, step = (options.first or 0), 1
    if options.drills:
        first, step = first + DRILL_EVERY - 1, DRILL_EVERY
    limit = options.seeds if options.seeds is not None else 300
    holes = 0
    for caught in try_mutations(numbers, first=first, limit=limit, step=step, jobs=options.jobs):
        if caught.seed is not None:
            verdict = f"seed {caught.seed}, after {caught.after}: {caught.violation}"
        elif caught.why:
            verdict = f"not in {caught.after} seeds, as expected: {caught.why}"
        else:
            holes += 1
            verdict = f"NOT CAUGHT in {caught.after} seeds"
        print(f"{caught.mutation:42} {verdict[:150]}", flush=True)
    print(f"{len(numbers)} mutations, {holes} holes")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
