"""What the roles of a trees process share: the group's files, its index, its threads, its notes.

The notes are in the index, durable, and outlive the process: in which role it was (and so whether
it stopped cleanly), and why the trees must be compared with the active's, if they must.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from staqraft.apply.inspect import read_when_idle
from staqraft.apply.localscan import Excluded
from staqraft.apply.quarantine import Quarantine
from staqraft.apply.safety import RootMissing, TreeRoot
from staqraft.capture.exclude import Excludes
from staqraft.config.schema import Config, Group
from staqraft.errors import JournalCorrupt
from staqraft.index import Index, is_reserved
from staqraft.journal.cursor import bounds
from staqraft.model import NO_EPOCH, ORIGIN, Epoch, EpochStart, NodeId, Position
from staqraft.replication.problems import Problems
from staqraft.wire.v1 import data_worker_pb2 as pb

logger = logging.getLogger(__name__)

T = TypeVar("T")
_ROLE: Final = "role"
_NEEDS_RECONCILE: Final = "needs-reconcile"
_SETTLING: Final = "settling-until"
_SET_UP: Final = "set-up:"
_PATTERNS: Final = "patterns:"
_ONLY_LOOK_AT: Final = "only-look-at"
_JOURNAL_IS_OWN: Final = "journal-is-own"
_HAS_OWN: Final = "has-own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The role that control gave, as a value: equal ones change nothing."""

    role: pb.WorkerRole = pb.WORKER_ROLE_IDLE
    epoch: Epoch = NO_EPOCH
    epoch_starts: tuple[EpochStart, ...] = ()
    active: NodeId | None = None


class Notes:
    """The durable notes. All calls from the thread that owns the index at the time."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def _keep(self) -> None:
        self._index.commit(self._index.position)
        self._index.sync()

    @property
    def role(self) -> str:
        """`active@<boot>` or `standby@<boot>` while in that role; empty after a clean stop.

        `joining@<boot>`: about to be a standby, its trees not yet known to be durable.
        """
        return self._index.meta(_ROLE) or ""

    def set_role(self, role: str) -> None:
        """Durable when this returns."""
        self._index.set_meta(_ROLE, role or None)
        self._keep()

    @property
    def needs_reconcile(self) -> str:
        """Why the trees have to be compared, in words; empty: they need not."""
        return self._index.meta(_NEEDS_RECONCILE) or ""

    def set_needs_reconcile(self, reason: str) -> None:
        """Durable when this returns. The first reason stays: what follows is its consequence."""
        if reason and self.needs_reconcile:
            return
        if reason:
            logger.warning("the trees have to be compared with the active's: %s", reason)
        self._index.set_meta(_NEEDS_RECONCILE, reason or None)
        self._keep()

    @property
    def settling_until(self) -> Position | None:
        """Up to where records make whole what a comparison fetched; None: it is (`settling`)."""
        noted = self._index.meta(_SETTLING)
        if noted is None:
            return None
        epoch, _, seq = noted.partition(":")
        return Position(Epoch(int(epoch)), int(seq))

    def set_settling_until(self, until: Position | None) -> None:
        """Kept with the index's next commit."""
        self._index.set_meta(_SETTLING, str(until) if until is not None else None)

    @property
    def only_look_at(self) -> frozenset[str] | None:
        """The trees whose files the next comparison is to look at; None: all."""
        noted = self._index.meta(_ONLY_LOOK_AT)
        return None if noted is None else frozenset(noted.split())

    def set_only_look_at(self, trees: Collection[str]) -> None:
        """Durable when this returns. None of them: all."""
        if trees or self._index.meta(_ONLY_LOOK_AT) is not None:
            self._index.set_meta(_ONLY_LOOK_AT, " ".join(sorted(trees)) or None)
            self._keep()

    @property
    def journal_is_own(self) -> bool:
        """Whether the records at the journal's end tell of this node's own trees.

        Then the trees have them even where the index is behind. Else they were received, and the
        trees have them as far as the index's position says.
        """
        return self._index.meta(_JOURNAL_IS_OWN) is not None

    def set_journal_is_own(self, *, own: bool) -> None:
        """Durable when this returns."""
        if own != self.journal_is_own:
            self._index.set_meta(_JOURNAL_IS_OWN, "yes" if own else None)
            self._keep()

    @property
    def has_own(self) -> bool:
        """Whether the trees may hold what neither a record nor the active gave this node.

        Since it was active, since files were there before StaqRaft, since its index was lost.
        """
        return self._index.meta(_HAS_OWN) is not None

    def set_has_own(self, *, own: bool) -> None:
        """Durable when this returns."""
        if own != self.has_own:
            self._index.set_meta(_HAS_OWN, "yes" if own else None)
            self._keep()

    def is_set_up(self, tree: str) -> bool:
        """Whether this tree's root was marked before, and so must still have its mark."""
        return self._index.meta(_SET_UP + tree) is not None

    def set_set_up(self, tree: str) -> None:
        """Kept with the index's next commit."""
        self._index.set_meta(_SET_UP + tree, "yes")


