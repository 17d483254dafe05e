"""What a run came to, for people: a table by kind of fault, and the trace around a violation."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chaos.run import Judgement, Struck
from lab.cluster import DAEMON
from lab.lab import Lab
from lab.layout import MEMBERS
from lab.phases import changes
from lab.spread import Spread

AROUND_S = 6.0
SHOWN = 5  # violations with a trace of their own


def tell(struck: Struck) -> None:
    """One line as it happens."""
    print(
        f"{struck.number:4}  {struck.name} (active: {struck.active}), held"
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
        f"{'seconds':40}{'faults':>7}{'outage p50':>12}{'p99':>7}{'max':>7}{'well after, max':>17}"
    )
    for kind, (outage, well) in by_kind(judgement.struck).items():
        print(
            f"{kind:40}{outage.count:7}{outage.p50:12.2f}{outage.p99:7.2f}{outage.max:7.2f}"
            f"{well.max:17.1f}"
        )
    failures = ", ".join(f"{n} {why}" for why, n in sorted(judgement.postman_failures.items()))
    print(
        f"{len(judgement.struck)} faults; {judgement.acknowledged} mails acknowledged"
        f" (not: {failures or 'none'}); {judgement.questions} questions for the VIP;"
        f" {judgement.views} views of epochs; {len(judgement.violations)} violations"
    )


@dataclass(frozen=True, slots=True, order=True)
class _Line:
    at: float
    text: str


def to_json(judgement: Judgement, seed: int) -> dict[str, Any]:
    """The last line."""
    return {
        "chaos": "end",
        "seed": seed,
        "faults": len(judgement.struck),
        "acknowledged": judgement.acknowledged,
        "questions": judgement.questions,
        "views": judgement.views,
        "outage_s": {k: o.rounded(3) for k, (o, _) in by_kind(judgement.struck).items()},
        "well_after_s": {k: w.rounded(2) for k, (_, w) in by_kind(judgement.struck).items()},
        "violations": [violation.text for violation in judgement.violations],
    }


def print_story(judgement: Judgement, lab: Lab) -> None:
    """All that happened, in the order of time, host by host."""
    for line in _story(judgement, lab):
        print(f"{line.at:.3f}  {line.text}")


def print_violations(judgement: Judgement, lab: Lab) -> None:
    """Each with what happened around it, host by host."""
    story = _story(judgement, lab)
    for number, violation in enumerate(judgement.violations):
        print(f"VIOLATION at {violation.at:.3f}: {violation.text}", file=sys.stderr)
        if number >= SHOWN:
            continue
        for line in story:
            if abs(line.at - violation.at) < AROUND_S:
                print(f"    {line.at:.3f}  {line.text}", file=sys.stderr)


def _story(judgement: Judgement, lab: Lab) -> list[_Line]:
    lines = [
        _Line(change.at, f"{host}: {change.phase}, epoch {change.epoch}")
        for host in MEMBERS
        for change in changes(host, _log(lab, host))
    ]
    for struck in judgement.struck:
        lines.append(_Line(struck.since, f"fault {struck.number}: {struck.name}"))
        lines.append(_Line(struck.healed, f"fault {struck.number} is healed"))
    lines += [
        _Line(at, f"the VIP is answered for by {who or 'nobody'}") for at, who in judgement.holders
    ]
    lines += [
        _Line(at, f"{host}: Raft is led by {leader or 'nobody'}")
        for at, host, leader in judgement.leaders
    ]
    return sorted(lines)


def _log(lab: Lab, host: str) -> list[str]:
    path = lab.host_directory(host) / "log" / f"{DAEMON}.log"
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
