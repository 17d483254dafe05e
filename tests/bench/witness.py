"""What a witness for many pairs costs, and whether one bad pair is felt by the others.

A real `staqraftd --clusters`, and on the same machine real Raft members for the replicas of each
pair, which renew a lease all the time, as idle pairs do; their processor time is not counted.
Measured are the witness's memory and processor time, how late its ticks come, and the time until a
renewal is committed. Then pair 0 misbehaves in one way after the other, and the figures of the
other pairs stand beside those from before; and in the end it behaves again, which tells what the
machine alone does to them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import record
from bench.town import Helpers, Witness
from command_line import positive
from fakes.many import CALM, QUICK, SLOW, Town
from fakes.ports import free_port
from lab.errors import LabError
from lab.spread import Spread

HELP = "memory, processor and tick delays of a witness for many pairs"
MEMORY_MIB = 64.0
PROCESSOR_PERCENT = 15.0
CONNECT_S = 240.0
SETTLE_S = 6.0  # leadership moves to the active, which counts as an election
TIMINGS = {"slow": SLOW, "calm": CALM, "quick": QUICK}
MISCHIEF = ("flood", "huge", "nonsense", "reconnect", "knock", "kill")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `bench witness`."""
    parser.add_argument("--pairs", type=positive, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--timing", choices=TIMINGS, default="calm")
    parser.add_argument("--per-process", type=int, default=50, help="pairs in a helper process")
    parser.add_argument(
        "--mischief", choices=[*MISCHIEF, "all", "none"], default="all", help="of pair 0"
    )
    parser.add_argument("--state", type=Path, help="a directory on the disk to be measured")


def run(arguments: argparse.Namespace) -> int:
    """Exit 0: all targets met."""
    circumstances = record.circumstances()
    phases = {}
    with (
        town(arguments) as place,
        Witness(place) as witness,
        Helpers(place, arguments.pairs, arguments.per_process) as helpers,
    ):
        witness.wait_whole(arguments.pairs, CONNECT_S)
        helpers.collect(SETTLE_S)
        idle = measure(witness, helpers, arguments.seconds)
        say(arguments, {"phase": "idle", **idle})
        asked = rss_once_asked(witness, arguments.pairs)
        if not arguments.json:
            print(f"{'':10} RSS {asked} MiB once an administrator has asked it", flush=True)
        for kind in mischief(arguments.mischief):
            with helpers.misbehaving(kind):
                helpers.collect(SETTLE_S)
                phases[kind] = measure(witness, helpers, arguments.seconds)
            say(arguments, {"phase": kind, **phases[kind], **ratios(idle, phases[kind])})
            witness.wait_whole(arguments.pairs, CONNECT_S)
        helpers.collect(SETTLE_S)
        again = measure(witness, helpers, arguments.seconds)
        say(arguments, {"phase": "idle again", **again, **ratios(idle, again)})
    findings = misses(idle, phases, again)
    line = {
        **circumstances,
        "bench": "witness",
        "pairs": arguments.pairs,
        "timing": arguments.timing,
        "idle": idle,
        "rss_mib_once_asked": asked,
        **phases,
        "idle_again": again,
        "missed": findings,
    }
    if not arguments.no_record:
        record.append(line)
    for finding in findings:
        print(f"bench: missed: {finding}", file=sys.stderr)
    return 1 if findings else 0


@contextlib.contextmanager
def town(arguments: argparse.Namespace) -> Iterator[Town]:
    """The configurations and certificates of all clusters; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="staqraft-bench-", dir=arguments.state) as directory:
        place = Town(Path(directory), free_port(), free_port(), TIMINGS[arguments.timing])
        for number in range(arguments.pairs):
            place.add(number)
        yield place


def mischief(wanted: str) -> tuple[str, ...]:
    """Which kinds are to be tried."""
    return {"all": MISCHIEF, "none": ()}.get(wanted, (wanted,))


def measure(witness: Witness, helpers: Helpers, seconds: float) -> dict[str, Any]:
    """One window: the witness's figures, and those of all pairs but pair 0."""
    before, began = witness.usage(), time.monotonic()
    figures = helpers.collect(seconds)
    after, took = witness.usage(), time.monotonic() - began
    others = [figure for number, figure in figures.items() if number > 0]
    if not others:
        raise LabError("no pair but the first gave figures")
    commits = [ms for figure in others for ms in figure.commit_ms]
    if not commits:
        raise LabError("no pair renewed its lease")
    return {
        "rss_mib": round(after.rss_kib / 1024, 1),
        "pss_mib": round(after.pss_kib / 1024, 1),
        "processor_percent": round(100 * (after.processor_s - before.processor_s) / took, 1),
        "written_kib_s": round((after.written - before.written) / 1024 / took, 1),
        "late_ticks": after.late_ticks - before.late_ticks,
        "lateness_ms": witness.lateness(after.lateness, before.lateness),
        "commits_s": round(len(commits) / took, 1),
        "commit_ms": Spread.of(commits).rounded(2),
        "failed": sum(figure.failed for figure in others),
        "elections": sum(figure.elections for figure in others),
    }


def rss_once_asked(witness: Witness, pairs: int) -> float:
    """Its memory when an administrator has come: gRPC is loaded by then, for good."""
    if witness.ask() != pairs:
        raise LabError("the witness does not know all its clusters")
    return round(witness.usage().rss_kib / 1024, 1)


def ratios(idle: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The same figures of the other pairs, as parts of what they were before."""
    before, after = idle["commit_ms"], now["commit_ms"]
    return {
        "commits_ratio": round(now["commits_s"] / idle["commits_s"], 2),
        "commit_p99_ratio": round(after["p99"] / before["p99"], 2),
    }


def misses(
    idle: dict[str, Any], phases: dict[str, dict[str, Any]], again: dict[str, Any]
) -> list[str]:
    """Which targets were missed, a sentence each.

    What the machine alone did to the pairs, before and after, is nobody's mischief.
    """
    found = []
    usual = max(idle["elections"], again["elections"])
    lost = max(idle["failed"], again["failed"])
    if idle["rss_mib"] >= MEMORY_MIB:
        found.append(f"it takes {idle['rss_mib']} MiB, not less than {MEMORY_MIB:g}")
    if idle["processor_percent"] >= PROCESSOR_PERCENT:
        found.append(
            f"it takes {idle['processor_percent']} % of a core, not less than {PROCESSOR_PERCENT:g}"
        )
    for kind, phase in phases.items():
        if phase["elections"] > usual or phase["failed"] > lost:
            found.append(
                f"{kind}: the other pairs had {phase['elections']} elections and"
                f" {phase['failed']} renewals that failed; without mischief {usual} and {lost}"
            )
    return found


def say(arguments: argparse.Namespace, phase: dict[str, Any]) -> None:
    """One phase, for programs or for people."""
    if arguments.json:
        print(json.dumps(phase), flush=True)
        return
    commit, late = phase["commit_ms"], phase["lateness_ms"]
    compared = (
        f"; commits x{phase['commits_ratio']}, p99 x{phase['commit_p99_ratio']}"
        if "commits_ratio" in phase
        else ""
    )
    print(
        f"{phase['phase']:10} RSS {phase['rss_mib']} MiB, PSS {phase['pss_mib']} MiB,"
        f" {phase['processor_percent']} % of a core, {phase['written_kib_s']} KiB/s written\n"
        f"{'':10} ticks late by p50 {late['p50']}, p99 {late['p99']}, at most {late['max']} ms;"
        f" {phase['late_ticks']} counted as late\n"
        f"{'':10} other pairs: {phase['commits_s']} renewals/s, committed in p50 {commit['p50']},"
        f" p99 {commit['p99']}, max {commit['max']} ms; {phase['failed']} failed,"
        f" {phase['elections']} elections{compared}",
        flush=True,
    )
