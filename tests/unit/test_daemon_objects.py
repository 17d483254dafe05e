"""What the active gives to a standby that asks for objects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.records import BOOT, MAIL
from fakes.stream_pair import A, lab_config
from staqraft.apply.localscan import scan_tree
from staqraft.apply.quarantine import Quarantine
from staqraft.apply.safety import TreeRoot
from staqraft.daemon.trees_common import Common
from staqraft.daemon.trees_objects import Objects
from staqraft.errors import ReplicationError
from staqraft.index import Index
from staqraft.journal.record import Change, Inline, Remove, Upsert
from staqraft.journal.record_codec import decode

TREE = "mail"


class Giving:
    """A tree that the index knows, and what is suspected in it."""

    def __init__(self, base: Path) -> None:
        config = lab_config(base, A, 1)
        group = config.groups[MAIL]
        self.tree = group.trees[0].path
        self.tree.mkdir(parents=True)
        directory = config.group_dir(MAIL)
        directory.mkdir(parents=True)
        self.index = Index.open(directory / "index.sqlite")
        common = Common(
            config=config,
            group=group,
            index=self.index,
            quarantine=Quarantine(directory / "quarantine", lambda: 0),
            boot_id=BOOT,
            clock_ms=lambda: time.monotonic_ns() // 1_000_000,
            wall_ms=lambda: time.time_ns() // 1_000_000,
            ring_stream=lambda: None,
        )
        self.suspects: list[tuple[bytes, bool]] = []
        self.root_problem = ""
        self._objects = Objects(
            common, self._suspect, lambda _found: None, lambda _tree: self.root_problem
        )

    def _suspect(self, tree: str, path: bytes, *, given: bool) -> None:
        assert tree == TREE
        self.suspects.append((path, given))

    def captured(self) -> None:
        """The index knows what is there now."""
        root = TreeRoot(TREE, self.tree)
        scan_tree(root, self.index, lambda _path, _is_directory: False)
        root.close()

    def give(self, path: bytes, have: bytes = b"") -> Change:
        frames = b"".join(self._objects.whole(TREE, [path], [have]))
        (record,) = decode(frames)
        assert record.path == path
        return record.change


@pytest.fixture
def giving(tmp_path: Path) -> Iterator[Giving]:
    made = Giving(tmp_path)
    (made.tree / "dir").mkdir()
    (made.tree / "dir" / "file").write_bytes(b"content")
    made.captured()
    yield made
    made.index.close()


def test_a_content_that_is_there_is_not_given_again(giving: Giving) -> None:
    entry = giving.index.get(TREE, b"dir/file")
    assert entry is not None
    assert giving.give(b"dir/file", entry.digest) == Upsert(
        metadata=entry.metadata, digest=entry.digest
    )
    whole = giving.give(b"dir/file", bytes(16))
    assert isinstance(whole, Upsert)
    assert whole.content == Inline(b"content")
    (giving.tree / "dir" / "file").write_bytes(b"another")  # not captured yet
    whole = giving.give(b"dir/file", entry.digest)
    assert isinstance(whole, Upsert)
    assert whole.content == Inline(b"another")
    assert giving.suspects == []


def test_a_content_of_a_file_with_more_names_is_given(giving: Giving) -> None:
    (giving.tree / "dir" / "name").hardlink_to(giving.tree / "dir" / "file")
    giving.captured()
    entry = giving.index.get(TREE, b"dir/file")
    assert entry is not None
    frames = b"".join(giving._objects.whole(TREE, [b"dir/file"], [entry.digest]))
    first, second = decode(frames)
    assert isinstance(first.change, Upsert)
    assert first.change.content == Inline(b"content")
    assert second.path == b"dir/name"


def test_what_was_not_written_so_is_suspected(giving: Giving) -> None:
    entry = giving.index.get(TREE, b"dir/file")
    assert entry is not None
    giving.index.put(TREE, replace(entry, digest=b"of what was written"[:16]))
    whole = giving.give(b"dir/file")
    assert isinstance(whole, Upsert)
    assert whole.content == Inline(b"content"), "there is nothing better"
    assert giving.suspects == [(b"dir/file", True)]


def test_nothing_is_gone_while_the_root_is(giving: Giving) -> None:
    assert giving.give(b"dir/never") == Remove()
    giving.tree.rename(giving.tree.with_name("unmounted"))
    giving.root_problem = "the root of tree mail is missing"
    with pytest.raises(ReplicationError, match="the root of tree mail is missing"):
        giving.give(b"dir/file")


def test_what_stands_in_another_directory_by_now_is_not_given(giving: Giving) -> None:
    (giving.tree / "dir").rename(giving.tree / "elsewhere")
    (giving.tree / "dir").mkdir()
    (giving.tree / "dir" / "file").write_bytes(b"of the successor")
    assert giving.give(b"dir/file") == Remove(), "where that belongs is still to be told"
    giving.captured()
    whole = giving.give(b"dir/file")
    assert isinstance(whole, Upsert)
    assert whole.content == Inline(b"of the successor")
