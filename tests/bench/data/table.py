"""What people read (PURE): a table for each measure of each workload, StaqRaft first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from bench.data.figures import MB, OURS, TARGETS, Line

HEAD = ("system", "durable", "median", "least", "most", "wire MB", "CPU s", "to best", "to fastest")


def render(found: Sequence[Line], what: Mapping[str, str]) -> str:
    """All tables; `what` says in words what each workload is."""
    parts = []
    for workload, group in groupby(found, key=lambda line: line.workload):
        lines = list(group)
        title = f"{workload}: {what.get(workload, workload)}"
        if len({line.system for line in lines}) == 1:
            parts.append(title)
            parts.append(_list(lines))
        else:
            parts += _tables(title, lines)
        parts += _problems(lines)
        parts.append("")
    return "\n".join(parts)


def _tables(title: str, lines: Sequence[Line]) -> Iterator[str]:
    """One a measure."""
    for measure, group in groupby(lines, key=lambda line: line.measure):
        members = sorted(group, key=lambda line: not line.system.startswith(OURS))
        yield f"{title}: {measure}{_promised(members[0])}"
        yield _aligned([HEAD, *(_row(line) for line in members)])


def _list(lines: Sequence[Line]) -> str:
    """All measures of the only system."""
    return _aligned(
        [
            (line.measure, _figure(line.median, line), f"{_spread(line)}{_promised(line)}")
            for line in lines
        ],
        left=(0, 2),
    )


def _promised(line: Line) -> str:
    target = TARGETS.get((line.workload, line.measure))
    return f" (target: {target})" if target else ""


def _problems(lines: Sequence[Line]) -> Iterator[str]:
    """Each system's first: the same ones show in each measure."""
    told = set()
    for line in lines:
        if line.problems and line.system not in told:
            told.add(line.system)
            yield (
                f"  {line.system}: {len(line.problems)} of {line.runs + len(line.problems)} runs do"
                f" not count: {line.problems[0].splitlines()[0]}"
            )


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _figure(value: float | None, line: Line) -> str:
    return "-" if value is None else f"{_digits(value)} {line.unit}"


def _digits(value: float) -> str:
    """Four that say something, without an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _spread(line: Line) -> str:
    if line.least is None or line.most is None:
        return ""
    return f"{_digits(line.least)} to {_digits(line.most)}"


def _row(line: Line) -> tuple[str, ...]:
    return (
        line.system,
        "yes" if line.durable else "no",
        _figure(line.median, line),
        _figure(line.least, line),
        _figure(line.most, line),
        "-" if line.wire_bytes is None else f"{line.wire_bytes / MB:,.2f}",
        "-" if line.processor_s is None else f"{line.processor_s:.2f}",
        "-" if line.ratio_to_best_peer is None else f"{line.ratio_to_best_peer:.2f}",
        "-" if line.ratio_to_fastest is None else f"{line.ratio_to_fastest:.2f}",
    )
