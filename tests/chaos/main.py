"""scripts/chaos."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import dropwhile, takewhile
from pathlib import Path

from bench import record
from chaos import report, trace
from chaos.clocks import can_shift
from chaos.ground import STEADY_S
from chaos.history import Violation
from chaos.plan import Step, draw
from chaos.run import Judgement, Struck, run
from lab import requirements
from lab.errors import LabError, MissingError
from lab.lab import Lab
from lab.layout import PROFILES
from lab.linux import boottime
from lab.logs import keep_logs
from lab.state import default_directory

USUAL = 50


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(
        prog="chaos", description="Random faults in a row on a cluster of real processes."
    )
    length = made.add_mutually_exclusive_group()
    length.add_argument(
        "--faults",
        "--count",
        type=int,
        help=f"at least so many ({USUAL}, unless --minutes); more are drawn for those not made",
    )
    length.add_argument("--minutes", type=float, help="begin no step after so long")
    made.add_argument("--seed", type=int, help="what to draw from (default: a new one)")
    made.add_argument("--first", type=int, default=1, help="leave out the faults before this one")
    made.add_argument("--devices", action="store_true", help="replicas can turn each other off")
    made.add_argument("--profile", choices=[*PROFILES], default="default", help="of the lease")
    made.add_argument(
        "--steady",
        type=float,
        default=STEADY_S,
        metavar="SECONDS",
        help="the cluster's health.steady: a shorter one has dead disks follow sooner",
    )
    made.add_argument("--only", default="", help="only steps whose name contains this")
    made.add_argument("--without", default="", help="no steps whose name contains this")
    made.add_argument("--alone", action="store_true", help="only steps of a single fault")
    made.add_argument("--plan", action="store_true", help="only print what would be done")
    made.add_argument("--json", action="store_true", help="one JSON object a line")
    made.add_argument("--story", action="store_true", help="all that happened, line by line")
    made.add_argument("--keep-logs", action="store_true", help="also when all was well")
    made.add_argument(
        "--record", action="store_true", help="add a line to tests/bench/history.jsonl"
    )
    return made


def steps(
    arguments: argparse.Namespace, seed: int, not_made: Callable[[], int] = lambda: 0
) -> Iterator[Step]:
    """Those that the command line names, without end if it names a time.

    `not_made`: how many of them came to nothing until now, for which others are drawn.
    """
    last = arguments.faults or USUAL
    drawn: Iterator[Step] = dropwhile(
        lambda step: step.faults[-1].number < arguments.first,
        draw(seed, devices=arguments.devices),
    )
    if arguments.minutes is None:
        end = arguments.first + last
        drawn = takewhile(lambda step: step.faults[0].number < end + not_made(), drawn)
    return (
        step
        for step in drawn
        if arguments.only in step.name
        and not (arguments.alone and len(step.faults) > 1)
        and not (arguments.without and arguments.without in step.name)
    )


def again(arguments: argparse.Namespace, seed: int, last: int) -> str:
    """The command that does the same faults once more, up to number `last`."""
    words = ["scripts/chaos", "--faults", str(last + 1 - arguments.first), "--seed", str(seed)]
    if arguments.first > 1:
        words += ["--first", str(arguments.first)]
    if arguments.devices:
        words += ["--devices"]
    if arguments.alone:
        words += ["--alone"]
    if arguments.profile != "default":
        words += ["--profile", arguments.profile]
    if arguments.steady != STEADY_S:
        words += ["--steady", f"{arguments.steady:g}"]
    for option in ("only", "without"):
        if getattr(arguments, option):
            words += [f"--{option}", getattr(arguments, option)]
    return shlex.join(words)


def main() -> int:
    """Exit 0: nothing was violated; 1: something was; 2: the machine lacks something."""
    arguments = parser().parse_args()
    seed = arguments.seed if arguments.seed is not None else time.time_ns() % 1_000_000
    if arguments.plan:
        arguments.minutes = None
        planned = [*steps(arguments, seed)]
        for step in planned:
            print(*step.faults, sep="\n")
        return 0 if planned else _nothing(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind
    try:
        return _run(arguments, seed)
    except MissingError as missing:
        print(f"chaos: {missing}", file=sys.stderr)
        return 2
    except (LabError, subprocess.SubprocessError) as failure:
        print(f"chaos: FAILED: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("chaos: interrupted", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace, seed: int) -> int:
    if not requirements.loop_devices_work() or not can_shift():
        raise MissingError("chaos needs root, loop devices, and a C compiler (gcc libc6-dev)")
    circumstances = record.circumstances()
    place = Path(tempfile.mkdtemp(prefix="staqraft-chaos-", dir=default_directory().parent))
    lab = Lab.create(place, profile=arguments.profile, strip=arguments.devices, apart=True)
    begun: list[Step] = []
    struck: list[Struck] = []

    def tell(one: Struck) -> None:
        struck.append(one)
        (report.tell_json if arguments.json else report.tell)(one)

    def until() -> Iterator[Step]:
        deadline = None if arguments.minutes is None else time.monotonic() + arguments.minutes * 60
        for step in steps(arguments, seed, lambda: sum(one.not_made for one in struck)):
            if deadline is not None and time.monotonic() > deadline:
                return
            begun.append(step)
            yield step

    try:
        if not arguments.json:
            print(f"seed {seed}", flush=True)
        judgement = run(lab, until(), tell, devices=arguments.devices, steady_s=arguments.steady)
        judgement.violations += [
            Violation(at=boottime(), text=text)
            for host in lab.members
            for text in trace.unhandled(host, trace.log_of(lab, host))
        ]
        if arguments.story:
            report.print_story(judgement, lab)
        if judgement.violations:
            report.print_violations(judgement, lab)
            last = begun[-1].faults[-1].number if begun else arguments.first
            print(f"chaos: to repeat it: {again(arguments, seed, last)}", file=sys.stderr)
        if judgement.violations or arguments.keep_logs:
            keep_logs(lab, "chaos", tail=False)
    finally:
        lab.down()
    if not begun:
        return _nothing(arguments)
    _tell_all(arguments, judgement, seed)
    if arguments.record:
        figures = report.to_json(judgement, seed)
        record.append({**circumstances, "bench": "chaos", "profile": arguments.profile, **figures})
    return 1 if judgement.violations else 0


def _nothing(arguments: argparse.Namespace) -> int:
    """Where nothing was done, nothing was shown."""
    among = f"among {arguments.faults or USUAL} faults" if arguments.minutes is None else "in time"
    print(
        f"chaos: no step {among} has such a name (--only {arguments.only!r}, --without"
        f" {arguments.without!r}): with --minutes it is drawn until there is one",
        file=sys.stderr,
    )
    return 2


def _tell_all(arguments: argparse.Namespace, judgement: Judgement, seed: int) -> None:
    if arguments.json:
        print(json.dumps(report.to_json(judgement, seed)))
    else:
        report.print_table(judgement)


if __name__ == "__main__":
    sys.exit(main())
