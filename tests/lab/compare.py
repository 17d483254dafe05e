"""Compares trees completely: types, content, mode, owner, mtime in ns, xattrs and ACLs, symlinks,
hard links.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path

CHUNK_BYTES = 1 << 20
KIND = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Everything about one name of a tree that must be equal on both sides."""

    kind: str
    mode: int
    owner: int
    group: int
    mtime_ns: int
    size: int | None  # files only
    content: str | None  # digest of a file, target of a symlink
    xattrs: tuple[tuple[str, bytes], ...]
    linked_with: (
        bytes | None
    )  # first name, in order, of the inode's names in this tree, if it has several


Manifest = dict[bytes, Item]  # by path relative to the tree; b"" is the tree itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One aspect of one path."""

    path: bytes
    aspect: str
    left: object
    right: object

    def __str__(self) -> str:
        name = self.path.decode(errors="backslashreplace") or "."
        return f"{name}: {self.aspect} is {self.left!r} here and {self.right!r} there"


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _content(path: Path, kind: str) -> str | None:
    if kind == "symlink":
        return str(path.readlink())
    return _digest(path) if kind == "file" else None


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def _paths(root: Path) -> list[Path]:
    found = [root]
    for directory, below, files in os.walk(root):
        found += [Path(directory, name) for name in (*below, *files)]
    return sorted(found)


def manifest(root: Path) -> Manifest:
    """The tree as it is now; it must not change meanwhile."""
    seen = {path: path.lstat() for path in _paths(root)}
    names_of: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    for path, status in seen.items():
        if not stat.S_ISDIR(status.st_mode):
            names_of[status.st_dev, status.st_ino].append(_name(root, path))
    items: Manifest = {}
    for path, status in seen.items():
        kind = KIND[stat.S_IFMT(status.st_mode)]
        links = names_of.get((status.st_dev, status.st_ino), [])
        items[_name(root, path)] = Item(
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            owner=status.st_uid,
            group=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            size=status.st_size if kind == "file" else None,
            content=_content(path, kind),
            xattrs=_xattrs(path),
            linked_with=links[0] if len(links) > 1 else None,
        )
    return items


def _name(root: Path, path: Path) -> bytes:
    return b"" if path == root else os.fsencode(path.relative_to(root))


def differences(left: Manifest, right: Manifest) -> list[Difference]:
    """Everything in which two trees differ; empty: they are equal."""
    found = []
    for path in sorted(left.keys() | right.keys()):
        here, there = left.get(path), right.get(path)
        if here is None or there is None:
            found.append(
                Difference(
                    path=path,
                    aspect="it",
                    left=here.kind if here else None,
                    right=there.kind if there else None,
                )
            )
            continue
        for aspect in fields(Item):
            mine, theirs = getattr(here, aspect.name), getattr(there, aspect.name)
            if mine != theirs:
                found.append(Difference(path=path, aspect=aspect.name, left=mine, right=theirs))
    return found


def content_bytes(items: Manifest) -> int:
    """Sum of the sizes of its files."""
    return sum(item.size or 0 for item in items.values())
