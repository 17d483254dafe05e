"""The README's table from the history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import readme
from bench.data import history


def result(workload: str, measure: str, system: str, median: float | None, unit: str) -> Any:
    return {
        "workload": workload,
        "measure": measure,
        "system": system,
        "median": median,
        "unit": unit,
        "bytes": None if workload == "stream" else 65_346_900,
    }


def run_of(*results: Any, bench: str = "data") -> str:
    return json.dumps({"bench": bench, "results": results})


def row(found: readme.Figures, begin: str) -> list[str]:
    (line,) = [line for line in readme.table(found) if line.startswith(f"| {begin}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_figure_of_the_table_is_the_newest_that_counts(tmp_path: Path) -> None:
    kept = tmp_path / "history.jsonl"
    kept.write_text(
        "\n".join(
            [
                run_of(
                    result("W1", "copied", "staqraft", 9.0, "s"),
                    result("W1", "copied", "tar", 0.987, "s"),
                    result("W1", "copied", "rsync", 1.219, "s"),
                    result("W3b", "p50", "staqraft", 7.06, "ms"),
                    result("W3b", "p99", "staqraft", 111.6, "ms"),
                ),
                json.dumps({"bench": "witness", "pairs": 200}),
                run_of(
                    result("W1", "copied", "staqraft", 4.56, "s"),
                    result("W1", "copied", "rsync", None, "s"),
                    result("stream", "mails durable", "staqraft", 63_680.0, "/s"),
                    result("stream", "mails applied", "staqraft", 9141.0, "/s"),
                ),
            ]
        )
    )
    found = history.newest(kept)
    what, ours, rsync, *_ = row(found, "W1")
    assert what.endswith("first copy (tar pipe: 0.99 s)")
    assert ours == "4.6 s, 65 MB"
    assert rsync == "1.2 s, 65 MB"  # a run that failed does not take its figure away
    assert row(found, "W3b")[1] == "7.1, 112 ms"
    assert row(found, "stream alone, 4 KiB")[1] == "63,700/s, 9,140/s"
    assert row(found, "W6")[1] == readme.NO_FIGURE


def test_what_a_writer_pays_is_said_as_a_ratio() -> None:
    found = {
        ("pays W1", "written", "nobody"): result("pays W1", "written", "nobody", 2.0, "s"),
        ("pays W1", "written", "staqraft"): result("pays W1", "written", "staqraft", 2.1, "s"),
    }
    assert readme.pays(found) == ["pays W1: written x 1.05 (target: 1.05)"]