@dataclass(slots=True, kw_only=True)
class Common:
    """What every role uses."""

    config: Config
    group: Group
    index: Index
    quarantine: Quarantine
    boot_id: str
    clock_ms: Callable[[], int]
    wall_ms: Callable[[], int]
    ring_stream: Callable[[], None]
    problems: Problems = field(default_factory=Problems)
    # The thread that owns the index's writes while the node is not active; then capture's does.
    disk: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="disk")
    )
    # For questions to the index that may take a while, and for reading objects.
    readers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(3, thread_name_prefix="reader")
    )

    # For reading whole trees, which gives way to everybody else's use of the disks.
    inspectors: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(
            1, thread_name_prefix="inspector", initializer=read_when_idle
        )
    )

    @property
    def notes(self) -> Notes:
        """The durable notes."""
        return Notes(self.index)

    @property
    def directory(self) -> Path:
        """The group's own directory."""
        return self.config.group_dir(self.group.id)

    @property
    def journal_directory(self) -> Path:
        """The journal's."""
        return self.directory / "journal"

    def journal_end(self) -> Position:
        """The newest record on disk, whoever writes it."""
        return bounds(self.journal_directory)[1]

    def journal_end_or_nothing(self) -> Position:
        """The same for a status: a journal that cannot be read is a problem, not an error."""
        try:
            end = self.journal_end()
        except (JournalCorrupt, OSError) as error:
            self.problems.set("journal-unreadable", f"the journal cannot be looked at: {error}")
            return ORIGIN
        self.problems.clear("journal-unreadable")
        return end

    async def on_disk(self, work: Callable[[], T]) -> T:
        """Runs a function in the disk thread. It is finished even if the caller is cancelled."""
        running = asyncio.get_running_loop().run_in_executor(self.disk, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    async def read(self, work: Callable[[], T]) -> T:
        """Runs a function in a reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, work)

    async def inspect(self, work: Callable[[], T]) -> T:
        """Runs a function in the inspectors' thread. It is finished even if the caller is not."""
        running = asyncio.get_running_loop().run_in_executor(self.inspectors, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def has_files(self) -> bool:
        """Whether anything but StaqRaft's own is in the trees."""
        for tree in self.group.trees:
            try:
                if any(not is_reserved(os.fsencode(path.name)) for path in tree.path.iterdir()):
                    return True
            except OSError:
                continue  # opening the root will say what is wrong with it
        return False

    def note_patterns(self) -> list[str]:
        """Remembers what each tree leaves out; the trees for which that was something else.

        From the thread that owns the index; kept with its next commit.
        """
        changed = []
        for tree in self.group.trees:
            now = "\n".join(Excludes(tree).patterns)
            before = self.index.meta(_PATTERNS + tree.name)
            if before != now:
                self.index.set_meta(_PATTERNS + tree.name, now)
                changed += [tree.name] if before is not None else []
        return changed

    def excluded(self) -> dict[str, Excluded]:
        """What is left out of each tree."""
        return {tree.name: _excluded(Excludes(tree)) for tree in self.group.trees}

    def open_roots(self) -> dict[str, TreeRoot]:
        """The roots of all trees, marked as such. Raises RootMissing, with none left open."""
        roots: dict[str, TreeRoot] = {}
        try:
            for tree in self.group.trees:
                root = roots[tree.name] = TreeRoot(tree.name, tree.path)
                if self.notes.is_set_up(tree.name):
                    root.require_staging()
                else:
                    root.make_staging()
                    self.notes.set_set_up(tree.name)
        except (RootMissing, OSError):
            close_roots(roots)
            raise
        return roots


def _excluded(excludes: Excludes) -> Excluded:
    return lambda path, is_directory: excludes.excludes(path, is_directory=is_directory)


def close_roots(roots: dict[str, TreeRoot]) -> None:
    """Closes them all."""
    for root in roots.values():
        root.close()
