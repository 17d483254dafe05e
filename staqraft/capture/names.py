"""Under which names the index knows inodes, while a batch is looked at and it stands still."""

from __future__ import annotations

from collections.abc import Iterable

from staqraft.capture.ports import IndexPort

Inode = tuple[str, int, int]  # tree, device, number


class Names:
    """Used by the capture thread."""

    def __init__(self, index: IndexPort) -> None:
        self._index = index
        self._known: dict[Inode, list[bytes]] = {}

    def of(self, tree: str, dev: int, ino: int) -> list[bytes]:
        """The paths of an inode."""
        known = self._known.get((tree, dev, ino))
        if known is None:
            known = self._known[tree, dev, ino] = self._index.names_of(tree, dev, ino)
        return known

    def foresee(self, inodes: Iterable[Inode]) -> None:
        """`of` will be asked for these: the index is asked once."""
        wanted: dict[tuple[str, int], set[int]] = {}
        for tree, dev, ino in inodes:
            wanted.setdefault((tree, dev), set()).add(ino)
        for (tree, dev), numbers in wanted.items():
            for ino, names in self._index.names_of_all(tree, dev, numbers).items():
                self._known[tree, dev, ino] = names

    def forget(self) -> None:
        """The index changes."""
        self._known.clear()
