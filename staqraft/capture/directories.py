"""The directory map: key -> place in a tree, for every directory inside the trees.

It is changed by the capture thread only, together with the index, so that a dirty place resolves
to the path by which the index knows it. The drain thread only asks whether a key is in it: an
event in a directory that is not is dropped, either because it is outside of the trees, or because
the directory will be listed after it is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from staqraft.capture.dirty import Key

_MOST_LEFT: Final = 1_000  # that are remembered


@dataclass(slots=True, eq=False)
class Directory:
    """A directory inside a tree. The root has no parent and the name b""."""

    tree: str
    key: Key
    inode: tuple[int, int]  # st_dev, st_ino
    parent: Directory | None
    name: bytes
    children: dict[bytes, Directory] | None = field(default=None)

    @property
    def path(self) -> bytes:
        """Relative to the tree's root, as the index has it."""
        parts: list[bytes] = []
        at = self
        while at.parent is not None:
            parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts))

    def below(self, name: bytes) -> bytes:
        """The path of a name in this directory; of the directory itself for the name b""."""
        path = self.path
        return path + b"/" + name if path and name else path or name

    def child(self, name: bytes) -> Directory | None:
        """The subdirectory of this name."""
        return self.children.get(name) if self.children else None

    def is_within(self, other: Directory) -> bool:
        """Whether this is `other` or below it."""
        at: Directory | None = self
        while at is not None and at is not other:
            at = at.parent
        return at is other


class DirectoryMap:
    """All directories of the trees, by key and by place."""

    def __init__(self) -> None:
        self.by_key: dict[Key, Directory] = {}
        self.roots: dict[str, Directory] = {}
        self.left: dict[Key, Directory] = {}  # taken out: what was said of them may still come

    def add_root(self, tree: str, key: Key, inode: tuple[int, int]) -> Directory:
        """The root of a tree."""
        root = Directory(tree, key, inode, None, b"")
        self.roots[tree] = self.by_key[key] = root
        return root

    def attach(self, parent: Directory, name: bytes, key: Key, inode: tuple[int, int]) -> Directory:
        """Adds a directory; its key must not be in the map, and its place must be free."""
        assert key not in self.by_key, "a directory has one place"
        assert self.has(parent), "and stands in a directory of the map"
        directory = Directory(parent.tree, key, inode, parent, name)
        self._place(directory, parent, name)
        self.by_key[key] = directory
        return directory

    def move(self, directory: Directory, parent: Directory, name: bytes) -> None:
        """Gives a directory, with all below it, another place in its tree."""
        assert not parent.is_within(directory), "a directory cannot be moved into itself"
        self._displace(directory)
        self._place(directory, parent, name)

    def detach(self, directory: Directory) -> list[Key]:
        """Takes out a directory with all below it. Returns their keys."""
        self._displace(directory)
        found = list(self.walk(directory))
        for gone in found:
            del self.by_key[gone.key]
        if len(self.left) >= _MOST_LEFT:
            self.left.clear()
        self.left.update((gone.key, gone) for gone in found[:_MOST_LEFT])
        return [gone.key for gone in found]

    def has(self, directory: Directory) -> bool:
        """Whether it is still in the map (a key may have come back as another)."""
        return self.by_key.get(directory.key) is directory

    def find(self, tree: str, path: bytes) -> Directory | None:
        """The directory at a path."""
        at = self.roots.get(tree)
        for name in path.split(b"/") if path else ():
            at = at.child(name) if at else None
        return at

    def walk(self, top: Directory) -> Iterator[Directory]:
        """`top` and every directory below it, parents first."""
        pending = [top]
        while pending:
            at = pending.pop()
            yield at
            if at.children:
                pending.extend(at.children.values())

    def _place(self, directory: Directory, parent: Directory, name: bytes) -> None:
        if parent.children is None:
            parent.children = {}
        assert name not in parent.children, "what stood here must leave first"
        parent.children[name] = directory
        directory.parent, directory.name = parent, name

    def _displace(self, directory: Directory) -> None:
        parent = directory.parent
        assert parent is not None, "a root has no place to leave"
        assert parent.children is not None, "a child's parent has children"
        del parent.children[directory.name]
        if not parent.children:
            parent.children = None
