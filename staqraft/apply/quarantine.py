"""Where a returning node puts what only it had: moved, listed, never thrown away.

Each reconcile that finds something makes a directory `<UTC time>-epoch<e>` with the objects under
their tree and path (where that is too long, under a short name: see `_place`), and a
`manifest.jsonl` with a line for each: tree, path, reason, epoch, time, size. The line is written
before the object leaves the tree, so nothing is ever there unlisted; a line whose object did not
arrive (a crash in between) is not shown. Directories on the way have the metadata of the tree's,
and names of one file stay names of one file, so that `restore` can bring back what was there.

Objects leave it by `restore` (apply.restore) and by `drop` only: an operator's, or that of the
configured age.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from staqraft.apply import manifest
from staqraft.apply import metadata as meta
from staqraft.apply.copying import Place, copy_object
from staqraft.apply.flags import unprotect
from staqraft.apply.manifest import MANIFEST, Kept
from staqraft.apply.observe import look, metadata_at
from staqraft.apply.safety import TreeRoot
from staqraft.errors import ApplyError
from staqraft.model import Epoch

__all__ = ["MANIFEST", "Kept", "Quarantine", "QuarantineError"]

logger = logging.getLogger(__name__)

_SHORTEST_ID: Final = 4
_LONGEST_PATH: Final = 4095 - 10  # PATH_MAX, with room for the number of another version
_LONGEST_NAME: Final = 255 - 10
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class QuarantineError(ApplyError):
    """Something cannot be put into quarantine, found there, or brought back."""

    grpc_status = "FAILED_PRECONDITION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is in quarantine."""

    objects: int = 0
    bytes: int = 0


