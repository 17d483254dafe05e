"""The watcher: dirty places of a group's trees, resolved when they are taken.

It owns the back end, the dirty set and the directory map. Chooses fanotify where the kernel, the
filesystem and the privileges allow, else inotify, and says why.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from staqraft.capture import dirty
from staqraft.capture.directories import Directory, DirectoryMap
from staqraft.capture.dirty import DirtySet, Key
from staqraft.capture.errors import CaptureError, CookieUnavailable, WatchUnavailable
from staqraft.capture.exclude import Excludes
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
from staqraft.capture.mounts import Mounts
from staqraft.capture.objects import GONE
from staqraft.capture.source import Source
from staqraft.capture.structure import Dirty, Moved, Structure
from staqraft.capture.untold import Untold
from staqraft.config.schema import Tree

logger = logging.getLogger(__name__)

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_OPEN_DIRECTORIES: Final = 256
_WRITTEN: Final = dirty.CONTENT | dirty.CLOSED | dirty.ATTRIBUTES
MakeSource = Callable[[DirtySet, Callable[[Key], bool], Path], Source]


@dataclass(slots=True)
class Batch:
    """What to look at: directory moves first and in order, then places, in any order."""

    moved: list[Moved] = field(default_factory=list)
    dirty: list[Dirty] = field(default_factory=list)
    inodes: list[tuple[int, int]] = field(default_factory=list)  # look at every name of these
    lost: bool = False  # events were lost: compare every tree


class Seen(NamedTuple):
    """Where a file was seen, and when it had last changed then, whatever its names."""

    directory: Directory
    name: bytes
    ctime_ns: int


class Watcher:
    """Used by one thread, except `barrier` and `wake`, which any thread may call."""

    def __init__(
        self,
        trees: Sequence[Tree],
        cookies: Sequence[Path],
        now_ms: Callable[[], int],
        *,
        never: Sequence[Path] = (),
        backends: Sequence[MakeSource] = (FanotifySource, InotifySource),
    ) -> None:
        _refuse_nested(trees)
        self.trees = {tree.name: tree for tree in trees}
        self.excludes = {tree.name: Excludes(tree) for tree in trees}
        self.dirty = DirtySet(now_ms)
        self.directories = DirectoryMap()
        self._root_fds: dict[str, int] = {}
        self._open: dict[Key, int] = {}
        self._never = {_inode(path) for path in never if path.is_dir()}
        self.backend, self.reason = "", ""
        self.put_off = 0  # places of the last batch whose story is not all read
        self.blind = False  # written under a name that is gone, maybe of any file: see `Elsewhere`
        self.linked: dict[tuple[str, int, int], Seen] = {}  # their other names may tell nothing
        self.untold = Untold()
        self._source = self._choose(cookies, backends)
        self._mounts = Mounts({tree.name: tree.path for tree in trees})

    # --- trees -----------------------------------------------------------------------------

    def _choose(self, cookies: Sequence[Path], backends: Sequence[MakeSource]) -> Source:
        reasons: list[str] = []
        for make in backends:
            for directory in cookies:
                try:
                    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                    source = make(self.dirty, self.directories.by_key.__contains__, directory)
                except (CookieUnavailable, OSError) as error:
                    reasons.append(str(error))
                    _remove_empty(directory)
                    continue
                except WatchUnavailable as error:  # no directory will do: leave the trees alone
                    reasons.append(str(error))
                    break
                self._source = source
                try:
                    for tree in self.trees.values():
                        if tree.path.is_dir():
                            self.add_tree(tree.name)
                except WatchUnavailable as error:
                    reasons.append(str(error))
                    source.close()
                    self._forget_roots()
                    break
                self.backend = source.backend
                if make is not backends[0]:
                    self.reason = "; ".join(dict.fromkeys(reasons))
                    logger.warning(
                        "Trees are watched by %s, which cannot tell everything (see 'What is"
                        " replicated' in the README): %s.", self.backend, self.reason,
                    )  # fmt: skip
                return source
        raise CaptureError("the trees cannot be watched: " + "; ".join(dict.fromkeys(reasons)))

    def add_tree(self, name: str) -> Directory:
        """Watches a tree's root, anew if it was watched. The caller compares the tree afterwards.

        Raises CaptureError if there is no such directory, or WatchUnavailable.
        """
        self._drop_tree(name)
        tree = self.trees[name]
        try:
            fd = os.open(tree.path, _OPEN)
        except OSError as error:
            raise CaptureError(
                f"the root of tree {name}, {tree.path}, cannot be opened ({error.strerror}):"
                " mount or restore it; until then nothing of it is captured or removed"
            ) from error
        try:
            key = self._source.add_root(name, fd)
        except BaseException:
            os.close(fd)
            raise
        self._root_fds[name] = fd
        found = os.fstat(fd)
        return self.directories.add_root(name, key, (found.st_dev, found.st_ino))

    def root_problem(self, name: str) -> str:
        """Why the tree's root is not the directory that is watched; "" if it is."""
        root = self.directories.roots.get(name)
        path = self.trees[name].path
        try:
            found = path.stat()
        except OSError as error:
            return (
                f"the root of tree {name}, {path}, is missing ({error.strerror}): nothing is"
                " removed from the standby; mount or restore it"
            )
        if root is None or (found.st_dev, found.st_ino) != root.inode:
            return f"the root of tree {name}, {path}, is another directory than before"
        return ""

    def close(self) -> None:
        """Stops watching."""
        self.release()
        self._source.close()  # and with it every watch
        self._mounts.close()
        self._forget_roots()

    @property
    def problem(self) -> str:
        """What cannot be watched, and what to do; "" if all is well."""
        return self._source.problem

    @property
    def sees_all_names(self) -> bool:
        """Whether a change of a file is told, whatever name it was made under."""
        return self._source.sees_all_names

    # --- dirty places ------------------------------------------------------------------------

    def wait(self, timeout_ms: int) -> None:
        """Returns when something is to be taken, when woken, or after `timeout_ms`."""
        self.dirty.wait(timeout_ms)

    def wake(self) -> None:
        """Ends `wait`."""
        self.dirty.wake()

    def barrier(self, timeout_ms: int) -> None:
        """Returns when everything that happened before the call is in the dirty set."""
        self._source.barrier(timeout_ms)

    def mark(self, directory: Directory, name: bytes, flags: int) -> None:
        """Marks a place as the drain would."""
        self.dirty.add(((directory.key, name, flags),))

    def take(self, *, everything: bool = False) -> Batch:
        """What is due, resolved; the directory map is brought up to date with it.

        `everything` includes what is held back since more is likely to come.
        """
        self.put_off = 0
        batch = Batch(lost=self.dirty.take_overflow())
        taken = self.dirty.take(everything=everything)
        for key in self.dirty.take_objects():
            if (inode := self._source.inode_of(key)) is not None:
                batch.inodes.append(inode)
        by_key = self.directories.by_key
        places: list[Dirty] = []
        for (key, name), mark in taken.items():
            if (directory := by_key.get(key)) is not None:
                places.append(Dirty(directory, name, mark.flags, mark.first_ms))
            else:
                self._give_up(self.directories.left.get(key), name, mark.flags)
        if not self.dirty:
            self.directories.left.clear()  # nothing can be held back of them
        structural = [
            p for p in places if p.name and self._is_structural(p) and self.can_open(p.directory)
        ]
        postponed: set[tuple[Key, bytes]] = set()
        if structural:
            structure = Structure(self.directories, self._source, self._look)
            structure.settle(structural)
            batch.moved, postponed = structure.moved, structure.postponed
        for place in places:
            key = place.directory.key
            if (key, place.name) in postponed:
                self.ask_again(place)
            elif self.directories.has(place.directory):
                batch.dirty.append(place)
            else:
                self.give_up(place)
        return batch

    def give_up(self, place: Dirty) -> None:
        """A place is not looked at: it is gone, and what is there now is told elsewhere."""
        self._give_up(place.directory, place.name, place.flags)

    def _give_up(self, directory: Directory | None, name: bytes, flags: int) -> None:
        self.lost_sight(flags)
        self.untold.add(directory, name, flags)

    def lost_sight(self, flags: int) -> None:
        """A name is gone, and what was told of it may have been of a file with other names."""
        if flags & _WRITTEN and not self.sees_all_names:
            self.blind = True

    def postpone(self, place: Dirty, until_ms: int) -> None:
        """Puts a place back, not to be given out before `until_ms`."""
        self.dirty.cool((place.directory.key, place.name), until_ms)
        self.put_back(place)

    def put_back(self, place: Dirty) -> None:
        """Makes a place dirty again, as it was."""
        if self.directories.has(place.directory):
            self.mark(place.directory, place.name, place.flags)
        else:
            self.give_up(place)

    def flags_of(self, tree: str, path: bytes) -> int:
        """How a path is marked that was not given out yet, or never will be; 0 if it is not."""
        parent, _, name = path.rpartition(b"/")
        directory = self.directories.find(tree, parent)
        held = 0 if directory is None else self.dirty.flags_of((directory.key, name))
        return held | self.untold.flags_of(tree, path)

    def ask_again(self, place: Dirty, until_ms: int | None = None) -> None:
        """Puts off a place whose other events are still to be read; at most twice.

        Unless it is said until when, for a moment.
        """
        if place.flags & dirty.LAST_CALL:
            return
        self.put_off += 1
        again = dirty.LAST_CALL if place.flags & dirty.AGAIN else dirty.AGAIN
        later = Dirty(place.directory, place.name, place.flags | again, place.first_ms)
        self.postpone(later, place.first_ms + 2 * dirty.HOLD_MS if until_ms is None else until_ms)

    def attach(self, parent: Directory, name: bytes) -> Directory | None:
        """Takes a new directory into the map: from now on its events count; list it after this.

        None if it is not there, is already elsewhere in the map (its move is still to be told), or
        is not ours to watch (another filesystem, our own state).
        """
        there = self._identify(parent, name)
        if there is None:
            return None
        key, inode = there
        known = self.directories.by_key.get(key)
        if known is not None:
            return known if known.parent is parent and known.name == name else None
        if (was := parent.child(name)) is not None:
            self.detach(was)
        return self.directories.attach(parent, name, key, inode)

    def note_linked(self, directory: Directory, name: bytes, found: os.stat_result) -> None:
        """The file here has more than one name."""
        if not self.sees_all_names:
            file = directory.tree, found.st_dev, found.st_ino
            self.linked[file] = Seen(directory, name, found.st_ctime_ns)
        elif (fd := self.open(directory)) is not None:
            self._source.note_linked(directory.tree, fd, name)

    def detach_at(self, parent: Directory, name: bytes) -> None:
        """Forgets where the directory at this name was known to be before."""
        there = self._identify(parent, name)
        known = None if there is None else self.directories.by_key.get(there[0])
        if known is not None and known.parent is not None:
            self.detach(known)

    def detach(self, directory: Directory) -> None:
        """The directory is gone from the trees."""
        for key in self.directories.detach(directory):
            self._source.forget(key)

    def is_foreign(self, directory: Directory, name: bytes, found: os.stat_result) -> bool:
        """Whether what was found at a name is a mount point, or our own state."""
        tree = directory.tree
        if self._mounts.any_in(tree) and self._mounts.has(tree, directory.below(name)):
            return True
        if not stat.S_ISDIR(found.st_mode):
            return False
        another = found.st_dev != self.directories.roots[tree].inode[0]
        return another or (found.st_dev, found.st_ino) in self._never

    def is_on(self, tree: str, device: int) -> bool:
        """Whether a device that /proc/PID/maps names is the tree's filesystem."""
        return device in (self.directories.roots[tree].inode[0], self._mounts.device_of(tree))

    def look_at_mounts(self) -> list[tuple[str, bytes]]:
        """Trees and paths at which something was mounted or unmounted; they are dirty now."""
        changed = self._mounts.refresh()
        for tree, path in changed:
            parent, _, name = path.rpartition(b"/")
            directory = self.directories.find(tree, parent)
            if directory is not None:
                self.mark(directory, name, dirty.SCANNED | dirty.DIRECTORY | dirty.LAST_CALL)
        return changed

    def open(self, directory: Directory) -> int | None:
        """A descriptor of exactly this directory, valid until `release`; None if it is gone."""
        fd = self._open.get(directory.key)
        if fd is not None:
            return fd
        if len(self._open) >= _MAX_OPEN_DIRECTORIES:
            oldest = next(iter(self._open))
            os.close(self._open.pop(oldest))
        fd = self._source.open(directory)
        if fd is not None:
            self._open[directory.key] = fd
        return fd

    def can_open(self, directory: Directory) -> bool:
        """Whether `open` gives it out; what it raises is left to who reads the directory."""
        try:
            return self.open(directory) is not None
        except OSError:
            return False

    def is_gone(self, directory: Directory) -> bool:
        """Whether a directory certainly left its tree; False where that cannot be known."""
        return self._source.is_inside(directory) is False

    def release(self) -> None:
        """Closes the descriptors that `open` gave out."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    # --- inside ------------------------------------------------------------------------------

    def _is_structural(self, place: Dirty) -> bool:
        return bool(place.flags & dirty.DIRECTORY) or place.directory.child(place.name) is not None

    def _look(self, directory: Directory, name: bytes) -> Key | None:
        if self.excludes[directory.tree].excludes(directory.below(name), is_directory=True):
            return None
        there = self._identify(directory, name)
        return None if there is None else there[0]

    def _identify(self, directory: Directory, name: bytes) -> tuple[Key, tuple[int, int]] | None:
        """Key and inode of the directory at a name; None if none of ours is there.

        Both of one open file: what stands at a name may be exchanged between two calls.
        """
        fd = self.open(directory) if self.directories.has(directory) else None
        if fd is None:
            return None
        try:
            below = os.open(name, _OPEN | os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
        except OSError as error:
            if error.errno in GONE or error.errno == errno.ELOOP:
                return None
            raise
        try:
            found = os.fstat(below)
            if self.is_foreign(directory, name, found):
                return None
            key = self._source.key_of(directory.tree, below)
            return key, (found.st_dev, found.st_ino)
        finally:
            os.close(below)

    def _drop_tree(self, name: str) -> None:
        root = self.directories.roots.pop(name, None)
        if root is not None:
            for directory in list(self.directories.walk(root)):
                del self.directories.by_key[directory.key]
                self._source.forget(directory.key)
        if (fd := self._root_fds.pop(name, None)) is not None:
            os.close(fd)

    def _forget_roots(self) -> None:
        for fd in self._root_fds.values():
            os.close(fd)
        self._root_fds.clear()
        self.directories.roots.clear()
        self.directories.by_key.clear()


def cookie_directories(run_dir: Path, group: str, trees: Sequence[Tree]) -> list[Path]:
    """Where a cookie may be made: best in the run directory, else beside or hidden in a tree."""
    beside = [
        tree.path.parent / f".staqraft-{group}-cookies"
        for tree in trees
        if tree.path.is_dir() and tree.path.stat().st_dev == tree.path.parent.stat().st_dev
    ]
    inside = [tree.path / ".staqraft-cookies" for tree in trees if tree.path.is_dir()]
    return [run_dir / f"{group}.cookies", *beside[:1], *inside[:1]]


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _refuse_nested(trees: Sequence[Tree]) -> None:
    for tree in trees:
        for other in trees:
            if tree is not other and other.path.is_relative_to(tree.path):
                raise CaptureError(
                    f"tree {other.name} ({other.path}) lies inside of tree {tree.name}"
                    f" ({tree.path}): trees must be apart"
                )
