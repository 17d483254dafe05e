"""A process that uses the Raft stores as the library does; it notes what it is about to write, and
what was promised to be on disk.

    python -m fakes.raft_writer DIRECTORY NOTES SEED STEPS

Each step is a letter, as in `Writer.step`. What cannot be written is tried again.
"""

from __future__ import annotations

import json
import random
import sys
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from staqraft.consensus.codec import (
    ID_BYTES,
    KIND_NO_OP,
    KIND_REGULAR,
    Entry,
    Snapshot,
    encode_proposal,
)
from staqraft.consensus.log_store import LogStore
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.errors import ConsensusError
from staqraft.model import ClusterRecord, NodeId, NoteEvent

ME, PEERS = NodeId("a"), (NodeId("b"), NodeId("w"))
CLUSTER = "test"
Row = list[int]  # index, term, crc of the command


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the notes: `done` says that it is on disk, else it is about to be written."""

    done: bool
    term: int
    vote: str | None
    entries: list[Row]
    snapshot: int


def row(entry: Entry) -> Row:
    command, index, term = entry
    return [index, term, zlib.crc32(command)]


def note_entry(index: int, term: int, size: int) -> Entry:
    note = NoteEvent(node=ME, group=None, kind="test", text="x" * size)
    return KIND_REGULAR + encode_proposal(bytes(ID_BYTES), note), index, term


def again(write: Callable[[], None]) -> None:
    """Until it succeeds, as the daemon does."""
    for _ in range(100):
        try:
            write()
        except ConsensusError as error:
            sys.stderr.write(f"{error}\n")
        else:
            return
    raise TimeoutError("the volume stays full")


class Writer:
    """One life of the stores after the other."""

    def __init__(self, directory: Path, notes: Path, seed: int) -> None:
        self._directory = directory
        self._rng = random.Random(seed)
        self._notes = notes.open("ab", buffering=0)
        self._open()

    def _open(self) -> None:
        self.log = LogStore.open(self._directory / "log", cluster=CLUSTER, node=ME)
        self.snapshots = SnapshotStore(self._directory / "snapshot", cluster=CLUSTER)
        snapshot = self.snapshots.load()
        if snapshot is not None:
            self.log.adopt_snapshot(snapshot.previous, snapshot.last)
        elif not len(self.log):
            self.log.add(KIND_NO_OP, 1, 0)
        self.persist()

    def _say(self, *, done: bool, snapshot: int | None = None) -> None:
        current = self.snapshots.current
        before = current.last[1] if current is not None else 0
        said = Said(
            done=done,
            term=self.log.getCurrentTerm(),
            vote=self.log.getVotedForNodeId(),
            entries=[row(entry) for entry in self.log[:]],
            snapshot=before if snapshot is None else snapshot,
        )
        self._notes.write(json.dumps(asdict(said)).encode() + b"\n")

    def persist(self) -> None:
        self.log.settle()
        self._say(done=False)
        again(self.log.persist)
        self._say(done=True)

    def step(self, letter: str) -> None:
        match letter:
            case "a":
                self._append()
            case "t":
                self.log.setCurrentTerm(
                    self.log.getCurrentTerm() + 1, self._rng.choice([None, ME, PEERS[0]])
                )
            case "c":
                self._contradict()
            case "s":
                self._take_snapshot()
            case "r":
                self.log.close()
                self._open()
            case "R":
                self._receive_snapshot()
            case "b":
                self.log.setRaftCommitIndex(self.log.last_index)
            case _:
                raise ValueError(letter)
        self.persist()

    def _append(self) -> None:
        term = max(1, self.log.getCurrentTerm())
        self.log.setCurrentTerm(term, self.log.getVotedForNodeId())
        for _ in range(self._rng.randint(1, 3)):
            size = self._rng.choice((10, 600, 5_000, 60_000))
            self.log.add(*note_entry(self.log.last_index + 1, term, size))

    def _contradict(self) -> None:
        """A new leader replaces what was not committed."""
        keep = self._rng.randint(max(2, len(self.log) - 4), max(2, len(self.log)))
        if keep >= len(self.log):
            return
        term = self.log.getCurrentTerm() + 1
        self.log.setCurrentTerm(term, None)
        index = self.log[keep][1]
        self.log.deleteEntriesFrom(keep)
        self.log.add(*note_entry(index, term, 20))

    def _take_snapshot(self) -> None:
        if len(self.log) < 4:
            return
        at = self._rng.randint(2, len(self.log) - 1)
        self._save(self.log[at - 1], self.log[at])
        self.log.deleteEntriesTo(at - 1)

    def _save(self, previous: Entry, last: Entry) -> None:
        snapshot = Snapshot(last=last, previous=previous, record=ClusterRecord(log_index=last[1]))
        self._say(done=False, snapshot=last[1])
        again(lambda: self.snapshots.save(snapshot))
        self._say(done=True)

    def _receive_snapshot(self) -> None:
        """From a leader that is far ahead: the log begins at it."""
        term, index = self.log.getCurrentTerm() + 1, self.log.last_index + 5
        previous, last = note_entry(index, term, 10), note_entry(index + 1, term, 10)
        self.log.setCurrentTerm(term, None)
        self._save(previous, last)
        self.log.clear()
        self.log.add(*previous)
        self.log.add(*last)


def main() -> None:
    directory, notes, seed, steps = sys.argv[1:]
    writer = Writer(Path(directory), Path(notes), int(seed))
    for letter in steps:
        writer.step(letter)
    writer.log.close()


if __name__ == "__main__":
    main()
