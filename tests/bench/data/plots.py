"""A picture of each workload: how latencies are distributed, and how the lag went over time.

matplotlib is an optional extra: `pip install 'staqraft[plot]'`.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.data.figures import Line, lines
from bench.data.results import Run
from lab.errors import MissingError

INCHES: Final = (11, 4.5)
DOTS_PER_INCH: Final = 110
Curve = tuple[list[float], list[float]]


def check() -> None:
    """Raises MissingError with what to do, before hours of measuring."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingError(
            "pictures are drawn by matplotlib, which is not installed:"
            " .venv/bin/pip install 'matplotlib>=3.9', or 'staqraft[plot]'"
        )


def distributions(runs: Sequence[Run]) -> dict[str, Curve]:
    """Of each system: latencies in ms, ascending, and the percentage of changes within them."""
    lags: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        lags[run.system] += [lag * 1000 for lag in run.lags_s]
    return {
        system: (sorted(found), [100 * (n + 1) / len(found) for n in range(len(found))])
        for system, found in lags.items()
        if found
    }


def over_time(runs: Sequence[Run]) -> dict[str, Curve]:
    """Of each system's first run that tells: seconds since its first change, lag in ms."""
    curves: dict[str, Curve] = {}
    for run in runs:
        if run.at_s and run.lags_s and run.system not in curves:
            pairs = sorted(zip(run.at_s, run.lags_s, strict=True))
            curves[run.system] = [at for at, _ in pairs], [lag * 1000 for _, lag in pairs]
    return curves


def draw(runs: Sequence[Run], what: Mapping[str, str], directory: Path) -> list[Path]:
    """A PNG for each workload that was run; returns their paths."""
    check()
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for key in dict.fromkeys(run.workload for run in runs):
        some = [run for run in runs if run.workload == key]
        figure, (left, right) = plt.subplots(1, 2, figsize=INCHES, layout="constrained")
        figure.suptitle(f"{key}: {what.get(key, key)}")
        found = distributions(some)
        if found:
            _curves(left, found, x="ms, until it is seen on the standby", y="% of changes")
            left.set_xscale("log")
        else:
            _bars(left, [line for line in lines(some) if line.median is not None])
        trend = over_time(some)
        if trend:
            _curves(right, trend, x="s since the first change", y="lag, ms")
            right.set_yscale("log")
        else:
            _bytes(right, lines(some))
        made.append(directory / f"{key.replace(' ', '-')}.png")
        figure.savefig(made[-1], dpi=DOTS_PER_INCH)
        plt.close(figure)
    return made


def _curves(axes: Any, curves: Mapping[str, Curve], *, x: str, y: str) -> None:
    for system, (xs, ys) in curves.items():
        axes.plot(xs, ys, label=system, linewidth=1.2)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend()


def _bars(axes: Any, found: Sequence[Line]) -> None:
    """The median of each system, with the least and the most, for the first measure."""
    first = [line for line in found if line.measure == found[0].measure] if found else []
    values = [line.median or 0.0 for line in first]
    spread = [
        [value - (line.least or 0.0) for value, line in zip(values, first, strict=True)],
        [(line.most or 0.0) - value for value, line in zip(values, first, strict=True)],
    ]
    axes.barh([line.system for line in first], values, xerr=spread, capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel(f"{first[0].measure}, {first[0].unit}" if first else "no figures")
    axes.grid(axis="x", alpha=0.3)


def _bytes(axes: Any, found: Sequence[Line]) -> None:
    """What each system sent."""
    sent = {line.system: (line.wire_bytes or 0) / 1e6 for line in found}
    axes.barh(list(sent), list(sent.values()), color="tab:orange")
    axes.invert_yaxis()
    axes.set_xlabel("MB on the wire")
    axes.grid(axis="x", alpha=0.3)
