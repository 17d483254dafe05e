"""The alerts: right by promtool, each fires when it is to and is quiet when it nearly is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes.alert_cases import CASES, COVERED, Case, Series, full
from fakes.promql import asked_for, declared, needs_promtool, promtool
from staqraft.api.concerns import CODES
from staqraft.notify.message import Severity

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "prometheus" / "staqraft.rules.yml"
GROUPS: Final[list[dict[str, Any]]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: Final[dict[str, dict[str, Any]]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"]
}


def given(series: Series, **asked: object) -> dict[str, object]:
    """A test of promtool: the values of each series, a minute apart."""
    values = [{"series": full(name), "values": _longer(of)} for name, of in series.items()]
    return {"interval": "1m", "input_series": values, **asked}


def _longer(values: str) -> str:
    """`0x4 1x60`: promtool wants a step in each, also where nothing changes."""
    return re.sub(
        r"(?<![\w+-])(\d+|_)x(\d+)",
        lambda m: f"{m[1]}x{m[2]}" if m[1] == "_" else f"{m[1]}+0x{m[2]}",
        values,
    )


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    code, said = promtool("check", "rules", RULES)
    assert code == 0, said
    assert f"{len(ALERTS)} rules found" in said


@needs_promtool
def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "staqraft.rules.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, tmp_path)
    code, said = promtool("check", "config", tmp_path / "prometheus.yml")
    assert code == 0, said


def test_every_alert_has_its_cases() -> None:
    assert {case.alert for case in CASES} == set(ALERTS)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What promtool says of all cases.

    Besides, it is told that no alert fires, so that it shows each as it would be sent.
    """
    shown = [
        {"eval_time": f"{case.after}m", "alertname": case.alert, "exp_alerts": []} for case in CASES
    ]
    tests = [
        given(series, promql_expr_test=[_firing(case, count)], alert_rule_test=[one] * count)
        for case, one in zip(CASES, shown, strict=True)
        for series, count in ((case.fires, 1), (case.quiet, 0))
    ]
    asked = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    path = tmp_path_factory.mktemp("rules") / "tests.yml"
    path.write_text(yaml.safe_dump(asked, sort_keys=False))
    return promtool("test", "rules", path)[1]


def _firing(case: Case, count: int) -> dict[str, object]:
    """How many of this alert fire; 0 is no sample."""
    expression = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    samples = [{"labels": "{}", "value": count}] if count else []
    return {"expr": expression, "eval_time": f"{case.after}m", "exp_samples": samples}


@needs_promtool
def test_each_fires_when_it_is_to_and_not_when_it_nearly_is(judged: str) -> None:
    assert "expr: " not in judged, judged
    assert judged.count("alertname: Staqraft") == len(CASES), judged


@needs_promtool
def test_what_they_say_is_whole(judged: str) -> None:
    texts = re.findall(r'(?:summary|description)="((?:[^"\\]|\\.)*)"', judged)
    assert len(texts) >= 2 * len(CASES)
    for text in texts:
        assert not re.search(
            r"\{\{|no value|error expanding|%!|  |\b(in|of|on|node) [.,:]", text
        ), text


@pytest.mark.parametrize("name", ALERTS)
def test_each_says_how_bad_it_is_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert re.fullmatch(r"Staqraft[A-Z][A-Za-z]+", name)
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{name.lower()}"
    assert rule["annotations"]["description"].endswith(".")


@pytest.mark.parametrize("name", ALERTS)
def test_each_asks_for_what_there_is(name: str) -> None:
    known = declared()
    for metric, labels in asked_for(ALERTS[name]["expr"]):
        assert metric in known, f"{name} asks for {metric}"
        assert labels <= {"cluster", "node", *known[metric].labels}, metric


@pytest.mark.parametrize("name", ["StaqraftProblem", "StaqraftCriticalProblem"])
def test_only_a_code_with_an_alert_of_its_own_is_left_out(name: str) -> None:
    (left_out,) = re.findall(r'code!~"([^"]*)"', ALERTS[name]["expr"])
    assert set(left_out.split("|")) == set(COVERED)
    runbook = (DEPLOY / "RUNBOOK.md").read_text()
    pages = set(re.findall(r"^### (.+)$", runbook.partition("## Findings")[2], re.MULTILINE))
    assert set(COVERED) <= pages


@pytest.mark.parametrize("code", COVERED)
def test_the_alert_of_a_code_is_as_bad_as_the_code(code: str) -> None:
    severity = ALERTS[f"Staqraft{COVERED[code]}"]["labels"]["severity"]
    assert Severity[severity.upper()] >= CODES.get(code, Severity.WARNING)
