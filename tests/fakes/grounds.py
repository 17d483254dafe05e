"""Real filesystems to test on: ext4, xfs and btrfs images on loop devices, and a tmpfs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from fakes.scratch import image_file

_MAKE: Final = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
_SMALLEST_XFS_MB: Final = 300


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
            if shutil.which(_MAKE[kind][0]) is None:
                raise RuntimeError(f"there is no {_MAKE[kind][0]}: scripts/bootstrap installs it")
            size = max(megabytes, _SMALLEST_XFS_MB if kind == "xfs" else 0)
            image = stack.enter_context(image_file(at.parent, size << 20))
            subprocess.run([*_MAKE[kind], str(image)], check=True, capture_output=True)
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
