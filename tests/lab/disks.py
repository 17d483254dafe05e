"""The hosts' disks, which outlive power cuts: images on loop devices, or tmpfs directories."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from lab import requirements
from lab.layout import DISK_BYTES, HOSTS, Host


def names(*, apart: bool) -> list[str]:
    """Of all disks of all hosts."""
    return [f"{h.name}-{disk}" for h in HOSTS.values() for disk in h.volumes(apart=apart)]


def place(directory: Path, *, images: bool) -> Path:
    """Beside the lab's state, but images never in memory: /run is a small tmpfs elsewhere."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(directory)], capture_output=True, text=True, check=True
    )
    if images and kind.stdout.strip() == "tmpfs":
        return Path(tempfile.mkdtemp(prefix="staqraft-lab-", dir="/var/tmp"))
    disks = directory / "disks"
    disks.mkdir(exist_ok=True)
    return disks


def source(disks: Path, host: Host, disk: str, *, images: bool) -> Path:
    """The image, or the directory."""
    return disks / f"{host.name}-{disk}{'.img' if images else ''}"


def make_images(disks: Path, *, apart: bool = False) -> None:
    """Fresh ext4 filesystems in sparse files."""

    def make(name: str) -> None:
        image = disks / f"{name}.img"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES[name.rpartition("-")[2]])
        argv = [
            "mkfs.ext4",
            "-q",
            "-F",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1",
            str(image),
        ]
        subprocess.run(
            argv, check=True, capture_output=True, env={"PATH": requirements.search_path()}
        )

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(make, names(apart=apart)))


def is_attached(image: Path) -> bool:
    """A loop device has this file open."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # detached while we looked
            if backing.read_text(encoding="utf-8").strip() == str(image):
                return True
    return False


def remove(disks: Path) -> None:
    """Images and all."""
    shutil.rmtree(disks, ignore_errors=True)
