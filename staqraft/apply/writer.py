"""The file system calls of applying, for one tree: make, replace, link, move, remove, park.

New content is built in the staging directory and renamed into place, so that a reader on the
standby, and a standby that dies, sees the old object or the new one. Everything is named relative
to directories that `TreeRoot` opened beneath the tree.

Parking: a tree may already hold what later records say (after a crash, or since objects were
fetched). An object that is in the way and is not the one that the index knows may be such a future,
something that a later record moves here: it is not destroyed but parked in staging under its inode
number, where that later record finds it. `clear_parked` ends it when the records have caught up.

Trash: nothing that the index's last commit speaks of is destroyed before the next commit. What is
removed or replaced goes to staging first, and a stage that is used keeps its name there: after a
power cut `rollback` finds every inode of the last commit again. `committed` ends them.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from typing import Final

from staqraft.apply import metadata as meta
from staqraft.apply.flags import unprotect_with_children
from staqraft.apply.observe import look
from staqraft.apply.safety import TreeRoot, directories_below, opened_anew
from staqraft.journal.record import Metadata, ObjectType

_NEW: Final = b"new-"
_PARKED: Final = b"parked-"
_TRASH: Final = b"trash-"
_STAGE: Final = b"stage-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE: Final = 4096  # runs of zeros that fill whole blocks of this size are not written
_ZEROS: Final = bytes(_HOLE)
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MADE_WITH: Final = 0o600
_ANONYMOUS: Final = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
_NO_ANONYMOUS: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT})
_NODE_BITS: Final = {
    ObjectType.FIFO: stat.S_IFIFO,
    ObjectType.SOCKET: stat.S_IFSOCK,
    ObjectType.CHARACTER_DEVICE: stat.S_IFCHR,
    ObjectType.BLOCK_DEVICE: stat.S_IFBLK,
}

Place = tuple[int, bytes]  # an open directory and a name in it


class TreeWriter:
    """Writes below one tree's root."""

    def __init__(self, root: TreeRoot) -> None:
        self.root = root
        self._anonymous = True  # the filesystem has files without a name, as far as is known
        trash = [int(name[len(_TRASH) :]) for name in self._staged(_TRASH)]
        self._numbers = itertools.count(max(trash, default=0) + 1)
        self._drop(_NEW)
        self._committed_stages = set(self._staged(_STAGE))
        self._used_stages = {
            name
            for name in self._committed_stages
            if (found := look(root.staging(), name)) is not None and found.st_nlink > 1
        }

    # --- making ------------------------------------------------------------------------------

    def replace_with_file(self, at: Place, data: bytes, wanted: Metadata) -> None:
        """A regular file with this content and metadata stands at the place."""
        staging, name = self.root.staging(), self._name()
        number = os.open(name, _CREATE, 0o600, dir_fd=staging)
        try:
            write_content(number, data)
            meta.write_to_new_file(number, wanted)
        except BaseException:
            os.unlink(name, dir_fd=staging)
            raise
        finally:
            os.close(number)
        self._replace((staging, name), at)

    def make_file(self, at: Place, data: bytes, wanted: Metadata) -> os.stat_result | None:
        """A new regular file where nothing stands; None, and nothing done, if something does.

        It has no name until it is whole, so nothing of it is left anywhere after a crash. None also
        where the filesystem does not know such files.
        """
        if not self._anonymous:
            return None
        try:
            number = os.open(b".", _ANONYMOUS, _MADE_WITH, dir_fd=self.root.staging())
        except OSError as error:
            if error.errno not in _NO_ANONYMOUS:
                raise
            self._anonymous = False
            return None
        try:
            write_content(number, data)
            meta.write_to_new_file(number, wanted, mode=_MADE_WITH)
            os.link(b"/proc/self/fd/%d" % number, at[1], dst_dir_fd=at[0], follow_symlinks=True)
            return os.fstat(number)
        except FileExistsError:
            return None
        finally:
            os.close(number)

    def has_stage(self, stage: bytes) -> bool:
        """Whether anything was staged under this name."""
        return look(self.root.staging(), stage) is not None

    def replace_with_stage(self, at: Place, stage: bytes, wanted: Metadata) -> None:
        """The staged file becomes the object at the place."""
        staging = self.root.staging()
        number = os.open(stage, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=staging)
        try:
            os.ftruncate(number, wanted.size)
            meta.write_to_new_file(number, wanted)
        finally:
            os.close(number)
        if stage not in self._committed_stages:
            self._replace((staging, stage), at)
            return
        name = self._name()
        os.link(stage, name, src_dir_fd=staging, dst_dir_fd=staging, follow_symlinks=False)
        self._used_stages.add(stage)
        meta.write_at(staging, name, wanted)  # it may have been used before a power cut
        self._replace((staging, name), at)

    def replace_with_node(self, at: Place, wanted: Metadata) -> None:
        """A directory, symbolic link, FIFO, socket or device stands at the place."""
        if wanted.type is ObjectType.DIRECTORY:
            os.mkdir(at[1], 0o700, dir_fd=at[0])
            meta.write_at(*at, wanted)
            return
        staging, name = self.root.staging(), self._name()
        if wanted.type is ObjectType.SYMLINK:
            os.symlink(wanted.symlink_target, name, dir_fd=staging)
        else:
            mode = _NODE_BITS[wanted.type] | 0o600
            os.mknod(name, mode, wanted.rdev, dir_fd=staging)
        meta.write_at(staging, name, wanted)
        self._replace((staging, name), at)

    def replace_with_link(self, at: Place, other: Place) -> None:
        """Another name of the object at `other` stands at the place."""
        staging, name = self.root.staging(), self._name()
        os.link(other[1], name, src_dir_fd=other[0], dst_dir_fd=staging, follow_symlinks=False)
        self._replace((staging, name), at)

    def write_pieces(self, at: Place, size: int, pieces: tuple[tuple[int, bytes], ...]) -> None:
        """Changes pieces of a regular file in place, after giving it its size."""
        number = os.open(
            at[1], os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=at[0]
        )
        try:
            os.ftruncate(number, size)
            for offset, data in pieces:
                _pwrite_all(number, data, offset)
        finally:
            os.close(number)

    def stage_piece(self, stage: bytes, offset: int, data: bytes) -> None:
        """Keeps a piece of a large file aside."""
        flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        number = os.open(stage, flags, 0o600, dir_fd=self.root.staging())
        try:
            _pwrite_all(number, data, offset)
        finally:
            os.close(number)

    def drop_stage(self, stage: bytes) -> None:
        """The stage is not wanted any more."""
        if stage in self._committed_stages:
            self._used_stages.add(stage)
        else:
            self._unlink_staged(stage)

    # --- moving and removing -----------------------------------------------------------------

    def move(self, source: Place, target: Place) -> None:
        """Renames; what stands at the target and is not a directory is replaced."""
        one, other = look(*source), look(*target)
        if one and other and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
            self.remove(source)  # rename(2) leaves both names of one inode
            return
        self._replace(source, target)

    def remove(self, at: Place) -> bytes:
        """Puts an object with everything below it into the trash; its name there."""
        name = self._trash_name()
        self._rename(at, (self.root.staging(), name))
        return name

    def park(self, at: Place, inode: int) -> None:
        """Moves an object that the index does not know out of the way."""
        parked = (self.root.staging(), _PARKED + b"%d" % inode)
        if look(*parked) is not None:
            self.remove(parked)
        self._rename(at, parked)

    def unpark(self, inode: int, target: Place) -> bool:
        """Moves a parked object, or something inside one, to the target; False if not found."""
        staging = self.root.staging()
        name = _PARKED + b"%d" % inode
        if look(staging, name) is not None:
            self._replace((staging, name), target)
            return True
        for parked in self._staged(_PARKED):
            for here in directories_below(staging, parked):
                for child in os.listdir(here):  # noqa: PTH208 - of an open one
                    found = look(here, os.fsencode(child))
                    if found is not None and found.st_ino == inode:
                        self._replace((here, os.fsencode(child)), target)
                        return True
        return False

    def clear_parked(self) -> int:
        """Removes what is still parked; says how many objects that were."""
        return self._drop(_PARKED)

    def committed(self) -> None:
        """The index is durable: what its commit before spoke of is not needed any more."""
        self._drop(_TRASH)
        for stage in self._used_stages:
            self._unlink_staged(stage)
        self._used_stages.clear()
        self._committed_stages = set(self._staged(_STAGE))

    def keep_stages(self, needed: set[bytes]) -> None:
        """After a power cut: these are used again, though they seem used."""
        self._used_stages -= needed

    def clear_stages(self) -> None:
        """Removes all stages (after a reconcile nothing refers to them)."""
        self._drop(b"")

    # --- inside ------------------------------------------------------------------------------

    def _name(self) -> bytes:
        return _NEW + b"%d" % next(self._numbers)

    def _trash_name(self) -> bytes:
        return _TRASH + b"%d" % next(self._numbers)

    def _replace(self, source: Place, target: Place) -> None:
        """Renames; what stands at the target goes to the trash without ever being away."""
        try:
            self._spare(target)
            self._rename(source, target)
        except OSError:
            if source[1].startswith(_NEW):  # it is made anew when this is tried again
                self._unlink_staged(source[1])
            raise

    def _spare(self, target: Place) -> None:
        staging = self.root.staging()
        try:
            os.link(
                target[1],
                self._trash_name(),
                src_dir_fd=target[0],
                dst_dir_fd=staging,
                follow_symlinks=False,
            )
        except FileNotFoundError:
            pass  # nothing is replaced
        except OSError:  # a directory, too many links, or not ours: then it is away for a moment
            self.remove(target)

    def _rename(self, source: Place, target: Place) -> None:
        os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])

    def _staged(self, prefix: bytes) -> list[bytes]:
        try:
            with opened_anew(self.root.staging()) as fresh, os.scandir(fresh) as found:
                names = [os.fsencode(entry.name) for entry in found]
        except FileNotFoundError:
            return []  # the root's mark is gone, which `require_staging` tells
        return sorted(name for name in names if name.startswith(prefix))

    def _unlink_staged(self, name: bytes) -> None:
        try:
            os.unlink(name, dir_fd=self.root.staging())
        except FileNotFoundError:
            return

    def _drop(self, prefix: bytes) -> int:
        names = self._staged(prefix)
        for name in names:
            self._destroy(name)
        if prefix == b"":
            self._committed_stages.clear()
            self._used_stages.clear()
        return len(names)

    def _destroy(self, name: bytes) -> None:
        """With all below it, however deep that is: directories are taken out of it first."""
        pending = [name]
        while pending:
            name = pending.pop()
            try:
                self._empty(name, pending)
            except PermissionError:
                if not unprotect_with_children(self.root.staging(), name):
                    raise
                self._empty(name, pending)

    def _empty(self, name: bytes, pending: list[bytes]) -> None:
        staging = self.root.staging()
        try:
            os.unlink(name, dir_fd=staging)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            here = os.open(name, _DIRECTORY, dir_fd=staging)
            try:
                for child, is_directory in _children(here):
                    if is_directory:
                        aside = self._trash_name()
                        os.rename(child, aside, src_dir_fd=here, dst_dir_fd=staging)
                        pending.append(aside)
                    else:
                        os.unlink(child, dir_fd=here)
            finally:
                os.close(here)
            os.rmdir(name, dir_fd=staging)


def _children(directory: int) -> list[tuple[bytes, bool]]:
    with os.scandir(directory) as found:
        return [(os.fsencode(e.name), e.is_dir(follow_symlinks=False)) for e in found]


def write_content(number: int, data: bytes) -> None:
    """Writes a whole file; aligned blocks of zeros become holes."""
    if len(data) < 2 * _HOLE or data.find(_ZEROS) < 0:
        _pwrite_all(number, data, 0)
        return
    os.ftruncate(number, len(data))
    view = memoryview(data)
    start = 0
    for at in range(0, len(data), _HOLE):
        if view[at : at + _HOLE] == _ZEROS:
            _pwrite_all(number, view[start:at], start)
            start = at + _HOLE
    _pwrite_all(number, view[start:], start)


def _pwrite_all(number: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(number, view, offset)
        view = view[written:]
        offset += written
