"""What can be seen on host b, and when: what a user there would see, not what a system says.

`Watch.step` looks once and returns; `done` holds when everything that is expected is there.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import inotify_simple
from inotify_simple import flags

LOOK_AGAIN_S: Final = 0.25  # after so long without an event directories are listed anew


class Watch(ABC):
    """Until everything expected is there. `seen` are the instants of each change, as it came."""

    def __init__(self) -> None:
        self.done_at: float | None = None

    @abstractmethod
    def step(self, wait_s: float) -> None:
        """Looks; waits for news no longer than this."""

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Lets go of it."""

    @property
    def done(self) -> bool:
        """All is there."""
        return self.done_at is not None


class Names(Watch):
    """Directories in which exactly these names are expected, under which files are complete."""

    def __init__(self, expected: Mapping[Path, Iterable[str]]) -> None:
        super().__init__()
        self.seen: dict[str, float] = {}
        self._expected = {place: frozenset(names) for place, names in expected.items()}
        self._inotify = inotify_simple.INotify(nonblocking=True)
        mask = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.CLOSE_WRITE
        self._places = {self._inotify.add_watch(place, mask): place for place in expected}
        self._wrong: set[tuple[Path, str]] = set()
        self._listed_at = 0.0
        self._list()

    def step(self, wait_s: float) -> None:
        events = self._inotify.read(timeout=wait_s * 1000)
        now = time.monotonic()
        for event in events:
            if event.mask & (flags.Q_OVERFLOW | flags.IGNORED):
                self._listed_at = 0.0
                continue
            self._note(self._places[event.wd], event.name, event.mask, now)
        if now - self._listed_at > LOOK_AGAIN_S and not events:
            self._list()
        if not self._wrong and not self.done:
            self._list()  # an event may be behind the truth, and what ends the clock is the truth
            if not self._wrong:
                self.done_at = now

    def _note(self, place: Path, name: str, mask: int, now: float) -> None:
        if name in self._expected[place] and name not in self.seen and _is_whole(place, name, mask):
            self.seen[name] = now
        there = not mask & (flags.MOVED_FROM | flags.DELETE)
        if there == (name in self._expected[place]):
            self._wrong.discard((place, name))
        else:
            self._wrong.add((place, name))

    def _list(self) -> None:
        """What is there now; a name that is there was seen now at the latest."""
        self._listed_at = now = time.monotonic()
        self._wrong = set()
        for place, names in self._expected.items():
            found = frozenset(entry.name for entry in os.scandir(place))
            self._wrong.update((place, name) for name in names ^ found)
            for name in names & found:
                self.seen.setdefault(name, now)

    def close(self) -> None:
        self._inotify.close()


def _is_whole(place: Path, name: str, mask: int) -> bool:
    """Whether its content is there, too: it was renamed, closed, or made with it, by a link."""
    if mask & (flags.MOVED_TO | flags.CLOSE_WRITE):
        return True
    try:
        return bool(mask & flags.CREATE) and (place / name).stat().st_size > 0
    except FileNotFoundError:
        return False


class Growing(Watch):
    """A file that gets blocks at its end. `seen[i]`: when block i was there, with its content."""

    def __init__(self, path: Path, start: int, blocks: list[bytes]) -> None:
        super().__init__()
        self.seen: list[float] = []
        self._path = path
        self._start = start
        self._blocks = blocks

    def step(self, wait_s: float) -> None:
        size = self._path.stat().st_size
        here = (size - self._start) // len(self._blocks[0])
        if here > len(self.seen):
            self._look(here)
            if len(self.seen) == len(self._blocks):
                self.done_at = self.seen[-1]
        time.sleep(min(wait_s, 0.001))

    def _look(self, here: int) -> None:
        """A size may grow before the content is there."""
        with self._path.open("rb", buffering=0) as file:
            for number in range(len(self.seen), min(here, len(self._blocks))):
                block = self._blocks[number]
                if os.pread(file.fileno(), len(block), self._start + number * len(block)) != block:
                    return
                self.seen.append(time.monotonic())


class Blocks(Watch):
    """A file in which blocks are expected: {offset: content}."""

    def __init__(self, path: Path, expected: Mapping[int, bytes]) -> None:
        super().__init__()
        self._path = path
        self._expected = expected
        self._missing = dict(expected)

    def step(self, wait_s: float) -> None:
        with self._path.open("rb", buffering=0) as file:
            self._missing = _missing(file.fileno(), self._missing)
            if not self._missing:  # unless one has changed back meanwhile
                self._missing = _missing(file.fileno(), self._expected)
        if not self._missing and not self.done:
            self.done_at = time.monotonic()
        time.sleep(wait_s)


def _missing(descriptor: int, expected: Mapping[int, bytes]) -> dict[int, bytes]:
    """Those of the blocks that are not there."""
    return {
        offset: data
        for offset, data in expected.items()
        if os.pread(descriptor, len(data), offset) != data
    }
