"""The arithmetic of `bench data`: medians, ratios, targets, what became worse, and how it reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.data import history, plots, table
from bench.data.figures import Line, lines, misses
from bench.data.results import Measured, Run, Usage


def run(
    system: str,
    value: float,
    *,
    workload: str = "W1",
    measure: str = "copied",
    unit: str = "s",
    mb: float = 50,
    problem: str = "",
) -> Run:
    figures = [] if problem else [Measured(measure=measure, value=value, unit=unit)]
    return Run(
        workload=workload,
        system=system,
        durable=system not in ("rsync", "lsyncd"),
        figures=figures,
        usage=Usage(wire_bytes=round(mb * 1e6), processor_s=1.5),
        problem=problem,
    )


def by_system(found: list[Line]) -> dict[str, Line]:
    return {line.system: line for line in found}


def test_the_median_of_the_runs_counts_and_is_compared_with_peers_of_the_same_durability() -> None:
    found = by_system(
        lines(
            [
                *(run("staqraft", value) for value in (3.0, 1.0, 2.0)),
                *(run("rsync-fsync", value) for value in (8.0, 9.0, 7.0)),
                *(run("rsync", value) for value in (1.0, 1.0, 5.0)),
            ]
        )
    )
    ours = found["staqraft"]
    assert (ours.median, ours.least, ours.most, ours.runs) == (2.0, 1.0, 3.0, 3)
    assert ours.ratio_to_best_peer == 0.25
    assert ours.ratio_to_fastest == 2.0
    assert found["rsync-fsync"].ratio_to_best_peer == 1.0
    assert found["rsync"].ratio_to_fastest == 1.0


def test_a_rate_is_better_when_it_is_higher_and_its_ratio_still_reads_the_same() -> None:
    found = by_system(
        lines([run("staqraft", 200, unit="MB/s"), run("rsync-fsync", 100, unit="MB/s")])
    )
    assert found["staqraft"].ratio_to_best_peer == 0.5
    assert found["rsync-fsync"].ratio_to_fastest == 2.0


def test_a_run_with_a_problem_counts_for_nothing_and_is_told() -> None:
    found = lines(
        [run("staqraft", 2.0), run("rsync-fsync", 0, problem="the trees differ"), run("rsync", 1.0)]
    )
    ours, broken, _ = found
    assert ours.ratio_to_best_peer is None
    assert broken.median is None
    assert broken.problems == ("the trees differ",)
    assert "rsync-fsync: 1 of 1 runs do not count: the trees differ" in table.render(found, {})


def test_what_is_not_reached_is_said_in_words() -> None:
    good = [run("staqraft", 1.4), run("rsync", 1.0), run("rsync-fsync", 10)]
    assert misses(lines(good)) == []
    slow = [run("staqraft", 8.0, mb=61), run("rsync", 1.0), run("rsync-fsync", 10)]
    assert misses(lines(slow)) == [
        "W1 copied: 61 MB are sent, more than 60",
        "W1 copied is 8 s, 8.00 times that of rsync (more than 1.50)",
        "W1 copied is 8 s, 0.80 times that of rsync-fsync (more than 0.67)",
    ]
    late = [run("staqraft", 60, workload="W3b", measure="p99", unit="ms")]
    assert misses(lines(late)) == ["W3b p99 is 60 ms, not below 50"]


@pytest.mark.parametrize("others", [[], [run("rsync", 1.0)], [run("staqraft", 1.0)]])
def test_a_run_of_ours_that_fails_is_a_miss_whatever_else_went_well(others: list[Run]) -> None:
    broken = [run("staqraft", 0, problem="it ended"), *others]
    assert misses(lines(broken)) == ["W1: a run of staqraft does not count: it ended"]


def test_what_a_writer_pays_is_a_part_of_what_it_takes_alone() -> None:
    def writer(system: str, value: float) -> Run:
        return run(system, value, workload="pays W1", measure="written")

    free = [writer("nobody", 2.0), writer("staqraft", 2.1), writer("staqraft-pair", 4.0)]
    assert misses(lines(free)) == []
    assert misses(lines([writer("nobody", 2.0), writer("staqraft", 2.2)])) == [
        "pays W1 written is 2.2 s, 1.10 times that of nobody (more than 1.05)"
    ]


def test_a_line_of_json_has_what_programs_want() -> None:
    ours = lines([run("staqraft", 2.00004), run("rsync-fsync", 4.0)])[0].to_json()
    wanted = {
        "workload": "W1",
        "system": "staqraft",
        "median": 2.0,
        "unit": "s",
        "ratio_to_best_peer": 0.5,
        "ratio_to_fastest": 1.0,
        "bytes": 50_000_000,
        "cpu_s": 1.5,
    }
    assert wanted.items() <= ours.items()


def test_a_table_begins_with_ours_and_names_the_target() -> None:
    text = table.render(lines([run("rsync", 1.0), run("staqraft", 2.0)]), {"W1": "many files"})
    title, head, ours, peer = text.splitlines()[:4]
    assert title.startswith("W1: many files: copied (target: <= 1.5 x rsync, ")
    assert head.split()[:2] == ["system", "durable"]
    assert ours.split() == ["staqraft", "yes", *["2", "s"] * 3, "50.00", "1.50", "-", "2.00"]
    assert peer.split()[0] == "rsync"


def test_what_has_no_peer_is_a_list_of_its_measures() -> None:
    alone = [run("staqraft", value, workload="stream", measure="mails durable", unit="/s")
             for value in (29_000.0, 31_000.0, 45_123.4)]  # fmt: skip
    title, only = table.render(lines(alone), {"stream": "alone"}).splitlines()[:2]
    assert title == "stream: alone"
    assert only == "  mails durable  31,000 /s  29,000 to 45,123 (target: >= 30,000)"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Two runs, the later of which was of one workload only, and one of another bench."""
    path = tmp_path / "history.jsonl"
    first = [run("staqraft", 2.0), run("rsync", 1.0), run("staqraft", 5, workload="W2")]
    entries = [
        {"commit": "one", **history.entry(lines(first), 3)},
        {"commit": "two", **history.entry(lines([run("staqraft", 6, workload="W2")]), 1)},
        {"bench": "failover", "kind": "power"},
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_the_latest_figure_of_each_measure_is_the_one_to_compare_with(kept: Path) -> None:
    before = history.last(kept)
    assert before["W1", "copied"]["median"] == 2.0
    assert before["W2", "copied"]["commit"] == "two"
    assert history.last(kept.with_name("none")) == {}


def test_worse_is_a_ratio_or_more_bytes_and_not_a_busier_machine(kept: Path) -> None:
    before = history.last(kept)
    busy = lines([run("staqraft", 20.0), run("rsync", 10.0)])
    assert history.regressions(busy, before) == []
    slower = lines([run("staqraft", 20.0, mb=56), run("rsync", 5.0)])
    assert history.regressions(slower, before) == [
        "W1 copied: ratio_to_fastest is 4.0, at one it was 2.0",
        "W1 copied: bytes is 56,000,000, at one it was 50,000,000",
    ]
    gone = lines([run("staqraft", 0, problem="it ended"), run("rsync", 1.0)])
    assert history.regressions(gone, before) == ["W1 copied: no figure; it was 2 s"]


def test_curves_tell_how_many_changes_were_there_after_how_long_and_when_the_lag_was() -> None:
    late = replace(run("staqraft", 1.0), lags_s=[0.004, 0.001], at_s=[1.0, 0.5])
    more = replace(run("staqraft", 1.0), lags_s=[0.002, 0.003], at_s=[0.1, 0.2])
    bare = run("rsync", 1.0)
    assert plots.distributions([late, more, bare]) == {
        "staqraft": ([1.0, 2.0, 3.0, 4.0], [25.0, 50.0, 75.0, 100.0])
    }
    assert plots.over_time([late, more, bare]) == {"staqraft": ([0.5, 1.0], [1.0, 4.0])}


def test_a_picture_of_each_workload_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="an optional extra")
    late = replace(run("staqraft", 1.0), lags_s=[0.004, 0.001], at_s=[1.0, 0.5])
    made = plots.draw([late, run("rsync", 2.0, workload="W2")], {"W1": "files"}, tmp_path)
    assert [path.name for path in made] == ["W1.png", "W2.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)
