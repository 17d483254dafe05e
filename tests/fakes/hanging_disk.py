"""A filesystem that can be made to hang as a broken disk does: ext4 on a loop device, frozen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FS_MIB = 16


class HangingDisk:
    """Mounted at `path`. While it hangs, who writes waits in the kernel and cannot be killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hangs = False

    def hang(self) -> None:
        subprocess.run(["fsfreeze", "--freeze", str(self.path)], check=True, capture_output=True)
        self._hangs = True

    def go_on(self) -> None:
        if self._hangs:
            subprocess.run(["fsfreeze", "--unfreeze", str(self.path)], check=True)
            self._hangs = False


@contextmanager
def hanging_disk(directory: Path) -> Iterator[HangingDisk]:
    """Skips the test where this machine cannot mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a filesystem needs root")
    image, path = directory / "disk.img", directory / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(FS_MIB << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True, check=False)
    mount = ["mount", "-o", "loop", str(image), str(path)]
    if made.returncode or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no loop devices")
    disk = HangingDisk(path)
    try:
        yield disk
    finally:
        disk.go_on()
        subprocess.run(["umount", "--lazy", str(path)], check=True)
