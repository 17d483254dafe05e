"""Real filesystems to test on: a small ext4 image on a loop device, and a tmpfs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fakes.scratch import image_file


@contextmanager
def mounted(kind: str, at: Path, *, megabytes: int = 256) -> Iterator[Path]:
    """A fresh filesystem; gone at the end. Raises RuntimeError where mounting is not allowed."""
    at.mkdir(parents=True)
    if os.geteuid() != 0:
        raise RuntimeError("mounting needs root")
    with ExitStack() as stack:
        if kind == "tmpfs":
            argv = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(at)]
        else:
            image = stack.enter_context(image_file(at.parent, megabytes << 20))
            made = ["mkfs.ext4", "-q", "-F", "-m0", str(image)]
            subprocess.run(made, check=True, capture_output=True)
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
