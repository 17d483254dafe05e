"""What a run came to, for people: a table by kind of fault, and the trace around a violation."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from chaos import trace
from chaos.run import Judgement, Struck
from lab.lab import Lab
from lab.spread import Spread

AROUND_S = 8.0
SHOWN = 5  # violations with a trace of their own


def tell(struck: Struck) -> None:
    """One line as it happens."""
    print(
        f"{struck.number:4}  {struck.name} (active: {struck.active}"
        f"{f', {struck.not_made} of them could not be made' if struck.not_made else ''}), held"
        f" {struck.healed - struck.since:.1f} s: outage {struck.outage_s:.2f} s, well"
        f" {struck.well - struck.healed:.1f} s after it was healed, epoch {struck.epoch}",
        flush=True,
    )


def tell_json(struck: Struck) -> None:
    """One object a line."""
    print(json.dumps(struck.to_json()), flush=True)


def by_kind(struck: Iterable[Struck]) -> dict[str, tuple[Spread, Spread]]:
    """Outages, and the times until all was well again after healing, in seconds."""
    kinds: dict[str, list[Struck]] = defaultdict(list)
    for each in struck:
        kinds[each.kind].append(each)
    return {
        kind: (
            Spread.of([each.outage_s for each in found]),
            Spread.of([each.well - each.healed for each in found]),
        )
        for kind, found in sorted(kinds.items())
    }


def print_table(judgement: Judgement) -> None:
    """Outages by kind, and what was looked at."""
    print(
        f"{'seconds':40}{'steps':>7}{'outage p50':>12}{'p99':>7}{'max':>7}{'well after, max':>17}"
    )
    for kind, (outage, well) in by_kind(judgement.struck).items():
        print(
            f"{kind:40}{outage.count:7}{outage.p50:12.2f}{outage.p99:7.2f}{outage.max:7.2f}"
            f"{well.max:17.1f}"
        )
    print("done: " + ", ".join(f"{n} {kind}" for kind, n in judgement.kinds.items()))
    more = f" ({judgement.not_made} more could not be made)" if judgement.not_made else ""
    failures = ", ".join(f"{n} {why}" for why, n in sorted(judgement.failures.items()))
    print(
        f"{judgement.faults} faults{more} in {len(judgement.struck)} steps;"
        f" {judgement.arrived} mails, pages and lines arrived,"
        f" {judgement.acknowledged} acknowledged"
        f" (not: {failures or 'none'});"
        f" {judgement.questions} questions for the VIP; {judgement.views} views of epochs;"
        f" {len(judgement.violations)} violations"
    )


def to_json(judgement: Judgement, seed: int) -> dict[str, Any]:
    """The last line, and what the history of the bench gets."""
    return {
        "chaos": "end",
        "seed": seed,
        "faults": judgement.faults,
        "not_made": judgement.not_made,
        "kinds": judgement.kinds,
        "steps": len(judgement.struck),
        "arrived": judgement.arrived,
        "acknowledged": judgement.acknowledged,
        "questions": judgement.questions,
        "views": judgement.views,
        "outage_s": {k: o.rounded(3) for k, (o, _) in by_kind(judgement.struck).items()},
        "well_after_s": {k: w.rounded(2) for k, (_, w) in by_kind(judgement.struck).items()},
        "violations": [violation.text for violation in judgement.violations],
    }


def print_story(judgement: Judgement, lab: Lab) -> None:
    """All that happened, in the order of time, host by host."""
    for line in trace.of_run(judgement, lab):
        print(line)


def print_violations(judgement: Judgement, lab: Lab) -> None:
    """Each with what happened around it, host by host."""
    lines = trace.of_run(judgement, lab)
    for number, violation in enumerate(judgement.violations):
        print(f"VIOLATION at {violation.at:.3f}: {violation.text}", file=sys.stderr)
        if number < SHOWN:
            for line in trace.around(lines, violation.at, AROUND_S):
                print(f"    {line}", file=sys.stderr)
