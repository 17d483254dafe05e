"""What happens in a tree reaches the journal: on a real kernel, with each back end.

After each story a barrier is taken; then the tree, the index and a replica made from the journal
alone must be equal in everything, and the replica is strict about what each record builds upon.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
from pathlib import Path

import pytest

from fakes.capturing import Captured
from staqraft.journal.record import ObjectType, Upsert

_libc = ctypes.CDLL(None, use_errno=True)


def rename(source: Path, target: Path, *, flags: int = 0) -> None:
    done = _libc.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags)
    assert done == 0, os.strerror(ctypes.get_errno())


def news(captured: Captured) -> list[tuple[str, bytes]]:
    """The changes since the last check, as (kind or content kind, path)."""
    before = len(captured.replica.records)
    captured.check()
    said: list[tuple[str, bytes]] = []
    for record in captured.replica.records[before:]:
        change = record.change
        what = type(change.content if isinstance(change, Upsert) else change).__name__
        if (
            isinstance(change, Upsert)
            and change.metadata.type is ObjectType.DIRECTORY
            and change.content is None
        ):
            continue  # times of directories
        said.append((what, record.path))
    return said


def test_a_tree_that_was_there_is_captured_whole(captured: Captured) -> None:
    assert captured.capture.status().complete
    assert set(captured.replica.objects) == {b"", b"kept", b"kept/file", b"other", b"note"}


def test_create_modify_and_delete(captured: Captured, root: Path) -> None:
    (root / "new").write_bytes(b"one")
    assert news(captured) == [("Inline", b"new")]
    (root / "new").write_bytes(b"two!")
    assert news(captured) == [("Inline", b"new")]
    (root / "new").unlink()
    assert news(captured) == [("Remove", b"new")]


def test_nothing_is_said_when_nothing_changed(captured: Captured, root: Path) -> None:
    (root / "note").write_bytes(b"a note")  # the same content, at another time
    assert news(captured) == [("NoneType", b"note")]
    (root / "brief").write_bytes(b"")
    (root / "brief").unlink()
    assert [path for _, path in news(captured) if path] == []


def test_metadata_travels_without_content(captured: Captured, root: Path) -> None:
    note = root / "note"
    os.chown(note, 1234, 567)
    note.chmod(0o4711)
    os.utime(note, ns=(1, 1_234_567_891_234_567_891))
    assert {what for what, _ in news(captured)} == {"NoneType"}
    (root / "kept").chmod(0o1777)
    os.utime(root / "other", ns=(5, 5_000_000_005))
    captured.check()
    assert captured.replica.objects[b"note"].metadata.mode == 0o4711
    assert captured.replica.objects[b"other"].metadata.mtime_ns == 5_000_000_005


@pytest.mark.parametrize("year", [-50_000, 1600, 1905, 2300, 2400, 9999, 50_000])
def test_times_far_from_ours(captured: Captured, root: Path, year: int) -> None:
    """Anybody may give a file one, and 64 bits of nanoseconds end in 2262."""
    at_s = (year - 1970) * 31_556_952
    (root / "far").write_bytes(b"away")
    os.utime(root / "far", ns=(1, at_s * 1_000_000_000 + 123_456_789))
    os.utime(root / "other", ns=(1, at_s * 1_000_000_000 + 1))
    captured.check()
    os.utime(root / "far", ns=(1, 5))
    (root / "far").rename(root / "other" / "far")
    captured.check()


def test_extended_attributes_and_acls(captured: Captured, root: Path) -> None:
    acl = bytes.fromhex(
        "02000000" "01000600ffffffff" "02000400e8030000" "04000400ffffffff"
        "10000400ffffffff" "20000400ffffffff"
    )  # fmt: skip
    os.setxattr(root / "note", "trusted.staq", b"\0value")
    os.setxattr(root / "note", "system.posix_acl_access", acl)
    os.setxattr(root / "kept", "system.posix_acl_default", acl)
    assert {what for what, _ in news(captured)} == {"NoneType"}
    xattrs = dict(captured.replica.objects[b"note"].metadata.xattrs)
    assert xattrs == {b"trusted.staq": b"\0value", b"system.posix_acl_access": acl}
    os.removexattr(root / "note", "trusted.staq")
    captured.check()


def test_files_are_renamed_without_content(captured: Captured, root: Path) -> None:
    (root / "note").rename(root / "kept" / "renamed")
    assert news(captured) == [("MovedFrom", b"kept/renamed")]
    (root / "kept" / "renamed").rename(root / "kept" / "file")  # over another
    assert news(captured) == [("MovedFrom", b"kept/file")]


def test_log_rotation_sends_no_log(captured: Captured, root: Path) -> None:
    for name in ("log", "log.1", "log.2"):
        (root / name).write_bytes(name.encode() * 3)
    captured.check()
    (root / "log.2").unlink()
    (root / "log.1").rename(root / "log.2")
    (root / "log").rename(root / "log.1")
    (root / "log").write_bytes(b"fresh")
    assert news(captured) == [("MovedFrom", b"log.2"), ("MovedFrom", b"log.1"), ("Inline", b"log")]


def test_exchanged_files_and_directories(captured: Captured, root: Path) -> None:
    (root / "second").write_bytes(b"the second file")
    for number in range(5):
        (root / "other" / f"{number}").write_bytes(b"%d" % number)
    captured.check()
    rename(root / "note", root / "second", flags=2)
    rename(root / "kept", root / "other", flags=2)
    assert [n for n in news(captured) if n[0] != "MovedFrom"] == []
    rename(root / "kept", root / "note", flags=2)  # a directory with a file
    captured.check()
    assert b"note/0" in captured.replica.objects


def test_directories_move_as_one(captured: Captured, root: Path) -> None:
    for number in range(30):
        (root / "kept" / f"{number}").write_bytes(b"x")
    captured.check()
    (root / "kept").rename(root / "other" / "moved")
    assert news(captured) == [("MovedFrom", b"other/moved")]
    (root / "other" / "moved" / "late").write_bytes(b"behind the move")
    (root / "other").rename(root / "else")
    (root / "else" / "moved" / "later").write_bytes(b"behind both")
    captured.check()
    (root / "empty").mkdir()
    captured.check()
    (root / "else" / "moved").rename(root / "empty")  # over an empty directory
    captured.check()


def test_a_directory_swaps_with_its_parent(captured: Captured, root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f").write_bytes(b"f")
    captured.check()
    (root / "a" / "b").rename(root / "c")
    (root / "a").rename(root / "c" / "a")
    captured.check()
    assert {b"c", b"c/a", b"c/f"} <= set(captured.replica.objects)


def test_directories_come_in_and_go_out(captured: Captured, root: Path, outside: Path) -> None:
    (outside / "in" / "deep" / "er").mkdir(parents=True)
    (outside / "in" / "deep" / "er" / "file").write_bytes(b"inside")
    (outside / "in").rename(root / "in")
    captured.check()
    (root / "in" / "deep" / "er" / "file").write_bytes(b"changed later")
    captured.check()
    (root / "in" / "deep").rename(outside / "gone")
    assert news(captured) == [("Remove", b"in/deep")]
    (outside / "gone" / "er" / "more").write_bytes(b"not ours any more")
    assert news(captured) == []
    (outside / "gone").rename(root / "back")
    captured.check()
    (root / "back" / "er" / "again").write_bytes(b"ours again")
    captured.check()


def test_a_replaced_directory_leaves_no_stale_children(captured: Captured, root: Path) -> None:
    (root / "kept" / "file").unlink()
    (root / "kept").rmdir()
    (root / "kept").mkdir()
    (root / "kept" / "file2").write_bytes(b"new")
    captured.check()
    (root / "kept" / "file2").unlink()
    (root / "kept").rmdir()
    (root / "kept").write_bytes(b"a file now")
    captured.check()
    (root / "kept").unlink()
    (root / "kept" / "deep").mkdir(parents=True)
    captured.check()


def test_hard_links(captured: Captured, root: Path, outside: Path) -> None:
    os.link(root / "note", root / "kept" / "link")
    assert news(captured) == [("HardLinkTo", b"kept/link")]
    with (root / "kept" / "link").open("ab") as file:
        file.write(b" and more")
    captured.check()
    (root / "note").chmod(0o600)
    captured.check()
    (root / "note").unlink()
    assert news(captured) == [("Remove", b"note")]
    os.link(root / "kept" / "link", root / "note")
    captured.check()
    (root / "temporary").write_bytes((root / "note").read_bytes())
    (root / "temporary").rename(root / "note")  # the same content, a file of its own
    captured.check()
    for name in ("one", "two", "three"):  # names that are new together
        if name == "one":
            (root / name).write_bytes(b"shared")
        else:
            os.link(root / "one", root / name)
    captured.check()


def test_symlinks_fifos_sockets_and_devices(captured: Captured, root: Path) -> None:
    (root / "dangling").symlink_to("../no/where")
    (root / "to-directory").symlink_to("kept")
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", 0o020666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)  # socket paths are short
        listener.bind("socket")
        os.chdir(here)
    captured.check()
    (root / "dangling").unlink()
    (root / "dangling").symlink_to("elsewhere")
    os.lchown(root / "to-directory", 7, 8)
    (root / "fifo").unlink()
    (root / "fifo").write_bytes(b"a file now")
    captured.check()
    assert captured.replica.objects[b"dangling"].metadata.symlink_target == b"elsewhere"


def test_names_that_are_not_utf_8(captured: Captured, root: Path) -> None:
    latin, utf8 = root / os.fsdecode(b"caf\xe9"), root / os.fsdecode(b"caf\xc3\xa9")
    latin.mkdir()
    (latin / os.fsdecode(b"\xff\xfe\n x")).write_bytes(b"latin")
    captured.check()
    latin.rename(utf8)
    assert news(captured) == [("MovedFrom", b"caf\xc3\xa9")]


def test_a_nameless_file_that_gets_a_name(captured: Captured, root: Path) -> None:
    fd = os.open(root / "kept", os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"written without a name")
    captured.check()
    done = _libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, bytes(root / "kept" / "named"), 0x400)
    assert done == 0
    os.close(fd)
    assert news(captured) == [("Inline", b"kept/named")]


def test_writes_through_a_mapping(captured: Captured, root: Path) -> None:
    (root / "mapped").write_bytes(bytes(8192))
    captured.check()
    with (root / "mapped").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[100:104] = b"mmap"
    captured.check()


def test_a_file_that_is_kept_open_is_captured_as_it_grows(captured: Captured, root: Path) -> None:
    with (root / "open").open("wb", buffering=0) as file:
        for number in range(20):
            file.write(b"%d\n" % number)
            if number % 5 == 0:
                captured.check()
    captured.check()


def test_a_file_that_vanishes_while_it_is_read(captured: Captured, root: Path) -> None:
    for number in range(200):
        path = root / f"brief-{number}"
        path.write_bytes(b"x" * 100)
        if number % 3:
            path.unlink()
        captured.capture.flush(everything=True)
    captured.check()


def test_an_append_to_a_big_file_sends_the_append(captured: Captured, root: Path) -> None:
    big = root / "mbox"
    big.write_bytes(os.urandom(24 << 20))
    captured.check()
    for _ in range(5):
        before = captured.replica.content_bytes
        with big.open("ab") as file:
            file.write(os.urandom(4096))
        captured.check()
        assert captured.replica.content_bytes - before == 4096
    before = captured.replica.content_bytes
    with big.open("r+b") as file:  # a flag in the middle and a new mail
        file.seek(10 << 20)
        file.write(b"Status: RO")
        file.seek(0, os.SEEK_END)
        file.write(b"From me\n")
    captured.check()
    assert captured.replica.content_bytes - before <= 3 * 4096
    before = captured.replica.content_bytes
    os.truncate(big, 5 << 20)
    captured.check()
    assert captured.replica.content_bytes == before


def test_many_changes_in_a_big_file_send_the_blocks(captured: Captured, root: Path) -> None:
    big = root / "database"
    big.write_bytes(os.urandom(16 << 20))
    captured.check()
    before = captured.replica.content_bytes
    with big.open("r+b") as file:
        for number in range(1000):
            file.seek(number * 16384)
            file.write(b"changed %d" % number)
    captured.check()
    assert captured.replica.content_bytes - before == 1000 * 4096


def test_a_small_file_that_grows_or_changes_in_place(captured: Captured, root: Path) -> None:
    path = root / "small"
    path.write_bytes(os.urandom(200_000))
    captured.check()
    before = captured.replica.content_bytes
    with path.open("ab") as file:
        file.write(b"tail")
    captured.check()
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b"middle")
    captured.check()
    assert captured.replica.content_bytes - before < 3 * 4096


def test_holes_are_not_sent(captured: Captured, root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"an island")
    before = captured.replica.content_bytes
    captured.check()
    assert captured.replica.content_bytes - before <= 64 << 10
    with (root / "sparse").open("r+b") as file:
        file.seek(40 << 20)
        file.write(b"another")
    captured.check()


def test_a_large_file_that_is_renamed_while_it_is_read(captured: Captured, root: Path) -> None:
    (root / ".upload").write_bytes(os.urandom(8 << 20))
    captured.capture.step(50)
    (root / ".upload").rename(root / "uploaded")
    captured.check()
    assert b".upload" not in captured.replica.objects


def test_moved_content_is_recognised_by_inode_not_by_number(captured: Captured, root: Path) -> None:
    for number in range(50):  # ext4 gives the number of a removed inode to the next file
        (root / "first").write_bytes(b"%d" % number)
        captured.settle()
        (root / "first").unlink()
        (root / "second").write_bytes(b"%d" % (number + 1))
        os.utime(root / "second", ns=(1, 1))
        captured.check()
        (root / "second").unlink()


def test_removing_everything_below_is_one_record(captured: Captured, root: Path) -> None:
    for number in range(40):
        path = root / "kept" / "deep" / f"{number}"
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"x")
    captured.check()
    for path in sorted((root / "kept").rglob("*"), reverse=True):  # as rm -r does
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "kept").rmdir()
    removed = [r for r in news(captured) if r == ("Remove", b"kept")]
    assert len(removed) == 1
