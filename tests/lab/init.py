"""Pid 1 of a host, or of the switch: makes the namespaces, mounts, says "ready", then minds
processes.

Started as `python -m lab.init SPEC FD`: SPEC is JSON (see `Spec`), FD a datagram socket to the lab.
The kernel stamps the ready message with our pid as the lab sees it (SCM_CREDENTIALS), which spares
all pid translation.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import linux
from lab.layout import APART, HOST_STATE, POWER
from lab.supervisor import Supervisor

OVERLAID = ("/etc", "/var/lib", "/var/log")
DISK_MOUNT = f"{HOST_STATE}/disks"
UNITS = f"{HOST_STATE}/units"
SOCKET = f"{HOST_STATE}/init.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What an init has to become. `disks` maps data and state to an image file or a directory."""

    name: str
    root: str  # the host's directory in the lab: etc/, log/, units/
    switch: bool = False
    disks: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def _directory(*parts: str) -> str:
    path = Path(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


def _bind_descriptor(descriptor: int, target: str) -> None:
    # By descriptor, because /run (where the lab's directory may be) is covered by now.
    linux.mount(f"/proc/self/fd/{descriptor}", _directory(target), flags=linux.MS_BIND)


def _open_disk(spec: Spec, name: str) -> int:
    """Mounts a disk in the lab's directory, in our own mount namespace, and opens its root."""
    source = spec.disks[name]
    if Path(source).is_dir():
        return os.open(source, os.O_PATH)
    at = _directory(spec.root, "mnt", name)
    # mount(8) attaches the loop device with autoclear: it goes when the last mount of it goes.
    subprocess.run(["mount", "-t", "ext4", "-o", "loop", source, at], check=True)
    return os.open(at, os.O_PATH)


def _mount_host(spec: Spec) -> None:
    own = {name: os.open(f"{spec.root}/{name}", os.O_PATH) for name in ("etc", "log", "units")}
    power = os.open(Path(spec.root).parents[1] / POWER, os.O_PATH)
    disks = {name: _open_disk(spec, name) for name in spec.disks}
    linux.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for path in OVERLAID:
        upper = _directory(HOST_STATE, "overlay", path[1:].replace("/", "-"), "upper")
        work = _directory(str(Path(upper).parent), "work")
        linux.mount(
            "overlay", path, "overlay", data=f"lowerdir={path},upperdir={upper},workdir={work}"
        )
    _bind_descriptor(own["etc"], "/etc/staqraft")
    _bind_descriptor(own["log"], "/var/log/staqraft")
    _bind_descriptor(own["units"], UNITS)
    _bind_descriptor(power, f"{HOST_STATE}/{POWER}")
    for name, descriptor in disks.items():
        _bind_descriptor(descriptor, f"{DISK_MOUNT}/{name}")
    if "data" in disks:
        for directory, target in (("srv", "/srv"), ("var-mail", "/var/mail")):
            linux.mount(_directory(DISK_MOUNT, "data", directory), target, flags=linux.MS_BIND)
    if "state" in disks:
        linux.mount(f"{DISK_MOUNT}/state", _directory("/var/lib/staqraft"), flags=linux.MS_BIND)
    for name in sorted(APART.keys() & disks.keys()):
        place = _directory(DISK_MOUNT, name, name)
        linux.mount(place, _directory(APART[name]), flags=linux.MS_BIND)
    Path("/run/staqraft").mkdir(mode=0o700)  # RuntimeDirectoryMode= of the unit


def _new_boot_id() -> None:
    path = Path(HOST_STATE, "boot_id")
    path.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    linux.mount(str(path), "/proc/sys/kernel/random/boot_id", flags=linux.MS_BIND)


def _become(spec: Spec) -> None:
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc")
    linux.set_hostname(spec.name)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if spec.switch:
        for source in spec.disks.values():  # without loop devices: one tmpfs a disk, held by us
            linux.mount("tmpfs", _directory(source), "tmpfs", data="mode=755,size=2g")
        return
    _mount_host(spec)
    _new_boot_id()


def main() -> None:
    """Never returns while the host has power."""
    spec = Spec(**json.loads(sys.argv[1]))
    ready = socket.socket(fileno=int(sys.argv[2]))
    linux.unshare(linux.OWN_HOST)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    try:
        _become(spec)
        supervisor = Supervisor(
            units=None if spec.switch else Path(UNITS),
            control=None if spec.switch else Path(SOCKET),
        )
    except (OSError, subprocess.CalledProcessError) as error:
        ready.send(f"{spec.name}: {error}".encode())
        raise
    ready.send(b"ready")
    ready.close()
    supervisor.run()


if __name__ == "__main__":
    main()
