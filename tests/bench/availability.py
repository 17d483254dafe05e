"""What the measured outages come to in a year, beside one server and what others document.

Pure calculation: the formula is in `uptime.py`, the assumptions are in `assumptions.yaml`, the
outages of StaqRaft are the newest of each kind in `history.jsonl` that were measured often enough
(`ENOUGH`; else the one that was measured most often), each with its p99, as if every takeover were
that slow. Nothing is measured here, and nothing is added to the history.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.record import HISTORY
from bench.uptime import PLANNED, YEAR_S, Assumptions, Failure, Lost, one_server, pair
from lab.errors import LabError

HELP = "what the measured outages come to in a year"
ASSUMPTIONS = Path(__file__).with_name("assumptions.yaml")
MOST_A_YEAR = 8766  # once an hour
RECORDS = False
ENOUGH = 10  # outages: a p99 of fewer is no more than the longest of a few
PROMISED = 0.999  # by StaQware, in the year 2000
UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Which measured outage stands for which way of failing: the bench and the kind of its fault; of
# several the first that there is.
MEASURED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "host": (("failover", "power"), ("chaos", "power cut of active")),
    "hardware": (("failover", "power"), ("chaos", "power cut of active")),
    "link": (("failover", "cable"),),
    "disk": (("chaos", "dead disk: data"),),  # not "hung disk": that is healed before it matters
    "service": (("chaos", "kill nginx"),),
    PLANNED: (("failover", "switchover"), ("chaos", "switchover")),
}
LEFT_OUT = """\
What this leaves out, and what usually decides: failures of both at once (one power strip, one
switch, one room, one fault in the software that both run), people's mistakes, overload, the
provider's network and DNS, and a witness that is away at the same moment. It treats failures as
independent of each other, and every takeover as one that succeeds. Read the lines against each
other, not as a promise."""


class BadAssumptions(LabError):
    """A sentence about what is wrong in the file or on the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The p99 of an outage, and which run it is from."""

    seconds: float
    run: str


def seconds(text: object) -> float:
    """Of a duration as it is written in the assumptions."""
    words = str(text).strip()
    number = words.rstrip("dhms")
    try:
        found = float(number) * UNITS_S[words[len(number) :]]
    except (KeyError, ValueError):
        found = math.nan
    if not 0 <= found <= YEAR_S:
        raise BadAssumptions(f"{words!r} is no duration such as 30s, 10m, 4h, 2d, up to a year")
    return found


def rate(text: object) -> float:
    """How often a year something happens."""
    try:
        found = float(str(text))
    except ValueError:
        found = math.nan
    if not 0 <= found <= MOST_A_YEAR:
        raise BadAssumptions(
            f"{text!r} is not how often a year: a number from 0 to {MOST_A_YEAR} is"
        )
    return found


def measured(history: Iterable[Mapping[str, Any]], profile: str) -> dict[str, Measured]:
    """The newest outage of each kind that is one of enough. What was not measured with this profile
    is that of the default one; what never was is not there.
    """
    lines = list(history)
    found: dict[str, Measured] = {}
    for name, sources in MEASURED.items():
        for bench, kind in sources:
            newest = _newest(lines, profile, bench, kind)
            if newest is not None:
                found[name] = newest
                break
    if profile != "default":
        found = {**measured(lines, "default"), **found}
    return found


def _newest(
    lines: Iterable[Mapping[str, Any]], profile: str, bench: str, kind: str
) -> Measured | None:
    newest, most = None, 0
    for line in lines:
        if (line.get("bench"), line.get("profile")) != (bench, profile):
            continue
        if line.get("violations"):  # its worst outage may have no end, and is not among them
            continue
        spreads = line["outage_s"] if bench == "chaos" else {line["kind"]: line["outage_s"]}
        if kind in spreads:
            run = f"{bench} {kind!r}, {profile}, {line['when'][:16]}, commit {line['commit']}"
            count = int(spreads[kind]["count"])
            if count >= min(most, ENOUGH):
                newest = Measured(seconds=spreads[kind]["p99"], run=f"p99 of {count}: {run}")
                most = count
    return newest


# --- assumptions ----------------------------------------------------------------------------------


def load(path: Path, changes: Iterable[str] = ()) -> dict[str, Any]:
    """The file with `changes` such as "failures.host.per_year=2" in it."""
    try:
        text: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadAssumptions(f"{path} cannot be read: {error}") from error
    for change in changes:
        where, equals, value = change.partition("=")
        *outer, last = where.split(".")
        place: Any = text
        for word in outer:
            place = place.get(word) if isinstance(place, dict) else None
        known = isinstance(place, dict) and last in place and not isinstance(place[last], dict)
        if not equals or not known:
            raise BadAssumptions(f"{change!r}: there is no value {where!r} in {path.name}")
        place[last] = value
    return text


def assumptions(text: Mapping[str, Any]) -> Assumptions:
    """Of one server. BadAssumptions with what is wrong."""
    try:
        return Assumptions(
            failures={
                name: Failure(per_year=rate(how["per_year"]), repair_s=seconds(how["repair"]))
                for name, how in text["failures"].items()
            },
            planned=Failure(
                per_year=rate(text["planned"]["per_year"]),
                repair_s=seconds(text["planned"]["outage"]),
            ),
            catch_up_s=seconds(text["catch_up"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadAssumptions(f"the assumptions are not complete: {error!r}") from error


def compare(text: Mapping[str, Any], history: Iterable[Mapping[str, Any]]) -> dict[str, Lost]:
    """Every system, in the order in which it is shown."""
    assumed, lines = assumptions(text), list(history)
    systems = {"one server": one_server(assumed)}
    for profile in ("default", "fast"):
        takes = {name: one.seconds for name, one in measured(lines, profile).items()}
        systems[f"StaqRaft, {profile} profile"] = pair(assumed, takes)
    for name, documented in text["peers"].items():
        takes = {how: seconds(value) for how, value in documented.items()}
        systems[name] = pair(assumed, takes)
    return systems


# --- the command ----------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `bench availability`."""
    parser.add_argument("--assumptions", type=Path, default=ASSUMPTIONS, metavar="FILE")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change an assumption"
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0: this is arithmetic."""
    try:
        text = load(arguments.assumptions, arguments.set)
        lines = [json.loads(line) for line in HISTORY.read_text(encoding="utf-8").splitlines()]
        systems = compare(text, lines)
    except BadAssumptions as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    if arguments.json:
        for name, lost in systems.items():
            figures = {"seconds_a_year": round(lost.seconds, 1), "availability": lost.availability}
            causes = {cause: round(value, 2) for cause, value in lost.by_cause.items()}
            print(json.dumps({"system": name, **figures, "seconds_by_cause": causes}))
        return 0
    _print(text, systems, lines)
    return 0


def _print(
    text: Mapping[str, Any], systems: Mapping[str, Lost], lines: list[Mapping[str, Any]]
) -> None:
    causes = [*text["failures"], PLANNED, "both"]
    print("Minutes lost in a year, by cause; and how much of the year there is service")
    print(
        f"{'':28}" + "".join(f"{cause:>10}" for cause in causes) + f"{'all':>10}{'available':>13}"
    )
    for name, lost in systems.items():
        cells = "".join(f"{lost.by_cause.get(cause, 0.0) / 60:10.2f}" for cause in causes)
        print(f"{name:28}{cells}{lost.seconds / 60:10.1f}{lost.availability:13.4%}")
    print(
        f"{'StaQware promised':28}{'':{10 * len(causes)}}{YEAR_S * (1 - PROMISED) / 60:10.1f}"
        f"{PROMISED:13.4%}"
    )
    print("\nFormula, summed over the ways k in which one server fails:")
    print("  one server = rate(k) x repair(k) + updates x outage")
    print("  a pair     = rate(k) x takeover(k) + updates x handover + both")
    print("  both       = year x (u x u + 2 x u x p)")
    print("               u = rate(k) x (repair(k) + catch-up) / year, without services")
    print("               p = updates x (outage + catch-up) / year")
    print("  (not taken over from: repair(k) in the place of takeover(k))")
    print("\nMeasured outages of StaqRaft:")
    for profile in ("default", "fast"):
        known = measured(lines, profile)
        for name in (*text["failures"], PLANNED):
            one = known.get(name)
            said = f"{one.seconds:.2f} s ({one.run})" if one else "never measured: as one server"
            print(f"  {profile:8}{name:10}{said}")
    print("\nAssumptions:")
    for name, how in text["failures"].items():
        print(f"  {name:10}{how['per_year']} a year, {how['repair']} without a partner")
    print(f"  {'updates':10}{text['planned']['per_year']} a year, {text['planned']['outage']} each")
    print(f"  {'catch-up':10}{text['catch_up']}")
    print(f"\n{LEFT_OUT}")
