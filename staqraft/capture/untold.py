"""What was told of files that left their places before anybody looked at these.

A file is written, renamed out of its directory, and the directory is removed: when the first event
has its turn, there is no place to look at. Nothing but that event may tell of what was written
(times can be set), so whoever finds the file under its new name asks here what was done to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from staqraft.capture import dirty
from staqraft.capture.directories import Directory

_TOLD: Final = dirty.CONTENT | dirty.CLOSED | dirty.ATTRIBUTES | dirty.SCANNED | dirty.COMPARE
_MOST: Final = 1_000


@dataclass(slots=True)
class _Story:
    number: int
    directory: Directory | None  # None: which is not known any more, so it may be any
    name: bytes
    flags: int


class Untold:
    """Used by the capture thread. Bounded: of too many it is only known that there were some."""

    def __init__(self) -> None:
        self.number = 0  # of the latest
        self._stories: list[_Story] = []

    def add(self, directory: Directory | None, name: bytes, flags: int) -> None:
        """A place that was marked so is not looked at: it is gone, with its directory maybe."""
        told = flags & _TOLD
        if not told:
            return
        self.number += 1
        if len(self._stories) >= _MOST:
            for story in self._stories:
                told |= story.flags
            directory, name = None, b""
            self._stories.clear()
        self._stories.append(_Story(self.number, directory, name, told))

    def flags_of(self, tree: str, path: bytes) -> int:
        """How the place was marked that had this path; 0 if nothing was lost of it."""
        flags = 0
        for story in self._stories:
            at = story.directory
            if at is None or (at.tree == tree and at.below(story.name) == path):
                flags |= story.flags
        return flags

    def forget(self, number: int) -> None:
        """Everything that was done up to the one of this number has been captured."""
        self._stories = [story for story in self._stories if story.number > number]
