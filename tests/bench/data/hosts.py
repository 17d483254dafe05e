"""Two hosts on this machine: network namespaces with one cable, and a fresh ext4 disk each.

Whatever a host runs is in its cgroup, which says what it cost and ends all of it at once. Mounts
are in the bench's own mount namespace (see `alone`), images are unlinked as soon as they are
mounted, and namespaces end with the process that holds them: nothing is left when the bench dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.data.results import Usage
from lab import requirements
from lab.errors import LabError, MissingError
from lab.linux import boottime

NAMES: Final = ("a", "b")
NETWORK: Final = "10.78.0"
CABLE: Final = "eth0"
DISK_BYTES: Final = 8 << 30  # sparse
IMAGES: Final = Path("/var/tmp")  # on a disk: what is synced is to be durable
INSIDE: Final = "STAQRAFT_BENCH_INSIDE"
PATIENCE_S: Final = 30.0
PATH: Final = requirements.search_path()


def alone() -> None:
    """Begins this program anew in namespaces of its own, so that nothing of it can be left over."""
    if INSIDE in os.environ:
        return
    if not requirements.is_real_root() or not requirements.loop_devices_work():
        raise MissingError("this bench mounts disks: it needs root and loop devices")
    os.environ[INSIDE] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvpe("unshare", [*argv, sys.executable, *sys.orig_argv[1:]], {**os.environ, "PATH": PATH})


class Host:
    """One of the two. `disk` is its filesystem; `tree` is what is to be replicated."""

    def __init__(self, name: str, directory: Path, cgroup: Path, holder: int) -> None:
        self.name = name
        self.address = f"{NETWORK}.{NAMES.index(name) + 1}"
        self.disk = directory / name
        self.tree = self.disk / "srv"
        self.log = directory / f"{name}.log"
        self._cgroup = cgroup
        self._holder = holder

    def command(self, argv: Sequence[str]) -> list[str]:
        """What runs `argv` in this host; the process is the started one itself."""
        enter = 'echo 0 >"$1" && shift && exec "$@"'
        place = str(self._cgroup / "cgroup.procs")
        return ["sh", "-c", enter, "sh", place, "nsenter", f"--net={self._network}", *argv]

    @property
    def _network(self) -> str:
        return f"/proc/{self._holder}/ns/net"

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """A process that goes on; what it says is in the host's log unless `options` say else."""
        with self.log.open("ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
            options["env"] = {"PATH": PATH, "LC_ALL": "C.UTF-8", **options.get("env", {})}
            return subprocess.Popen(self.command(argv), **options)

    def run(self, argv: Sequence[str], *, good: tuple[int, ...] = (0,), **options: Any) -> None:
        """Runs it to its end. LabError with what it said when that is none of the good ones."""
        code = self.start(argv, **options).wait()
        if code not in good:
            raise LabError(f"{argv[0]} on {self.name} ended with {code}: {self.said()}")

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def wait_listening(self, port: int) -> None:
        """Returns when somebody in this host listens on a TCP port."""

        def listens() -> bool:
            lines = Path(f"/proc/{self._holder}/net/tcp").read_text().splitlines()[1:]
            lines += Path(f"/proc/{self._holder}/net/tcp6").read_text().splitlines()[1:]
            states = [(line.split()[1].rpartition(":")[2], line.split()[3]) for line in lines]
            return (f"{port:04X}", "0A") in states

        self.wait(listens, f"somebody on {self.name} listens on port {port}")

    def wait(self, condition: Callable[[], bool], what: str, limit_s: float = PATIENCE_S) -> None:
        """As `wait`; what the host's log says is told when it takes too long."""
        try:
            wait(condition, what, limit_s)
        except LabError as error:
            raise LabError(f"{error}: {self.said()}") from error

    def wire_bytes(self) -> int:
        """Over its cable, both directions."""
        for line in Path(f"/proc/{self._holder}/net/dev").read_text().splitlines():
            name, _, figures = line.partition(":")
            if name.strip() == CABLE:
                fields = figures.split()
                return int(fields[0]) + int(fields[8])
        raise LabError(f"{self.name} has no cable")

    def processor_s(self) -> float:
        """Of everything that ever ran in it."""
        stat = dict(line.split() for line in (self._cgroup / "cpu.stat").read_text().splitlines())
        return int(stat["usage_usec"]) / 1e6

    def end_all(self) -> None:
        """Kills everything that runs in it, and waits until it is gone."""
        (self._cgroup / "cgroup.kill").write_text("1")
        events = self._cgroup / "cgroup.events"
        wait(lambda: "populated 0" in events.read_text(), f"all processes of {self.name} end")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Both: `a` is written to, `b` follows."""

    directory: Path  # for small files that belong to neither
    a: Host
    b: Host

    def usage(self) -> Usage:
        """Now."""
        return Usage(
            wire_bytes=self.a.wire_bytes(),
            processor_s=self.a.processor_s() + self.b.processor_s(),
        )


@contextmanager
def hosts() -> Iterator[Hosts]:
    """New ones, with empty trees; everything in them ends with the context."""
    with ExitStack() as stack:
        # Below /tmp, not beside the images: unix sockets want short paths.
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="sr-bench-"))
        directory = Path(made)
        built = [_host(stack, directory, name) for name in NAMES]
        _plug_in(*built)
        yield Hosts(directory, *built)


def _host(stack: ExitStack, directory: Path, name: str) -> Host:
    cgroup = cgroups() / f"staqraft-bench-{Path('/proc/self/ns/pid').stat().st_ino}-{name}"
    cgroup.mkdir(exist_ok=True)  # one of a bench that was killed may be left
    stack.callback(cgroup.rmdir)
    # It holds the network namespace until its input ends, which is when we do.
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
    stack.callback(_let_go, holder)
    network = Path(f"/proc/{holder.pid}/ns/net")
    ours = Path("/proc/self/ns/net").readlink()
    wait(lambda: network.readlink() != ours, "a network namespace is made")
    host = Host(name, directory, cgroup, holder.pid)
    host.disk.mkdir()
    _mount(host.disk)
    stack.callback(subprocess.run, ["umount", "--lazy", str(host.disk)], check=True)
    stack.callback(host.end_all)
    host.tree.mkdir()
    return host


def _let_go(holder: subprocess.Popen[bytes]) -> None:
    assert holder.stdin is not None, "it was opened as a pipe"
    holder.stdin.close()
    holder.wait()


def _mount(at: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=IMAGES, prefix="staqraft-bench-", suffix=".img") as image:
        image.truncate(DISK_BYTES)
        late = "lazy_itable_init=1,lazy_journal_init=1"
        for argv in (
            ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", late, image.name],
            ["mount", "-o", "loop,noinit_itable", image.name, str(at)],
        ):
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, env={"PATH": PATH}
            )
            if done.returncode != 0:
                raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _plug_in(a: Host, b: Host) -> None:
    lines = [f"link add {CABLE} type veth peer name {CABLE} netns {b._holder}"]
    for host, more in ((a, lines), (b, [])):
        more += [
            f"address add {host.address}/24 dev {CABLE}",
            f"link set {CABLE} up",
            "link set lo up",
        ]
        argv = ["nsenter", f"--net={host._network}", "ip", "-batch", "-"]
        subprocess.run(argv, input="\n".join(more), text=True, check=True, env={"PATH": PATH})


def cgroups() -> Path:
    """Where the kernel's second version of control groups is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise MissingError("this bench needs cgroup2, which tells what processes cost: mount it")


def wait(
    condition: Callable[[], bool], what: str, limit_s: float = PATIENCE_S, every_s: float = 0.005
) -> None:
    """Until it holds. LabError when that takes too long."""
    deadline = boottime() + limit_s
    while not condition():
        if boottime() > deadline:
            raise LabError(f"waited {limit_s:g} s in vain until {what}")
        time.sleep(every_s)


def settle_disks() -> None:
    """What was written until now is on disk: it is not to be a load on what is measured."""
    os.sync()
