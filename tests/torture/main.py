"""scripts/torture."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from command_line import positive
from torture.plan import Wishes, draw, smaller
from torture.run import Outcome, run

_TRIES = 2  # a smaller round may need luck to fail


def main() -> int:
    """Exit 0: no violation; 1: one; 2: the machine lacks something."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the first round (default: from the clock)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--rounds", type=positive, help="how many (1)")
    length.add_argument("--minutes", type=float, help="begins no new round after that")
    defaults = Wishes()
    parser.add_argument("--phases", type=positive, default=defaults.phases, help="in a round")
    parser.add_argument(
        "--writers", type=positive, default=defaults.writers, help="at the same time"
    )
    parser.add_argument(
        "--deeds", type=positive, default=defaults.deeds, help="of a writer in a phase"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="KIND", help="a deed, trouble or ending"
    )
    parser.add_argument(
        "--inotify", action="append", default=[], choices=("a", "b"), help="a node watches by it"
    )
    parser.add_argument("--shrink", action="store_true", help="look for the least that fails")
    parser.add_argument("--keep-going", action="store_true", help="after a violation, too")
    parser.add_argument("--story", action="store_true", help="what happens, as it happens")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("torture: it mounts file systems, which needs root", file=sys.stderr)
        return 2
    return asyncio.run(_rounds(arguments))


async def _rounds(arguments: argparse.Namespace) -> int:
    wishes = Wishes(
        phases=arguments.phases,
        writers=arguments.writers,
        deeds=arguments.deeds,
        without=frozenset(arguments.without),
        inotify=frozenset(arguments.inotify),
    )
    failed = 0
    for seed in _seeds(arguments):
        outcome = await run(seed, wishes, print if arguments.story else _silent)
        _tell(outcome)
        if not outcome.violation:
            continue
        failed += 1
        await _tell_violation(outcome, wishes, shrink=arguments.shrink)
        if not arguments.keep_going:
            break
    return 1 if failed else 0


def _seeds(arguments: argparse.Namespace) -> Iterator[int]:
    first = arguments.seed if arguments.seed is not None else int(time.time())
    until = time.monotonic() + (arguments.minutes or 0) * 60
    for number in itertools.count():
        if arguments.minutes is None and number >= (arguments.rounds or 1):
            return
        if number and arguments.minutes is not None and time.monotonic() > until:
            return
        yield first + number


def _silent(_line: str) -> None:
    pass


def _tell(outcome: Outcome) -> None:
    print(
        f"round {outcome.seed}: {'VIOLATED' if outcome.violation else 'held'} in "
        f"{outcome.seconds:.0f} s, {outcome.phases} phases, {outcome.deeds} deeds, "
        f"{outcome.acknowledged} acknowledged, {outcome.failovers} failovers, "
        f"{outcome.quarantined} in quarantine",
        flush=True,
    )
    for note in outcome.notes:
        print(f"  note: {note}", flush=True)


async def _tell_violation(outcome: Outcome, wishes: Wishes, *, shrink: bool) -> None:
    kept = Path(tempfile.mkdtemp(prefix=f"staqraft-torture-{outcome.seed}-")) / "story"
    kept.write_text("\n".join((*outcome.story, outcome.violation, outcome.evidence)))
    print("\n".join(outcome.story), outcome.violation, sep="\n")
    print(f"what happened and what was there: {kept}")
    if shrink:
        wishes = await _shrunk(outcome, wishes)
    print(f"again: scripts/torture --seed {outcome.seed} {wishes.words()}", flush=True)


async def _shrunk(outcome: Outcome, wishes: Wishes) -> Wishes:
    """Leaves out what is not needed for a violation."""
    wishes = Wishes(
        phases=outcome.phases + 1,
        writers=wishes.writers,
        deeds=wishes.deeds,
        without=wishes.without,
        inotify=wishes.inotify,
    )
    todo = smaller(wishes, draw(outcome.seed, wishes))
    while todo:
        candidate = todo.pop(0)
        for _ in range(_TRIES):
            if (await run(outcome.seed, candidate, _silent)).violation:
                print(f"  still fails with {candidate.words()}", flush=True)
                wishes = candidate
                todo = smaller(wishes, draw(outcome.seed, wishes))
                break
    return wishes


if __name__ == "__main__":
    sys.exit(main())
