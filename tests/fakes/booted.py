"""Debian's own systemd and D-Bus, booted as process 1 of namespaces of their own.

It is what a container does: a PID, mount, network, IPC, UTS and cgroup namespace, and a cgroup of
the second version to keep its units' processes in. Nothing of it is seen outside, and killing its
process 1 ends all of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

SYSTEMD: Final = Path("/lib/systemd/systemd")
_BOOT: Final = Path(__file__).parent / "boot_systemd"
_BUS: Final = "run/dbus/system_bus_socket"
_PATIENCE_S: Final = 90.0
_NAMESPACES: Final = (
    *("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"),
    *("--fork", "--kill-child"),
)
_ALONE: Final = "[Unit]\nDefaultDependencies=no\n"
_OURS: Final = {  # what Debian's own are without the rest of the machine
    "test.target": f"{_ALONE}Requires=dbus.socket dbus.service\n",
    "dbus.socket": f"{_ALONE}[Socket]\nListenStream=/{_BUS}\n",
    "dbus.service": f"{_ALONE}Requires=dbus.socket\n[Service]\nExecStart=/usr/bin/dbus-daemon"
    " --system --address=systemd: --nofork --nopidfile --systemd-activation\n",
    **{
        f"{name}.target": _ALONE
        for name in ("sysinit", "basic", "shutdown", "network-online", "local-fs", "time-sync")
    },
}


class CannotBootError(Exception):
    """This machine lets nobody boot a systemd; it says why."""


@dataclass(frozen=True)
class Booted:
    """A running systemd; `pid` is that of its process 1 as it is seen from here."""

    pid: int
    units: Path

    @property
    def root(self) -> Path:
        """Its root directory, seen from here."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def address(self) -> str:
        """Of its system bus."""
        return f"unix:path={self.root}/{_BUS}"

    def inside(self, *argv: str) -> list[str]:
        """A command line that runs `argv` among its processes."""
        namespaces = ["--mount", "--pid", "--uts", "--ipc", "--net"]
        return ["nsenter", f"--target={self.pid}", *namespaces, "--root", "--wd=/", *argv]

    def run(self, *argv: str) -> str:
        """What a command printed among its processes, whatever its exit status."""
        done = subprocess.run(self.inside(*argv), capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def wait_for(self, holds: Callable[[], object], what: str) -> None:
        """Blocks until it holds; AssertionError after a long time."""
        ends = time.monotonic() + _PATIENCE_S
        while not holds():
            assert time.monotonic() < ends, f"not within {_PATIENCE_S:g} s: {what}"
            time.sleep(0.05)


def obstacle() -> str:
    """Why no systemd can be booted here; nothing if it can be tried."""
    if os.geteuid() != 0:
        return "namespaces with a systemd in them need root"
    programs = ("unshare", "nsenter", "dbus-daemon", "systemctl")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing or not SYSTEMD.exists():
        return f"not installed: {', '.join(missing) or SYSTEMD} (Debian: systemd, dbus, util-linux)"
    return "" if _cgroup2() is not None else "no cgroup2 is mounted"


@contextmanager
def booted(place: Path, units: Mapping[str, str]) -> Iterator[Booted]:
    """Boots one with these unit files. `place`: an empty directory. CannotBootError."""
    (place / "units").mkdir()
    for name, text in {**_OURS, **units}.items():
        (place / "units" / name).write_text(text)
    (place / "root").mkdir()
    above = _cgroup2()
    assert above is not None, obstacle()
    group = above / f"staqraft-test-{os.getpid()}"
    group.mkdir()
    try:
        with _running(place, group) as pid:
            yield Booted(pid=pid, units=place / "units")
    finally:
        _remove(group)


@contextmanager
def booted_or_skipped(
    directories: pytest.TempPathFactory, units: Mapping[str, str]
) -> Iterator[Booted]:
    """The same for a test module, which is skipped where none can be booted."""
    if why := obstacle():
        pytest.skip(why)
    try:
        with booted(directories.mktemp("systemd"), units) as running:
            yield running
    except CannotBootError as error:
        pytest.skip(f"no systemd can be booted here: {error}")


@contextmanager
def _running(place: Path, group: Path) -> Iterator[int]:
    # The shell enters the cgroup first, so that it is the root of the new cgroup namespace.
    enter = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
    boot = [str(_BOOT), f"{place}/root", f"{place}/units"]
    argv = ["sh", "-c", enter, str(group), "unshare", *_NAMESPACES, *boot]
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield _wait(process, log)
    finally:
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> int:
    """Until its bus takes connections; the pid of its process 1."""
    ends = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise CannotBootError(log.read_text(errors="replace"))
        for child in _children(process.pid):
            name = Path(f"/proc/{child}/comm").read_text().strip()
            if name == "systemd" and Path(f"/proc/{child}/root/{_BUS}").exists():
                return child
        time.sleep(0.02)
    raise CannotBootError(f"not within {_PATIENCE_S:g} s: {log.read_text(errors='replace')}")


def _children(pid: int) -> list[int]:
    try:
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _cgroup2() -> Path | None:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return next((Path(words[1]) for words in mounts if words[2] == "cgroup2"), None)


def _remove(group: Path) -> None:
    """The kernel takes a moment to see that nobody is in it any more."""
    ends = time.monotonic() + _PATIENCE_S
    while group.exists() and time.monotonic() < ends:
        for inner, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                Path(inner).rmdir()
        time.sleep(0.02)
