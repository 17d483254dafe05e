"""The command lines of staqctl and staqraftd, as far as no daemon is needed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.configs import write_config
from fakes.pki import cluster_pki
from staqraft.cli import commands, staqctl, staqraftd
from staqraft.config.schema import Config
from staqraft.errors import ConfigError, NotActive, Unreachable


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The programs set up logging for their process, which here is the test run."""
    root, ours = logging.getLogger(), logging.getLogger("staqraft")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(capture=False)


Printed = pytest.CaptureFixture[str]


def test_certificates_are_made_and_said(tmp_path: Path, capsys: Printed) -> None:
    where = ["--directory", str(tmp_path)]
    assert staqctl.main(["certs", "init", "lab", *where]) == 0
    assert "Keep" in capsys.readouterr().out
    assert staqctl.main(["certs", "issue", "a", "b", "--json", *where]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(m["certificate"]).name for m in made] == ["a.pem", "b.pem"]
    assert staqctl.main(["certs", "issue", "--admin", "lea", *where]) == 0
    assert (tmp_path / "lea.admin.key").exists()


def test_what_exists_is_kept_and_said(tmp_path: Path, capsys: Printed) -> None:
    where = ["--directory", str(tmp_path)]
    staqctl.main(["certs", "init", "lab", *where])
    capsys.readouterr()
    assert staqctl.main(["certs", "init", "lab", "--json", *where]) == 11
    printed = capsys.readouterr()
    assert "use --force" in printed.err
    assert json.loads(printed.out)["exit_code"] == 11


@pytest.mark.parametrize("arguments", [["--socket", "{}", "status"], ["status", "--socket", "{}"]])
def test_a_daemon_that_does_not_run_is_said_with_what_to_check(
    tmp_path: Path, capsys: Printed, arguments: list[str]
) -> None:
    path = str(tmp_path / "admin.sock")
    assert staqctl.main([a.format(path) for a in arguments]) == Unreachable.exit_code
    said = capsys.readouterr().err
    assert f"there is no {path}" in said
    assert "systemctl status staqraftd" in said


def test_an_address_without_a_daemon_is_said(capsys: Printed) -> None:
    files = cluster_pki().admin()
    arguments = ["--ca", files.ca, "--cert", files.certificate, "--key", files.key]
    where = ["--address", "127.0.9.9:1", *map(str, arguments)]
    assert staqctl.main(["status", *where]) == Unreachable.exit_code
    assert "nobody answers on 127.0.9.9 port 1 (Connection refused)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--address", "nowhere", "--ca", "x", "--cert", "x", "--key", "x"],
        ["status", "--address", "b:7400", "--ca", "x"],
        ["status", "--config", "/nowhere/staqraft.yaml"],
        ["quarantine", "--config", "/nowhere/staqraft.yaml"],
        ["quarantine", "list", "--config", "/nowhere/staqraft.yaml"],
    ],
)
def test_wrong_options_end_with_2(arguments: list[str], capsys: Printed) -> None:
    assert staqctl.main(arguments) == 2
    assert capsys.readouterr().err.startswith("staqctl: ")


@pytest.mark.parametrize("arguments", [[], ["barrier", "--timeout", "soon"], ["certs"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: Printed) -> None:
    with pytest.raises(SystemExit, match="2"):
        staqctl.main(arguments)
    assert "usage: staqctl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["quarantine", "--group", "nix"],
        ["quarantine", "list", "--group", "nix"],
        ["quarantine", "--group", "nix", "list"],
    ],
)
def test_quarantine_alone_lists_it(tmp_path: Path, capsys: Printed, arguments: list[str]) -> None:
    where = ["--config", str(configuration(tmp_path)), "--node", "a"]
    assert staqctl.main([*where, *arguments]) == 2
    assert "there is no group 'nix': it is one of default" in capsys.readouterr().err


def test_the_exit_codes_are_in_the_help(capsys: Printed) -> None:
    with pytest.raises(SystemExit, match="0"):
        staqctl.main(["--help"])
    assert "10   the daemon does not answer" in capsys.readouterr().out


