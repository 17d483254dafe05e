"""The comparer sees every aspect that StaqRaft promises to keep."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.compare import differences, manifest


def build(root: Path) -> Path:
    root.mkdir()
    (root / "d").mkdir()
    (root / "d" / "file").write_bytes(b"content")
    os.link(root / "d" / "file", root / "d" / "second-name")
    (root / "link").symlink_to("d/file")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    for path in [root / "d" / "file", root / "link", root / "pipe", root / "d", root]:
        os.utime(path, ns=(0, 1_000_000_001), follow_symlinks=False)
    os.utime(root / os.fsdecode(b"caf\xe9"), ns=(0, 1_000_000_001))
    os.utime(root, ns=(0, 1_000_000_001))
    return root


def unlink_second_name(root: Path) -> None:
    (root / "d" / "second-name").unlink()
    (root / "d" / "second-name").write_bytes(b"content")
    for name in ("d/second-name", "d"):
        os.utime(root / name, ns=(0, 1_000_000_001))


def change_content(root: Path) -> None:
    (root / "d" / "file").write_bytes(b"CONTENT")
    os.utime(root / "d" / "file", ns=(0, 1_000_000_001))


def retarget(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("d/elsewhere")
    os.utime(root / "link", ns=(0, 1_000_000_001), follow_symlinks=False)
    os.utime(root, ns=(0, 1_000_000_001))


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "content": (change_content, {"content"}),
    "mode": (lambda root: (root / "pipe").chmod(0o600), {"mode"}),
    "mtime, by one nanosecond": (
        lambda root: os.utime(root / "d", ns=(0, 1_000_000_002)),
        {"mtime_ns"},
    ),
    "xattr": (lambda root: os.setxattr(root / "d" / "file", "user.x", b"1"), {"xattrs"}),
    "hard link": (unlink_second_name, {"linked_with"}),
    "symlink": (retarget, {"content"}),
}


def test_equal_trees_have_no_difference(tmp_path: Path) -> None:
    assert differences(manifest(build(tmp_path / "x")), manifest(build(tmp_path / "y"))) == []


@pytest.mark.parametrize("change", CHANGES, ids=list(CHANGES))
def test_a_change_is_seen_for_what_it_is(tmp_path: Path, change: str) -> None:
    act, aspects = CHANGES[change]
    left, right = build(tmp_path / "x"), build(tmp_path / "y")
    act(right)
    assert {d.aspect for d in differences(manifest(left), manifest(right))} == aspects


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    left, right = build(tmp_path / "x"), build(tmp_path / "y")
    (right / "pipe").unlink()
    os.utime(right, ns=(0, 1_000_000_001))
    (found,) = differences(manifest(left), manifest(right))
    assert str(found) == "pipe: it is 'fifo' here and None there"
