"""The lab as an object: up, down, power, cables, and commands in its hosts."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from lab import disks, linux, processes, requirements
from lab.errors import LabError
from lab.init import DISK_MOUNT, SOCKET, Spec
from lab.layout import HOSTS, MEMBERS, POWER, Host
from lab.network import Link, Network
from lab.processes import DEATH_TIMEOUT_S, TESTS, wait_until
from lab.state import Process, State, default_directory
from lab.supervisor import PATH

REPOSITORY = TESTS.parent
ANSWER_S = 60.0  # of a host's init


class Lab:
    """A lab that is up. Make one with `create`, find a running one with `open`."""

    def __init__(self, directory: Path, state: State) -> None:
        self.directory = directory
        self._state = state
        self._saving = threading.Lock()
        self.hosts = tuple(n for n, h in HOSTS.items() if state.witness or h.role != "witness")
        self.members = tuple(name for name in MEMBERS if name in self.hosts)
        self.network = Network(state.switch.pid)

    # --- up and down --------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        directory: Path | None = None,
        *,
        profile: str = "default",
        witness: bool = True,
        strip: bool | None = None,
        apart: bool = False,
    ) -> Lab:
        """Builds the lab and powers all hosts on. Raises MissingError if this machine cannot.

        `profile` is the timing (`layout.PROFILES`) of the cluster that is installed in it. Without
        a witness there is no host w, and each replica can turn the other off (`lab.strip`); with
        one they can if `strip` says so. `apart`: journal and Raft have volumes of their own.
        """
        requirements.check()
        directory = (directory or default_directory()).absolute()
        old = State.load(directory)
        if old is not None and old.switch.alive:
            raise LabError(
                f"the lab in {directory} is up already: scripts/lab down, or set STAQRAFT_LAB_DIR"
            )
        if old is not None:
            cls(directory, old).down()
        elif directory.exists() and any(directory.iterdir()):
            raise LabError(
                f"{directory} is not empty and has no lab: choose another with STAQRAFT_LAB_DIR"
            )
        (directory / POWER).mkdir(parents=True, exist_ok=True)
        images = requirements.loop_devices_work()
        place = disks.place(directory, images=images)
        try:
            if images:
                disks.make_images(place, apart=apart)
            names = [] if images else disks.names(apart=apart)
            held = {name: str(place / name) for name in names}
            spec = Spec(name="switch", root=str(directory), switch=True, disks=held)
            switch = processes.boot(spec, directory / "switch.log", None)
        except BaseException:
            disks.remove(place)
            shutil.rmtree(directory, ignore_errors=True)
            raise
        state = State(
            switch=switch,
            disks=str(place),
            images=images,
            profile=profile,
            witness=witness,
            apart=apart,
        )
        lab = cls(directory, state)
        try:
            state.save(directory)
            if not witness if strip is None else strip:
                with lab._changed() as kept:
                    kept.strip = processes.start_strip(directory)
            lab.network.build()
            with ThreadPoolExecutor(max_workers=len(lab.hosts)) as pool:
                for boot in [pool.submit(lab.power_on, name) for name in lab.hosts]:
                    boot.result()
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def open(cls, directory: Path | None = None) -> Lab:
        """The lab that `create` left running."""
        directory = (directory or default_directory()).absolute()
        state = State.load(directory)
        if state is None or not state.switch.alive:
            raise LabError(f"there is no lab up in {directory}: scripts/lab up")
        return cls(directory, state)

    def down(self) -> None:
        """Ends everything that this lab started, and removes its disks and its directory."""
        try:
            strip = self._now().strip
            if strip is not None and strip.alive:
                processes.kill(strip, "the power strip")
            for name in self.hosts:
                if self.has_power(name):
                    self.power_off(name)
        finally:  # the switch is everybody's ancestor: nothing survives it
            if self._state.switch.alive:
                processes.kill(self._state.switch, "the switch")
            disks.remove(Path(self._state.disks))
            shutil.rmtree(self.directory, ignore_errors=True)

    def _remember(self, name: str, init: Process | None) -> None:
        with self._changed() as state:
            if init is None:
                state.inits.pop(name, None)
            else:
                state.inits[name] = init

    def _now(self) -> State:
        """As it is now: the power strip, or another program, may have changed it."""
        return State.load(self.directory) or self._state

    @contextmanager
    def _changed(self) -> Iterator[State]:
        """What is changed in it is kept. One at a time: hosts may boot at the same time."""
        with self._saving, (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._now()
            yield state
            state.save(self.directory)

    @property
    def forgets_at_power_cut(self) -> bool:
        """Disks are real filesystems that lose what was not fsynced."""
        return self._state.images

    @property
    def profile(self) -> str:
        """The timing that the cluster in it has."""
        return self._state.profile

    @property
    def has_witness(self) -> bool:
        """There is a host w."""
        return self._state.witness

    # --- power --------------------------------------------------------------------------------

    def has_power(self, name: str) -> bool:
        """The host runs."""
        return self.pid_of_init(name) is not None

    def power_on(self, name: str) -> None:
        """Boots a host; returns when its init is ready and its cables are in."""
        host = _host(name)
        if self.has_power(name):
            raise LabError(f"host {name} has power already")
        root = self.host_directory(name)
        for part in ("etc", "log", "units", "mnt"):
            (root / part).mkdir(parents=True, exist_ok=True)
        sources = {disk: str(self._disk(host, disk)) for disk in self.volumes(name)}
        spec = Spec(name=name, root=str(root), disks=sources)
        init = processes.boot(spec, root / "console.log", self._state.switch)
        self._remember(name, init)
        self.network.plug_in(host, init.pid)
        self.ask_init(name, op="boot")

    def power_off(self, name: str) -> float:
        """Cuts the power. Returns the instant (CLOCK_BOOTTIME), when all of the host is gone."""
        host = _host(name)
        init = self.init(name)
        with ExitStack() as stack:
            filesystems: list[int] = []
            if self._state.images:
                for disk in self.volumes(name):
                    descriptor = os.open(self.volume(name, disk), os.O_RDONLY)
                    stack.callback(os.close, descriptor)
                    filesystems.append(descriptor)
            self.network.pull_out(host)
            at = linux.boottime()

            def forget() -> None:
                for descriptor in filesystems:
                    linux.drop_filesystem(descriptor)
                    linux.thaw(descriptor)  # nothing that waits for it could be killed

            processes.kill(init, f"host {name}", forget)
        self.network.remove(host)
        self._remember(name, None)
        if (
            self._state.images
        ):  # the kernel lets go of the last mount a moment after the last process died
            images = [self._disk(host, disk) for disk in self.volumes(name)]
            wait_until(
                lambda: not any(disks.is_attached(image) for image in images),
                DEATH_TIMEOUT_S,
                f"the loop devices of {name}'s disks are detached",
            )
        return at

    def volumes(self, name: str) -> tuple[str, ...]:
        """The names of a host's disks."""
        return _host(name).volumes(apart=self._state.apart)

    def volume(self, name: str, disk: str) -> Path:
        """The top of a host's disk as seen from here. Valid while the host has power."""
        return Path(f"{self.root(name)}{DISK_MOUNT}/{disk}")

    def _disk(self, host: Host, disk: str) -> Path:
        return disks.source(Path(self._state.disks), host, disk, images=self._state.images)

    # --- hosts --------------------------------------------------------------------------------

    def init(self, name: str) -> Process:
        """The pid, as seen from here, of the host's init."""
        if not self.has_power(name):
            raise LabError(f"host {name} has no power: scripts/lab power on {name}")
        return self._now().inits[name]

    def pid_of_init(self, name: str) -> int | None:
        """The pid, as seen from here, of the host's init; None without power."""
        init = self._now().inits.get(_host(name).name)
        return init.pid if init is not None and init.alive else None

    def root(self, name: str) -> Path:
        """The host's filesystem as seen from here. Valid while the host has power."""
        return Path(f"/proc/{self.init(name).pid}/root")

    def host_directory(self, name: str) -> Path:
        """Where the host's etc/ (/etc/staqraft), log/ (/var/log/staqraft) and units/ are kept."""
        return self.directory / "hosts" / _host(name).name

    def enter(self, name: str) -> list[str]:
        """The argv prefix that runs a command in a host, or in the "switch"."""
        pid = self._state.switch.pid if name == "switch" else self.init(name).pid
        return ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--uts", "--ipc", "--"]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What commands in hosts see: nothing of ours but a PATH with our Python's programs."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{PATH}",
            "PYTHONPATH": f"{TESTS}:{REPOSITORY}",
            "LC_ALL": "C.UTF-8",
            **(extra or {}),
        }

    def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout_s: float = 60.0,
        text: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command in a host and returns its output. `text` is its standard input."""
        done = subprocess.run(
            [*self.enter(name), *argv],
            env=self.environment(),
            input=text,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            said = f"{done.stdout}{done.stderr}".rstrip()
            raise LabError(f"on {name}: {' '.join(argv)} ended with {done.returncode}\n{said}")
        return done

    def popen(self, name: str, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Starts a lab module in a host; it ends when its standard input is closed or its host
        loses power.
        """
        with (self.directory / "tools.log").open("ab") as errors:
            return subprocess.Popen(
                [*self.enter(name), *argv],
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    @staticmethod
    def module(name: str, *arguments: str, package: str = "lab") -> list[str]:
        """The argv that runs a module of the lab, or of another package of the tests."""
        return [sys.executable, "-P", "-m", f"{package}.{name}", *arguments]

    # --- units --------------------------------------------------------------------------------

    def enable(
        self,
        name: str,
        unit: str,
        argv: Sequence[str],
        *,
        notify: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Installs a unit on a host; it is started now and at every boot."""
        text = {"argv": list(argv), "notify": notify, "environment": self.environment(environment)}
        path = self.host_directory(name) / "units" / f"{unit}.json"
        path.write_text(json.dumps(text, indent=1), encoding="utf-8")
        self.ask_init(name, op="start", unit=unit)

    def ask_init(self, name: str, **request: str) -> dict[str, Any]:
        """A request to a host's supervisor: op=boot|start|stop|status, unit=..."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(f"{self.root(name)}{SOCKET}")
            connection.sendall(json.dumps(request).encode() + b"\n")
            reply: dict[str, Any] = json.loads(
                connection.makefile("r", encoding="utf-8").readline()
            )
        if "error" in reply:
            raise LabError(f"the init of {name} refused {request}: {reply['error']}")
        return reply

    def unit_processes(self, name: str, unit: str) -> list[int]:
        """The pids, as seen from here, of a unit's main process and all that descends from it."""
        inner = self.ask_init(name, op="status").get(unit, {}).get("pid")
        main = None if inner is None else processes.find_child(self.init(name).pid, inner)
        return [] if main is None else processes.descendants(main)

    def signal_unit(self, name: str, unit: str, number: signal.Signals) -> float:
        """Signals all processes of a unit; returns the instant on CLOCK_BOOTTIME."""
        pids = self.unit_processes(name, unit)
        if not pids:
            raise LabError(f"unit {unit} does not run on {name}")
        at = linux.boottime()
        for pid in pids:
            with suppress(ProcessLookupError):  # a program that it ran has ended
                os.kill(pid, number)
        return at

    # --- cables -------------------------------------------------------------------------------

    def cut(self, link: str, sender: str | None = None, port: int | None = None) -> None:
        """Cuts a link (see `network`), or only what `sender` says over it, or only a TCP port."""
        self.network.cut(Link.parse(link), sender, port)

    def heal(self, link: str, sender: str | None = None, port: int | None = None) -> None:
        """Undoes `cut`."""
        self.network.heal(Link.parse(link), sender, port)

    def status(self) -> dict[str, Any]:
        """Everything about the lab, for people and scripts."""
        return {
            "directory": str(self.directory),
            "disks": "ext4 images" if self._state.images else "tmpfs: a power cut forgets nothing",
            "hosts": {
                name: {
                    "power": True,
                    "init": self.init(name).pid,
                    "units": self.ask_init(name, op="status"),
                }
                if self.has_power(name)
                else {"power": False}
                for name in self.hosts
            },
            "unplugged": self.network.unplugged(),
            "dropped": [str(drop) for drop in self.network.drops()],
        }


def _host(name: str) -> Host:
    if name not in HOSTS:
        raise LabError(f"there is no host {name!r}; hosts are {', '.join(HOSTS)}")
    return HOSTS[name]
