"""What programs do to files, one deed at a time: each is a kind and a number that decides the rest.

A deed looks for what is there when its turn comes, so a list of deeds still makes sense when some
are left out, and when others write at the same time. What is impossible at the moment is not done.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import shutil
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ACKNOWLEDGED = b"acknowledged"  # the postman's directory: no deed touches it
_RESERVED = (ACKNOWLEDGED, b".staqraft-staging")
_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _EXCHANGE, _SYMLINK_FOLLOW = -100, 2, 0x400
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_ODD_NAMES = (
    b"\xff\xfe\x80",  # not UTF-8
    "e\u0301".encode(),  # decomposed
    "\u00e9".encode(),  # the same to a reader, composed
    b"two\nlines",
    b" ",
    b"-rf",
    b"*",
    b"back\\slash",
    b"...",
    b"L" * 255,
)
_NAMES = tuple(b"n%d" % number for number in range(14)) + _ODD_NAMES
_FLAGS = (b"S", b"RS", b"FS", b"DS", b"")
_LARGE = 1 << 20
_ROOM = 0.5  # of the filesystem: deeds that need more make room instead


class Deeds:
    """Does deeds below `root`; `outside` is on the same filesystem, to move things to and from."""

    def __init__(self, root: Path, outside: Path) -> None:
        self._root = os.fsencode(root)
        self._outside = os.fsencode(outside)
        self.table: dict[str, Callable[[random.Random], None]] = dict(self._all())

    def do(self, kind: str, number: int) -> bool:
        """One deed. False: it was not possible."""
        try:
            self.table[kind](random.Random(number))
        except (OSError, ValueError, shutil.Error):  # ValueError: truncated while it is mapped
            return False
        return True

    def _all(self) -> Iterator[tuple[str, Callable[[random.Random], None]]]:
        for kind in WEIGHTS:
            yield kind, getattr(self, f"_{kind}")

    # --- places --------------------------------------------------------------------------------

    def _below(self, path: bytes) -> list[bytes]:
        return sorted(
            os.path.join(path, name) for name in os.listdir(path) if name not in _RESERVED
        )

    def _walk(self, dice: random.Random, wanted: Callable[[int], bool]) -> bytes:
        """Something whose type is wanted, found on a walk that begins at the root."""
        for _ in range(6):
            path = self._root
            while found := self._below(path):
                path = dice.choice(found)
                mode = os.lstat(path).st_mode
                if wanted(mode) and (not stat.S_ISDIR(mode) or dice.random() < 0.5):
                    return path
                if not stat.S_ISDIR(mode):
                    break
        raise FileNotFoundError(errno.ENOENT, "nothing of this kind was found")

    def _file(self, dice: random.Random) -> bytes:
        return self._walk(dice, stat.S_ISREG)

    def _anything(self, dice: random.Random) -> bytes:
        return self._walk(dice, lambda _mode: True)

    def _directory(self, dice: random.Random) -> bytes:
        return self._walk(dice, stat.S_ISDIR)

    def _folder(self, dice: random.Random) -> bytes:
        """A directory in which something can be made: not too deep."""
        if dice.random() < 0.3:
            return self._root
        try:
            found = self._directory(dice)
        except FileNotFoundError:
            return self._root
        return found if found.count(b"/") - self._root.count(b"/") < 6 else self._root

    def _name(self, dice: random.Random) -> bytes:
        return os.path.join(self._folder(dice), dice.choice(_NAMES))

    def _bytes(self, dice: random.Random) -> bytes:
        size = dice.choice((0, 1, 100, 4096, 5_000, 20_000, 70_000))
        return dice.randbytes(size)

    def _make_room(self) -> None:
        found = os.statvfs(self._root)
        if found.f_bavail < found.f_blocks * (1 - _ROOM):
            for path in [*self._below(self._root)[:3], *self._below(self._outside)]:
                _remove(path)

    # --- files ---------------------------------------------------------------------------------

    def _create(self, dice: random.Random) -> None:
        _write(self._name(dice), self._bytes(dice), os.O_CREAT | os.O_EXCL)

    def _rewrite(self, dice: random.Random) -> None:
        _write(self._file(dice), self._bytes(dice), os.O_TRUNC)

    def _large(self, dice: random.Random) -> None:
        self._make_room()
        _write(self._name(dice), dice.randbytes(dice.randrange(_LARGE, 4 * _LARGE)), os.O_CREAT)

    def _append(self, dice: random.Random) -> None:
        _write(self._file(dice), self._bytes(dice), os.O_APPEND)

    def _overwrite(self, dice: random.Random) -> None:
        with _opened(self._file(dice), os.O_RDWR) as file:
            for _ in range(dice.choice((1, 1, 4))):
                at = dice.randrange(max(1, os.fstat(file).st_size))
                os.pwrite(file, dice.randbytes(dice.choice((1, 50, 5000))), at)

    def _truncate(self, dice: random.Random) -> None:
        path = self._file(dice)
        os.truncate(path, dice.randrange(os.stat(path).st_size + 5000))

    def _sparse(self, dice: random.Random) -> None:
        self._make_room()
        with _opened(self._name(dice), os.O_RDWR | os.O_CREAT) as file:
            os.ftruncate(file, dice.randrange(_LARGE, 8 * _LARGE))
            os.pwrite(file, dice.randbytes(5000), dice.randrange(_LARGE))

    def _punch(self, dice: random.Random) -> None:
        with _opened(self._file(dice), os.O_RDWR) as file:
            size = os.fstat(file).st_size
            at = ctypes.c_long(dice.randrange(max(1, size)))
            _libc.fallocate(
                file, _KEEP_SIZE | _PUNCH_HOLE, at, ctypes.c_long(dice.choice((4096, 1 << 18)))
            )

    def _mapped(self, dice: random.Random) -> None:
        path = self._file(dice)
        if not os.stat(path).st_size:
            raise FileNotFoundError(errno.ENODATA, "nothing to map", path)
        with _opened(path, os.O_RDWR) as file, mmap.mmap(file, 0) as page:
            at = dice.randrange(len(page))
            piece = dice.randbytes(min(200, len(page) - at))
            page[at : at + len(piece)] = piece

    def _tmpfile(self, dice: random.Random) -> None:
        target = self._name(dice)
        number = os.open(os.path.dirname(target), os.O_RDWR | os.O_TMPFILE, 0o640)
        try:
            os.write(number, self._bytes(dice))
            _libc.linkat(
                _AT_FDCWD, b"/proc/self/fd/%d" % number, _AT_FDCWD, target, _SYMLINK_FOLLOW
            )
        finally:
            os.close(number)

    def _replace(self, dice: random.Random) -> None:
        path = self._file(dice)
        new = path[:-200] + b".new" if len(path) > 200 else path + b".new"
        _write(new, self._bytes(dice), os.O_CREAT)
        os.rename(new, path)

    def _brief(self, dice: random.Random) -> None:
        path = self._name(dice)
        _write(path, self._bytes(dice), os.O_CREAT | os.O_EXCL)
        os.unlink(path)

    # --- names ---------------------------------------------------------------------------------

    def _rename(self, dice: random.Random) -> None:
        os.rename(self._file(dice), self._name(dice))

    def _exchange(self, dice: random.Random) -> None:
        one, other = self._anything(dice), self._anything(dice)
        _libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)

    def _link(self, dice: random.Random) -> None:
        os.link(self._file(dice), self._name(dice), follow_symlinks=False)

    def _unlink(self, dice: random.Random) -> None:
        os.unlink(self._walk(dice, lambda mode: not stat.S_ISDIR(mode)))

    def _symlink(self, dice: random.Random) -> None:
        os.symlink(
            dice.choice((b"n1", b"/etc/passwd", b"..", b"\xff", b"x" * 900)), self._name(dice)
        )

    def _special(self, dice: random.Random) -> None:
        if dice.random() < 0.7:
            os.mkfifo(self._name(dice), 0o622)
            return
        folder = os.open(self._folder(dice), os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(b"/proc/self/fd/%d/sock%d" % (folder, dice.randrange(3)))
        finally:
            os.close(folder)

    # --- directories ---------------------------------------------------------------------------

    def _mkdirs(self, dice: random.Random) -> None:
        path = self._name(dice)
        os.makedirs(os.path.join(path, b"n1", b"n2"))
        _write(os.path.join(path, b"n1", b"n3"), b"deep", os.O_CREAT)

    def _rmdir(self, dice: random.Random) -> None:
        path = self._directory(dice)
        if dice.random() < 0.5:
            os.removedirs(path)
        else:
            shutil.rmtree(path)

    def _move(self, dice: random.Random) -> None:
        os.rename(self._directory(dice), self._name(dice))

    def _move_out(self, dice: random.Random) -> None:
        os.rename(self._anything(dice), os.path.join(self._outside, b"o%d" % dice.randrange(8)))

    def _move_in(self, dice: random.Random) -> None:
        os.rename(_one(dice, self._below(self._outside)), self._name(dice))

    def _copy(self, dice: random.Random) -> None:
        self._make_room()
        source, target = self._directory(dice), self._name(dice)
        if target.startswith(source + b"/"):
            raise OSError(errno.EINVAL, "a copy into itself has no end", target)
        copied = os.path.join(self._outside, b"copy%d" % dice.getrandbits(32))
        shutil.copytree(os.fsdecode(source), os.fsdecode(copied), symlinks=True)
        os.rename(copied, target)

    # --- metadata ------------------------------------------------------------------------------

    def _chmod(self, dice: random.Random) -> None:
        path = self._walk(dice, lambda mode: not stat.S_ISLNK(mode))
        os.chmod(path, dice.choice((0o600, 0o644, 0o755, 0o4711, 0o2770, 0o1777, 0)))

    def _chown(self, dice: random.Random) -> None:
        owner = dice.choice((0, 33, 1000, 65534))
        os.chown(self._anything(dice), owner, owner, follow_symlinks=False)

    def _utime(self, dice: random.Random) -> None:
        when = dice.choice((1, 10**18 + dice.randrange(10**9), 4 * 10**18))
        os.utime(self._anything(dice), ns=(when, when), follow_symlinks=False)

    def _xattr(self, dice: random.Random) -> None:
        path = self._anything(dice)
        name = dice.choice(("trusted.one", "trusted.two", "user.three"))
        if dice.random() < 0.3:
            os.removexattr(path, name, follow_symlinks=False)
        else:
            os.setxattr(path, name, dice.randbytes(dice.randrange(40)), follow_symlinks=False)

    def _acl(self, dice: random.Random) -> None:
        path = self._walk(dice, lambda mode: not stat.S_ISLNK(mode))
        name = "system.posix_acl_access"
        if os.path.isdir(path) and dice.random() < 0.5:
            name = "system.posix_acl_default"
        os.setxattr(path, name, _acl(dice.choice((33, 1000)), dice.randrange(8)))

    # --- mail ----------------------------------------------------------------------------------

    def _maildir(self) -> bytes:
        path = os.path.join(self._root, b"Maildir")
        for name in (b"tmp", b"new", b"cur"):
            os.makedirs(os.path.join(path, name), exist_ok=True)
        return path

    def _deliver(self, dice: random.Random) -> None:
        box, name = self._maildir(), b"%d.M%d.host" % (dice.randrange(10**9), dice.randrange(10**6))
        new = os.path.join(box, b"tmp", name)
        _write(new, self._bytes(dice), os.O_CREAT | os.O_EXCL)
        with _opened(new, os.O_RDONLY) as file:
            os.fsync(file)
        os.rename(new, os.path.join(box, b"new", name))

    def _flag(self, dice: random.Random) -> None:
        box = self._maildir()
        folder = dice.choice((b"new", b"cur"))
        path = _one(dice, self._below(os.path.join(box, folder)))
        name = os.path.basename(path).partition(b":")[0] + b":2," + dice.choice(_FLAGS)
        os.rename(path, os.path.join(box, b"cur", name))

    def _expunge(self, dice: random.Random) -> None:
        box = self._maildir()
        for path in self._below(os.path.join(box, b"cur"))[: dice.randrange(1, 4)]:
            os.unlink(path)

    def _mbox(self, dice: random.Random) -> None:
        mail = b"From somebody\n\n" + dice.randbytes(dice.choice((500, 9000))) + b"\n"
        with _opened(
            os.path.join(self._root, b"mbox"), os.O_WRONLY | os.O_APPEND | os.O_CREAT
        ) as box:
            os.lockf(box, os.F_LOCK, 0)
            os.write(box, mail)


WEIGHTS: dict[str, int] = {
    "create": 14,
    "rewrite": 4,
    "large": 1,
    "append": 6,
    "overwrite": 6,
    "truncate": 2,
    "sparse": 1,
    "punch": 1,
    "mapped": 2,
    "tmpfile": 3,
    "replace": 5,
    "brief": 2,
    "rename": 7,
    "exchange": 3,
    "link": 4,
    "unlink": 7,
    "symlink": 2,
    "special": 1,
    "mkdirs": 5,
    "rmdir": 2,
    "move": 5,
    "move_out": 2,
    "move_in": 2,
    "copy": 1,
    "chmod": 2,
    "chown": 2,
    "utime": 2,
    "xattr": 2,
    "acl": 2,
    "deliver": 6,
    "flag": 6,
    "expunge": 2,
    "mbox": 4,
}


@contextmanager
def _opened(path: bytes, flags: int) -> Iterator[int]:
    number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        yield number
    finally:
        os.close(number)


def _one(dice: random.Random, found: list[bytes]) -> bytes:
    if not found:
        raise FileNotFoundError(errno.ENOENT, "nothing is there")
    return dice.choice(found)


def _write(path: bytes, data: bytes, flags: int) -> None:
    with _opened(path, os.O_WRONLY | flags) as file:
        os.write(file, data)


def _remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _acl(user: int, allowed: int) -> bytes:
    """user::rw-, user:<user>:<allowed>, group::r--, mask::rwx, other::---, as the kernel has it."""
    nobody = 0xFFFFFFFF
    entries = ((1, 6, nobody), (2, allowed, user), (4, 4, nobody), (16, 7, nobody), (32, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
