"""Random changes of a tree, from a seed: everything that programs do to files, often at once."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_EXCHANGE = 2


class Mischief:
    """Works below `root`, with `outside` on the same filesystem to move things to and from."""

    def __init__(self, root: Path, outside: Path, seed: int) -> None:
        self._root = root
        self._outside = outside
        self._random = random.Random(seed)
        self._number = 0
        (root / "anchor").write_bytes(b"")  # a tree that becomes empty stops removals
        self._deeds: list[tuple[int, Callable[[], None]]] = [
            (14, self._write),
            (6, self._append),
            (6, self._overwrite),
            (8, self._rename_file),
            (6, self._rename_directory),
            (5, self._make_directories),
            (6, self._unlink),
            (3, self._remove_directory),
            (4, self._link),
            (3, self._symlink),
            (3, self._exchange),
            (3, self._change_metadata),
            (2, self._move_out),
            (2, self._move_in),
            (2, self._replace),
            (1, self._truncate),
        ]

    def act(self, times: int) -> None:
        """Does so many things; what is impossible at the moment is left."""
        weights = [weight for weight, _ in self._deeds]
        for _ in range(times):
            deed = self._random.choices([deed for _, deed in self._deeds], weights)[0]
            try:
                deed()
            except (OSError, shutil.Error):
                continue

    def _objects(self, *, directories: bool) -> list[Path]:
        found: list[Path] = []
        for base, below, files in os.walk(self._root):
            names = below if directories else files
            found += [Path(base) / name for name in names if name != "anchor"]
        return sorted(found)

    def _file(self) -> Path:
        return self._random.choice(self._objects(directories=False) or [self._root / "none"])

    def _directory(self) -> Path:
        return self._random.choice([self._root, *self._objects(directories=True)])

    def _name(self) -> Path:
        """A place for something, often one that was used before."""
        return self._directory() / f"n{self._random.randrange(12)}"

    def _bytes(self) -> bytes:
        size = self._random.choice((0, 10, 100, 5_000, 70_000))
        if self._random.random() < 0.02:
            size = 1_500_000
        return self._random.randbytes(size)

    def _write(self) -> None:
        self._name().write_bytes(self._bytes())

    def _append(self) -> None:
        with self._file().open("ab") as file:
            file.write(self._bytes())

    def _overwrite(self) -> None:
        path = self._file()
        with path.open("r+b") as file:
            file.seek(self._random.randrange(max(1, path.stat().st_size)))
            file.write(self._random.randbytes(50))

    def _truncate(self) -> None:
        path = self._file()
        os.truncate(path, self._random.randrange(path.stat().st_size + 5000))

    def _rename_file(self) -> None:
        self._file().rename(self._name())

    def _rename_directory(self) -> None:
        self._directory().rename(self._name())

    def _make_directories(self) -> None:
        path = self._name()
        path.mkdir()
        (path / "n1").mkdir()
        (path / "n1" / "n2").write_bytes(b"deep")

    def _unlink(self) -> None:
        self._file().unlink()

    def _remove_directory(self) -> None:
        path = self._directory()
        if path != self._root:
            shutil.rmtree(path)

    def _link(self) -> None:
        os.link(self._file(), self._name(), follow_symlinks=False)

    def _symlink(self) -> None:
        self._name().symlink_to(f"n{self._random.randrange(12)}")

    def _exchange(self) -> None:
        both = self._objects(directories=True) + self._objects(directories=False)
        one, other = (
            self._random.choice(both or [self._root]),
            self._random.choice(both or [self._root]),
        )
        _libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), _EXCHANGE)

    def _change_metadata(self) -> None:
        path = self._random.choice((self._file, self._directory))()
        if path.is_symlink():
            return
        path.chmod(self._random.choice((0o600, 0o755, 0o4711)))
        os.setxattr(path, "trusted.n", b"%d" % self._random.randrange(9))

    def _move_out(self) -> None:
        self._number += 1
        path = self._directory()
        if path != self._root:
            path.rename(self._outside / f"out{self._number}")

    def _move_in(self) -> None:
        if found := sorted(self._outside.iterdir()):
            self._random.choice(found).rename(self._name())

    def _replace(self) -> None:
        """As editors do: a new file over the old one."""
        path = self._file()
        new = path.with_name(".new")
        new.write_bytes(self._bytes())
        new.rename(path)
