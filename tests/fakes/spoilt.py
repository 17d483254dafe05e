"""A disk that gives back something else than was written: an image whose bytes are changed."""

from __future__ import annotations

import mmap
import os
from pathlib import Path


def spoil(file: Path) -> None:
    """Neither inode nor times tell of it. What btrfs sums it refuses to read then.

    The file is on an image on a loop device, and its beginning is found nowhere else there.
    """
    with file.open("rb") as opened:
        beginning = opened.read(4096)
        os.fsync(opened.fileno())
        image = _image_of(file)
        with image.open("r+b") as disk, mmap.mmap(disk.fileno(), 0) as content:
            at = content.find(beginning)
            assert at >= 0, "it is on the image as it is, and in one piece"
            assert content.find(beginning, at + 1) < 0
            content[at : at + 6] = b"spoilt"
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _image_of(file: Path) -> Path:
    """Of the filesystem; btrfs has no device number by which the loop device could be found."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    device = max(
        (Path(point), source) for source, point, *_ in mounts if file.is_relative_to(point)
    )[1]
    backing = Path("/sys/block") / Path(device).name / "loop" / "backing_file"
    return Path(backing.read_text().strip())
