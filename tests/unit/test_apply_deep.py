"""Trees deeper than Python's stack, and paths longer than the kernel takes in one call.

Anybody who may write to a tree makes them by a loop, and they are not to stop anything.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.scratch import memory_directory
from fakes.source_tree import TREE, nothing_excluded
from fakes.standby import Standby
from staqraft.apply.localscan import scan_tree, unknown_files
from staqraft.apply.safety import open_beneath
from staqraft.errors import PathEscape
from staqraft.index import content_digest
from staqraft.journal.record import Inline, Metadata, ObjectType, Record, Remove, Upsert
from staqraft.model import Epoch, Position

DEEP = (b"d", 1500)
LONG = (b"l" * 250, 20)
A_FILE = b"at the bottom"
kinds = pytest.mark.parametrize(("name", "depth"), [DEEP, LONG], ids=["deep", "long"])


def numbered(*changes: tuple[bytes, Upsert | Remove], after: int = 0) -> list[Record]:
    return [
        Record(tree=TREE, path=path, change=change, position=Position(Epoch(1), seq))
        for seq, (path, change) in enumerate(changes, start=after + 1)
    ]


def made(name: bytes, depth: int) -> list[Record]:
    """The root, the directories in each other, and a file in the last."""
    above = Upsert(
        metadata=Metadata(type=ObjectType.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=5)
    )
    file = Upsert(
        metadata=Metadata(
            type=ObjectType.FILE, mode=0o644, uid=0, gid=0, mtime_ns=7, size=len(A_FILE)
        ),
        digest=content_digest(A_FILE),
        content=Inline(A_FILE),
    )
    directories = [b"/".join([name] * n) for n in range(depth + 1)]
    return numbered(*[(path, above) for path in directories], (directories[-1] + b"/file", file))


def content(standby: Standby, path: bytes) -> bytes:
    directory, _, name = path.rpartition(b"/")
    above = open_beneath(standby.root.fd, directory)
    number = os.open(name, os.O_RDONLY, dir_fd=above)
    try:
        return os.read(number, 100)
    finally:
        os.close(number)
        os.close(above)


@pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
@kinds
def test_they_are_applied_looked_at_again_and_removed(name: bytes, depth: int) -> None:
    with memory_directory() as base:
        standby = Standby(base)
        records = made(name, depth)
        bottom = records[-1].path
        assert standby.apply_and_commit(records) == []
        assert content(standby, bottom) == A_FILE

        standby.restart(records)
        assert standby.index.get(TREE, bottom) is not None, "with nothing in memory"
        assert scan_tree(standby.root, standby.index, nothing_excluded) == 0
        assert unknown_files(standby.root, standby.index, name) == []

        gone = numbered((name, Remove()), after=len(records))
        assert standby.apply_and_commit(gone) == []
        staging = standby.path / ".staqraft-staging"
        assert [*standby.path.iterdir()] == [staging]
        assert [*staging.iterdir()] == []
        standby.close()


@kinds
def test_a_link_in_them_is_no_way_out_either(name: bytes, depth: int, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree").mkdir()
    here = top = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        if here != top:
            os.close(here)
        here = below
    os.symlink(tmp_path / "outside", "link", dir_fd=here)
    path = b"/".join([name] * depth)
    with pytest.raises(NotADirectoryError):
        open_beneath(top, path + b"/link")
    with pytest.raises((PathEscape, FileNotFoundError)):
        open_beneath(top, path + b"/.." * (depth + 1) + b"/outside")
    os.close(here)
    os.close(top)
    os.system(f"rm -rf {tmp_path}/tree")
