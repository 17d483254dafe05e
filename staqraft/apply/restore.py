"""Brings objects back from quarantine: into their trees on the active, or to any other place.

Nothing is ever replaced unasked, and at every moment the object is whole in quarantine or whole
at its place (or in both: restored again it is found to be there already). It is moved in one step
where quarantine and target share a filesystem; else a copy is made durable beside the target,
renamed into place, and only then the original goes.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from staqraft.apply import metadata as meta
from staqraft.apply.copying import Place, copy_object, move_without_replacing
from staqraft.apply.manifest import Kept
from staqraft.apply.observe import digest_at, look, metadata_at
from staqraft.apply.quarantine import Quarantine, QuarantineError, is_copy
from staqraft.apply.safety import MountedInside, TreeRoot, check_path
from staqraft.errors import PathEscape
from staqraft.index import is_reserved
from staqraft.model import Epoch

logger = logging.getLogger(__name__)

_NEW: Final = b"new-restored-"  # a standby's applier clears such leftovers out of staging
_BESIDE: Final = b".staqraft-restored-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A place for an object: in a tree that is replicated, or anywhere else (`root` None)."""

    root: TreeRoot | None
    path: bytes  # below the tree's root, or absolute
    shown: str  # for people


class Restorer:
    """Restores objects, one after the other. `trees`: those that this node may write to now."""

    def __init__(
        self, quarantine: Quarantine, trees: Mapping[str, Path], *, epoch: Epoch, force: bool
    ) -> None:
        """`epoch` is the one in which a present version is replaced, if `force` says so."""
        self._quarantine = quarantine
        self._epoch = epoch
        self._force = force
        self._numbers = itertools.count(1)
        self._roots: dict[str, TreeRoot] = {}
        self._linked: dict[tuple[int, int], Target] = {}
        self._trees = trees

    def close(self) -> None:
        """Lets go of the trees."""
        for root in self._roots.values():
            root.close()

    def root(self, tree: str) -> TreeRoot:
        """The root of a tree, mounted and marked as one. Raises RootMissing."""
        root = self._roots.get(tree)
        if root is None:
            root = self._roots[tree] = TreeRoot(tree, self._trees[tree])
        root.require_present()
        root.require_staging()
        return root

    def restore(self, kept: Kept, target: Target) -> str:
        """Brings one object back; returns what became of it. QuarantineError: nothing changed."""
        try:
            with _opened(kept.kept_at) as source:
                found = look(*source)
                if found is None:
                    raise QuarantineError(f"{kept.kept_at} is not there any more")
                return self._restore(kept, source, found, target)
        except (OSError, PathEscape, MountedInside) as error:
            raise QuarantineError(_why(kept, target, error)) from error
        finally:
            if target.root is not None:
                target.root.release()

    def _restore(self, kept: Kept, source: Place, found: os.stat_result, target: Target) -> str:
        with self._parent(kept, target) as place:
            present = look(*place)
            if present is None:
                self._bring(source, found, place, target, replace=False)
                text = f"restored to {target.shown}"
            elif _same(source, found, place, present):
                text = f"{target.shown} was there already, equal in all: taken out of quarantine"
            else:
                text = self._instead_of(source, found, target, place, present)
        kept.kept_at.unlink(missing_ok=True)
        self._quarantine.left(kept)
        return text

    def _instead_of(
        self,
        source: Place,
        found: os.stat_result,
        target: Target,
        place: Place,
        present: os.stat_result,
    ) -> str:
        if stat.S_ISDIR(present.st_mode):
            raise QuarantineError(
                f"{target.shown} is a directory now, which is never replaced: name another place"
                " with --to"
            )
        if not self._force or target.root is None:
            ways = (
                "--force puts the present one into quarantine instead, --to PATH restores beside it"
                if target.root is not None
                else "name another place with --to"
            )
            raise QuarantineError(
                f"{target.shown} is there, {_compared(found, present)}, and was not touched: {ways}"
            )
        replaced = self._quarantine.keep_copy(
            target.root,
            target.path,
            reason="replaced by an older version that was restored",
            epoch=self._epoch,
        )
        self._quarantine.close_batch()
        self._bring(source, found, place, target, replace=True)
        where = f"; what was there is in quarantine as {replaced.id}" if replaced else ""
        return f"restored to {target.shown}{where}"

    def _bring(
        self,
        source: Place,
        found: os.stat_result,
        place: Place,
        target: Target,
        *,
        replace: bool,
    ) -> None:
        """The object comes to its place in one step; the source may be left over."""
        inode = (found.st_dev, found.st_ino)
        alone = found.st_nlink == 1 and inode not in self._linked
        if alone and found.st_dev == os.fstat(place[0]).st_dev:
            _rename(source, place, replace=replace)
        else:
            beside = self._beside(place, target)
            self._copy_or_link(source, found, beside)
            try:
                _rename(beside, place, replace=replace)
            except BaseException:
                os.unlink(beside[1], dir_fd=beside[0])
                raise
        os.fsync(place[0])
        if not alone:
            self._linked.setdefault(inode, target)

    def _copy_or_link(self, source: Place, found: os.stat_result, beside: Place) -> None:
        """Another name of a file that was restored before becomes another name of it again."""
        other = self._linked.get((found.st_dev, found.st_ino))
        if other is not None:
            try:
                with self._existing(other) as (directory, name):
                    there = look(directory, name)
                    if there is None or not is_copy(found, there):
                        raise FileNotFoundError(errno.ENOENT, "changed since")
                    os.link(
                        name,
                        beside[1],
                        src_dir_fd=directory,
                        dst_dir_fd=beside[0],
                        follow_symlinks=False,
                    )
                    return
            except OSError as error:
                logger.info("%s: a file of its own, not another name: %s", other.shown, error)
        copy_object(source, found, beside)

    def _beside(self, place: Place, target: Target) -> Place:
        number = b"%d-%d" % (os.getpid(), next(self._numbers))
        if target.root is None:
            return place[0], _BESIDE + number
        return target.root.staging(), _NEW + number

    @contextmanager
    def _existing(self, target: Target) -> Iterator[Place]:
        if target.root is not None:
            yield target.root.parent(target.path)
            return
        with _opened(Path(os.fsdecode(target.path))) as place:
            yield place

    @contextmanager
    def _parent(self, kept: Kept, target: Target) -> Iterator[Place]:
        """The directory for the object; those that are missing are made as they once were."""
        if target.root is None:
            with _opened(Path(os.fsdecode(target.path))) as place:
                yield place
            return
        check_path(target.path)
        if is_reserved(target.path):
            raise QuarantineError(f"{target.shown} is a name of StaqRaft's own: choose another")
        if target.path == kept.path:
            _make_parents(target.root, target.path, _models(kept))
        yield target.root.parent(target.path)


