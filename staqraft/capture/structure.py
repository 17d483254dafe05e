"""Where directories went: brings the directory map up to date with a batch of dirty places.

Events of renames are merged and may come in any order (A to B, back, and again is two events), so
they only say which places to look at. What stands at each of them **now** is compared with the
map: a key that is elsewhere in the map has moved, a directory of the map that is at none of the
places has left. Moves are ordered so that each finds its target free, and a circle (an exchange)
is opened by parking one directory under a name of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from staqraft.capture import dirty
from staqraft.capture.directories import Directory, DirectoryMap
from staqraft.capture.dirty import Key
from staqraft.capture.source import Source

PARKING: Final = b".~staqraft.parked."


@dataclass(frozen=True, slots=True)
class Dirty:
    """A place to look at. The name b"" is the directory itself."""

    directory: Directory
    name: bytes
    flags: int
    first_ms: int

    @property
    def tree(self) -> str:
        """The tree's name."""
        return self.directory.tree

    @property
    def path(self) -> bytes:
        """The path by which the index knows it, from the map as it is now."""
        return self.directory.below(self.name)


@dataclass(frozen=True, slots=True)
class Moved:
    """A directory was moved within its tree, with all below it."""

    directory: Directory
    source: bytes
    target: bytes


Look = Callable[[Directory, bytes], Key | None]
"""The key of the directory that stands at a name now; None if none does, or it is excluded.

Raises OSError if that cannot be read."""


class Structure:
    """One use for one batch. `moved` is in the order in which it has to be journalled."""

    def __init__(self, directories: DirectoryMap, source: Source, look: Look) -> None:
        self.moved: list[Moved] = []
        self.postponed: set[tuple[Key, bytes]] = set()
        self._map = directories
        self._source = source
        self._look = look
        self._moving: dict[Directory, tuple[Directory, bytes]] = {}
        self._active: set[Directory] = set()
        self._parked = 0

    def settle(self, places: Sequence[Dirty]) -> None:
        """Moves and detaches directories of the map as the places show."""
        present: list[tuple[Dirty, Key | None]] = []
        for place in places:
            if not self._map.has(place.directory):
                continue
            try:
                key = self._look(place.directory, place.name)
            except OSError:
                continue  # its place is compared all the same, and then that is said
            present.append((place, key))
            found = self._map.by_key.get(key) if key is not None else None
            if found is None or (found.parent is place.directory and found.name == place.name):
                continue
            if found.parent is not None and found.tree == place.tree:
                self._moving[found] = (place.directory, place.name)
            elif found.parent is not None:
                self._leave(found)  # into another tree of the group: new there, gone here
        for place, key in present:
            self._departed(place, key)
        for directory in list(self._moving):
            self._perform(directory)

    def _departed(self, place: Dirty, key: Key | None) -> None:
        """What the map has at a place and is not there has left, or its story is queued."""
        if not self._map.has(place.directory):
            return
        was = place.directory.child(place.name)
        if was is None or was.key == key or was in self._moving:
            return
        inside = self._source.is_inside(was)
        if inside is False or place.flags & dirty.LAST_CALL or key is not None:
            self._leave(was)
        else:
            self.postponed.add((place.directory.key, place.name))

    def _leave(self, directory: Directory) -> None:
        if not self._map.has(directory):
            return  # with one above it
        for key in self._map.detach(directory):
            self._source.forget(key)

    def _perform(self, directory: Directory) -> None:
        if directory not in self._moving or directory in self._active:
            return
        if not self._map.has(directory):
            del self._moving[directory]
            return
        self._active.add(directory)
        parent, name = self._moving[directory]
        self._free(directory, parent, name)
        self._active.discard(directory)
        del self._moving[directory]
        if not self._map.has(directory):
            return  # it was below something that left; it is found anew at its place
        if (
            not self._map.has(parent)
            or parent.is_within(directory)
            or parent.child(name) is not None
        ):
            self._leave(directory)  # not to be told as a move: it is found anew at its place
            return
        self._move(directory, parent, name)

    def _free(self, directory: Directory, parent: Directory, name: bytes) -> None:
        """Performs what has to come before a directory can be moved to (parent, name)."""
        above: Directory | None = parent
        while above is not None and above is not directory:
            following = above.parent
            if above in self._moving and parent.is_within(directory):
                self._perform(above)
            above = following
        occupant = parent.child(name)
        if occupant is None or occupant is directory or not self._map.has(occupant):
            return
        if occupant in self._active:
            self._park(occupant)
        elif occupant in self._moving:
            self._perform(occupant)
        else:
            self._leave(occupant)

    def _park(self, directory: Directory) -> None:
        assert directory.parent is not None, "roots do not move"
        name = PARKING + b"%d" % self._parked
        while directory.parent.child(name) is not None:
            self._parked += 1
            name = PARKING + b"%d" % self._parked
        self._parked += 1
        self._move(directory, directory.parent, name)

    def _move(self, directory: Directory, parent: Directory, name: bytes) -> None:
        source = directory.path
        self._map.move(directory, parent, name)
        target = directory.path
        if source != target:
            self.moved.append(Moved(directory, source, target))
