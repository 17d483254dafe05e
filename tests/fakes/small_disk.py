"""A volume of a few hundred KiB that can be filled: a tmpfs, so it needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(mountpoint: Path, kib: int) -> Iterator[Path]:
    """Mounts it for the while; skips the test where that is not allowed."""
    mountpoint.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    argv = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "small", str(mountpoint)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=True)


def fill(mountpoint: Path, *, leave_bytes: int = 0) -> Path:
    """A file that takes all space but `leave_bytes`; remove it to free the space."""
    ballast = mountpoint / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    if leave_bytes:
        os.truncate(ballast, max(0, ballast.stat().st_size - leave_bytes))
    return ballast