def _models(kept: Kept) -> list[Path | None]:
    """The directories in quarantine that stand for those above the object, from the top.

    None for each of an object that is kept under a short name.
    """
    names = kept.path.split(b"/")[:-1]
    models = list(reversed(kept.kept_at.parents[: len(names)]))
    if [os.fsencode(model.name) for model in models] != names:
        return [None for _ in names]
    return [*models]


def _make_parents(root: TreeRoot, path: bytes, models: list[Path | None]) -> None:
    at = b""
    for part, model in zip(path.split(b"/")[:-1], models, strict=True):
        at = at + b"/" + part if at else part
        directory, name = root.parent(at)
        if look(directory, name) is not None:
            continue
        os.mkdir(name, 0o700, dir_fd=directory)
        if model is None:  # as the directory that it lies in
            meta.write_at(directory, name, metadata_at(directory, b".", os.fstat(directory)))
        else:
            with _opened(model) as (number, its_name):
                found = look(number, its_name)
                if found is not None:
                    meta.write_at(directory, name, metadata_at(number, its_name, found))
        os.fsync(directory)


@contextmanager
def _opened(path: Path) -> Iterator[Place]:
    """The open directory in which something stands, and its name."""
    directory = os.open(path.parent, _DIRECTORY)
    try:
        yield directory, os.fsencode(path.name)
    finally:
        os.close(directory)


def _rename(source: Place, target: Place, *, replace: bool) -> None:
    if replace:
        os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])
    else:
        move_without_replacing(source, target)


def _same(source: Place, found: os.stat_result, place: Place, present: os.stat_result) -> bool:
    if stat.S_IFMT(found.st_mode) != stat.S_IFMT(present.st_mode):
        return False
    if metadata_at(*source, found) != metadata_at(*place, present):
        return False
    return not stat.S_ISREG(found.st_mode) or digest_at(*source) == digest_at(*place)


def _compared(found: os.stat_result, present: os.stat_result) -> str:
    try:
        when = datetime.fromtimestamp(present.st_mtime, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError):  # a filesystem's years go on behind 9999
        when = f"{present.st_mtime_ns // 1_000_000_000} s from 1970"
    if present.st_mtime_ns > found.st_mtime_ns:
        return f"newer than the one in quarantine (changed {when})"
    if present.st_mtime_ns < found.st_mtime_ns:
        return f"older than the one in quarantine (changed {when})"
    return f"another one of the same time ({when})"


def _why(kept: Kept, target: Target, error: OSError | PathEscape | MountedInside) -> str:
    where = target.shown
    if isinstance(error, PathEscape | MountedInside):
        return f"{where}: {error}"
    match error.errno:
        case code if code in _FULL:
            return (
                f"{where}: there is no space for {kept.size} bytes on its volume; it is still in"
                " quarantine"
            )
        case errno.EEXIST:
            return f"{where} was made by somebody else just now, and was not touched: try again"
        case errno.ENOENT:
            return f"{where}: its directory does not exist: make it first, or name another place"
        case errno.ENOTDIR:
            return (
                f"{where}: something that is no directory stands above it now: name another place"
                " with --to"
            )
        case _:
            return f"{where}: {error.strerror or error}; it is still in quarantine"
