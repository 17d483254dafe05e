"""Checks of what runs on this host: plugins, commands, units, processes."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.checking import LONG, ME, ask
from fakes.patience import growing
from staqraft.actions.checks.process_table import running
from staqraft.config.services import (
    CommandCheck,
    PluginCheck,
    ProcessCheck,
    Timing,
    UnitCheck,
)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("code", "fails", "problem"),
    [
        ("print('fine')", False, ""),
        ("print('low | free=3'); exit(1)", False, ""),
        ("print('low | free=3'); exit(1)", True, 'says warning: "low"'),
        ("print('down\\nmore'); exit(2)", False, 'says critical: "down"'),
        ("print('what?'); exit(3)", False, 'says unknown: "what?"'),
        ("exit(2)", False, "says critical, and not why"),
        ("exit(4)", False, "ended with exit status 4"),
        ("print('first' + ' ' * 9000); exit(2)", False, 'says critical: "first"'),
    ],
)
async def test_a_plugin(code: str, *, fails: bool, problem: str) -> None:
    check = PluginCheck(argv=python(code), warning_fails=fails, timing=LONG)
    said = await ask(check)
    assert problem in said
    assert bool(said) == bool(problem)
    if problem:
        assert said.startswith(f"plugin {Path(sys.executable).name}: ")


async def test_a_plugin_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! $$ >{pids}; wait"
    said, limits = "", growing(1_000)
    while not (pids.exists() and pids.read_text()):
        timing = Timing(timeout_ms=next(limits))
        said = await ask(PluginCheck(argv=("sh", "-c", script), timing=timing))
    assert "did not end in time and was killed with all that it had started" in said
    assert all(ended(pid) for pid in pids.read_text().split())


def ended(pid: str) -> bool:
    """Within 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


async def test_a_plugin_that_is_not_there() -> None:
    said = await ask(PluginCheck(argv=("/no/such/check_x",), timing=LONG))
    assert (
        said == "plugin check_x: '/no/such/check_x' cannot be executed: No such file or directory"
    )


async def test_commands_and_units() -> None:
    assert await ask(CommandCheck(argv=("true",), timing=LONG)) == ""
    said = await ask(CommandCheck(argv=("false",), timing=LONG))
    assert said == "check: 'false' ended with exit status 1"
    assert await ask(UnitCheck(unit="good.service")) == ""
    assert await ask(UnitCheck(unit="x.service")) == "x.service: it is inactive (dead)"


async def test_a_process_is_found_by_its_pid_file_and_its_executable(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    check = ProcessCheck(pid_file=pid_file, timing=LONG)
    where = f"process {pid_file}: "
    assert await ask(check) == f"{where}the pid file cannot be read (No such file or directory)"
    pid_file.write_text("soon\n")
    assert await ask(check) == f'{where}the pid file has no pid in it but "soon"'
    pid_file.write_text(f"{os.getpid()}\n")
    assert await ask(check) == ""
    assert await ask(replace(check, executable=ME)) == ""
    said = await ask(replace(check, executable=Path("/usr/sbin/nginx")))
    assert said.endswith(f'named by the pid file, is "{ME}", not /usr/sbin/nginx')
    pid_file.write_text("4194305\n")  # more than any pid may be
    assert await ask(check) == f"{where}process 4194305, named by the pid file, does not run"
    assert await ask(ProcessCheck(executable=ME, timing=LONG)) == ""
    said = await ask(ProcessCheck(executable=tmp_path / "none", timing=LONG))
    assert said == f"process {tmp_path}/none: no process of it runs"


def test_a_zombie_does_not_run(tmp_path: Path) -> None:
    place = tmp_path / "7"
    place.mkdir()
    (place / "exe").symlink_to("/usr/sbin/thing (deleted)")
    (place / "stat").write_text("7 (a) S b) S 1 7")
    running(ProcessCheck(executable=Path("/usr/sbin/thing")), tmp_path)
    (place / "stat").write_text("7 (a) S b) Z 1 7")
    with pytest.raises(Exception, match="no process of it runs"):
        running(ProcessCheck(executable=Path("/usr/sbin/thing")), tmp_path)
