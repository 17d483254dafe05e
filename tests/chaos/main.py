"""scripts/chaos."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from time import time_ns

from chaos import report
from chaos.nemeses import draw
from chaos.run import run
from lab.errors import LabError, MissingError
from lab.lab import Lab
from lab.layout import PROFILES
from lab.logs import keep_logs
from lab.state import default_directory


def main() -> int:
    """Exit 0: nothing was violated; 1: something was; 2: the machine lacks something."""
    parser = argparse.ArgumentParser(
        prog="chaos", description="Random faults in a row on a cluster of real processes."
    )
    parser.add_argument("--count", type=int, default=50, help="faults (50)")
    parser.add_argument("--seed", type=int, help="what to draw from (default: a new one)")
    parser.add_argument("--profile", choices=[*PROFILES], default="default", help="of the lease")
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--story", action="store_true", help="all that happened, line by line")
    parser.add_argument("--keep-logs", action="store_true", help="also when all was well")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else time_ns() % 1_000_000
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
    place = Path(tempfile.mkdtemp(prefix="staqraft-chaos-", dir=default_directory().parent))
    lab = Lab.create(place, profile=arguments.profile)
    again = f"scripts/chaos --count {arguments.count} --seed {seed} --profile {arguments.profile}"
    if arguments.only:
        again += f" --only '{arguments.only}'"
    try:
        if not arguments.json:
            print(f"seed {seed}; again: {again}", flush=True)
        nemeses = (n for n in draw(seed) if arguments.only in n.name)
        tell = report.tell_json if arguments.json else report.tell
        judgement = run(lab, islice(nemeses, arguments.count), tell)
        if arguments.story:
            report.print_story(judgement, lab)
        if judgement.violations:
            report.print_violations(judgement, lab)
            print(f"chaos: to try it again: {again}", file=sys.stderr)
        if judgement.violations or arguments.keep_logs:
            keep_logs(lab, "chaos", tail=False)
    finally:
        lab.down()
    if arguments.json:
        print(json.dumps(report.to_json(judgement, seed)))
    else:
        report.print_table(judgement)
    return 1 if judgement.violations else 0


if __name__ == "__main__":
    sys.exit(main())
