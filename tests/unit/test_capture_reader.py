"""Whole objects for whoever asks by path, and nothing from outside of the tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from staqraft.capture import ObjectReader
from staqraft.config.schema import Tree
from staqraft.index import content_digest
from staqraft.journal.record import Chunk, Inline, ObjectType, Remove, Staged, Upsert


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"not ours")
    return tree


@pytest.fixture
def reader(root: Path) -> ObjectReader:
    return ObjectReader((Tree(name="t", path=root),))


def test_a_small_file_comes_in_one_piece(reader: ObjectReader, root: Path) -> None:
    (root / "d" / "file").write_bytes(b"content")
    (upsert,) = reader.read("t", b"d/file")
    assert isinstance(upsert, Upsert)
    assert upsert.content == Inline(b"content")
    assert upsert.digest == content_digest(b"content")


def test_a_large_file_comes_in_pieces_without_its_holes(reader: ObjectReader, root: Path) -> None:
    data = os.urandom(3_000_000)
    with (root / "big").open("wb") as file:
        file.write(data)
        file.truncate(20 << 20)
    *chunks, upsert = reader.read("t", b"big", stage=77)
    content = bytearray(20 << 20)
    for chunk in chunks:
        assert isinstance(chunk, Chunk)
        assert chunk.stage == 77
        content[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data
    assert sum(len(c.data) for c in chunks if isinstance(c, Chunk)) < 4_000_000
    assert isinstance(upsert, Upsert)
    assert upsert.content == Staged(77)
    assert upsert.digest == content_digest(bytes(content))


def test_a_file_of_holes_only_has_a_stage_too(reader: ObjectReader, root: Path) -> None:
    with (root / "holes").open("wb") as file:
        file.truncate(5 << 20)
    first, upsert = reader.read("t", b"holes", stage=78)
    assert first == Chunk(stage=78, offset=0, data=b"")
    assert isinstance(upsert, Upsert)
    assert upsert.content == Staged(78)


def test_what_is_not_a_file_is_all_metadata(reader: ObjectReader, root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("/etc/passwd")
    for path, kind in (
        (b"", ObjectType.DIRECTORY),
        (b"d", ObjectType.DIRECTORY),
        (b"fifo", ObjectType.FIFO),
        (b"link", ObjectType.SYMLINK),
    ):
        (upsert,) = reader.read("t", path)
        assert isinstance(upsert, Upsert)
        assert upsert.metadata.type is kind
        assert upsert.content is None


@pytest.mark.parametrize(
    "path",
    [b"gone", b"gone/deeper", b"../secret", b"d/../../secret", b"out/secret", b"d//x", b".."],
)
def test_nothing_outside_of_the_tree_is_read(
    reader: ObjectReader, root: Path, tmp_path: Path, path: bytes
) -> None:
    (root / "out").symlink_to(tmp_path)
    assert list(reader.read("t", path)) == [Remove()]


def test_own_files_are_not_objects_of_the_tree(reader: ObjectReader, root: Path) -> None:
    (root / ".staqraft-staging").mkdir()
    assert list(reader.read("t", b".staqraft-staging")) == [Remove()]


def test_a_tree_without_root_has_nothing(tmp_path: Path) -> None:
    reader = ObjectReader((Tree(name="t", path=tmp_path / "none"),))
    assert list(reader.read("t", b"x")) == [Remove()]


def test_one_object_after_the_other_and_a_directory_that_moves_in_between(
    reader: ObjectReader, root: Path
) -> None:
    (root / "d" / "one").write_bytes(b"1")
    (root / "d" / "two").write_bytes(b"2")
    (root / "other").write_bytes(b"3")

    def content(path: bytes) -> bytes | None:
        (change,) = reading.read("t", path)
        if isinstance(change, Remove):
            return None
        assert isinstance(change, Upsert)
        assert isinstance(change.content, Inline)
        return change.content.data

    with reader.reading() as reading:
        assert content(b"d/one") == b"1"
        (root / "d").rename(root / "e")
        assert content(b"d/two") is None
        (root / "d").mkdir()
        (root / "d" / "two").write_bytes(b"another")
        assert content(b"d/two") == b"another"
        (root / "d").rename(root / "f")
        (root / "d").symlink_to("f")
        assert content(b"d/two") is None, "a link leads nowhere"
        assert content(b"other") == b"3"
        assert content(b"e/two") == b"2"
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if _leads_to(fd, root)]


def _leads_to(fd: Path, root: Path) -> bool:
    try:
        return fd.readlink().is_relative_to(root)
    except FileNotFoundError:
        return False
