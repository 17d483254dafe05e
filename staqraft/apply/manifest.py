"""The manifest of a batch in quarantine: a line for each object, written before it is moved."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from staqraft.model import NO_EPOCH, Epoch

MANIFEST: Final = "manifest.jsonl"
UNLISTED: Final = "its line in the manifest cannot be read, so why it is here is not known"


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


def id_of(base: Path, kept_at: Path) -> str:
    """Short enough to be typed, the same for ever; `base` is the quarantine."""
    inside = os.fsencode(kept_at.relative_to(base))
    return hashlib.blake2s(inside, digest_size=5).hexdigest()


def append(base: Path, kept: Kept) -> None:
    """Adds the object's line, durable when this returns. A line that fails leaves no trace."""
    inside = kept.kept_at.relative_to(base)
    line = json.dumps(
        {
            "tree": kept.tree,
            "path": os.fsdecode(kept.path),
            "reason": kept.reason,
            "epoch": kept.epoch,
            "wall_ms": kept.wall_ms,
            "size": kept.size,
            "kept_at": str(inside),
        }
    ).encode()
    path = base / inside.parts[0] / MANIFEST
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(number).st_size
        if os.write(number, line + b"\n") != len(line) + 1:
            os.ftruncate(number, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fdatasync(number)
    finally:
        os.close(number)


def batch(base: Path, directory: Path) -> Iterator[Kept]:
    """What is in one batch: as its manifest says, and what the manifest does not speak of.

    A damaged manifest hides nothing: tree and path are in an object's place, the epoch is in the
    batch's name.
    """
    listed: set[Path] = set()
    for kept in _lines(base, directory / MANIFEST):
        if kept.kept_at not in listed and _is_there(kept.kept_at):
            listed.add(kept.kept_at)
            yield kept
    for tree in sorted(directory.iterdir()):
        if tree.is_symlink() or not tree.is_dir():
            continue
        for kept_at in _below(tree):
            if kept_at not in listed and _is_there(kept_at):
                yield _unlisted(base, directory, tree, kept_at)


def _below(directory: Path) -> Iterator[Path]:
    """Everything in it; without a recursion, however deep it is."""
    pending = [directory]
    while pending:
        try:
            found = sorted(pending.pop().iterdir())
        except OSError:
            continue  # what cannot be read cannot be listed; what its manifest names is
        pending += [path for path in found if not path.is_symlink() and path.is_dir()]
        yield from found


def _is_there(kept_at: Path) -> bool:
    return os.path.lexists(kept_at) and (kept_at.is_symlink() or not kept_at.is_dir())


def _lines(base: Path, manifest: Path) -> Iterator[Kept]:
    try:
        with manifest.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                try:
                    yield _from_json(base, manifest.parent, json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue  # its object is found where it is
    except FileNotFoundError:
        return


def _from_json(base: Path, directory: Path, line: dict[str, Any]) -> Kept:
    kept_at = base / line["kept_at"]
    if ".." in kept_at.parts or directory not in kept_at.parents:
        raise ValueError("a line that leads out of its batch")
    return Kept(
        id=id_of(base, kept_at),
        tree=str(line["tree"]),
        path=os.fsencode(line["path"]),
        reason=str(line["reason"]),
        epoch=Epoch(int(line["epoch"])),
        wall_ms=int(line["wall_ms"]),
        size=int(line["size"]),
        kept_at=kept_at,
    )


def _unlisted(base: Path, directory: Path, tree: Path, kept_at: Path) -> Kept:
    found = kept_at.lstat()
    moment, _, epoch = directory.name.partition("-epoch")
    number = epoch.partition(".")[0]
    return Kept(
        id=id_of(base, kept_at),
        tree=tree.name,
        path=os.fsencode(kept_at.relative_to(tree)),
        reason=UNLISTED,
        epoch=Epoch(int(number)) if number.isdecimal() else NO_EPOCH,
        wall_ms=_wall_ms(moment, found),
        size=found.st_size,
        kept_at=kept_at,
    )


def _wall_ms(moment: str, found: os.stat_result) -> int:
    try:
        begun = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return found.st_ctime_ns // 1_000_000
    return round(begun.timestamp() * 1000)
