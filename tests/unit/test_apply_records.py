"""The applier: what the source tells, the standby's tree becomes, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import random
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.chattr import APPEND, IMMUTABLE, set_flags
from fakes.source_tree import TREE, SourceTree
from fakes.standby import Standby
from lab.compare import differences, manifest
from staqraft.apply.observe import identity_of, look, metadata_at
from staqraft.capture.objects import read_state
from staqraft.errors import ApplyError, PathEscape
from staqraft.journal.record import Inline, Metadata, MovedFrom, ObjectType, Record, Remove, Upsert
from staqraft.model import Epoch, Position

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceTree]:
    tree = SourceTree(tmp_path / "source")
    tree.tell(b"")
    yield tree
    tree.close()


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Standby]:
    made = Standby(tmp_path / "standby")
    yield made
    made.close()


def assert_equal(source: SourceTree, standby: Standby) -> None:
    found = differences(manifest(source.path), manifest(standby.path))
    assert not found, "\n".join(map(str, found[:10]))


@needs_root
def test_every_kind_of_object_arrives_with_all_its_metadata(
    source: SourceTree, standby: Standby
) -> None:
    source.mkdir(b"directory")
    source.write(b"directory/setuid", b"#!")
    os.chown(source.path / "directory/setuid", 1234, 4321)
    os.setxattr(source.path / "directory/setuid", "user.colour", b"blue")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(source.path / "directory/setuid", "security.capability", capability)
    source.touch(b"directory/setuid", 0o6755, 1_234_567_890_123_456_789)
    source.write(b"caf\xe9-not-utf8", b"x")
    source.write(b"sparse", b"a" + bytes(100_000) + b"b")
    source.symlink(b"link", b"/nowhere/at all")
    os.chown(source.path / "link", 7, 8, follow_symlinks=False)
    os.utime(source.path / "link", ns=(5, 5), follow_symlinks=False)
    source.tell(b"link")
    source.link(b"second-name", b"sparse")
    os.mkfifo(source.path / "fifo", 0o620)
    source.tell(b"fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source.path / "socket"))
    source.tell(b"socket")
    os.mknod(source.path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    source.tell(b"null")
    acl = bytes.fromhex(
        "0200000001000600ffffffff02000600d204000004000400ffffffff10000600ffffffff20000000ffffffff"
    )
    os.setxattr(source.path / "directory", "system.posix_acl_default", acl)
    os.setxattr(source.path / "caf\udce9-not-utf8", "system.posix_acl_access", acl)
    source.tell(b"caf\xe9-not-utf8")
    source.touch(b"directory", 0o2770, 42)
    source.tell_parent(b"x")

    wrong = standby.apply_and_commit(source.records)

    assert wrong == []
    assert_equal(source, standby)
    assert (standby.path / "sparse").stat().st_blocks * 512 < 100_000
    assert standby.applier.healed == 0


@needs_root
def test_capture_and_apply_see_the_same_metadata(tmp_path: Path) -> None:
    """Else a standby would find differences where there are none."""
    file = tmp_path / "f"
    file.write_bytes(b"x")
    os.setxattr(file, "user.colour", b"blue")
    os.setxattr(file, "trusted.overlay.opaque", b"y")
    (tmp_path / "link").symlink_to("f")
    os.setxattr(tmp_path / "link", "trusted.note", b"1", follow_symlinks=False)
    os.mkfifo(tmp_path / "fifo")
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for name in (b"f", b"link", b"fifo"):
        found = look(directory, name)
        captured = read_state(directory, name)
        assert found is not None
        assert captured is not None
        assert metadata_at(directory, name, found) == captured.metadata
        assert identity_of(found) == captured.identity
    os.close(directory)


def test_an_attribute_that_went_away_goes_away(source: SourceTree, standby: Standby) -> None:
    source.write(b"f", b"x")
    os.setxattr(source.path / "f", "user.one", b"1")
    source.tell(b"f")
    os.removexattr(source.path / "f", "user.one")
    os.setxattr(source.path / "f", "user.two", b"2")
    source.tell(b"f")
    standby.apply_and_commit(source.records)
    assert_equal(source, standby)


def test_a_type_change_replaces_a_whole_directory(source: SourceTree, standby: Standby) -> None:
    source.mkdir(b"thing")
    source.write(b"thing/inside", b"x")
    source.remove(b"thing")
    source.write(b"thing", b"now a file")
    source.remove(b"thing")
    source.symlink(b"thing", b"now a link")
    standby.apply_and_commit(source.records)
    assert_equal(source, standby)


def test_pieces_change_a_file_in_place(source: SourceTree, standby: Standby) -> None:
    source.write(b"mbox", b"a" * 50_000)
    standby.apply_and_commit(source.records)
    inode = (standby.path / "mbox").stat().st_ino
    source.change(b"mbox", 50_000, b"appended")
    source.change(b"mbox", 100, b"in the middle")
    wrong = standby.apply_and_commit(source.records[-2:])
    assert wrong == []
    assert (standby.path / "mbox").stat().st_ino == inode
    assert_equal(source, standby)


@pytest.mark.parametrize("seed", range(25))
def test_a_kill_at_any_record_costs_nothing(
    source: SourceTree, standby: Standby, seed: int
) -> None:
    """The disk has the future, the index the past; no fetch is needed."""
    dice = random.Random(seed)
    source.live(dice, 60)
    records = source.records
    done = 0
    while done < len(records) and dice.random() < 0.8:
        kept = dice.randrange(done, len(records) + 1)
        standby.apply(records[done:kept])
        standby.applier.settle()
        standby.applier.commit(records[kept - 1].position if kept else Position())
        died_at = dice.randrange(kept, len(records) + 1)
        standby.apply(records[kept:died_at])
        done = standby.restart(records, in_the_middle=died_at > kept)
    wrong = standby.apply_and_commit(records[done:])
    assert [record.path for record in wrong] == []
    assert_equal(source, standby)


@pytest.mark.parametrize("seed", range(3))
def test_every_record_executed_twice_is_harmless(
    source: SourceTree, standby: Standby, seed: int
) -> None:
    """Killed behind each record, before it was marked as done."""
    source.live(random.Random(100 + seed), 40)
    for record in source.records:
        standby.apply([record])
        standby.restart(source.records, in_the_middle=True)
        standby.apply([record])
        if record.position.seq % 7 == 0:
            assert standby.applier.settle() == []
            standby.applier.commit(record.position)
    assert standby.apply_and_commit(source.records[-1:]) == []
    assert_equal(source, standby)


def test_a_change_by_another_hand_is_noticed_and_named(
    source: SourceTree, standby: Standby
) -> None:
    source.write(b"f", b"a" * 10_000)
    standby.apply_and_commit(source.records)
    (standby.path / "f").write_bytes(b"tampered")
    source.change(b"f", 0, b"b")
    wrong = standby.apply_and_commit(source.records[-1:])
    assert [record.path for record in wrong] == [b"f"]
    standby.restart()
    assert [record.path for record in standby.applier.settle()] == [b"f"], "forgotten in a crash"


def test_a_move_whose_source_is_not_there_is_named(source: SourceTree, standby: Standby) -> None:
    source.write(b"f", b"x")
    standby.apply_and_commit(source.records)
    (standby.path / "f").unlink()
    source.move(b"f", b"g")
    wrong = standby.apply_and_commit(source.records[-3:])
    assert [record.path for record in wrong] == [b"g"]


@pytest.mark.parametrize(
    "path",
    [
        b"../outside",
        b"/etc/passwd",
        b"a/../../b",
        b"a//b",
        b"a/",
        b"./a",
        b"a\0b",
        b"..",
        b".staqraft-staging/x",
    ],
)
@pytest.mark.parametrize("kind", ["upsert", "remove", "source"])
def test_a_path_out_of_the_tree_is_refused(standby: Standby, path: bytes, kind: str) -> None:
    metadata = Metadata(type=ObjectType.FILE, mode=0o644, uid=0, gid=0, mtime_ns=0, size=1)
    upsert = Upsert(metadata=metadata, digest=bytes(16), content=Inline(b"x"))
    match kind:
        case "upsert":
            record = Record(tree=TREE, path=path, change=upsert)
        case "remove":
            record = Record(tree=TREE, path=path, change=Remove())
        case _:
            record = Record(tree=TREE, path=b"x", change=replace(upsert, content=MovedFrom(path)))
    with pytest.raises(PathEscape):
        standby.applier.apply(record)


def test_a_symbolic_link_in_the_middle_is_not_followed(standby: Standby, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (standby.path / "way").symlink_to(outside)
    metadata = Metadata(type=ObjectType.FILE, mode=0o644, uid=0, gid=0, mtime_ns=0, size=1)
    upsert = Upsert(metadata=metadata, digest=bytes(16), content=Inline(b"x"))
    for path in (b"way/in", b"way/further/in"):
        standby.applier.apply(Record(tree=TREE, path=path, change=upsert))
        standby.applier.apply(Record(tree=TREE, path=path, change=Remove()))
        standby.applier.apply(Record(tree=TREE, path=path, change=upsert))
    assert list(outside.iterdir()) == []
    assert [r.path for r in standby.applier.settle()] == [b"way/further/in", b"way/in"]


def test_a_symbolic_link_at_the_end_is_replaced_not_followed(
    source: SourceTree, standby: Standby, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep")
    source.write(b"f", b"new")
    (standby.path / "f").symlink_to(outside)
    standby.apply_and_commit(source.records)
    assert outside.read_bytes() == b"keep"
    assert_equal(source, standby)


def test_the_root_is_never_removed(standby: Standby) -> None:
    with pytest.raises(ApplyError, match="root is never removed"):
        standby.applier.apply(
            Record(tree=TREE, path=b"", change=Remove(), position=Position(Epoch(1), 1))
        )


def test_a_record_older_than_a_fetched_state_is_passed_over(
    source: SourceTree, standby: Standby
) -> None:
    source.write(b"f", b"old")
    old = source.records[-2]
    source.write(b"f", b"new")
    standby.apply(source.records)
    standby.applier.apply(old)
    assert (standby.path / "f").read_bytes() == b"new"


def test_what_stands_where_a_new_file_comes_is_put_aside_not_destroyed(
    source: SourceTree, standby: Standby
) -> None:
    source.write(b"mail", b"delivered")
    (standby.path / "mail").write_bytes(b"unknown here")
    inode = (standby.path / "mail").stat().st_ino
    standby.apply(source.records)
    staged = {path.stat().st_ino for path in (standby.path / ".staqraft-staging").iterdir()}
    assert inode in staged
    assert (standby.path / "mail").read_bytes() == b"delivered"


def test_a_renamed_file_is_not_believed_when_another_hand_touched_it(
    source: SourceTree, standby: Standby
) -> None:
    source.write(b"mail", b"delivered")
    standby.apply(source.records)
    told = len(source.records)
    before = (standby.path / "mail").stat()
    (standby.path / "mail").write_bytes(b"tampered!")
    os.utime(standby.path / "mail", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    source.move(b"mail", b"mail:2,S")
    standby.apply(source.records[told:])
    assert [record.path for record in standby.applier.unsettled.records()] == [b"mail:2,S"]


def test_files_arrive_on_a_filesystem_without_nameless_files(
    source: SourceTree, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: bytes, flags: int, *more: int, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return opened(path, flags, *more, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    source.live(random.Random(21), 60)
    standby.apply_and_commit(source.records)
    assert_equal(source, standby)
    assert not standby.applier.unsettled


@needs_root
def test_what_chattr_protects_on_a_standby_is_no_obstacle(
    source: SourceTree, standby: Standby
) -> None:
    """A node that was active may have such files; the active's changes are what counts."""
    source.mkdir(b"d")
    source.mkdir(b"d/below")
    for name in (b"changed", b"replaced", b"moved", b"removed", b"linked", b"below/file"):
        source.write(b"d/" + name, bytes(8000))
    standby.apply_and_commit(source.records)
    done = len(source.records)
    try:
        for protected in (*standby.path.rglob("*"),):
            if not protected.is_relative_to(standby.path / ".staqraft-staging"):
                set_flags(protected, APPEND if protected.name == "linked" else IMMUTABLE)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise
        pytest.skip("this filesystem has no such flags")
    source.change(b"d/changed", 100, b"in place")
    source.write(b"d/replaced", b"anew")
    source.move(b"d/moved", b"d/there")
    source.remove(b"d/removed")
    source.link(b"d/link", b"d/linked")
    source.write(b"d/new", b"in a protected directory")
    source.touch(b"d/link", 0o640, 10**18)
    source.remove(b"d/below")
    assert standby.apply_and_commit(source.records[done:]) == []
    assert standby.applier.healed == 0
    assert_equal(source, standby)
    assert list((standby.path / ".staqraft-staging").iterdir()) == []
