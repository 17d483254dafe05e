"""Confinement: no path leads out of a tree, with openat2 and without."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from staqraft.apply.safety import RootMissing, TreeRoot, check_path, open_beneath, walk_beneath
from staqraft.errors import PathEscape

Open = Callable[[int, bytes], int]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tree / "out").symlink_to(tmp_path / "outside")
    (tree / "relative").symlink_to("../outside")
    (tree / "inside").symlink_to("a")
    (tree / "a" / "up").symlink_to("..")
    number = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    yield number
    os.close(number)


@pytest.mark.parametrize("opener", [open_beneath, walk_beneath])
def test_a_directory_of_the_tree_opens(root: int, opener: Open, tmp_path: Path) -> None:
    for path in (b"", b"a", b"a/b"):
        number = opener(root, path)
        assert os.path.samestat(os.fstat(number), (tmp_path / "tree" / os.fsdecode(path)).stat())
        os.close(number)


@pytest.mark.parametrize("opener", [open_beneath, walk_beneath])
@pytest.mark.parametrize(
    "path", [b"out", b"out/deep", b"relative", b"relative/deep", b"inside", b"inside/b", b"a/up/a"]
)
def test_a_link_is_never_a_way(root: int, opener: Open, path: bytes) -> None:
    with pytest.raises(NotADirectoryError):
        opener(root, path)


@pytest.mark.parametrize("path", [b"..", b"a/../..", b"/etc"])
def test_the_kernel_refuses_what_the_check_would_have(root: int, path: bytes) -> None:
    with pytest.raises(PathEscape):
        check_path(path)
    with pytest.raises(PathEscape):
        open_beneath(root, path)


def test_a_replaced_root_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    path.mkdir()
    root = TreeRoot("web", path)
    root.require_present()
    path.rename(tmp_path / "aside")
    with pytest.raises(RootMissing, match="No such file"):
        root.require_present()
    path.mkdir()
    with pytest.raises(RootMissing, match="another directory"):
        root.require_present()
    root.close()
