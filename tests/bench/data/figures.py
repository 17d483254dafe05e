"""Medians of runs, ratios between systems, targets (PURE).

A ratio is a system's figure divided by another's, turned round for rates: below 1 is better than
the other, above 1 worse. Differences under 1.5 are ties: machines are not that quiet.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.data.results import Run

OURS: Final = "staqraft"
TIE: Final = 1.5
RATES: Final = ("/s", "MB/s")
MB: Final = 1e6
NO_MEASURE: Final = {"nothing": ""}  # of a workload that no run of any system got through


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measure of one system over all its runs. `median` None: no run of it counts."""

    workload: str
    measure: str
    system: str
    durable: bool
    unit: str
    median: float | None
    least: float | None = None
    most: float | None = None
    runs: int = 0  # that count
    wire_bytes: int | None = None  # medians, too
    processor_s: float | None = None
    ratio_to_best_peer: float | None = None
    ratio_to_fastest: float | None = None
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures that programs read."""
        return {
            "workload": self.workload,
            "measure": self.measure,
            "system": self.system,
            "durable": self.durable,
            "median": _rounded(self.median),
            "unit": self.unit,
            "ratio_to_best_peer": _rounded(self.ratio_to_best_peer),
            "ratio_to_fastest": _rounded(self.ratio_to_fastest),
            "bytes": self.wire_bytes,
            "cpu_s": _rounded(self.processor_s),
            "least": _rounded(self.least),
            "most": _rounded(self.most),
            "runs": self.runs,
            **({"problems": list(self.problems)} if self.problems else {}),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def lines(runs: Sequence[Run]) -> list[Line]:
    """A line for each measure of each system, in the order in which they were first seen."""
    by_system: dict[tuple[str, str], list[Run]] = defaultdict(list)
    measures: dict[str, dict[str, str]] = defaultdict(dict)  # workload -> measure -> unit
    for run in runs:
        by_system[run.workload, run.system].append(run)
        for figure in run.figures:
            measures[run.workload][figure.measure] = figure.unit
    found = []
    for workload in dict.fromkeys(run.workload for run in runs):
        for measure, unit in (measures.get(workload) or NO_MEASURE).items():
            of_measure = [
                _line(workload, measure, unit, group)
                for (name, _), group in by_system.items()
                if name == workload
            ]
            # Some know more than others; who has neither a figure nor a problem is not asked.
            found += _with_ratios(line for line in of_measure if line.runs or line.problems)
    return found


def _line(workload: str, measure: str, unit: str, runs: Sequence[Run]) -> Line:
    good = [run for run in runs if not run.problem]
    values = [f.value for run in good for f in run.figures if f.measure == measure]
    used = [run.usage for run in good if run.usage is not None]
    return Line(
        workload=workload,
        measure=measure,
        system=runs[0].system,
        durable=runs[0].durable,
        unit=unit,
        median=statistics.median(values) if values else None,
        least=min(values, default=None),
        most=max(values, default=None),
        runs=len(values),
        wire_bytes=round(statistics.median(u.wire_bytes for u in used)) if used else None,
        processor_s=statistics.median(u.processor_s for u in used) if used else None,
        problems=tuple(run.problem for run in runs if run.problem),
    )


def _with_ratios(of_measure: Iterable[Line]) -> list[Line]:
    all_of_it = list(of_measure)
    peers = [line for line in all_of_it if not line.system.startswith(OURS)]

    def ratio(line: Line, others: Iterable[Line]) -> float | None:
        ratios = [r for other in others if (r := compare(line, other)) is not None]
        return max(ratios, default=None)  # to the best of them

    return [
        replace(
            line,
            ratio_to_best_peer=ratio(line, (p for p in peers if p.durable == line.durable)),
            ratio_to_fastest=ratio(line, all_of_it),
        )
        for line in all_of_it
    ]


def compare(line: Line, other: Line) -> float | None:
    """Below 1: `line` is better. None when one of them has no figure, or the other's is nothing."""
    if not line.median or not other.median:
        return None
    ratio = line.median / other.median
    return 1 / ratio if line.unit in RATES else ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What StaqRaft promises of a measure: a bound, or to be no slower than a peer (a tie will do).

    `below` and `at_most_mb` are bounds of the figure and of the bytes on the wire; `at_least` is
    one of a rate; `as_fast_as` names a peer, and `within` how much slower than that it may be;
    `faster_than` names one that it is to be far ahead of.
    """

    below: float | None = None
    at_least: float | None = None
    at_most_mb: float | None = None
    as_fast_as: str = ""
    within: float = TIE
    faster_than: str = ""

    def __str__(self) -> str:
        parts = [
            f"< {self.below:g}" if self.below is not None else "",
            f">= {self.at_least:,.0f}" if self.at_least is not None else "",
            f"<= {self.within:g} x {self.as_fast_as}" if self.as_fast_as else "",
            f"ahead of {self.faster_than}" if self.faster_than else "",
            f"< {self.at_most_mb:g} MB" if self.at_most_mb is not None else "",
        ]
        return ", ".join(part for part in parts if part)


TARGETS: Final[dict[tuple[str, str], Target]] = {
    ("W1", "copied"): Target(as_fast_as="rsync", faster_than="rsync-fsync", at_most_mb=60),
    ("W2", "copied"): Target(as_fast_as="rsync", faster_than="rsync-fsync"),
    ("W3", "lag"): Target(below=0.25, at_most_mb=17),
    ("W3b", "p50"): Target(below=10),
    ("W3b", "p99"): Target(below=50),
    ("W4", "all there"): Target(below=0.5, at_most_mb=0.68),
    ("W5", "p50"): Target(below=20),
    ("W5", "p99"): Target(below=100, at_most_mb=4.5),
    ("W6", "lag"): Target(below=0.5, at_most_mb=6),
    ("stream", "mails durable"): Target(at_least=30_000),
    ("stream", "mails applied"): Target(at_least=10_000),
    ("stream", "large durable"): Target(at_least=250),
    ("stream", "ack idle p50"): Target(below=0.7),
    ("stream", "ack at 1,000/s p50"): Target(below=1.5),
    ("pays W1", "written"): Target(as_fast_as="nobody", within=1.05),
    ("pays W3", "written"): Target(as_fast_as="nobody", within=1.05),
}


def misses(found: Sequence[Line]) -> list[str]:
    """What of the targets StaqRaft does not reach, a sentence each; a run that fails is one."""
    sentences: dict[str, None] = {}  # the same failure shows in each measure of its workload
    for line in found:
        if not line.system.startswith(OURS):
            continue
        for problem in line.problems:
            sentences[f"{line.workload}: a run of {line.system} does not count: {problem}"] = None
        target = TARGETS.get((line.workload, line.measure))
        if line.system == OURS and line.median is not None and target is not None:
            others = [o for o in found if (o.workload, o.measure) == (line.workload, line.measure)]
            sentences |= dict.fromkeys(_misses_of(line, line.median, target, others))
    return list(sentences)


def _misses_of(line: Line, median: float, target: Target, others: Sequence[Line]) -> list[str]:
    name = f"{line.workload} {line.measure}"
    found = []
    shown = f"{name} is {median:.4g} {line.unit}"
    if target.below is not None and median >= target.below:
        found.append(f"{shown}, not below {target.below:g}")
    if target.at_least is not None and median < target.at_least:
        found.append(f"{shown}, less than {target.at_least:g}")
    sent = None if line.wire_bytes is None else line.wire_bytes / MB
    if target.at_most_mb is not None and sent is not None and sent > target.at_most_mb:
        found.append(f"{name}: {sent:.3g} MB are sent, more than {target.at_most_mb:g}")
    for peer, limit in ((target.as_fast_as, target.within), (target.faster_than, 1 / TIE)):
        ratios = [compare(line, other) for other in others if other.system == peer]
        found += [
            f"{shown}, {ratio:.2f} times that of {peer} (more than {limit:.2f})"
            for ratio in ratios
            if ratio is not None and ratio > limit
        ]
    return found
