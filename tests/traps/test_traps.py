"""What a kernel does to those who watch files: each trap, on each filesystem, by each back end."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from fakes.capturing import Captured, capturing
from fakes.chattr import APPEND, IMMUTABLE, NO_DUMP, set_flags
from fakes.patience import LONG_MS
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.watcher import MakeSource
from staqraft.journal.record import Inline, Record, Remove, Upsert


def told(captured: Captured, since: int) -> list[Record]:
    return captured.replica.records[since:]


def mark(captured: Captured) -> int:
    captured.check()
    return len(captured.replica.records)


def in_time(captured: Captured, path: bytes, data: bytes) -> None:
    """Captures on, some minutes by its clock, until the replica has this content."""
    for _ in range(300):
        captured.settle()
        if captured.replica.objects[path].data == data:
            return
        captured.ahead_ms += 1_000
        captured.capture.step(1)
    now = captured.replica.objects[path].data
    raise AssertionError(f"{path!r} never became {data[:40]!r}: {now[:40]!r}")


# --- names ---------------------------------------------------------------------------------


def test_any_name_that_a_filesystem_takes(captured: Captured, root: Path) -> None:
    composed = unicodedata.normalize("NFC", "Müller-ﬁ").encode()
    decomposed = unicodedata.normalize("NFD", "Müller-ﬁ").encode()
    names = [
        composed, decomposed,  # two files: nobody normalises
        b"\xff\xfe\xfd", b"new\nline", b"tab\there", b"-rf", b" ", b"\\", b'"', b"'", b"*", b"[a]",
        b"\x01\x7f", b"...", b"a" * 255, "ü".encode() * 127 + b"x", b".staqraf", b"x.staqraft-y",
    ]  # fmt: skip
    for number, name in enumerate(names):
        (root / os.fsdecode(name)).write_bytes(b"%d" % number)
    seen = captured.check()
    assert set(names) <= set(seen)
    for name in names:
        (root / os.fsdecode(name)).rename(root / "other" / os.fsdecode(name))
    seen = captured.check()
    assert {b"other/" + name for name in names} <= set(seen)


def test_a_path_longer_than_the_kernel_takes_in_one_call(captured: Captured, root: Path) -> None:
    name = "d" * 250
    here = os.open(root, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    number = os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(number, b"at the bottom")
    os.close(number)
    captured.settle()
    bottom = b"/".join([name.encode()] * 20 + [b"deep"])
    assert captured.replica.objects[bottom].data == b"at the bottom"
    os.rename("deep", "deeper", src_dir_fd=here, dst_dir_fd=here)
    os.close(here)
    captured.settle()
    assert bottom + b"er" in captured.replica.objects
    assert bottom not in captured.replica.objects
    watcher = captured.capture._watcher
    known = watcher.directories.find("t", bottom.rpartition(b"/")[0])
    assert known is not None
    assert not watcher.is_gone(known)
    (root / name).rename(root / "short")
    captured.settle()
    assert b"short" in captured.replica.objects
    assert captured.capture.status().problems == ()


# --- what makes no event ---------------------------------------------------------------------

_MAPS = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
for line in sys.stdin:
    memory[10:10 + len(line)] = line.encode()
    print("written", flush=True)
"""


