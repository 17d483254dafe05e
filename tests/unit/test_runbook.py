"""deploy/RUNBOOK.md has a page for whatever may go wrong, and says nothing that is not so."""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes.runbook_samples import ALL
from staqraft.api.concerns import CODES, CRITICAL, OF_MEMBERS, plain_code
from staqraft.cli.staqctl import EXIT_CODES, _parser
from staqraft.decision.eligibility import Against
from staqraft.health.findings import CODES as PROBED
from staqraft.model import NodeId
from staqraft.notify.message import Message, Severity

REPOSITORY: Final = Path(__file__).parents[2]
PAGE: Final = (REPOSITORY / "deploy" / "RUNBOOK.md").read_text()
WORDS: Final = " ".join(PAGE.split())
CODE: Final = REPOSITORY / "staqraft"
RULES: Final = (REPOSITORY / "deploy/prometheus/staqraft.rules.yml").read_text()
HEADINGS: Final = re.findall(r"^#{2,3} (.+)$", PAGE, re.MULTILINE)

# Where commands and the replicated record refuse; a return of what is no refusal is left out.
REFUSING: Final = (
    "api/admin.py", "api/data_admin.py", "consensus/maintenance.py", "consensus/statemachine.py",
    "consensus/switchovers.py", "decision/pair.py", "daemon/admin.py", "daemon/barriers.py",
    "daemon/data_admin.py",
    "daemon/fencing.py", "daemon/forcing.py", "daemon/trees_verify.py", "daemon/witness_admin.py",
)  # fmt: skip
VERDICTS: Final = {"Verdict", "str | None", "ClusterRecord | str"}
OF_PROGRAMS: Final = {"abort() returned"}


def section(title: str) -> str:
    """The text of a page, up to the next one of the same rank."""
    mark = re.search(rf"^(##+) {re.escape(title)}\n", PAGE, re.MULTILINE)
    assert mark is not None, title
    rest = PAGE[mark.end() :]
    end = re.search(rf"^#{{2,{len(mark[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def anchor(heading: str) -> str:
    """As those who show Markdown make it."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def parsed() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(CODE.rglob("*.py")):
        if "wire/v1" not in str(path):
            yield path, ast.parse(path.read_text())


def sentence(node: ast.expr) -> str | None:
    """A text, with an ellipsis for each of its figures; None: it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(v.value if isinstance(v, ast.Constant) else "…" for v in values)  # type: ignore[misc]
    return None


# --- every alert, finding and refusal has a page ------------------------------------------------


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("alert", [rule["alert"] for rule in alerts()])
def test_every_alert_has_a_page_that_says_what_to_do(alert: str) -> None:
    assert re.search(rf"^### {alert}$", section("Alerts"), re.MULTILINE)
    assert len(section(alert).split()) > 20


def test_no_page_is_of_an_alert_that_is_gone() -> None:
    pages = re.findall(r"^### (.+)$", section("Alerts"), re.MULTILINE)
    assert sorted(pages) == sorted(rule["alert"] for rule in alerts())


def constants(tree: ast.Module) -> dict[str, str]:
    """The texts that a module gives a name."""
    found = {}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
            ):
                found[name] = text
    return found


def codes_in_the_code() -> set[str]:
    """What workers and watchers call their findings, wherever they do."""
    found = set()
    for _, tree in parsed():
        names = constants(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if isinstance(node.func, ast.Name):
                name = node.func.id
            if name in {"WorkerProblem", "add"}:
                found |= {sentence(k.value) for k in node.keywords if k.arg == "code"}
            owner = ast.unparse(node.func).rpartition(".")[0]
            if name == "set" and owner.endswith("problems") and node.args:
                first = node.args[0]
                found.add(names.get(ast.unparse(first)) or sentence(first))
    return {code for code in found if code}


def test_every_finding_has_a_page() -> None:
    dynamic = {"peer-…": "peer", "…-silent": "trees-silent"}
    found = {plain_code(dynamic.get(code, code)) for code in codes_in_the_code()}
    assert {"journal-full", "trees-silent", "listen", "damaged"} <= found
    pages = set(re.findall(r"^### (.+)$", section("Findings"), re.MULTILINE))
    assert found | set(CODES) | CRITICAL | {"stream-silent"} | (PROBED - OF_MEMBERS) == pages


def refusals() -> Iterator[tuple[str, str]]:
    for name in REFUSING:
        tree = ast.parse((CODE / name).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for text in map(sentence, node.exc.args):
                    if text and " " in text.strip("… "):
                        yield name, text
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                if ast.unparse(node.returns).strip("'") not in VERDICTS:
                    continue
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        text = sentence(inner.value)
                        if text and re.search(r"[a-z]+ [a-z]+", text):
                            yield name, text


def test_every_refusal_is_explained() -> None:
    found = {(name, text) for name, text in refusals() if text not in OF_PROGRAMS}
    assert len(found) > 60
    explained = " ".join(section("Refusals").split())
    missing = [f"{name}: {text}" for name, text in sorted(found) if text not in explained]
    assert missing == []


def test_every_reason_against_a_takeover_has_a_page() -> None:
    pages = re.findall(r"^### Takeover: (.+)$", PAGE, re.MULTILINE)
    assert pages == [code.value for code in Against]


def test_every_exit_code_is_explained() -> None:
    codes = re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)
    rows = re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)
    assert rows == [code for code in codes if code != "130"]  # Ctrl-C needs no page


def test_the_readme_shows_all_that_a_webhook_gets() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    (shown,) = re.findall(r'^    (\{"cluster": .*?\})$', readme, re.MULTILINE | re.DOTALL)
    message = Message(
        cluster="c",
        node=NodeId("n"),
        group=None,
        kind="k",
        severity=Severity.INFO,
        text="t",
        wall_ms=0,
    )
    assert set(json.loads(shown)) == set(message.as_json())


# --- and what it says is so ---------------------------------------------------------------------


def commands() -> list[str]:
    """Each command line of staqctl that is quoted, here and in the alerts."""
    inline = re.findall(r"`(staqctl [^`]+)`", WORDS)
    blocks = re.findall(r"^    (staqctl .+)$", PAGE, re.MULTILINE)
    messages = re.findall(r"'(staqctl [^'…]+)'", WORDS + " ".join(RULES.split()))
    return sorted({*inline, *blocks, *messages})


@pytest.mark.parametrize("line", commands())
def test_every_command_is_one(line: str) -> None:
    known = _parser()
    words = shlex.split(line)[1:]
    if words != ["--help"]:
        known.parse_args([word.replace("NODE", "b") for word in words])


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: sample.__name__)
def test_what_it_shows_is_what_staqctl_prints(sample: Callable[[], str]) -> None:
    assert textwrap.indent(sample(), "    ", lambda line: bool(line.strip())) in PAGE


def test_every_link_leads_somewhere() -> None:
    there = {anchor(heading) for heading in HEADINGS}
    assert len(there) == len(HEADINGS)
    for _, target in re.findall(r"\[([^\]]*)\]\(#([^)]*)\)", WORDS):
        assert target in there, target
    for rule in alerts():
        assert rule["annotations"]["runbook"].partition("#")[2] in there
