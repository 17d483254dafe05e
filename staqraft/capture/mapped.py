"""Files that programs have mapped shared and writable: written to without any event.

The kernel tells of a mapping's writes only when it is taken down. Databases that keep one for as
long as they run are found in /proc and compared now and then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from staqraft.capture.ports import IndexPort
from staqraft.capture.watcher import Watcher

_PROC: Final = Path("/proc")
_LOOK_MS: Final = 30_000  # between two looks
_FIELDS: Final = 5  # address, permissions, offset, device, inode, then the path


class MappedFiles:
    """Used by the capture thread. `compare` marks a file to be read to its end."""

    def __init__(
        self,
        watcher: Watcher,
        index: IndexPort,
        compare: Callable[[str, int, int], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._watcher = watcher
        self._index = index
        self._compare = compare
        self._now_ms = now_ms
        self._looked_ms = now_ms()
        self._looking: Iterator[set[tuple[int, int]]] | None = None
        self._found: set[tuple[str, int, int]] = set()  # by the look that goes on
        self._known: set[tuple[str, int, int]] = set()  # by that and the one before

    @property
    def is_looking(self) -> bool:
        """Whether `step` has something to do."""
        return self._looking is not None

    def compare_known(self) -> None:
        """For a barrier: marks what is known to be mapped."""
        for file in self._known:
            self._compare(*file)

    def step(self) -> None:
        """Every now and then marks what is mapped for writing, a process of the system a call."""
        now = self._now_ms()
        if self._looking is None:
            if now - self._looked_ms < _LOOK_MS:
                return
            self._looking = mapped_files()
        found = next(self._looking, None)
        if found is None:
            self._looking, self._looked_ms = None, now
            self._known, self._found = self._found, set()
            return
        for tree, root in self._watcher.directories.roots.items():
            for dev, ino in found:
                if self._watcher.is_on(tree, dev) and self._index.names_of(
                    tree, root.inode[0], ino
                ):
                    file = (tree, root.inode[0], ino)
                    self._found.add(file)
                    self._known.add(file)
                    self._compare(*file)


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
