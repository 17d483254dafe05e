"""Where a returning node puts what only it had: moved, listed, never thrown away.

Each reconcile that finds something makes a directory `<UTC time>-epoch<e>` with the objects under
their tree and path, and a `manifest.jsonl` with a line for each: tree, path, reason, epoch, time,
size. The line is written before the object leaves the tree, so nothing is ever there unlisted; a
line whose object did not arrive (a crash in between) is not shown.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from staqraft.apply import metadata as meta
from staqraft.apply.observe import look, metadata_at
from staqraft.apply.safety import TreeRoot
from staqraft.model import Epoch

logger = logging.getLogger(__name__)

MANIFEST: Final = "manifest.jsonl"
_COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An object in quarantine."""

    id: str
    tree: str
    path: bytes
    reason: str
    epoch: Epoch  # of the history that was given up
    wall_ms: int
    size: int
    kept_at: Path


class Quarantine:
    """The quarantine of a group. `now_ms` is the wall clock: the times are for people."""

    def __init__(self, directory: Path, now_ms: Callable[[], int]) -> None:
        self.directory = directory
        self._now_ms = now_ms
        self._open: tuple[Epoch, Path] | None = None
        self._count: int | None = None

    def keep(self, root: TreeRoot, path: bytes, *, reason: str, epoch: Epoch) -> Kept | None:
        """Moves one object (not a directory) out of its tree; None if there is none."""
        directory, name = root.parent(path)
        found = look(directory, name)
        if found is None or stat.S_ISDIR(found.st_mode):
            return None
        batch = self._batch(epoch)
        target = _free(batch / root.name / os.fsdecode(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = Kept(
            id=str(target.relative_to(self.directory)),
            tree=root.name,
            path=path,
            reason=reason,
            epoch=epoch,
            wall_ms=self._now_ms(),
            size=found.st_size,
            kept_at=target,
        )
        _append(batch / MANIFEST, _to_json(kept))
        _move(directory, name, found, target)
        self._count = None if self._count is None else self._count + 1
        return kept

    def close_batch(self) -> None:
        """The next object begins a new directory; what was kept is durable when this returns."""
        if self._open is not None:
            number = os.open(self._open[1], os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
        self._open = None

    def list(self) -> list[Kept]:
        """Everything in quarantine, oldest first."""
        found = [kept for kept in self._lines() if os.path.lexists(kept.kept_at)]
        self._count = len(found)
        return found

    def count(self) -> int:
        """How many objects are in quarantine, as of the last listing and what came since."""
        return len(self.list()) if self._count is None else self._count

    def _batch(self, epoch: Epoch) -> Path:
        if self._open is None or self._open[0] != epoch:
            self.close_batch()
            when = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
            made = _free(self.directory / f"{when:%Y%m%dT%H%M%SZ}-epoch{epoch}")
            made.mkdir(parents=True, mode=0o700)
            self.directory.chmod(0o700)
            self._open = (epoch, made)
        return self._open[1]

    def _lines(self) -> Iterator[Kept]:
        for manifest in sorted(self.directory.glob(f"*/{MANIFEST}")):
            with manifest.open(encoding="utf-8", errors="surrogateescape") as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        yield _from_json(self.directory, json.loads(line))
                    except (ValueError, KeyError, TypeError, RecursionError):
                        # A line cut by a power failure; its object is still in the directory.
                        logger.warning("%s: line %d is not readable, passed over", manifest, number)


def _free(wanted: Path) -> Path:
    candidate, number = wanted, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = wanted.with_name(f"{wanted.name}.{number}")
    return candidate


def _append(manifest: Path, line: str) -> None:
    number = os.open(manifest, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(number, line.encode() + b"\n")
        os.fdatasync(number)
    finally:
        os.close(number)


def _move(directory: int, name: bytes, found: os.stat_result, target: Path) -> None:
    if found.st_dev == target.parent.stat().st_dev:
        os.rename(name, target, src_dir_fd=directory)
        return
    wanted = metadata_at(directory, name, found)
    parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        there = os.fsencode(target.name)
        if stat.S_ISREG(found.st_mode):
            _copy_content(directory, name, target)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(wanted.symlink_target, there, dir_fd=parent)
        else:
            os.mknod(there, found.st_mode, wanted.rdev, dir_fd=parent)
        meta.write_at(parent, there, wanted)
        os.fsync(parent)
    finally:
        os.close(parent)
    os.unlink(name, dir_fd=directory)


def _copy_content(directory: int, name: bytes, target: Path) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        with target.open("xb") as copy:
            while piece := os.read(source, _COPY_BYTES):
                copy.write(piece)
            copy.flush()
            os.fsync(copy.fileno())
    finally:
        os.close(source)


def _to_json(kept: Kept) -> str:
    return json.dumps(
        {
            "tree": kept.tree,
            "path": os.fsdecode(kept.path),
            "reason": kept.reason,
            "epoch": kept.epoch,
            "wall_ms": kept.wall_ms,
            "size": kept.size,
            "kept_at": kept.id,
        }
    )


def _from_json(base: Path, line: dict[str, Any]) -> Kept:
    return Kept(
        id=line["kept_at"],
        tree=line["tree"],
        path=os.fsencode(line["path"]),
        reason=line["reason"],
        epoch=Epoch(line["epoch"]),
        wall_ms=line["wall_ms"],
        size=line["size"],
        kept_at=base / line["kept_at"],
    )
