"""The arithmetic of the yearly statement, and that it says only what was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench import main
from bench.availability import (
    ASSUMPTIONS,
    MEASURED,
    BadAssumptions,
    compare,
    load,
    measured,
    seconds,
)
from bench.record import HISTORY
from bench.uptime import YEAR_S, Assumptions, Failure, away, one_server, pair


def assumed(**failures: tuple[float, float]) -> Assumptions:
    return Assumptions(
        failures={name: Failure(per_year=n, repair_s=s) for name, (n, s) in failures.items()},
        planned=Failure(per_year=12, repair_s=300),
        catch_up_s=600,
    )


ONE = assumed(host=(2, 3600), service=(6, 900))


def test_one_server_is_away_for_each_repair_and_each_update() -> None:
    lost = one_server(ONE)
    assert lost.by_cause == {"host": 7200, "service": 5400, "planned": 3600}
    assert lost.seconds == 16200
    assert lost.availability == pytest.approx(1 - 16200 / YEAR_S)


def test_a_pair_is_away_for_each_takeover_and_when_both_are() -> None:
    lost = pair(ONE, {"host": 3, "service": 1, "planned": 0.2})
    failed, updated = 2 * (3600 + 600), 12 * (300 + 600)
    both = (failed**2 + 2 * failed * updated) / YEAR_S  # never both updated at once
    assert lost.by_cause["both"] == pytest.approx(both)
    assert lost.seconds == pytest.approx(2 * 3 + 6 * 1 + 12 * 0.2 + both)


def test_what_is_not_taken_over_from_costs_what_it_costs_alone() -> None:
    lost = pair(ONE, {"host": 3})
    assert lost.by_cause["service"] == one_server(ONE).by_cause["service"]
    assert lost.by_cause["planned"] == one_server(ONE).by_cause["planned"]


def test_a_crashed_service_takes_no_server_away() -> None:
    assert away(ONE) == pytest.approx(away(assumed(host=(2, 3600))))


def test_durations() -> None:
    assert [seconds(text) for text in ("300ms", "4s", "45m", "8h", "2d", "16.6s")] == [
        0.3, 4, 2700, 28800, 172800, 16.6,
    ]  # fmt: skip
    for nonsense in ("", "5", "h", "4 weeks", "-", "nans", "-3s", "infd", "1e9h"):
        with pytest.raises(BadAssumptions, match="no duration"):
            seconds(nonsense)


def line(
    bench: str, profile: str, kind: str, p99: float, when: str, count: int = 50
) -> dict[str, Any]:
    spread = {"count": count, "p50": 1.0, "p99": p99, "max": 9.0}
    how = {"outage_s": {kind: spread}} if bench == "chaos" else {"kind": kind, "outage_s": spread}
    return {"bench": bench, "profile": profile, "when": when, "commit": "abc", **how}


def test_the_newest_run_of_each_kind_counts_and_is_named() -> None:
    history = [
        line("failover", "default", "power", 3.5, "2026-01-01T00:00:00"),
        {"bench": "witness", "pairs": 200},
        line("failover", "default", "power", 3.1, "2026-02-01T00:00:00"),
        line("chaos", "default", "power cut of active", 9.9, "2026-03-01T00:00:00"),
        line("chaos", "default", "kill nginx", 0.7, "2026-03-01T00:00:00"),
    ]
    found = measured(history, "default")
    assert found["host"].seconds == 3.1
    assert "2026-02-01T00:00, commit abc" in found["host"].run
    assert found["service"].seconds == 0.7
    assert "link" not in found


def test_a_run_of_a_few_does_not_replace_one_of_many() -> None:
    def found(*counts: int) -> float:
        runs = [
            line("chaos", "default", "kill nginx", number, "2026-02-01T00:00:00", count)
            for number, count in enumerate(counts, 1)
        ]
        return measured(runs, "default")["service"].seconds

    assert [found(1, 4), found(20, 4), found(20, 10), found(4, 9, 3)] == [2, 1, 2, 2]


def test_a_profile_that_was_not_measured_falls_back_to_the_default_one_and_says_so() -> None:
    history = [
        line("failover", "default", "power", 3.1, "2026-02-01T00:00:00"),
        line("failover", "default", "cable", 3.3, "2026-02-01T00:00:00"),
        line("failover", "fast", "power", 1.1, "2026-02-01T00:00:00"),
    ]
    found = measured(history, "fast")
    assert (found["host"].seconds, found["link"].seconds) == (1.1, 3.3)
    assert "default" in found["link"].run


def test_a_hung_disk_that_was_healed_after_seconds_is_no_measure_of_a_takeover() -> None:
    history = [line("chaos", "default", "hung disk: data", 2.0, "2026-02-01T00:00:00")]
    assert "disk" not in measured(history, "default")


def test_assumptions_can_be_changed_one_by_one() -> None:
    changed = load(ASSUMPTIONS, ["failures.host.per_year=4", "failures.host.repair=1h"])
    usual = load(ASSUMPTIONS)
    assert compare(changed, [])["one server"].by_cause["host"] == 4 * 3600
    assert compare(usual, [])["one server"].by_cause["host"] != 4 * 3600
    for wrong in ("failures.moon.per_year=1", "failures.host.per_year", "failures=1"):
        with pytest.raises(BadAssumptions, match="there is no value"):
            load(ASSUMPTIONS, [wrong])
    with pytest.raises(BadAssumptions, match="no duration"):
        compare(load(ASSUMPTIONS, ["catch_up=soon"]), [])
    for wrong in ("nan", "-1", "inf", "often"):
        with pytest.raises(BadAssumptions, match="is not how often a year"):
            compare(load(ASSUMPTIONS, [f"failures.host.per_year={wrong}"]), [])


def test_what_others_do_about_a_disk_or_a_link_counts_for_them() -> None:
    systems = compare(load(ASSUMPTIONS), [])
    alone, peer = systems["one server"].by_cause, systems["Pacemaker, Corosync, DRBD"].by_cause
    assert (peer["disk"], peer["link"]) < (alone["disk"] / 1000, alone["link"] / 100)


def test_arithmetic_records_nothing_and_has_no_option_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "availability", "--no-record"])
    with pytest.raises(SystemExit):
        main.main()
    assert "unrecognized arguments: --no-record" in capsys.readouterr().err


def test_a_run_that_broke_a_promise_measures_nothing() -> None:
    broken = line("chaos", "default", "kill nginx", 2.0, "2026-02-01T00:00:00")
    broken["violations"] = ["not well again"]
    assert "service" not in measured([broken], "default")
    assert "service" in measured([{**broken, "violations": []}], "default")


def test_what_is_kept_in_the_history_makes_a_statement() -> None:
    history = [json.loads(text) for text in HISTORY.read_text(encoding="utf-8").splitlines()]
    assert measured(history, "default").keys() == MEASURED.keys(), "every way of failing"
    systems = compare(load(ASSUMPTIONS), history)
    assert systems["StaqRaft, default profile"].seconds < systems["one server"].seconds
    fast, default = (systems[f"StaqRaft, {name} profile"].by_cause for name in ("fast", "default"))
    assert fast["host"] < default["host"], "which is what the shorter lease is for"
    assert {"Pacemaker, Corosync, DRBD", "keepalived, lsyncd"} < systems.keys()
