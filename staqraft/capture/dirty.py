"""The dirty set: where something may have changed, not what happened.

The drain thread adds, the capture thread takes. A place is a directory's key and a name in it, so
that neither side resolves a path and a directory may be renamed in between. An entry that is
still being written is held for a few milliseconds, so that a file that is created, written and
closed travels once; one that changes for ever is taken at a bounded rate (`cool`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

Key = bytes | int
Place = tuple[Key, bytes]

# Plain numbers, not an enum: the drain combines them for each event.
CONTENT: Final = 1  # written to
CLOSED: Final = 2  # closed after writing, or its last writable mapping went
CREATED: Final = 4
NAMED: Final = 8  # renamed, removed or linked: the directory's own times changed as well
ATTRIBUTES: Final = 16
DIRECTORY: Final = 32  # a directory came, went or moved: structure first
SCANNED: Final = 64  # found by a comparison: trust no event, read what differs
AGAIN: Final = 128  # put off once: the rest of its story has not been read yet
LAST_CALL: Final = 256  # put off twice
COMPARE: Final = 512  # trust no times: read all of it

HOLD_MS: Final = 10
MAX_DIRTY: Final = 400_000
"""Beyond this the set is thrown away and the trees are compared: bounded memory."""


@dataclass(slots=True)
class Mark:
    """What is known of a dirty place. Milliseconds of the injected clock."""

    flags: int
    first_ms: int
    due_ms: int


class DirtySet:
    """Places that may have changed, oldest first. Thread-safe."""

    def __init__(self, now_ms: Callable[[], int], *, limit: int = MAX_DIRTY) -> None:
        self._now_ms = now_ms
        self._limit = limit
        self._marks: dict[Place, Mark] = {}
        self._objects: set[Key] = set()
        self._cooling: dict[Place, int] = {}
        self._changed = threading.Condition()
        self._next_due: int | None = None
        self.names_due: int | None = None
        """When all is due that came to a name and was held back by the last `take`."""
        self._overflowed = False
        self._woken = False

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, places: Iterable[tuple[Key, bytes, int]]) -> None:
        """Marks places dirty, with flags that say how it was noticed."""
        now = self._now_ms()
        with self._changed:
            before = self._next_due
            for key, name, flags in places:
                self._add((key, name), flags, now)
            if len(self._marks) > self._limit:
                self._marks.clear()
                self._overflowed = True
                self._next_due = now
            if self._next_due != before:  # else whoever waits knows when to wake already
                self._changed.notify()

    def add_object(self, key: Key) -> None:
        """Marks an object of which no name was told: it is another name of something known."""
        with self._changed:
            self._objects.add(key)
            if len(self._objects) > self._limit:
                self._objects.clear()
                self._overflowed = True
            self._next_due = self._now_ms()
            self._changed.notify()

    def take_objects(self) -> set[Key]:
        """Takes out what `add_object` was given."""
        with self._changed:
            taken, self._objects = self._objects, set()
            return taken

    def overflow(self) -> None:
        """Events were lost: everything has to be compared."""
        with self._changed:
            self._overflowed = True
            self._next_due = self._now_ms()
            self._changed.notify()

    def take_overflow(self) -> bool:
        """Whether events were lost since the last call."""
        with self._changed:
            lost, self._overflowed = self._overflowed, False
            return lost

    def flags_of(self, place: Place) -> int:
        """How a place is marked; 0 if it is not."""
        with self._changed:
            mark = self._marks.get(place)
            return 0 if mark is None else mark.flags

    def cool(self, place: Place, until_ms: int) -> None:
        """Holds `place` back until `until_ms`, however often it is marked (but see `take`)."""
        with self._changed:
            self._cooling[place] = until_ms
            if (mark := self._marks.get(place)) is not None:
                mark.due_ms = max(mark.due_ms, until_ms)

    def wake(self) -> None:
        """Ends a `wait` now."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def wait(self, timeout_ms: int) -> None:
        """Returns when something is due, when woken, or after `timeout_ms`."""
        deadline = self._now_ms() + timeout_ms
        with self._changed:
            while not self._woken:
                now = self._now_ms()
                until = deadline if self._next_due is None else min(deadline, self._next_due)
                if until <= now:
                    break
                self._changed.wait((until - now) / 1000)
            self._woken = False

    def take(self, *, everything: bool) -> dict[Place, Mark]:
        """Takes out what is due; with `everything` also what is held or cooling."""
        now = self._now_ms()
        with self._changed:
            if everything:
                taken, self._marks = self._marks, {}
            else:
                taken = {p: m for p, m in self._marks.items() if m.due_ms <= now}
                for place in taken:
                    del self._marks[place]
            self._cooling = {p: until for p, until in self._cooling.items() if until > now}
            held = self._marks.values()
            self._next_due = min((m.due_ms for m in held), default=None)
            self.names_due = max((m.due_ms for m in held if m.flags & NAMED), default=None)
            return taken

    def _add(self, place: Place, flags: int, now: int) -> None:
        mark = self._marks.get(place)
        if mark is None:
            mark = self._marks[place] = Mark(flags, now, now)
        else:
            mark.flags |= flags
        due = mark.first_ms + HOLD_MS if _is_open(mark.flags) else now
        if self._cooling:
            due = max(due, self._cooling.get(place, due))
        mark.due_ms = due
        if self._next_due is None or due < self._next_due:
            self._next_due = due


def _is_open(flags: int) -> bool:
    """Whether more is likely to come at once: created or written, and not yet closed."""
    return bool(flags & (CONTENT | CREATED)) and not flags & (CLOSED | DIRECTORY | SCANNED)
