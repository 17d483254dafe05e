"""Raft's log, term and vote on disk.

The Raft library works on the list in memory and calls the methods with its own (camel case) names
as it pleases; `persist` makes the disk equal to memory in one transaction (`log_file`), and nothing
that promises anything is sent before it returned. A volume without space makes it raise `StoreFull`
and leaves the disk as it was: memory is ahead, so the caller is to stand still, send nothing, and
call again until it succeeds.

Two rules of Raft that the library leaves out stand here. Entries that it cuts off although the
leader's message does not contradict them come back (`settle`): an entry that was acknowledged is
never lost to a late message. And a snapshot makes the log shorter but never empties it: what
follows the snapshot stays.

A store that does not hold exactly what was written to it is `StoreCorrupt` at opening. It is not
repaired: a log that lost entries or its vote must not take part, because it would vote twice or
miss what it has acknowledged.
"""

from __future__ import annotations

from pathlib import Path
from typing import overload

from staqraft.consensus.codec import Entry
from staqraft.consensus.errors import StoreCorrupt
from staqraft.consensus.log_file import LogFile, advice, corrupt
from staqraft.consensus.log_records import Stored
from staqraft.model import Generation, NodeId


class LogStore:
    """The journal that the Raft library works on. One thread at a time."""

    def __init__(self, file: LogFile, path: Path, cluster: str, node: NodeId) -> None:
        self._file = file
        self._path = path
        self._cluster = cluster
        self._node = node
        self._entries: list[Entry] = []
        self._cut: list[Entry] = []  # what was cut off and may come back, in order
        self._dirty_from: int | None = None  # the disk may differ from this index on
        self._first_on_disk = 1
        self._term = 0
        self._vote: NodeId | None = None
        self._commit_index = 1
        self._generation: Generation | None = None  # None: the first
        self._state_dirty = False

    @classmethod
    def open(cls, path: Path, *, cluster: str, node: NodeId) -> LogStore:
        """Opens or makes the store. StoreCorrupt, StoreFull, or ConsensusError with what to do."""
        file, stored = LogFile.open(path, cluster, node)
        store = cls(file, path, cluster, node)
        store._entries = stored.entries
        store._term, store._vote = stored.term, stored.vote
        store._commit_index, store._generation = stored.commit_index, stored.generation
        store._first_on_disk = store.first_index
        return store

    # --- what the library calls -----------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        return self._entries[at]

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Appends an entry; equal to one that was just cut off, it is that one."""
        entry = (command, idx, term)
        while self._cut and self._cut[0][1] < idx:
            del self._cut[0]
        if self._cut and self._cut[0] == entry:
            self._entries.append(self._cut.pop(0))
            return
        self._cut.clear()
        self._entries.append(entry)
        self._dirty(idx)

    def clear(self) -> None:
        """The library makes room for a snapshot; what follows the snapshot comes back."""
        self._cut = self._entries
        self._entries = []

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        """Cuts off what begins at this place in the list; see `settle`."""
        self._cut = self._entries[entryFrom:] + self._cut
        del self._entries[entryFrom:]

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        """Forgets what a snapshot contains, up to this place in the list."""
        del self._entries[:entryTo]

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        """Remembered with the next transaction: after a restart a lower one is as good."""
        self._commit_index = raftCommitIndex

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """What was known to be committed."""
        return self._commit_index

    def setCurrentTerm(self, term: int, votedForNodeId: NodeId | None) -> None:  # noqa: N802, N803
        """Term and vote; on disk before anything is sent."""
        if (term, votedForNodeId) != (self._term, self._vote):
            self._term, self._vote = term, votedForNodeId
            self._state_dirty = True

    def getCurrentTerm(self) -> int:  # noqa: N802
        """The last term that was seen."""
        return self._term

    def getVotedForNodeId(self) -> NodeId | None:  # noqa: N802
        """Who has the vote of this term."""
        return self._vote

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Nothing here waits for a timer."""

    def _destroy(self) -> None:
        """The owner closes the store."""

    # --- what the owner calls -------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        """Index of the first entry; 1 for an empty log."""
        return self._entries[0][1] if self._entries else 1

    @property
    def last_index(self) -> int:
        """Index of the last entry; 0 for an empty log."""
        return self._entries[-1][1] if self._entries else 0

    @property
    def bytes_on_disk(self) -> int:
        """Size of the file, as far as it is written."""
        return self._file.size_bytes

    @property
    def generation(self) -> Generation | None:
        """The group's generation, on disk with the next `persist`; None: still the first."""
        return self._generation

    @generation.setter
    def generation(self, generation: Generation | None) -> None:
        self._generation = generation
        self._state_dirty = True

    def settle(self) -> None:
        """The message is dealt with: what it cut off without contradicting it stands again."""
        if self._cut and self._entries and self._cut[0][1] <= self._entries[-1][1]:
            following = self._entries[-1][1] + 1
            self._cut = [entry for entry in self._cut if entry[1] >= following]
        if self._cut and self._entries and self._cut[0][1] == self._entries[-1][1] + 1:
            self._entries.extend(self._cut)
        self._cut = []

    def adopt_snapshot(self, previous: Entry, last: Entry) -> None:
        """Makes the log begin at the snapshot's two entries, at opening, keeping what follows.

        StoreCorrupt when the log is gone, or begins after the snapshot: then the snapshot is not
        the one that the log was shortened for.
        """
        if not self._entries:  # a snapshot is taken of a log that is on disk
            raise corrupt(self._path, f"it is empty, although there is a snapshot at {last[1]}")
        if self._entries and self.first_index > previous[1]:
            raise StoreCorrupt(
                f"the Raft log {self._path} begins at {self.first_index}, but its snapshot ends at"
                f" {last[1]}: the two do not belong together. {advice(self._path)}"
            )
        self.clear()
        self.add(*previous)
        self.add(*last)
        self.settle()
        self._commit_index = max(self._commit_index, last[1])
        if last[2] > self._term:  # it was installed just before a crash; that vote is long over
            self._term, self._vote = last[2], None
        self._state_dirty = True

    def check_complete(self) -> None:
        """StoreCorrupt when the log was shortened, but there is no snapshot to begin with."""
        if self.first_index > 1:
            raise StoreCorrupt(
                f"the Raft log {self._path} begins at {self.first_index}, but the snapshot that it"
                f" was shortened for is gone. {advice(self._path)}"
            )

    def persist(self) -> None:
        """Makes the disk equal to memory, synced. StoreFull: the disk is as it was; call again."""
        self.settle()
        first = self.first_index
        trimmed = first > self._first_on_disk
        if self._dirty_from is None and not trimmed and not self._state_dirty:
            return
        self._file.write(
            Stored(self._entries, self._term, self._vote, self._commit_index, self._generation),
            replace_from=None if self._dirty_from is None else max(self._dirty_from, first),
            forget_before=first if trimmed else None,
        )
        self._dirty_from = None
        self._first_on_disk = first
        self._state_dirty = False

    def close(self) -> None:
        """Closes the file. What was not persisted is lost, as if it had never been received."""
        self._file.close()

    # --- within ---------------------------------------------------------------------------------

    def _dirty(self, index: int) -> None:
        self._dirty_from = index if self._dirty_from is None else min(self._dirty_from, index)

    def _corrupt(self, what: str) -> StoreCorrupt:
        return corrupt(self._path, what)
