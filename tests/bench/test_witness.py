"""The witness bench itself, on two pairs."""

from __future__ import annotations

import argparse
import json

import pytest

from bench import witness

IDLE = {
    "rss_mib": 60.0,
    "processor_percent": 10.0,
    "commits_s": 100.0,
    "commit_ms": {"p99": 20.0},
    "failed": 0,
    "elections": 0,
}


def test_targets_are_missed_in_words() -> None:
    assert witness.misses(IDLE, {"flood": IDLE}, IDLE) == []
    worse = {**IDLE, "rss_mib": 64.0, "processor_percent": 15.0, "elections": 1}
    assert len(witness.misses({**worse, "elections": 0}, {"flood": worse}, IDLE)) == 3
    assert witness.misses(IDLE, {"flood": {**IDLE, "elections": 1}}, {**IDLE, "elections": 1}) == []


def test_a_bad_pair_is_compared_with_before() -> None:
    worse = {**IDLE, "commits_s": 50.0, "commit_ms": {"p99": 60.0}}
    assert witness.ratios(IDLE, worse) == {"commits_ratio": 0.5, "commit_p99_ratio": 3.0}


@pytest.mark.long
@pytest.mark.slow
def test_two_pairs_are_measured_while_one_of_them_talks_nonsense(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    witness.add_arguments(parser)
    arguments = parser.parse_args(
        ["--pairs", "2", "--seconds", "3", "--mischief", "nonsense"],
        argparse.Namespace(json=True, no_record=True),
    )
    witness.run(arguments)
    phases = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [phase["phase"] for phase in phases] == ["idle", "nonsense", "idle again"]
    assert all(phase["commits_s"] > 0 and phase["rss_mib"] > 10 for phase in phases)
    assert phases[0]["processor_percent"] > 0
