"""On btrfs an open directory lists what it held when it was opened, or listed to its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.grounds import mounted
from fakes.source_tree import TREE, nothing_excluded
from fakes.standby import Standby
from staqraft.apply.localscan import scan_tree
from staqraft.index import content_digest
from staqraft.journal.record import Inline, Metadata, ObjectType, Record, Remove, Upsert
from staqraft.model import Epoch, Position

A_FILE = b"a file"
A_DIRECTORY = Metadata(type=ObjectType.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=7)


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[Standby]:
    try:
        with mounted("btrfs", tmp_path / "btrfs") as ground:
            yield Standby(ground)
    except RuntimeError as error:
        pytest.skip(str(error))


def test_what_came_since_is_found_by_a_scan(standby: Standby) -> None:
    assert scan_tree(standby.root, standby.index, nothing_excluded) > 0
    standby.root.directory(b"")  # as who applies keeps it open
    (standby.path / "new").write_bytes(A_FILE)
    assert scan_tree(standby.root, standby.index, nothing_excluded) > 0
    assert standby.index.get(TREE, b"new") is not None


def test_what_is_removed_leaves_nothing_behind(standby: Standby) -> None:
    file = Upsert(
        metadata=Metadata(
            type=ObjectType.FILE, mode=0o644, uid=0, gid=0, mtime_ns=7, size=len(A_FILE)
        ),
        digest=content_digest(A_FILE),
        content=Inline(A_FILE),
    )
    changes: list[tuple[bytes, Upsert | Remove]] = [
        (b"", Upsert(metadata=A_DIRECTORY)),
        (b"one", file),
        (b"two", file),
        (b"one", Remove()),
        (b"two", Remove()),
    ]
    records = [
        Record(tree=TREE, path=path, change=change, position=Position(Epoch(1), seq))
        for seq, (path, change) in enumerate(changes, 1)
    ]
    assert standby.apply_and_commit(records[:3]) == []
    for record in records[3:]:
        standby.root.staging()  # as who applies keeps it open
        assert standby.apply_and_commit([record]) == []
    assert [*(standby.path / ".staqraft-staging").iterdir()] == []
