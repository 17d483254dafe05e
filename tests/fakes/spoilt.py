"""A disk that gives back something else than was written: an image whose bytes are changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path


def spoil(file: Path) -> None:
    """Neither inode nor times tell of it. What btrfs sums it refuses to read then.

    The file is on an image on a loop device, and its beginning is found nowhere else there.
    """
    with file.open("rb") as opened:
        beginning = opened.read(4096)
        os.fsync(opened.fileno())
        with _image_of(file).open("r+b", buffering=0) as disk:
            (at,) = _places(disk, beginning)
            os.pwrite(disk.fileno(), b"spoilt", at)
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _data(disk: FileIO) -> Iterator[tuple[int, int]]:
    """Where an image is no hole: reading those would fill the memory that it is in."""
    end = 0
    while True:
        try:
            begin = os.lseek(disk.fileno(), end, os.SEEK_DATA)
        except OSError:  # nothing more
            return
        end = os.lseek(disk.fileno(), begin, os.SEEK_HOLE)
        yield begin, end


def _places(disk: FileIO, wanted: bytes) -> Iterator[int]:
    for begin, end in _data(disk):
        data = os.pread(disk.fileno(), end - begin, begin)
        at = data.find(wanted)
        while at >= 0:
            yield begin + at
            at = data.find(wanted, at + 1)


def _image_of(file: Path) -> Path:
    """Of the filesystem; btrfs has no device number by which the loop device could be found."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    device = max(
        (Path(point), source) for source, point, *_ in mounts if file.is_relative_to(point)
    )[1]
    backing = Path("/sys/block") / Path(device).name / "loop" / "backing_file"
    return Path(backing.read_text().strip())
