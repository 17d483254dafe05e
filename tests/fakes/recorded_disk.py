"""Every file operation of a real process, recorded by strace: nothing in the process knows of it.

Python, its sqlite3 module and the product run as they are. What the process writes to its
`notes` file is no file operation but a note in the record, at its place among them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CHANGING = (
    "write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
)
_OTHERS = "open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,mkdir,mkdirat,mmap,writev,pwritev"
_OTHERS += ",pwritev2,truncate,link,linkat,symlink,symlinkat,sync_file_range,msync,copy_file_range"
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)(?: .*)?$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """Of a file's content, or of what stands in a directory."""

    file: int


@dataclass(frozen=True, slots=True)
class Link:
    """A name leads to a file from now on; `instead_of`: and that name is gone."""

    path: Path
    file: int
    is_directory: bool = False
    instead_of: Path | None = None


@dataclass(frozen=True, slots=True)
class Unlink:
    path: Path


@dataclass(frozen=True, slots=True)
class Note:
    text: str


Operation = Write | Truncate | Sync | Link | Unlink | Note


@dataclass(frozen=True, slots=True)
class Call:
    """The `ordinal`th call with this name in the process did `operation`."""

    name: str
    ordinal: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Injection:
    """What strace does to the process at a call: `signal=KILL`, `error=ENOSPC`."""

    call: Call
    what: str


def need_strace() -> str:
    """The program; skips the test where it is not installed or not allowed."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([program, "-o/dev/null", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("strace is not allowed here")
    return program


def environment() -> dict[str, str]:
    """In which a child finds the tests' modules and the product."""
    tests = Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}", "PYTHONDONTWRITEBYTECODE": "1"}


def record(argv: Sequence[str], root: Path, notes: Path, scratch: Path) -> list[Call]:
    """Runs the program and returns what it did below `root`, which exists and is empty."""
    trace = scratch / "trace"
    options = ["-xx", "-s", str(64 << 20), "-e", f"trace={CHANGING},{_OTHERS}"]
    done = _run([*options, "-o", str(trace), *argv])
    assert done.returncode == 0, done.stderr
    reader = _Reader(root, notes)
    with trace.open() as lines:
        for line in lines:
            reader.take(line)
    return reader.calls


def disturb(argv: Sequence[str], injection: Injection) -> subprocess.CompletedProcess[str]:
    """Runs the program again and does this to it."""
    call = injection.call
    inject = f"inject={call.name}:{injection.what}:when={call.ordinal}"
    return _run(["-e", f"trace={call.name}", "-e", inject, "-o", "/dev/null", *argv])


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [need_strace(), "-f", "-qq", "-e", "signal=none", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
        env=environment(),
    )


class _Reader:
    """Follows descriptors and names through the trace of one process."""

    def __init__(self, root: Path, notes: Path) -> None:
        self.calls: list[Call] = []
        self._counts: Counter[str] = Counter()
        self._now = ""
        self._root = root
        self._notes = notes
        self._open: dict[int, int] = {}  # descriptor: file
        self._at: dict[int, int] = {}  # descriptor: where the next write() goes
        self._names: dict[Path, int] = {root: 0}
        self._next = 1
        self._notes_fd = -1

    def take(self, line: str) -> None:
        found = _CALL.match(line)
        if found is None:
            assert "exited with" in line or "+++" in line, f"not understood: {line[:200]}"
            return
        name, text, result = found[1], found[2], int(found[3], 0)
        self._now = name
        self._counts[name] += 1
        if result < 0:
            return
        assert not any(cut for _, cut in _STRING.findall(text)), "strace cut a string off"
        strings = [bytes.fromhex(s.replace("\\x", "")) for s, _ in _STRING.findall(text)]
        plain = [part.strip() for part in _STRING.sub('"', text).split(",")]
        self._call(name, strings, plain, result)

    def _did(self, operation: Operation) -> None:
        self.calls.append(Call(self._now, self._counts[self._now], operation))

    def _call(self, name: str, strings: list[bytes], plain: list[str], result: int) -> None:
        match name:
            case "open" | "openat" | "creat":
                self._opened(Path(strings[0].decode()), ",".join(plain), result)
            case "close":
                self._open.pop(int(plain[0]), None)
            case "lseek":
                self._at[int(plain[0])] = result
            case "rename" | "renameat" | "renameat2":
                self._renamed(*(Path(string.decode()) for string in strings))
            case "unlink" | "unlinkat":
                path = Path(strings[0].decode())
                if self._names.pop(path, None) is not None:
                    self._did(Unlink(path))
            case "mkdir" | "mkdirat":
                path = Path(strings[0].decode())
                if self._inside(path):
                    self._link(path, is_directory=True)
            case _:
                self._on_descriptor(name, strings, plain, result)

    def _on_descriptor(
        self, name: str, strings: list[bytes], plain: list[str], result: int
    ) -> None:
        if name == "mmap":
            shared = "MAP_SHARED" in plain[3] and "PROT_WRITE" in plain[2]
            assert not shared or int(plain[4]) not in self._open, "it writes through a mapping"
            return
        descriptor = int(plain[0]) if plain[0].isdigit() else -1
        if name == "write" and descriptor == self._notes_fd:
            self._did(Note(strings[0].decode()))
            return
        file = self._open.get(descriptor)
        if file is None:
            return
        match name:
            case "write":
                at = self._at.get(descriptor, 0)
                self._did(Write(file, at, strings[0][:result]))
                self._at[descriptor] = at + result
            case "pwrite64":
                self._did(Write(file, int(plain[3]), strings[0][:result]))
            case "ftruncate":
                self._did(Truncate(file, int(plain[1])))
            case "fsync" | "fdatasync":
                self._did(Sync(file))
            case "fcntl":
                assert not plain[1].startswith("F_DUPFD"), "a descriptor is doubled"
            case _:
                raise AssertionError(f"{name} is not known to the recorder")

    def _inside(self, path: Path) -> bool:
        return path.is_relative_to(self._root)

    def _link(self, path: Path, *, is_directory: bool = False) -> int:
        file, self._next = self._next, self._next + 1
        self._names[path] = file
        self._did(Link(path, file, is_directory))
        return file

    def _opened(self, path: Path, flags: str, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        self._at[descriptor] = 0
        if path == self._notes:
            self._notes_fd = descriptor
        if not self._inside(path):
            return
        file = self._names.get(path)
        if file is None:
            file = self._link(path)
        elif "O_TRUNC" in flags:
            self._did(Truncate(file, 0))
        self._open[descriptor] = file

    def _renamed(self, old: Path, new: Path) -> None:
        file = self._names.pop(old, None)
        if file is not None:
            self._names[new] = file
            self._did(Link(new, file, instead_of=old))
