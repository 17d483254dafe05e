"""Real filesystems to test on: a small ext4 image on a loop device, and a tmpfs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(kind: str, at: Path, *, megabytes: int = 256) -> Iterator[Path]:
    """A fresh filesystem; gone at the end. Raises RuntimeError where mounting is not allowed."""
    at.mkdir(parents=True)
    image = at.with_suffix(".img")
    if os.geteuid() != 0:
        raise RuntimeError("mounting needs root")
    if kind == "tmpfs":
        argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(at)]
    else:
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m0", str(image)], check=True, capture_output=True)
        argv = ["mount", "-o", "loop", str(image), str(at)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"cannot mount {kind}: {done.stderr.strip()}")
    try:
        if (lost := at / "lost+found").exists():
            shutil.rmtree(lost)
        yield at
    finally:
        # Lazily: a test that failed may still have files open, which would hide why it did.
        subprocess.run(["umount", "--lazy", str(at)], check=True)
        image.unlink(missing_ok=True)
