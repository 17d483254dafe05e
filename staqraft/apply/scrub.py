"""What the scrubber does in its thread: reads a standby's directory slowly, and names suspects.

A suspect is only a finding when it is looked at again with nothing half applied: `confirmed`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from staqraft.apply.inspect import Inspector, State, aspects
from staqraft.apply.observe import identity_of, look
from staqraft.apply.rate import OBJECT_BYTES
from staqraft.apply.safety import TreeRoot
from staqraft.index import Entry, Index
from staqraft.journal.record import ObjectType

_LOOK_S: Final = 1.0  # between two looks at what else goes on
_SLEEP_S: Final = 0.02  # not for less
_PAUSE_S: Final = (
    1800.0  # at the longest; then it goes on for a while, so that a pass ends some day
)
_GO_ON_S: Final = 60.0
_PRESSURE: Final = Path("/proc/pressure/io")


class Stopped(Exception):
    """The scrubber is to end."""


class Pace:
    """Lets a thread read so much a second, and nothing while others need the disks.

    `busy` says why it is to wait, or nothing; asked once a second. `stop` ends all waiting.
    """

    def __init__(
        self,
        rate_bytes: int,
        stop: threading.Event,
        busy: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.waits_for = ""
        self._rate = rate_bytes
        self._stop = stop
        self._busy = busy
        self._now = monotonic
        self._free_s = monotonic()  # when what was read so far is paid for
        self._looked_s = 0.0
        self._tired_until_s = 0.0

    def __call__(self, size: int) -> None:
        """Waits until `size` bytes more may be read. Raises Stopped."""
        self._let_others_go_first()
        now_s = self._now()
        self._free_s = max(self._free_s, now_s) + size / self._rate
        if self._free_s - now_s > _SLEEP_S:
            self._stop.wait(self._free_s - now_s)
        if self._stop.is_set():
            raise Stopped

    def _let_others_go_first(self) -> None:
        begun_s = now_s = self._now()
        if now_s - self._looked_s < _LOOK_S or now_s < self._tired_until_s:
            return
        while (why := self._busy()) and not self._stop.is_set():
            self.waits_for = why
            if now_s - begun_s >= _PAUSE_S:
                self._tired_until_s = now_s + _GO_ON_S
                break
            self._stop.wait(_LOOK_S)
            now_s = self._now()
        self.waits_for = ""
        self._looked_s = now_s


def io_pressure(path: Path = _PRESSURE) -> float:
    """Per cent of the last ten seconds in which some program waited for a disk; 0 if not known."""
    try:
        text = path.read_text()
    except OSError:
        return 0.0
    for word in text.split("\n", 1)[0].split():
        if word.startswith("avg10="):
            return float(word.removeprefix("avg10="))
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An object that is not as the index says, at a first look."""

    path: bytes
    entry: Entry | None
    state: State | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A directory that was read."""

    suspects: tuple[Suspect, ...]
    directories: tuple[bytes, ...]  # in it, sorted, as the index has them
    objects: int
    bytes: int


def look_at(
    inspector: Inspector, index: Index, tree: str, path: bytes, pace: Callable[[int], None]
) -> Looked:
    """Reads all that is in a directory. Raises Stopped, RootMissing, OSError.

    Nothing of a tree that the index knows nothing of yet: it is still to come from the active.
    """
    if index.get(tree, b"") is None:
        return Looked(suspects=(), directories=(), objects=0, bytes=0)
    expected = {entry.path: entry for entry in index.children(tree, path)}
    suspects: list[Suspect] = []
    objects = size = 0
    seen: set[bytes] = set()
    found = inspector.children(tree, path)
    if not path:
        found = chain(_root(inspector, tree), found)
        expected |= {entry.path: entry for entry in (index.get(tree, b""),) if entry is not None}
    for child, state in _paced(found, pace):
        seen.add(child)
        objects += 1
        size += state.metadata.size
        entry = expected.get(child)
        if not state.restless and (state.corrupt or aspects(state_of(index, tree, entry), state)):
            suspects.append(Suspect(path=child, entry=entry, state=state))
    missing = expected.keys() - seen
    suspects += [Suspect(path=p, entry=expected[p], state=None) for p in sorted(missing)]
    directories = sorted(
        p for p, entry in expected.items() if p and entry.metadata.type is ObjectType.DIRECTORY
    )
    return Looked(
        suspects=tuple(suspects), directories=tuple(directories), objects=objects, bytes=size
    )


def _root(inspector: Inspector, tree: str) -> Iterator[tuple[bytes, State]]:
    state = inspector.object(tree, b"")
    if state is not None:
        yield b"", state


def _paced(
    found: Iterator[tuple[bytes, State]], pace: Callable[[int], None]
) -> Iterator[tuple[bytes, State]]:
    for item in found:
        pace(OBJECT_BYTES)
        yield item


def state_of(index: Index, tree: str, entry: Entry | None) -> State | None:
    """What the index says that an object is."""
    if entry is None:
        return None
    names = 1
    if entry.metadata.type is ObjectType.FILE:
        identity = entry.identity
        names = max(1, len(index.names_of(tree, identity.dev, identity.ino)))
    return State(metadata=entry.metadata, digest=entry.digest, names=names)


def confirmed(
    root: TreeRoot, plain: Inspector, index: Index, suspect: Suspect
) -> tuple[State | None, State | None] | None:
    """What the object is to be and what it is, if it still is not as the index says.

    Only while nothing is half applied. `plain` does not read what it need not. The content counts
    as it was read before, if neither the file nor what is known of it has changed since.
    """
    entry = index.get(root.name, suspect.path)
    wanted = state_of(index, root.name, entry)
    now = (
        suspect.state if _as_it_was(root, entry, suspect) else plain.object(root.name, suspect.path)
    )
    if now is not None and now.restless:
        return None
    differs = aspects(wanted, now) or (now is not None and now.corrupt)
    return (wanted, now) if differs else None


def _as_it_was(root: TreeRoot, entry: Entry | None, suspect: Suspect) -> bool:
    """Whether neither the file that was read nor what is known of it has changed since."""
    state, before = suspect.state, suspect.entry
    if state is None or state.identity is None:
        return False
    try:
        found = look(*root.parent(suspect.path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        root.release()
    digests = [b"" if known is None else known.digest for known in (entry, before)]
    return found is not None and identity_of(found) == state.identity and digests[0] == digests[1]
