"""Files that programs have mapped shared and writable: written to without any event.

The kernel tells of a mapping's writes only when it is taken down. Databases that keep one for as
long as they run are found in /proc and compared now and then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_FIELDS: Final = 5  # address, permissions, offset, device, inode, then the path


def mapped_files(proc: Path = _PROC) -> Iterator[set[tuple[int, int]]]:
    """For one process after the other, device and inode of what it has mapped so."""
    own = str(os.getpid())
    for entry in sorted(proc.iterdir()):
        if entry.name.isdecimal() and entry.name != own:
            yield _of_process(entry / "maps")


def _of_process(maps: Path) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    try:
        with maps.open("rb") as lines:
            for line in lines:
                if b"w" not in line[:60] or b"s " not in line[:60]:
                    continue
                fields = line.split(maxsplit=_FIELDS)
                if fields[1][1:2] == b"w" and fields[1][3:4] == b"s" and fields[4] != b"0":
                    major, minor = fields[3].split(b":")
                    device = os.makedev(int(major, 16), int(minor, 16))
                    found.add((device, int(fields[4])))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return set()  # it ended, or is not ours to look into
    return found
