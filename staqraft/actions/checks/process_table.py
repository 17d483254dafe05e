"""Whether a process runs, by its pid file or its executable, as /proc has it."""

from __future__ import annotations

import os
from pathlib import Path

from staqraft.actions.checks.lines import CheckFailed, quoted
from staqraft.config.services import ProcessCheck

PID_FILE_MOST = 64
_REPLACED = " (deleted)"  # an upgrade put another file in its place; the process goes on


def running(check: ProcessCheck, proc: Path = Path("/proc")) -> None:
    """CheckFailed unless the process is there, and no zombie."""
    if check.pid_file is not None:
        _by_pid_file(check.pid_file, check.executable, proc)
    else:
        assert check.executable is not None, "a process check for nothing"
        _by_executable(check.executable, proc)


def _by_pid_file(pid_file: Path, executable: Path | None, proc: Path) -> None:
    try:
        with pid_file.open("rb") as file:
            text = file.read(PID_FILE_MOST)
    except OSError as error:
        raise CheckFailed(f"the pid file cannot be read ({error.strerror})") from None
    words = text.split()
    if not words or not words[0].isdigit() or not int(words[0]):
        raise CheckFailed(f"the pid file has no pid in it but {quoted(text)}")
    pid = int(words[0])
    if not _lives(proc / str(pid)):
        raise CheckFailed(f"process {pid}, named by the pid file, does not run")
    found = _executable_of(proc / str(pid))
    if executable is not None and found not in {str(executable), os.path.realpath(executable)}:
        shown = quoted(found or "unknown")
        raise CheckFailed(f"process {pid}, named by the pid file, is {shown}, not {executable}")


def _by_executable(executable: Path, proc: Path) -> None:
    wanted = {str(executable), os.path.realpath(executable)}
    with os.scandir(proc) as entries:
        for entry in entries:
            if entry.name.isdigit():
                place = proc / entry.name
                if _executable_of(place) in wanted and _lives(place):
                    return
    raise CheckFailed("no process of it runs")


def _executable_of(place: Path) -> str:
    try:
        return str((place / "exe").readlink()).removesuffix(_REPLACED)
    except OSError:
        return ""  # it has just ended, or is the kernel's own


def _lives(place: Path) -> bool:
    try:
        stat = (place / "stat").read_bytes()
    except OSError:
        return False
    # The name in brackets may hold anything, brackets too; the state follows the last one.
    return stat.rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"])
