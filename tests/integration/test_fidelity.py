"""Everything that a file has: after a first copy, after live changes, by each back end."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from fakes.data_pair import DataNode, data_pair
from fakes.stream_pair import use_backend

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")

OLD_NS = 1_234_567_890_123_456_789
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
ACL = bytes.fromhex(
    "02000000" "01000600ffffffff" "02000400e8030000" "04000400ffffffff"
    "10000400ffffffff" "20000400ffffffff"
)  # fmt: skip
NAMES = (
    b"caf\xe9 not UTF-8", "mu\u0308ller NFD".encode(), "müller NFC".encode(), b"new\nline",
    b"a" * 255, b" ", b"-rf", b"\\back\xff",
)  # fmt: skip


def make_everything(tree: Path) -> None:
    """One of each kind, with each attribute that it can have."""
    (tree / "empty directory").mkdir(parents=True)
    (tree / "empty file").write_bytes(b"")
    for name in NAMES:
        (tree / os.fsdecode(name)).write_bytes(name)
    plain = tree / "plain"
    plain.write_bytes(os.urandom(10_000))
    os.chown(plain, 1234, 4321)
    plain.chmod(0o6751)
    os.setxattr(plain, "user.colour", b"blue\0green")
    os.setxattr(plain, "trusted.note", b"")
    os.setxattr(plain, "security.capability", CAPABILITY)
    (tree / "acl").write_bytes(b"")
    os.setxattr(tree / "acl", "system.posix_acl_access", ACL)
    shared = tree / "sticky, with a default acl"
    shared.mkdir()
    os.setxattr(shared, "system.posix_acl_default", ACL)
    shared.chmod(0o3777)
    (shared / "inherited").write_bytes(b"x")
    os.link(plain, shared / "hard link")
    os.link(plain, tree / "another name")
    (tree / "symlink").symlink_to("../no where/\udcff")
    os.lchown(tree / "symlink", 77, 88)
    os.utime(tree / "symlink", ns=(1, OLD_NS), follow_symlinks=False)
    os.setxattr(tree / "symlink", "trusted.link", b"1", follow_symlinks=False)
    with (tree / "sparse").open("wb") as file:
        file.truncate(20 << 20)
        file.seek(10 << 20)
        file.write(b"an island")
    (tree / "large").write_bytes(os.urandom(3 << 20))
    os.mkfifo(tree / "fifo", 0o620)
    os.mknod(tree / "character", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "block", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    here = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)
    os.utime(plain, ns=(1, OLD_NS))
    for directory in (shared, tree / "empty directory", tree):
        os.utime(directory, ns=(1, OLD_NS + 1))


def change_everything(tree: Path) -> None:
    """Of all that is there already, something."""
    plain = tree / "plain"
    os.chown(plain, 2345, 5432)  # which takes setuid and the capability away
    plain.chmod(0o4755)
    os.removexattr(plain, "user.colour")
    os.setxattr(plain, "user.shape", b"round")
    os.removexattr(tree / "acl", "system.posix_acl_access")
    (tree / "sticky, with a default acl" / "hard link").unlink()
    os.link(tree / "large", tree / "large too")
    (tree / "symlink").unlink()
    (tree / "symlink").symlink_to("elsewhere")
    os.lchown(tree / "symlink", 5, 6)
    with (tree / "sparse").open("r+b") as file:
        file.seek(15 << 20)
        file.write(b"another")
    (tree / "fifo").chmod(0o606)
    (tree / "block").unlink()
    os.mknod(tree / "block", stat.S_IFBLK | 0o640, os.makedev(8, 1))
    (tree / "empty directory").rename(tree / "renamed")
    os.utime(tree / "large", ns=(1, OLD_NS + 2))
    os.utime(tree, ns=(1, OLD_NS + 3))


def numbers_of_devices(tree: Path) -> dict[str, int]:
    found = {path: path.lstat() for path in tree.rglob("*")}
    return {
        str(path.relative_to(tree)): status.st_rdev
        for path, status in found.items()
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    }


def assert_as_lean(one: DataNode, other: DataNode, *paths: str) -> None:
    for path in paths:
        blocks = [(node.tree / path).stat().st_blocks * 512 for node in (one, other)]
        assert blocks[1] <= blocks[0] + (64 << 10), f"{path} lost its holes"


@needs_root
@pytest.mark.parametrize("backend", ["fanotify", "inotify"])
async def test_nothing_of_a_file_is_lost(backend: str) -> None:
    async with data_pair() as pair:
        for node in (pair.a, pair.b):
            await node.stop_processes()
            use_backend(node.tree.parent, backend)
            node.start()
        make_everything(pair.a.tree / "first")
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        assert_as_lean(pair.a, pair.b, "first/sparse")
        make_everything(pair.a.tree / "live")
        await pair.settle(pair.a, pair.b)
        change_everything(pair.a.tree / "first")
        change_everything(pair.a.tree / "live")
        await pair.settle(pair.a, pair.b)
        assert numbers_of_devices(pair.a.tree) == numbers_of_devices(pair.b.tree)
        assert_as_lean(pair.a, pair.b, "first/sparse", "live/sparse")
        status = await pair.b.status()
        assert (status.healed, len(await pair.b.quarantine())) == (0, 0)
