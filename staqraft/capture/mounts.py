"""Mount points inside of trees: what is mounted there is not the tree's.

The device number does not tell: a bind mount may show another part of the same filesystem, even of
the same tree, so that one directory seems to have two places. The kernel's table of mounts does.
Mounting makes no file event; the table itself says when it has changed (`proc_pid_mountinfo(5)`).
"""

from __future__ import annotations

import os
import re
import select
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TABLE: Final = Path("/proc/self/mountinfo")
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_DEVICE: Final = 2  # fields of a line: the filesystem's device
_POINT: Final = 4  # and the mount point
_NONE: Final[frozenset[bytes]] = frozenset()


class Mounts:
    """The mount points below some roots, as of the last `refresh`. For one thread."""

    def __init__(self, roots: Mapping[str, Path], table: Path = _TABLE) -> None:
        self._roots = roots
        self._below: dict[str, frozenset[bytes]] = {}
        self._devices: dict[str, int] = {}
        self._fd = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)
        self._read()

    def close(self) -> None:
        """Looks no more."""
        os.close(self._fd)

    def has(self, tree: str, path: bytes) -> bool:
        """Whether something is mounted at a path of a tree."""
        return path in self._below.get(tree, _NONE)

    def any_in(self, tree: str) -> bool:
        """Whether anything is mounted inside of a tree."""
        return bool(self._below.get(tree))

    def device_of(self, tree: str) -> int:
        """The filesystem's device, as /proc/PID/maps has it; btrfs has others in st_dev."""
        return self._devices[tree]

    def refresh(self) -> list[tuple[str, bytes]]:
        """Trees and paths at which something was mounted or unmounted since the last call."""
        if not self._poll.poll(0):
            return []
        before = dict(self._below)
        self._read()
        return [
            (tree, path)
            for tree in self._roots
            for path in sorted(before.get(tree, _NONE) ^ self._below.get(tree, _NONE))
        ]

    def _read(self) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._fd), "rb") as lines:
            mounts = [
                (_ESCAPED.sub(_unescape, fields[_POINT]), fields[_DEVICE])
                for fields in (line.split(b" ") for line in lines)
            ]
        for tree, root in self._roots.items():
            at = os.fsencode(root.resolve()).rstrip(b"/") + b"/"
            self._below[tree] = frozenset(p[len(at) :] for p, _ in mounts if p.startswith(at))
            over = [(p, device) for p, device in mounts if at.startswith(p.rstrip(b"/") + b"/")]
            nearest = max(reversed(over), key=lambda mount: len(mount[0]))  # and the topmost
            major, _, minor = nearest[1].partition(b":")
            self._devices[tree] = os.makedev(int(major), int(minor))


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])
