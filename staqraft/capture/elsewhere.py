"""Changes that inotify does not tell: of files with names in directories that are not watched.

It tells of a write by the directory and the name under which the file was opened. Nothing is told
when that name is outside of the trees, or excluded, and what is told is of no use when the name is
gone before it was looked at. fanotify names the file itself, and needs none of this.

So files that were seen with several names are looked at now and then, and at each barrier. And when
something was written under a name that came and went, every tree is compared at the next barrier:
it may have been another name of any file. What such a write was is not to be seen only if the
directory of that name came and went, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from staqraft.capture import dirty
from staqraft.capture.links import Links
from staqraft.capture.objects import identity_of, look
from staqraft.capture.ports import IndexPort
from staqraft.capture.watcher import Seen, Watcher

_LOOK_MS: Final = 30_000
_COMPARE_MS: Final = 600_000


class Elsewhere:
    """Used by the capture thread. `compare` has all trees compared, in slices."""

    def __init__(
        self,
        watcher: Watcher,
        index: IndexPort,
        links: Links,
        compare: Callable[[], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._watcher = watcher
        self._index = index
        self._links = links
        self._compare = compare
        self._now_ms = now_ms
        self._looked_ms = self._compared_ms = now_ms()

    def look_around(self) -> None:
        """For who waits for no barrier: finds by and by what nothing was told of."""
        now = self._now_ms()
        if now - self._looked_ms >= _LOOK_MS:
            self.look()
        if now - self._compared_ms >= _COMPARE_MS:
            self.compare_if_blind()

    def look(self) -> None:
        """Marks files with several names that are not as the index has them."""
        self._looked_ms = self._now_ms()
        for file, seen in [*self._watcher.linked.items()]:
            if not self._is_as_seen(file[2], seen):
                self._compare_with_index(*file)

    def _is_as_seen(self, ino: int, seen: Seen) -> bool:
        """Whether it is where it was seen, and nothing was done to it since, under any name.

        Then it is as the index has it, or its place is dirty.
        """
        if not self._watcher.directories.has(seen.directory):
            return False
        fd = self._watcher.open(seen.directory)
        now = None if fd is None else look(fd, seen.name)
        return now is not None and (now.st_ino, now.st_ctime_ns) == (ino, seen.ctime_ns)

    def _compare_with_index(self, tree: str, dev: int, ino: int) -> None:
        names = self._index.names_of(tree, dev, ino)
        for name in names:
            found, entry = self._links.look_at(tree, name), self._index.get(tree, name)
            places = list(self._links.places(tree, [name], flags=dirty.SCANNED))
            if found is None or entry is None or identity_of(found) != entry.identity:
                for place in places:
                    self._watcher.put_back(place)
            elif found.st_nlink == 1:
                self._watcher.linked.pop((tree, dev, ino), None)
            else:
                for place in places:
                    self._watcher.note_linked(place.directory, place.name, found)
        if not names:
            self._watcher.linked.pop((tree, dev, ino), None)

    def compare_if_blind(self) -> bool:
        """Has all trees compared if a write was told of which nobody can say what it changed."""
        self._compared_ms = self._now_ms()
        if not self._watcher.blind:
            return False
        self._watcher.blind = False
        self._compare()
        return True
