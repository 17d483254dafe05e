"""Starting inits, ending them, and finding one's way in the processes of a host."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.errors import LabError
from lab.init import Spec
from lab.state import Process
from lab.supervisor import PATH

TESTS = Path(__file__).resolve().parents[1]
BOOT_TIMEOUT_S = 60.0
DEATH_TIMEOUT_S = 60.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def wait_until(
    condition: Callable[[], bool], timeout_s: float, what: str, *, every_s: float = 0.01
) -> None:
    """Returns when the condition holds; raises LabError after the time-out."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout_s:.0f} s in vain for this: {what}")
        time.sleep(every_s)


def boot(spec: Spec, console: Path, parent: Process | None) -> Process:
    """Starts an init below `parent` (the switch) and returns it when it says that it is ready."""
    enter = (
        []
        if parent is None
        else ["nsenter", f"--target={parent.pid}", "--mount", "--net", "--pid", "--"]
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.settimeout(BOOT_TIMEOUT_S)
        with console.open("ab") as output:
            starter = subprocess.Popen(
                [
                    *enter,
                    sys.executable,
                    "-P",
                    "-m",
                    "lab.init",
                    spec.to_json(),
                    str(theirs.fileno()),
                ],
                env={
                    "PATH": PATH,
                    "PYTHONPATH": str(TESTS),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "LC_ALL": "C.UTF-8",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        theirs.close()
        starter.wait()
        try:
            word, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        except TimeoutError:
            word, ancillary = b"it said nothing for too long", []
    if word != b"ready":
        why = word.decode(errors="replace") or "it ended"
        said = console.read_text(encoding="utf-8", errors="replace")
        raise LabError(f"{spec.name} did not boot: {why}\n{said}")
    pid, _, _ = _CREDENTIALS.unpack(ancillary[0][2][: _CREDENTIALS.size])
    return Process.of(pid)


def start_strip(directory: Path) -> Process:
    """Starts the power strip of the lab in `directory`; it goes on until the lab is down."""
    with (directory / "strip.log").open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "lab.strip", str(directory)],
            env={"PATH": PATH, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            check=True,
            start_new_session=True,
        )
    return Process.of(int(done.stdout))


def kill(process: Process, what: str, and_then: Callable[[], None] = lambda: None) -> None:
    """SIGKILLs an init; returns when everything in its PID namespace is dead and reaped."""
    handle = os.pidfd_open(process.pid)
    try:
        if not process.alive:  # the pid was another's when we opened it
            return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        and_then()
        if not select.select([handle], [], [], DEATH_TIMEOUT_S)[0]:
            raise LabError(
                f"{what} (pid {process.pid}) lives {DEATH_TIMEOUT_S:.0f} s after its SIGKILL"
            )
    finally:
        os.close(handle)


def inner_pid(pid: int) -> int | None:
    """The pid of a process in its own PID namespace; None if it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])


def command_line(pid: int) -> list[str]:
    """The words of a process's command line; none if it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid: int) -> list[int]:
    """Direct children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in task.read_text(encoding="ascii").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def descendants(pid: int) -> list[int]:
    """The process and all that descends from it, parents first."""
    found = [pid]
    for child in children(pid):
        found += descendants(child)
    return found


def find_child(parent: int, inner: int) -> int | None:
    """The child of `parent` that has the pid `inner` in its own namespace."""
    return next((pid for pid in children(parent) if inner_pid(pid) == inner), None)