class Quarantine:
    """The quarantine of a group. `now_ms` is the wall clock: the times are for people.

    Any thread may use it; what is being kept, restored and dropped at once is told apart.
    """

    def __init__(self, directory: Path, now_ms: Callable[[], int]) -> None:
        self.directory = directory
        self._now_ms = now_ms
        self._open: tuple[Epoch, Path] | None = None
        self._links: dict[tuple[int, int], Path] = {}  # of the open batch, by inode
        self._extent: Extent | None = None
        self._lock = threading.RLock()

    # --- in ----------------------------------------------------------------------------------

    def keep(self, root: TreeRoot, path: bytes, *, reason: str, epoch: Epoch) -> Kept | None:
        """Moves one object (not a directory) out of its tree; None if there is none.

        Raises QuarantineError when the volume refuses; the object stays where it is.
        """
        return self._keep(root, path, reason, epoch, stays=False)

    def keep_copy(self, root: TreeRoot, path: bytes, *, reason: str, epoch: Epoch) -> Kept | None:
        """The same for an object that is about to be replaced: it stays in the tree, too."""
        return self._keep(root, path, reason, epoch, stays=True)

    def _keep(
        self, root: TreeRoot, path: bytes, reason: str, epoch: Epoch, *, stays: bool
    ) -> Kept | None:
        directory, name = root.parent(path)
        found = look(directory, name)
        if found is None or stat.S_ISDIR(found.st_mode):
            return None
        with self._lock:
            try:
                return self._take(root, path, found, reason, epoch, stays=stays)
            except OSError as error:
                raise QuarantineError(
                    f"tree {root.name}, {os.fsdecode(path)!r}: it is to be kept in quarantine, but"
                    f" {self.directory} refuses it ({error.strerror}): free space there or repair"
                    " its volume. Nothing was lost"
                ) from error

    def _take(
        self,
        root: TreeRoot,
        path: bytes,
        found: os.stat_result,
        reason: str,
        epoch: Epoch,
        *,
        stays: bool,
    ) -> Kept:
        batch = self._batch(epoch)
        target = _free(_place(batch / root.name, path))
        _make_directories(batch, root, path if target.parent != batch / root.name else b"")
        kept = Kept(
            id=manifest.id_of(self.directory, target),
            tree=root.name,
            path=path,
            reason=reason,
            epoch=epoch,
            wall_ms=self._now_ms(),
            size=found.st_size,
            kept_at=target,
        )
        manifest.append(self.directory, kept)
        source = root.parent(path)
        if not stays:
            unprotect(*source)
            unprotect(source[0], b".")
        if found.st_dev == target.parent.stat().st_dev:
            if stays:
                copy_to(source, found, target)
            else:
                os.rename(source[1], target, src_dir_fd=source[0])
        else:
            self._copy(source, found, target)
            if not stays:
                os.unlink(source[1], dir_fd=source[0])
        self._grew(1, found.st_size)
        return kept

    def _copy(self, source: Place, found: os.stat_result, target: Path) -> None:
        inode = (found.st_dev, found.st_ino)
        other = self._links.get(inode)
        if other is not None and os.path.lexists(other) and is_copy(found, other.lstat()):
            os.link(other, target, follow_symlinks=False)
            return
        copy_to(source, found, target)
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            self._links[inode] = target

    def close_batch(self) -> None:
        """The next object begins a new directory; what was kept is durable when this returns."""
        with self._lock:
            if self._open is not None:
                number = os.open(self._open[1], os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(number)
                finally:
                    os.close(number)
            self._open = None
            self._links.clear()

    def _batch(self, epoch: Epoch) -> Path:
        if self._open is None or self._open[0] != epoch or not self._open[1].is_dir():
            if self._open is not None and self._open[1].is_dir():
                self.close_batch()
            when = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
            made = _free(self.directory / f"{when:%Y%m%dT%H%M%SZ}-epoch{epoch}")
            made.mkdir(parents=True, mode=0o700)
            self.directory.chmod(0o700)
            self._open = (epoch, made)
        return self._open[1]

    # --- what is there -----------------------------------------------------------------------

    def list(self) -> list[Kept]:
        """Everything in quarantine, oldest first."""
        try:
            batches = sorted(path for path in self.directory.iterdir() if path.is_dir())
        except FileNotFoundError:
            batches = []
        with self._lock:
            found = [kept for path in batches for kept in manifest.batch(self.directory, path)]
            self._extent = Extent(objects=len(found), bytes=sum(kept.size for kept in found))
        return found

    def find(self, ids: Sequence[str]) -> Sequence[Kept]:
        """The objects with these ids, or beginnings of theirs. QuarantineError names a bad one."""
        known = self.list()
        found: dict[str, Kept] = {}
        for wanted in ids:
            text = wanted.strip().lower()
            matching = [kept for kept in known if kept.id.startswith(text)]
            if len(text) < _SHORTEST_ID or not matching:
                raise QuarantineError(
                    f"nothing in quarantine here has the id {wanted!r}: 'staqctl quarantine list'"
                    " shows the ids (quarantine is apart on each replica)"
                )
            if len(matching) > 1:
                raise QuarantineError(
                    f"the id {wanted!r} is the beginning of {len(matching)}: write more of it"
                )
            found[matching[0].id] = matching[0]
        return list(found.values())

    def extent(self) -> Extent:
        """How much is in quarantine, as of the last listing and what came and went since."""
        with self._lock:
            if self._extent is None:
                self.list()
            assert self._extent is not None
            return self._extent

    def count(self) -> int:
        """How many objects that is."""
        return self.extent().objects

    def older_than(self, age_ms: int) -> Sequence[Kept]:
        """What was put there longer ago than this."""
        before = self._now_ms() - age_ms
        return [kept for kept in self.list() if kept.wall_ms < before]

    # --- out ---------------------------------------------------------------------------------

    def drop(self, kept: Kept) -> None:
        """Removes an object for good. QuarantineError when the volume refuses."""
        try:
            kept.kept_at.unlink(missing_ok=True)
        except OSError as error:
            raise QuarantineError(
                f"{kept.kept_at} cannot be removed ({error.strerror}): repair its volume"
            ) from error
        self.left(kept)

    def left(self, kept: Kept) -> None:
        """An object is not here any more: directories that are empty now go, too."""
        with self._lock:
            self._grew(-1, -kept.size)
            parts = kept.kept_at.relative_to(self.directory).parts
            batch = self.directory / parts[0]
            is_open = self._open is not None and self._open[1] == batch
            above = kept.kept_at.parent
            try:
                while above != batch:
                    above.rmdir()
                    above = above.parent
                if not is_open and [path.name for path in batch.iterdir()] in ([MANIFEST], []):
                    (batch / MANIFEST).unlink(missing_ok=True)
                    batch.rmdir()
            except OSError as error:
                logger.debug("%s stays: %s", above, error)  # something else is in it

    def _grew(self, objects: int, size: int) -> None:
        if self._extent is not None:
            self._extent = Extent(
                objects=max(0, self._extent.objects + objects),
                bytes=max(0, self._extent.bytes + size),
            )


def copy_to(source: Place, found: os.stat_result, target: Path) -> None:
    """A durable copy of the object at `target`, whose directory exists."""
    directory = os.open(target.parent, _DIRECTORY)
    try:
        copy_object(source, found, (directory, os.fsencode(target.name)))
    finally:
        os.close(directory)


def is_copy(found: os.stat_result, other: os.stat_result) -> bool:
    """Whether a number that an inode had is still that inode's: it may have been given anew."""
    return (found.st_size, found.st_mtime_ns, found.st_mode) == (
        other.st_size,
        other.st_mtime_ns,
        other.st_mode,
    )


def _place(directory: Path, path: bytes) -> Path:
    """Where an object is kept: at its path, or at a short one if the kernel takes no such path."""
    wanted = directory / os.fsdecode(path)
    if len(os.fsencode(wanted)) <= _LONGEST_PATH and len(os.fsencode(wanted.name)) <= _LONGEST_NAME:
        return wanted
    return directory / f"long-{hashlib.blake2s(path, digest_size=10).hexdigest()}"


def _make_directories(batch: Path, root: TreeRoot, path: bytes) -> None:
    """The directories above the object, like those in the tree."""
    here = batch / root.name
    here.mkdir(exist_ok=True, mode=0o700)
    at = b""
    for part in path.split(b"/")[:-1]:
        at = at + b"/" + part if at else part
        here = here / os.fsdecode(part)
        try:
            here.mkdir(mode=0o700)
        except FileExistsError:
            continue
        directory, name = root.parent(at)
        found = look(directory, name)
        if found is not None:
            parent = os.open(here.parent, _DIRECTORY)
            try:
                meta.write_at(parent, part, metadata_at(directory, name, found))
            finally:
                os.close(parent)


def _free(wanted: Path) -> Path:
    candidate, number = wanted, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = wanted.with_name(f"{wanted.name}.{number}")
    return candidate
