# ruff: noqa: T201 - a program of the command line prints
"""`scripts/simulate`: runs seeds, replays one, shrinks one, tries the mutations."""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import count

from command_line import positive, run_command
from simulation.coverage import never_taken
from simulation.faults import APPLY
from simulation.models import MODELS
from simulation.mutations import MUTATIONS
from simulation.options import DRILL_EVERY, Plan, only, plan_of
from simulation.pool import run_all, run_seed
from simulation.result import Result
from simulation.runner import Total, commit, kept, mutation_named, plain, shrink, try_mutations
from simulation.world import run

_TRACE_LINES = 60


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=positive, metavar="N", help="run so many seeds")
    parser.add_argument("--minutes", type=float, metavar="M", help="run seeds for so long")
    parser.add_argument("--first", type=int, metavar="N", help="the first seed (default: random)")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--say-every", type=float, default=20.0, metavar="S", help="how it goes, on stderr"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="run this seed alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: say all that happens")
    parser.add_argument("--shrink", action="store_true", help="with --seed: with fewer faults")
    parser.add_argument(
        "--keep",
        type=_places,
        metavar="I,J",
        help="with --seed: these faults of it only; --shrink says which",
    )
    parser.add_argument(
        "--faults", metavar="KIND,KIND", type=_kinds, default=(), help="faults of these kinds only"
    )
    parser.add_argument("--models", action="store_true", help="say which kinds of faults there are")
    parser.add_argument("--plain", action="store_true", help="with --seed: no drill in the end")
    parser.add_argument("--mutation", metavar="NAME", help="with --seed: without this guard")
    parser.add_argument("--drills", action="store_true", help="mutations: drilled seeds only")
    parser.add_argument("--mutations", action="store_true", help="take each guard out in turn")
    parser.add_argument("--only", metavar="PATTERN", default="", help="mutations of such a name")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := sorted(set(kinds) - set(APPLY)):
        known = ", ".join(sorted(APPLY))
        raise argparse.ArgumentTypeError(f"no fault {', '.join(unknown)}; there are: {known}")
    return kinds


