"""Figures of runs to come are compared with those of the last one that was kept.

Only ratios and bytes are compared: seconds of different days, and of different machines, are not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.data.figures import OURS, TIE, Line

BENCH: Final = "data"
_COMPARED: Final = ("ratio_to_best_peer", "ratio_to_fastest", "bytes")
_MORE_BYTES: Final = 1.1  # bytes do not depend on how busy the machine is


def entry(found: Sequence[Line], repeat: int) -> dict[str, Any]:
    """What is kept of a run."""
    return {"bench": BENCH, "repeat": repeat, "results": [line.to_json() for line in found]}


def newest(history: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The latest figures by workload, measure and system, whichever run each is of."""
    figures: dict[tuple[str, str, str], dict[str, Any]] = {}
    for text in history.read_text(encoding="utf-8").splitlines() if history.exists() else []:
        kept = json.loads(text)
        if kept.get("bench") != BENCH:
            continue
        for result in kept["results"]:
            if result["median"] is not None:
                key = result["workload"], result["measure"], result["system"]
                figures[key] = {**result, "commit": kept.get("commit", "unknown")}
    return figures


def last(history: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """StaqRaft's latest figures of each measure, whichever run they are of."""
    return {key[:2]: figure for key, figure in newest(history).items() if key[2] == OURS}


def regressions(found: Sequence[Line], before: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """What became worse than in the last run that was kept, a sentence each."""
    sentences = []
    for line in found:
        old = before.get((line.workload, line.measure))
        if line.system != OURS or old is None:
            continue
        name = f"{line.workload} {line.measure}"
        if line.median is None:
            sentences.append(f"{name}: no figure; it was {old['median']:g} {old['unit']}")
            continue
        now = line.to_json()
        for what in _COMPARED:
            limit = _MORE_BYTES if what == "bytes" else TIE
            if now[what] and old.get(what) and now[what] > limit * old[what]:
                sentences.append(
                    f"{name}: {what} is {now[what]:,}, at {old['commit']} it was {old[what]:,}"
                )
    return sentences
