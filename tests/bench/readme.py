"""The README's table of replication beside its peers, from the newest figures in the history.

Each figure is that of the newest run that measured it; a run of everything renews all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import record
from bench.data import history
from bench.data.figures import MB, OURS

HELP = "the README's table of replication, from the history"
RECORDS = False
SYSTEMS: Final = (OURS, "rsync", "rsync-fsync", "lsyncd")
HEAD: Final = (
    "workload",
    "StaqRaft",
    "rsync in a loop",
    "the same with `--fsync`",
    "lsyncd",
    "target",
)
NO_FIGURE: Final = "-"

Figures = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""By workload, measure and system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: some measures of one workload, and what was promised."""

    workload: str
    what: str
    measures: tuple[str, ...]
    target: str
    with_bytes: bool = True


ROWS: Final = (
    Row(
        workload="W1",
        what="W1: 20,000 small files, first copy",
        measures=("copied",),
        target="1.5 times rsync, 60 MB",
    ),
    Row(
        workload="W2",
        what="W2: 1 GiB of large files, first copy",
        measures=("copied",),
        target="1.5 times rsync",
    ),
    Row(
        workload="W3",
        what="W3: 3,000 mails at full speed: lag after the last",
        measures=("lag",),
        target="0.25 s, 17 MB",
    ),
    Row(
        workload="W3b",
        what="W3b: visible after delivery, at 50/s: p50, p99",
        measures=("p50", "p99"),
        target="10, 50 ms",
        with_bytes=False,
    ),
    Row(
        workload="W4",
        what="W4: 2,000 flags, 1,000 deletes: until all is there",
        measures=("all there",),
        target="0.5 s, 0.68 MB",
    ),
    Row(
        workload="W5",
        what="W5: 20 appends a second to a mbox of 100 MiB: p50, p99",
        measures=("p50", "p99"),
        target="20, 100 ms, 4.5 MB",
    ),
    Row(
        workload="W6",
        what="W6: 2,000 overwrites in 500 MiB: lag after the last",
        measures=("lag",),
        target="0.5 s, 6 MB",
    ),
    Row(
        workload="stream",
        what="stream alone, 4 KiB mails: durable, applied",
        measures=("mails durable", "mails applied"),
        target="30,000/s, 10,000/s",
    ),
    Row(
        workload="stream",
        what="stream alone, large: durable",
        measures=("large durable",),
        target="250 MB/s",
    ),
    Row(
        workload="stream",
        what="stream alone: acknowledged, idle and at 1,000/s; the disk's own sync",
        measures=("ack idle p50", "ack at 1,000/s p50", "the disk's own sync p50"),
        target="0.7 ms, 1.5 ms",
    ),
)
PAYS: Final = ("pays W1", "pays W3")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `bench readme`."""
    parser.add_argument("--history", type=Path, default=record.HISTORY, help="another file")


def run(arguments: argparse.Namespace) -> int:
    """Prints it."""
    found = history.newest(arguments.history)
    print("\n".join(table(found)))
    print()
    print("\n".join(pays(found)))
    return 0


def table(found: Figures) -> list[str]:
    """Its lines, in Markdown."""
    lines = [_cells(HEAD), _cells(["---"] * len(HEAD))]
    for row in ROWS:
        tar = found.get((row.workload, row.measures[0], "tar"))
        what = row.what if tar is None else f"{row.what} (tar pipe: {_figure(tar)})"
        lines.append(_cells([what, *(_cell(found, row, name) for name in SYSTEMS), row.target]))
    return lines


def pays(found: Figures) -> list[str]:
    """A sentence for each workload of which it is known what a writer pays."""
    sentences = []
    for workload in PAYS:
        times = {}
        for measure in ("written", "processor"):
            alone = found.get((workload, measure, "nobody"))
            beside = found.get((workload, measure, OURS))
            if alone is not None and beside is not None:
                times[measure] = f"{beside['median'] / alone['median']:.2f}"
        if times:
            said = ", ".join(f"{measure} x {ratio}" for measure, ratio in times.items())
            sentences.append(f"{workload}: {said} (target: 1.05)")
    return sentences


def _cell(found: Figures, row: Row, system: str) -> str:
    figures = [found.get((row.workload, measure, system)) for measure in row.measures]
    known = [figure for figure in figures if figure is not None]
    if not known:
        return "" if row.workload == "stream" else NO_FIGURE
    same_unit = len({figure["unit"] for figure in known}) == 1
    ms_together = same_unit and known[0]["unit"] == "ms"
    shown = ", ".join(
        _figure(figure, unit=not ms_together or figure is known[-1]) for figure in known
    )
    sent = known[0]["bytes"]
    return f"{shown}, {_short(sent / MB)} MB" if row.with_bytes and sent else shown


def _figure(figure: Mapping[str, Any], *, unit: bool = True) -> str:
    value, name = figure["median"], figure["unit"]
    if not unit:
        return _short(value)
    return f"{_short(value)}{'' if name.startswith('/') else ' '}{name}"


def _short(value: float) -> str:
    """Two digits, and whole numbers from a hundred on."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{float(f'{value:.2g}'):g}"


def _cells(texts: Sequence[str]) -> str:
    if texts[0] == "---":
        return "|" + "|".join(texts) + "|"
    return "| " + " | ".join(texts) + " |"
