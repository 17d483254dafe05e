"""What is compared: StaqRaft and its peers, each as its own documentation would set it up.

A system copies the tree of host a to host b, and follows what happens to it then. Peers speak
plain TCP between the hosts: nothing of theirs is encrypted, which is to their advantage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from bench.data.hosts import PATIENCE_S, Hosts, wait
from bench.data.results import Measured
from lab.errors import LabError

RSYNC_PORT: Final = 873
TAR_PORT: Final = 7000
EXACT: Final = "--modify-window=-1"  # compares nanoseconds: whole seconds miss changes
VANISHED: Final = 24  # rsync: some files were gone before they were sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the tree holds, as far as a system wants to be told."""

    profile: str = "plain"  # maildir: what is in tmp is nobody's mail yet
    inplace: bool = False  # a large file that changes in place
    limit_s: float = PATIENCE_S


class System(ABC):
    """One of them, on one pair of fresh hosts."""

    name: str
    durable: bool  # what it calls copied is on the disk of b
    follows: bool = True
    keeps_all: bool = False  # metadata and all, so that trees are compared completely
    package: str = ""  # of Debian

    def __init__(self, hosts: Hosts, job: Job) -> None:
        self.hosts = hosts
        self.job = job

    @abstractmethod
    def prepare(self) -> None:
        """Starts what waits on either side; nothing is copied yet."""

    @abstractmethod
    def copy(self) -> None:
        """Returns when b has everything that a has."""

    def follow(self) -> None:  # noqa: B027 - some follow already when they have copied
        """From now on b gets what changes on a."""

    def more(self) -> list[Measured]:
        """What else it knows of the copy that it made."""
        return []

    def close(self) -> None:  # noqa: B027 - hosts end their processes
        """Lets go of what is not a process in a host."""


class Rsync(System):
    """Again and again, from a client on a to a daemon on b."""

    name = "rsync"
    durable = False
    package = "rsync"
    extra: tuple[str, ...] = ()

    def prepare(self) -> None:
        start_rsync_daemon(self.hosts)

    def options(self) -> list[str]:
        """Of each run."""
        options = ["-a", "--delete", EXACT, *self.extra]
        if self.job.profile == "maildir":
            options += ["--exclude", "tmp/*"]
        if self.job.inplace:
            options += ["--inplace"]
        return options

    def command(self) -> list[str]:
        """One run."""
        a, b = self.hosts.a, self.hosts.b
        return ["rsync", *self.options(), f"{a.tree}/", f"rsync://{b.address}/tree/"]

    def copy(self) -> None:
        self.hosts.a.run(self.command())

    def follow(self) -> None:
        loop = f'while "$@" || [ $? = {VANISHED} ]; do :; done'
        self.hosts.a.start(["sh", "-c", loop, "sh", *self.command()])


class RsyncFsync(Rsync):
    """The same, with every file synced before it gets its name."""

    name = "rsync-fsync"
    durable = True
    extra = ("--fsync",)


class RsyncSync(Rsync):
    """The same, and one sync of the whole filesystem at the end of each run."""

    name = "rsync-sync"
    durable = True
    follows = False

    def copy(self) -> None:
        super().copy()
        self.hosts.b.run(["sync", "--file-system", str(self.hosts.b.tree)])


class Tar(System):
    """One stream of everything."""

    name = "tar"
    durable = False
    follows = False
    package = "tar"

    def prepare(self) -> None:
        b = self.hosts.b
        self._reader = b.start(
            [*_PYTHON, _ACCEPT, b.address, str(TAR_PORT), "tar", "-C", str(b.tree), "-xpf", "-"]
        )
        b.wait_listening(TAR_PORT)

    def copy(self) -> None:
        a, b = self.hosts.a, self.hosts.b
        words = [b.address, str(TAR_PORT), "tar", "-C", str(a.tree), "-cf", "-", "."]
        a.run([*_PYTHON, _CONNECT, *words])
        if (code := self._reader.wait()) != 0:
            raise LabError(f"tar on b ended with {code}: {b.said()}")


# tar reads and writes the connection itself: a relay would cost it.
_PYTHON: Final = ["python3", "-I", "-S", "-c"]
_CONNECT: Final = """
import os, socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
os.dup2(connection.fileno(), 1)
os.execvp(sys.argv[3], sys.argv[3:])
"""
_ACCEPT: Final = """
import os, socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    connection, _ = server.accept()
    os.dup2(connection.fileno(), 0)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Lsyncd(System):
    """inotify and rsync, without a delay."""

    name = "lsyncd"
    durable = False
    package = "lsyncd"
    extra: tuple[str, ...] = ()

    def prepare(self) -> None:
        start_rsync_daemon(self.hosts)
        self._said = self.hosts.directory / "lsyncd.log"
        self._said.touch()

    def copy(self) -> None:
        extra = [EXACT, *self.extra, *(["--inplace"] if self.job.inplace else [])]
        excluded = ["tmp/*"] if self.job.profile == "maildir" else []
        settings = self.hosts.directory / "lsyncd.lua"
        settings.write_text(
            LSYNCD.format(
                log=self._said,
                source=self.hosts.a.tree,
                target=f"rsync://{self.hosts.b.address}/tree/",
                extra=_lua(extra),
                excluded=_lua(excluded),
            )
        )
        process = self.hosts.a.start(["lsyncd", "-nodaemon", str(settings)])

        def copied() -> bool:
            if process.poll() is not None:
                raise LabError(f"lsyncd ended with {process.returncode}: {self.hosts.a.said()}")
            return "finished." in self._said.read_text(errors="replace")

        wait(copied, "lsyncd has copied", self.job.limit_s)


class LsyncdFsync(Lsyncd):
    """The same, and rsync syncs every file."""

    name = "lsyncd-fsync"
    durable = True
    extra = ("--fsync",)


LSYNCD: Final = """
settings {{
    logfile = "{log}", statusFile = "{log}.status", statusInterval = 3600, nodaemon = true,
}}
sync {{
    default.rsync, source = "{source}", target = "{target}", delay = 0, delete = true,
    exclude = {{ {excluded} }},
    rsync = {{ archive = true, _extra = {{ {extra} }} }},
}}
"""


def _lua(words: list[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


RSYNCD: Final = """
use chroot = no
pid file = {log}.pid
lock file = {log}.lock
log file = {log}
transfer logging = no
[tree]
path = {tree}
read only = no
uid = 0
gid = 0
"""


def start_rsync_daemon(hosts: Hosts) -> None:
    """On b, over its whole tree."""
    log = hosts.directory / "rsyncd"
    settings = hosts.directory / "rsyncd.conf"
    settings.write_text(RSYNCD.format(log=log, tree=hosts.b.tree))
    hosts.b.start(
        ["rsync", "--daemon", "--no-detach", "--config", str(settings), "--address", "0.0.0.0"]
    )
    hosts.b.wait_listening(RSYNC_PORT)
