"""A small ext4 volume whose power can be cut; needs root and a loop device."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.scratch import image_file
from lab import disks, linux, requirements
from lab.processes import wait_until

_BYTES = 24 << 20
_PATIENCE_S = 30.0


class FragileDisk:
    """Mounted while `on`; `cut` forgets what was not synced, and what ext4 had not logged."""

    def __init__(self, image: Path, mountpoint: Path, options: str) -> None:
        self.mountpoint = mountpoint
        self._image = image
        self._options = options

    def on(self) -> None:
        subprocess.run(
            ["mount", "-o", f"loop,{self._options}", str(self._image), str(self.mountpoint)],
            check=True,
            capture_output=True,
        )

    def off(self) -> None:
        subprocess.run(["umount", str(self.mountpoint)], check=True, capture_output=True)

    def cut(self) -> None:
        """The power goes and comes again."""
        number = os.open(self.mountpoint, os.O_RDONLY)
        try:
            linux.drop_filesystem(number)
        finally:
            os.close(number)
        self.off()
        wait_until(
            lambda: not disks.is_attached(self._image), _PATIENCE_S, "nobody holds the old mount"
        )
        self.on()


@contextlib.contextmanager
def fragile_disk(directory: Path, options: str) -> Iterator[FragileDisk]:
    """A fresh one; skips the test where none can be made."""
    if not requirements.loop_devices_work():
        pytest.skip("ext4 images on loop devices need the machine's root")
    mountpoint = directory / "disk"
    mountpoint.mkdir()
    with image_file(directory, _BYTES) as image:
        argv = ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", str(image)]
        environment = {"PATH": requirements.search_path()}
        subprocess.run(argv, check=True, capture_output=True, env=environment)
        disk = FragileDisk(image, mountpoint, options)
        disk.on()
        try:
            yield disk
        finally:
            disk.off()