@contextmanager
def mapping(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that keeps a file mapped, and writes to the mapping what it is told."""
    with subprocess.Popen(
        [sys.executable, "-c", _MAPS, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline() == "mapped\n"
        yield program
        assert program.stdin is not None
        program.stdin.close()


def test_writes_through_a_mapping_that_is_kept_are_found_in_time(
    captured: Captured, root: Path
) -> None:
    for name in ("small", "large"):
        size = 8192 if name == "small" else 3 << 20
        (root / name).write_bytes(bytes(size))
        captured.check()
        with mapping(root / name) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write("a word\n")
            program.stdin.flush()
            assert program.stdout.readline() == "written\n"
            in_time(captured, name.encode(), (root / name).read_bytes())
            assert b"a word" in captured.replica.objects[name.encode()].data
            program.stdin.write("another word\n")  # to a page that is dirty already
            program.stdin.flush()
            assert program.stdout.readline() == "written\n"
            captured.settle()
            told = captured.replica.objects[name.encode()].data
            assert b"another word" in told, "a barrier looks at a mapping that is known"
    captured.check()


def test_chattr_tells_nothing_and_changes_nothing(captured: Captured, root: Path) -> None:
    log = root / "log"
    log.write_bytes(b"a line\n")
    since = mark(captured)
    try:
        set_flags(log, NO_DUMP)
        set_flags(root / "note", IMMUTABLE)
        set_flags(root / "other", APPEND)
        set_flags(log, APPEND)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
        pytest.skip("this filesystem has no such flags")
    try:
        captured.check()
        assert told(captured, since) == []
        with log.open("ab") as file:
            file.write(b"another\n")
        (root / "other" / "new").write_bytes(b"in a directory to which can be added only")
        captured.capture.scan("t")
        captured.check()
        assert captured.replica.objects[b"log"].data == b"a line\nanother\n"
    finally:
        for path in (root / "note", root / "other", log):
            set_flags(path, 0)


def test_names_that_only_the_other_end_of_a_link_tells(captured: Captured, root: Path) -> None:
    """An event names one of a file's names; each of the others has the change, too."""
    for number in range(3):
        os.link(root / "note", root / "other" / f"link{number}")
    captured.check()
    with (root / "other" / "link1").open("ab") as file:
        file.write(b", said under another name")
    (root / "other" / "link2").chmod(0o604)
    captured.check()
    (root / "other" / "link1").rename(root / "kept" / "link1")
    os.truncate(root / "note", 3)
    seen = captured.check()
    assert seen[b"kept/link1"].digest == seen[b"note"].digest


# --- files in motion -------------------------------------------------------------------------


def test_a_large_file_goes_while_it_is_read(captured: Captured, root: Path) -> None:
    def begin() -> None:
        (root / "big").write_bytes(os.urandom(6 << 20))
        for _ in range(50):  # a fast machine may be done at once
            captured.capture.step(10)
            if captured.capture.status().transfers:
                return

    begin()
    (root / "big").unlink()
    captured.check()
    assert b"big" not in captured.replica.objects
    begin()
    os.truncate(root / "big", 5)
    captured.check()
    begin()
    (root / "big").unlink()
    (root / "big").mkdir()  # another thing altogether
    (root / "big" / "inside").write_bytes(b"x")
    captured.check()
    assert captured.capture.status().problems == ()


def test_a_file_that_is_rewritten_without_a_pause_has_its_turn_and_no_more(
    captured: Captured, root: Path
) -> None:
    """It is sent again and again, but not as often as it changes; the others are not held up."""
    busy, size = root / "busy", 512 << 10
    busy.write_bytes(bytes(size))
    since, bytes_before = mark(captured), captured.replica.content_bytes
    stop, rewritten, times = threading.Event(), 0, 0

    def rewrite() -> None:
        nonlocal rewritten
        while not stop.is_set():
            busy.write_bytes(os.urandom(64) * (size // 64))
            rewritten += 1

    writer = threading.Thread(target=rewrite)
    begun_ms = captured.now_ms()
    writer.start()
    try:
        for _ in range(3_000):
            captured.capture.step(10)
            captured.replica.apply(captured.new_records())
            times = sum(record.path == b"busy" for record in told(captured, since))
            if times >= 5 and rewritten >= 40:
                break
    finally:
        stop.set()
        writer.join()
    assert times >= 5, "it starved"
    took_ms = captured.now_ms() - begun_ms
    sent = captured.replica.content_bytes - bytes_before
    assert sent <= (took_ms / 100 + 2) * (1 << 20), "a MiB is to make it wait for 100 ms"
    captured.check()


def test_a_file_that_is_replaced_while_it_is_looked_at(captured: Captured, root: Path) -> None:
    stop = threading.Event()

    def replace() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for temporary in (root / "a.tmp", root / "b.tmp"):
                temporary.write_bytes(b"%d" % number * 100)
                temporary.rename(root / "replaced")
            with contextlib.suppress(FileNotFoundError):
                (root / "replaced").unlink()

    replacing = threading.Thread(target=replace)
    replacing.start()
    try:
        for _ in range(60):
            captured.capture.step(1)
    finally:
        stop.set()
        replacing.join()
    captured.check()


# --- events that are lost ---------------------------------------------------------------------


def test_a_rescan_goes_on_in_pieces_and_the_stream_with_it(captured: Captured, root: Path) -> None:
    for number in range(120):
        (root / f"d{number}").mkdir()
        (root / f"d{number}" / "file").write_bytes(b"%d" % number)
    since = mark(captured)
    captured.capture.watcher.dirty.overflow()
    with_scan = 0
    for number in range(200):
        (root / "note").write_bytes(b"meanwhile %d" % number)
        captured.capture.step(0)
        with_scan += captured.capture.status().scanning > 0
        captured.replica.apply(captured.new_records())
        if with_scan and any(r.path == b"note" for r in told(captured, since)):
            break
    assert with_scan, "nothing was compared"
    assert any(record.path == b"note" for record in told(captured, since)), "it waited"
    captured.check()
    assert captured.capture.status().complete
    # What the index has already is not told again: a scan that begins anew goes on where it was.
    assert {r.path for r in told(captured, since)} <= {b"note", b""}


# --- roots ---------------------------------------------------------------------------------------


def removals(captured: Captured, since: int) -> list[bytes]:
    captured.replica.apply(captured.new_records())
    return [record.path for record in told(captured, since) if isinstance(record.change, Remove)]


def look_again(captured: Captured) -> None:
    captured.ahead_ms += 1_100
    captured.capture.step(0)


def problems(captured: Captured) -> str:
    return " ".join(captured.capture.status().problems)


def test_a_root_that_is_removed_emptied_or_replaced_removes_nothing(
    captured: Captured, root: Path, outside: Path
) -> None:
    for number in range(20):
        (root / f"{number}").write_bytes(b"x")
    since = mark(captured)
    root.rename(outside / "aside")
    look_again(captured)
    assert "is missing" in problems(captured)
    root.mkdir()
    look_again(captured)
    assert "is empty" in problems(captured)
    captured.capture.barrier(LONG_MS)
    assert removals(captured, since) == []
    root.rmdir()
    (outside / "aside").rename(root)
    (root / "1").unlink()
    look_again(captured)
    captured.check()
    assert problems(captured) == ""
    assert removals(captured, since) == [b"1"]


# --- mounts --------------------------------------------------------------------------------------


def mount(*arguments: object) -> None:
    done = subprocess.run(
        ["mount", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(done.stderr.strip())


def unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def mounted_at(path: Path, *arguments: object) -> Iterator[None]:
    mount(*arguments, path)
    try:
        yield
    finally:
        unmount(path)


def visible_but(captured: Captured, *hidden: bytes) -> set[bytes]:
    return {p for p in captured.replica.objects if not any(p.startswith(h + b"/") for h in hidden)}


@pytest.mark.parametrize("what", ["another directory", "part of the tree", "another filesystem"])
def test_what_is_mounted_in_a_tree_is_not_the_trees(
    captured: Captured, root: Path, outside: Path, what: str
) -> None:
    (outside / "elsewhere" / "deep").mkdir(parents=True)
    (outside / "elsewhere" / "deep" / "foreign").write_bytes(b"not the tree's")
    since = mark(captured)
    source = {
        "another directory": ("--bind", outside / "elsewhere"),
        "part of the tree": ("--bind", root / "other"),
        "another filesystem": ("-t", "tmpfs", "tmpfs"),
    }[what]
    with mounted_at(root / "kept", *source):
        look_again(captured)
        (root / "kept" / "written").write_bytes(b"through the mount")
        captured.capture.scan("t")
        captured.settle()
        assert "'kept' is a mount point" in problems(captured)
        assert captured.replica.objects[b"kept/file"].data == b"as it was", "hidden, not gone"
        assert b"kept/written" not in captured.replica.objects
        assert b"kept/deep" not in captured.replica.objects
        assert removals(captured, since) == []
    look_again(captured)
    (root / "kept" / "later").write_bytes(b"visible again")
    captured.check()
    assert problems(captured) == ""


def test_a_subvolume_in_a_tree_is_not_the_trees(captured: Captured, root: Path) -> None:
    made = ["btrfs", "-q", "subvolume", "create", str(root / "kept" / "sub")]
    done = subprocess.run(made, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"only btrfs has them: {done.stderr.strip()}")
    (root / "kept" / "sub" / "inside").write_bytes(b"not the tree's")
    (root / "kept" / "beside").write_bytes(b"the tree's")
    captured.settle()
    assert "'kept/sub' is a mount point, a btrfs subvolume" in problems(captured)
    assert b"kept/beside" in captured.replica.objects
    assert b"kept/sub/inside" not in captured.replica.objects
    captured.capture.scan("t")
    captured.settle()
    assert b"kept/sub/inside" not in captured.replica.objects


def test_a_mount_that_was_there_first(
    root: Path, outside: Path, state: Path, backend: MakeSource
) -> None:
    with ExitStack() as stack:
        stack.enter_context(mounted_at(root / "kept", "--bind", root / "other"))
        (root / "other" / "x").write_bytes(b"one file, seen at two places")
        captured = stack.enter_context(capturing(root, state, state / "run", backends=[backend]))
        assert set(captured.replica.objects) == {b"", b"note", b"other", b"other/x"}
        assert "mount point" in problems(captured)
        (root / "kept" / "y").write_bytes(b"by way of the mount")
        captured.settle()
        assert captured.replica.objects[b"other/y"].data == b"by way of the mount"


def test_a_root_that_is_unmounted_removes_nothing(
    outside: Path, state: Path, backend: MakeSource
) -> None:
    (outside / "data").mkdir()
    root = outside / "data-mounted"
    root.mkdir()
    with ExitStack() as stack:
        with mounted_at(root, "--bind", outside / "data"):
            for number in range(20):
                (root / f"{number}").write_bytes(b"x")
            captured = stack.enter_context(
                capturing(root, state, state / "run", backends=[backend])
            )
            since = mark(captured)
        look_again(captured)
        captured.capture.barrier(LONG_MS)
        assert removals(captured, since) == []
        assert "is empty" in problems(captured)
        (outside / "data" / "3").unlink()
        with mounted_at(root, "--bind", outside / "data"):
            look_again(captured)
            captured.check()
            assert removals(captured, since) == [b"3"]


def test_a_tree_on_an_overlayfs(outside: Path, state: Path, backend: MakeSource) -> None:
    lower, upper, work, root = (outside / name for name in ("lower", "upper", "work", "merged"))
    for directory in (lower / "sub", upper, work, root):
        directory.mkdir(parents=True)
    (lower / "from-below").write_bytes(b"a layer below")
    (lower / "sub" / "file").write_bytes(b"another")
    (lower / "gone").write_bytes(b"x")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    with ExitStack() as stack:
        stack.enter_context(mounted_at(root, "-t", "overlay", "-o", options, "overlay"))
        captured = stack.enter_context(capturing(root, state, state / "run"))
        assert captured.capture.status().backend in ("fanotify", "inotify")
        captured.check()
        with (root / "from-below").open("ab") as file:  # copied up: another inode below
            file.write(b", written to")
        (root / "sub" / "file").chmod(0o600)
        (root / "sub" / "new").write_bytes(b"new")
        (root / "gone").unlink()
        captured.check()
        (root / "sub" / "new").rename(root / "new")
        (root / "gone").mkdir()
        captured.check()
        (root / "sub" / "again").write_bytes(b"x")
        captured.capture.scan("t")
        captured.check()


# --- our own writes ------------------------------------------------------------------------------


def test_what_this_process_writes_itself_can_be_passed_over(root: Path, state: Path) -> None:
    quiet = partial(FanotifySource, ignore_pid=os.getpid())
    with capturing(root, state, state / "run", backends=[quiet]) as captured:
        since = mark(captured)
        (root / "note").write_bytes(b"applied by us")
        (root / "ours").mkdir()
        captured.settle()
        subprocess.run(["sh", "-c", f"echo theirs > '{root}/ours/file'"], check=True)
        captured.settle()
        contents = {
            r.path for r in told(captured, since)
            if isinstance(r.change, Upsert) and isinstance(r.change.content, Inline)
        }  # fmt: skip
        assert contents == {b"ours/file"}
        captured.capture.scan("t")
        captured.check()
