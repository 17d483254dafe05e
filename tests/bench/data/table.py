"""What people read (PURE): a table for each measure of each workload, StaqRaft first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from bench.data.figures import MB, OURS, TARGETS, Line

HEAD = ("system", "durable", "median", "least", "most", "wire MB", "CPU s", "to best", "to fastest")


def render(found: Sequence[Line], what: Mapping[str, str]) -> str:
    """All tables; `what` says in words what each workload is."""
    parts = []
    for (workload, measure), group in groupby(
        found, key=lambda line: (line.workload, line.measure)
    ):
        members = sorted(group, key=lambda line: not line.system.startswith(OURS))
        target = TARGETS.get((workload, measure))
        promised = f" (target: {target})" if target else ""
        parts.append(f"{workload}: {what.get(workload, workload)}: {measure}{promised}")
        parts.append(_table(members))
        parts += [
            f"  {line.system}: {len(line.problems)} of {line.runs + len(line.problems)} runs do not"
            f" count: {line.problems[0].splitlines()[0]}"
            for line in members
            if line.problems
        ]
        parts.append("")
    return "\n".join(parts)


def _table(members: Sequence[Line]) -> str:
    rows = [HEAD, *(_row(line) for line in members)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(line: Line) -> tuple[str, ...]:
    def figure(value: float | None) -> str:
        return "-" if value is None else f"{value:,.4g} {line.unit}"

    return (
        line.system,
        "yes" if line.durable else "no",
        figure(line.median),
        figure(line.least),
        figure(line.most),
        "-" if line.wire_bytes is None else f"{line.wire_bytes / MB:,.2f}",
        "-" if line.processor_s is None else f"{line.processor_s:.2f}",
        "-" if line.ratio_to_best_peer is None else f"{line.ratio_to_best_peer:.2f}",
        "-" if line.ratio_to_fastest is None else f"{line.ratio_to_fastest:.2f}",
    )
