"""The bench's own arithmetic."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bench import record
from bench.failover import Round, summary
from bench.timeline import split
from lab.linux import boottime
from lab.phases import Change, changes
from lab.spread import Spread


def change(at: float, node: str, phase: str) -> Change:
    return Change(at=at, node=node, phase=phase, epoch=2)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    spread = Spread.of([*range(1, 101)])
    assert (spread.p50, spread.p90, spread.p99, spread.max) == (50, 90, 99, 100)
    few = Spread.of([3.0, 1.0, 2.0])
    assert (few.count, few.p50, few.p99) == (3, 2.0, 3.0)


def test_nothing_measured_has_no_percentiles() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


def test_changes_of_phase_are_read_from_the_log_on_the_clock_that_all_hosts_share() -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    log = [
        "--- staqraftd: start 1: staqraftd\n",
        f"{stamp}.250 info    daemon.loop: group default: standby -> acquiring in epoch 7: b\n",
        f"{stamp}.260 info    daemon.loop: group default: acquiring -> fencing in epoch 8: b\n",
        f"{stamp}.270 warning daemon.executor: group default: standby -> a path may say it\n",
    ]
    found = changes("b", log)
    assert [(c.phase, c.epoch) for c in found] == [("acquiring", 7), ("fencing", 8)]
    assert found[1].at - found[0].at == pytest.approx(0.010)
    assert abs(found[0].at - boottime()) < 60


def test_the_parts_of_a_power_cut_are_the_winners_phases_and_their_sum_is_the_outage() -> None:
    earlier = change(5.0, "b", "standby")
    winner = [earlier, *(change(at, "b", phase) for at, phase in (
        (13.0, "acquiring"), (13.1, "fencing"), (13.15, "finishing"), (13.2, "active"),
    ))]  # fmt: skip
    parts = split(10.0, 13.25, [], winner)
    assert parts == pytest.approx(
        {"detection": 3.0, "acquire": 0.1, "fencing": 0.05, "apply": 0.05, "first answer": 0.05}
    )
    assert sum(parts.values()) == pytest.approx(3.25)


def test_the_parts_of_a_switchover_begin_with_the_losers_and_go_on_with_the_winners() -> None:
    loser = [
        change(10.1, "a", "stopping"),
        change(10.2, "a", "releasing"),
        change(10.4, "a", "standby"),
    ]
    winner = [change(10.3, "b", "acquiring"), change(10.5, "b", "active")]
    parts = split(10.0, 10.6, loser, winner)
    assert parts == pytest.approx(
        {
            "detection": 0.1,
            "stop services": 0.1,
            "release": 0.1,
            "acquire": 0.2,
            "first answer": 0.1,
        }
    )


def test_what_happens_after_the_first_answer_is_no_part_of_the_outage() -> None:
    winner = [
        change(13.0, "b", "acquiring"),
        change(13.5, "b", "addressing"),
        change(13.9, "b", "active"),
    ]
    assert split(10.0, 13.6, [], winner) == pytest.approx(
        {"detection": 3.0, "acquire": 0.5, "address": 0.1}
    )


def rounds(*outages: float) -> list[Round]:
    return [
        Round(
            number=number,
            kind="power",
            loser="a",
            winner="b",
            epoch=number + 1,
            outage_s=outage,
            parts_s={"detection": outage},
            protected_again_s=6.0,
        )
        for number, outage in enumerate(outages, start=1)
    ]


def test_a_target_is_missed_when_the_slowest_percent_misses_it() -> None:
    assert summary(rounds(3.0, 3.1, 3.2), "default")["met"]
    missed = summary(rounds(3.0, 3.1, 4.2), "default")
    assert not missed["met"]
    assert missed["outage_s"]["max"] == 4.2
    assert missed["parts_s"]["detection"]["p50"] == 3.1


def test_a_run_leaves_one_line_with_its_circumstances(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    record.append({**record.circumstances(), "figure": 1}, history)
    record.append({"figure": 2}, history)
    first, second = (json.loads(line) for line in history.read_text().splitlines())
    assert first["cores"] >= 1
    assert first["commit"]
    assert (first["figure"], second["figure"]) == (1, 2)