# --- staqraftd ----------------------------------------------------------------------------------


def configuration(directory: Path, *, cluster: str = "lab") -> Path:
    files = cluster_pki().node("a")
    path = directory / "staqraft.yaml"
    path.write_text(f"""\
cluster: {cluster}
nodes:
  a: {{role: replica, rings: {{service: 127.0.1.1}}}}
  b: {{role: replica, rings: {{service: 127.0.1.2}}}}
  w: {{role: witness, rings: {{service: 127.0.1.3}}}}
tls: {{ca: {files.ca}, certificate: {files.certificate}, key: {files.key}}}
groups:
  default:
    initial_active: a
    trees:
      web: {{path: {directory}}}
""")
    return path


def test_a_good_configuration_is_ok(tmp_path: Path, capsys: Printed) -> None:
    path = configuration(tmp_path)
    assert staqraftd.main(["--config", str(path), "--node", "a", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "OK"


def test_every_problem_is_said_with_its_line(tmp_path: Path, capsys: Printed) -> None:
    path = configuration(tmp_path)
    path.write_text(path.read_text().replace("initial_active: a", "initial_activ: a\n    x: 1"))
    assert staqraftd.main(["--config", str(path), "--node", "a", "--check"]) == 2
    printed = capsys.readouterr()
    assert "OK" not in printed.out
    assert f"{path}:9" in printed.err
    assert f"{path}:10" in printed.err


def test_the_daemon_is_given_its_configuration(tmp_path: Path) -> None:
    given: list[Config] = []

    def daemon(config: Config) -> int:
        given.append(config)
        return 7

    path = configuration(tmp_path)
    assert staqraftd.main(["--config", str(path), "--node", "a"], daemon=daemon) == 7
    assert [c.node for c in given] == ["a"]


def test_the_daemon_does_not_start_with_a_bad_configuration(
    tmp_path: Path, capsys: Printed
) -> None:
    path = configuration(tmp_path, cluster="other")
    assert staqraftd.main(["--config", str(path), "--node", "a"], daemon=lambda _: 0) == 2
    assert f"{path}:" in capsys.readouterr().err


def test_a_witness_says_where_the_quarantine_is(tmp_path: Path, capsys: Printed) -> None:
    pki = cluster_pki()
    mine, witness = pki.node("a"), pki.node("w")
    path = write_config(
        tmp_path,
        {
            "node: a": "node: w",
            str(mine.certificate): str(witness.certificate),
            str(mine.key): str(witness.key),
        },
    )
    assert staqctl.main(["--config", str(path), "quarantine", "list"]) == NotActive.exit_code
    assert "w is a witness, which holds no data: ask on a or b" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{}/host/www/shop/a.php", "write --tree web --path 'shop/a.php'"),
        ("/etc/passwd", "is in no tree of group default"),
    ],
)
def test_a_path_of_the_journal_is_counted_from_its_tree(
    tmp_path: Path, capsys: Printed, path: str, said: str
) -> None:
    config = write_config(tmp_path)
    (tmp_path / "host" / "state" / "groups" / "default" / "journal").mkdir(parents=True)
    wanted = ["journal", "tail", "--path", path.format(tmp_path)]
    assert staqctl.main(["--config", str(config), *wanted]) == ConfigError.exit_code
    assert said in capsys.readouterr().err


async def _breaks(_: object) -> int:
    raise LookupError("a field that nobody knows")


async def _is_given_up(_: object) -> int:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("command", "words"),
    [(_breaks, "LookupError: a field that nobody knows"), (_is_given_up, "CancelledError")],
)
def test_a_fault_of_its_own_is_no_answer_of_status(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, command: object, words: str
) -> None:
    """Whose 1 means that the daemon answered; and a program finds an object in any case."""
    monkeypatch.setattr(commands, "status", command)
    assert staqctl.main(["status", "--json"]) == 70
    printed = capsys.readouterr()
    assert f"a fault of staqctl itself ({words})" in printed.err
    assert f"in {command.__name__}" in printed.err  # type: ignore[attr-defined]
    assert json.loads(printed.out)["exit_code"] == 70