def _places(text: str) -> tuple[int, ...]:
    return tuple(int(place) for place in text.split(",") if place)


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What would be done in vain, or not at all, is an error and no success."""
    if options.seed is None:
        for name in ("trace", "shrink", "keep", "plain", "mutation"):
            if getattr(options, name):
                parser.error(f"--{name} needs --seed")
    elif options.keep:
        has = len(only(plan_of(options.seed), options.faults).faults)
        if not all(0 <= place < has for place in options.keep):
            parser.error(f"seed {options.seed} has the faults 0 to {has - 1} (--keep)")
    if options.only and not any(re.search(options.only, m.name) for m in MUTATIONS):
        parser.error(f"no mutation has a name like '{options.only}'")


def main() -> int:
    """The exit code: 0, or 1 when something is wrong."""
    parser = _parser()
    options = parser.parse_args()
    _check(parser, options)
    if options.models:
        for model, kinds in MODELS.items():
            print(f"{model}\n    {', '.join(kinds)}")
        return 0
    if options.seed is not None:
        return _one(options)
    if options.mutations:
        return _mutations(options)
    return _many(options)


# --- one seed -------------------------------------------------------------------------------------


def _one(options: argparse.Namespace) -> int:
    if options.mutation is not None:
        mutation_named(options.mutation).patch()
    plan = only(plan_of(options.seed), options.faults)
    if options.keep is not None:
        plan = kept(plan, options.keep)
    if options.plain:
        plan = plain(plan)
    if options.shrink:
        return _shrink(options, plan)
    result = run(plan, tracing=options.trace)
    if options.trace:
        print("\n".join(result.trace))
    figures = f"{result.virtual_us / 1e6:.1f} s, {result.events} events"
    print(f"seed {options.seed}: {result.violation or 'good'} ({figures})")
    return 1 if result.violation else 0


def _shrink(options: argparse.Namespace, plan: Plan) -> int:
    result = run(plan)
    if not result.violation:
        print(f"seed {options.seed}: good, there is nothing to make smaller")
        return 0
    print(f"seed {options.seed}: {result.violation}")
    smaller = shrink(plan, result.rule, lambda text: print(f"  {text}", flush=True))
    whole = only(plan_of(options.seed), options.faults).faults
    places = [place for place, fault in enumerate(whole) if fault in smaller.faults]
    print(f"of {len(plan.faults)} faults these {len(smaller.faults)} are enough:")
    for fault in smaller.faults:
        print(f"  {fault}")
    result = run(smaller, tracing=True)
    print(f"the end of its trace, {_TRACE_LINES} of {len(result.trace)} lines:")
    print("\n".join(result.trace[-_TRACE_LINES:]))
    again = f"scripts/simulate --seed {options.seed} --trace"
    again += f" --keep {','.join(map(str, places)) or ','}" + _faults(options.faults)
    if smaller == plain(smaller):
        again += " --plain"
    if options.mutation is not None:
        again += f" --mutation {shlex.quote(options.mutation)}"
    print(f"commit {commit()}; the whole trace: {again}")
    return 1


# --- many -----------------------------------------------------------------------------------------


def _many(options: argparse.Namespace) -> int:
    """Ends by itself, in time, or by a signal; what was done until then is reported in any case."""
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell had them ignored
        signal.signal(number, signal.default_int_handler)
    first = options.first if options.first is not None else random.SystemRandom().randrange(1 << 40)
    limit = options.seeds if options.seeds is not None else None
    seeds = count(first) if limit is None else iter(range(first, first + limit))
    minutes = options.minutes if options.minutes or limit is not None else 1.0
    begun = time.monotonic()
    until = begun + 60 * minutes if minutes else float("inf")
    print(f"commit {commit()}, seeds from {first}", flush=True)
    total = Total()
    said = begun
    try:
        work = partial(run_seed, kinds=options.faults)
        for result in run_all(seeds, jobs=options.jobs, until=until, work=work):
            total.add(result)
            _say_violation(result, options.faults)
            if time.monotonic() - said >= options.say_every:
                said = time.monotonic()
                print(f"... {_so_far(total, said - begun)}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted; so far:")
    _report(total, time.monotonic() - begun)
    return 1 if total.violations else 0


def _say_violation(result: Result, kinds: Sequence[str]) -> None:
    if result.violation:
        print(f"seed {result.seed}: {result.violation}")
        again = f"scripts/simulate --seed {result.seed} --trace" + _faults(kinds)
        print(f"  commit {commit()}; {again}", flush=True)


def _faults(kinds: Sequence[str]) -> str:
    return f" --faults {','.join(kinds)}" if kinds else ""


def _so_far(total: Total, wall_s: float) -> str:
    virtual_s = total.virtual_us / 1e6
    cpu_s = max(total.cpu_s, 1e-9)
    return (
        f"{total.seeds} seeds, {virtual_s / 3600:.2f} virtual hours in {wall_s:.0f} s;"
        f" {virtual_s / cpu_s:.0f} times real time a core, {total.events / cpu_s:.0f} events/s;"
        f" violations: {len(total.violations)}"
    )


def _report(total: Total, wall_s: float) -> None:
    print(_so_far(total, wall_s))
    print(f"{total.takeovers} times active, {total.acknowledgements} barriers acknowledged")
    print("faults: " + ", ".join(f"{kind} {n}" for kind, n in sorted(total.faults.items())))
    print("seen: " + ", ".join(f"{what} {n}" for what, n in sorted(total.notes.items())))
    missing = list(never_taken(total.transitions))
    print(f"{len(total.transitions)} transitions of the decision table were taken; never:")
    for line in missing or ["(none is missing)"]:
        print(f"  {line}")
    for result in total.violations:
        print(f"violation: seed {result.seed}: {result.violation}")
    print(f"violations: {len(total.violations)}")


# --- mutations ------------------------------------------------------------------------------------


def _mutations(options: argparse.Namespace) -> int:
    numbers = [n for n, mutation in enumerate(MUTATIONS) if re.search(options.only, mutation.name)]
    first, step = (options.first or 0), 1
    if options.drills:
        first, step = first + DRILL_EVERY - 1, DRILL_EVERY
    limit = options.seeds if options.seeds is not None else 120
    holes = unfit = 0
    for caught in try_mutations(numbers, first=first, limit=limit, step=step, jobs=options.jobs):
        holes += not caught.good and not caught.unfit
        unfit += bool(caught.unfit)
        print(caught, flush=True)
    print(f"{len(numbers)} mutations, {holes} holes, {unfit} that no longer fit the code")
    return 1 if holes or unfit else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
