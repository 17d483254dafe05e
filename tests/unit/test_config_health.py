"""The section `health`."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.configs import write_config
from staqraft.config.loader import fingerprint, read
from staqraft.config.schema import Health
from staqraft.errors import ConfigError

ANCHOR = "lease:"


def with_health(tmp_path: Path, text: str) -> Path:
    return write_config(tmp_path, {ANCHOR: f"health: {text}\n{ANCHOR}"})


def the_problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path)
    (problem,) = caught.value.problems
    return problem.split(": ", 1)[1]


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    assert read(write_config(tmp_path)).config.health == Health()
    read_back = read(with_health(tmp_path, "{memory: 7%, disk: {hung: 20s}}")).config.health
    assert (read_back.memory_percent, read_back.disk.hung_ms) == (7, 20_000)
    assert read_back.disk.slow_ms == Health().disk.slow_ms


def test_the_nodes_may_differ_in_it(tmp_path: Path) -> None:
    plain = fingerprint(read(write_config(tmp_path)).config)
    path = with_health(tmp_path, "{ping: {targets: [198.51.100.1]}}")
    assert fingerprint(read(path).config) == plain


def test_nobody_need_be_pinged(tmp_path: Path) -> None:
    assert read(with_health(tmp_path, "{ping: {targets: []}}")).config.health.ping.targets == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{disk: {slow: 9s, hung: 9s}}", "health.disk.hung: 9000 ms is to be longer than slow"),
        ("{disk: {warn: 2%}}", "health.disk.critical: 3% is not to be more than warn (2%)"),
        ("{disk: {warn: ten}}", "health.disk.warn: 'ten' is not a share"),
        ("{memory: 100%}", "health.memory: '100%' is not a share"),
        ("{ping: {lost_after: 2s}}", "health.ping.lost_after: 2000 ms is to be at least 3 times"),
        ("{ping: {need: 2}}", "health.ping.need: 2 is more than there are targets (1)"),
        ("{ping: {targets: [router]}}", "health.ping.targets.1: 'router' is not an IP address"),
        ("{ping: {targets: [10.0.0.2]}}", "health.ping.targets.1: 10.0.0.2 is a node of the"),
        ("{pong: 1}", "health.pong: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, problem: str) -> None:
    assert the_problem(with_health(tmp_path, text)).startswith(problem)
