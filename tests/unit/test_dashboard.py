"""The dashboard for Grafana asks only for what there is, and shows all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from fakes.metrics_table import node_families
from fakes.promql import asked_for, declared, needs_promtool, promtool

DASHBOARD: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "staqraft.json"
CONTENT: Final[dict[str, Any]] = json.loads(DASHBOARD.read_text())
# Grafana's own words in an expression, as Prometheus would get them.
VARIABLES: Final = {"$__rate_interval": "1m", "$cluster": ".+", "$group": ".+"}
LABELS_OF_TARGETS: Final = {"job", "instance"}


def expressions() -> Iterator[tuple[str, str]]:
    """Each with where it stands."""
    for panel in CONTENT["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in CONTENT["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def plain(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def test_every_expression_asks_for_metrics_and_labels_that_exist() -> None:
    known = declared()
    for where, expression in expressions():
        found = asked_for(expression)
        assert found or "process_" in expression, where
        for metric, labels in found:
            assert metric in known, f"{where}: {metric}"
            assert labels <= {"cluster", "node", *known[metric].labels}, f"{where}: {metric}"


def test_legends_name_labels_that_their_series_have() -> None:
    known = declared()
    for panel in CONTENT["panels"]:
        for target in panel.get("targets", []):
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            if grouped:
                there = {word.strip() for word in grouped[0].split(",")}
            else:
                there = {"cluster", "node", *LABELS_OF_TARGETS}
                for metric, _ in asked_for(target["expr"]):
                    there |= set(known[metric].labels)
            assert wanted <= there, f"{panel['title']}: {wanted - there}"


def test_every_metric_is_on_it() -> None:
    shown = {metric for _, expression in expressions() for metric, _ in asked_for(expression)}
    known = declared()
    assert {known[metric].name for metric in shown} >= {family.name for family in node_families()}


@needs_promtool
def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"dashboard:{number}", "expr": plain(expression)}
        for number, (_, expression) in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool("check", "rules", path)
    assert code == 0, said


def test_every_panel_says_what_it_shows_and_lies_apart() -> None:
    taken: dict[tuple[int, int], str] = {}
    ids = [panel["id"] for panel in CONTENT["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in CONTENT["panels"]:
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_each_row_asks_a_question() -> None:
    rows = [panel["title"] for panel in CONTENT["panels"] if panel["type"] == "row"]
    assert len(rows) >= 6
    assert all(title.endswith("?") for title in rows)
