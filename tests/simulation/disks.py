"""The volume under Raft: slow, full, and torn when the power fails.

`MemoryLog` and `MemorySnapshots` are the real stores with the file operations replaced: what was
written is in the volume's cache, and survives a crash of the process; what was synced survives the
loss of power as well. The seeds with `real_files` use the real files instead.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from staqraft.consensus.codec import Entry, Snapshot, check_entry_command
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.errors import StoreFull
from staqraft.model import Generation, NodeId


class Crash(Exception):
    """The machine or the process dies in the middle of a call."""


@dataclass(slots=True)
class Image:
    """What a log store has on disk."""

    entries: list[Entry] = field(default_factory=list)
    term: int = 0
    vote: NodeId | None = None
    commit_index: int = 1
    generation: Generation | None = None


class Volume:
    """One machine's Raft volume."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.full = False
        self.slow_us = 0
        self.crash_in: int | None = None  # so many file operations from now the machine dies
        self.log: Image | None = None  # what a process would read
        self.synced_log: Image | None = None  # what is there after a loss of power
        self.snapshot: bytes | None = None
        self.synced_snapshot: bytes | None = None
        self.waited_us = 0  # for syncs, since the owner asked last

    def operation(self) -> None:
        """Before each file operation: may be the last."""
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in <= 0:
                self.crash_in = None
                raise Crash

    def sync_log(self) -> None:
        self._wait()
        self.synced_log = self.log

    def sync_snapshot(self) -> None:
        self._wait()
        self.synced_snapshot = self.snapshot

    def _wait(self) -> None:
        if self.slow_us:
            self.waited_us += int(self.slow_us * self.rng.random())

    def forget(self) -> None:
        """Somebody moved the directory away."""
        self.log = self.synced_log = None
        self.snapshot = self.synced_snapshot = None

    def power_off(self) -> None:
        self.log = self.synced_log
        self.snapshot = self.synced_snapshot


class MemoryLog(LogStore):
    """The log store over a `Volume`. What it writes it writes as a whole."""

    def __init__(self, volume: Volume, node: NodeId) -> None:
        nothing: Any = None
        super().__init__(nothing, Path("simulated"), "simulated", node)
        self._volume = volume
        image = volume.log
        if image is not None:
            self._entries = list(image.entries)
            self._check_image(image)
            self._term, self._vote = image.term, image.vote
            self._commit_index, self._generation = image.commit_index, image.generation
        self._first_on_disk = self.first_index

    def _check_image(self, image: Image) -> None:
        for command, _, _ in image.entries:
            check_entry_command(command)  # Outdated, as of the real one
        for one, next_ in zip(image.entries, image.entries[1:], strict=False):
            if next_[1] != one[1] + 1 or next_[2] < one[2]:
                raise self._corrupt(f"after entry {one[1]} comes {next_[1]}")
        if not image.entries or image.commit_index > image.entries[-1][1]:
            raise self._corrupt("its end is missing")
        if image.term < image.entries[-1][2]:
            raise self._corrupt("its term is older than its entries")

    def persist(self) -> None:
        self.settle()
        first = self.first_index
        trimmed = first > self._first_on_disk
        if self._dirty_from is None and not trimmed and not self._state_dirty:
            return
        volume = self._volume
        if volume.full:
            raise StoreFull("the simulated volume is full")
        volume.operation()
        before = volume.log.entries if volume.log is not None else []
        if self._dirty_from is not None or trimmed:
            before = list(self._entries)
        commit_index = min(self._commit_index, self.last_index)
        volume.log = Image(before, self._term, self._vote, commit_index, self._generation)
        volume.operation()
        volume.sync_log()
        volume.operation()
        self._dirty_from = None
        self._first_on_disk = first
        self._state_dirty = False

    def close(self) -> None:
        pass


class MemorySnapshots(SnapshotStore):
    """The snapshot store over a `Volume`."""

    def __init__(self, volume: Volume) -> None:
        super().__init__(Path("simulated"), cluster="simulated")
        self._volume = volume

    def load(self) -> Snapshot | None:
        content = self._volume.snapshot
        if content is None:
            return None
        self.current = self.decode(content)
        self.file_bytes = content
        return self.current

    def _replace(self, content: bytes, snapshot: Snapshot) -> None:
        volume = self._volume
        if volume.full:
            raise StoreFull("the simulated volume is full")
        volume.operation()
        volume.snapshot = content
        volume.operation()
        volume.sync_snapshot()
        volume.operation()
        self.current = snapshot
        self.file_bytes = content
