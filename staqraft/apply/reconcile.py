"""The standby compares its trees with the active's and takes over what differs.

First copy, catch-up after a trimmed journal, and rejoin after a failover are this one procedure.
It can be interrupted anywhere and begun again: what is equal already compares equal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol, TypeVar

from staqraft.apply.applier import Applier
from staqraft.apply.compare import Difference, compare
from staqraft.apply.inspect import State
from staqraft.apply.localscan import Excluded, scanning
from staqraft.apply.matching import NOT_SURE_NS
from staqraft.apply.own import OwnVersions
from staqraft.apply.quarantine import Quarantine
from staqraft.errors import ReplicationError
from staqraft.index import Entry, Listed, SharedHistory, TreeSummary
from staqraft.journal.record import Change, Chunk, Record, Remove, Staged, Upsert
from staqraft.model import Position

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_DIRECTORIES_A_CALL: Final = 64
_OBJECTS_A_CALL: Final = 256
_BYTES_A_CALL: Final = 32 << 20
_CALLS_AT_ONCE: Final = 3
_FETCHES_AT_ONCE: Final = 3
_COMMIT_EVERY_MS: Final = 2000
_SLICE_MS: Final = 250  # of looking at files before somebody else may have the disk thread
_ROUNDS: Final = 3
_PASSES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A comparison is open on the active: live changes follow `position`."""

    position: Position
    trees: dict[str, TreeSummary]


class PartlyUnreadable(ReplicationError):
    """The active cannot read something that it was asked for; it gave the rest."""


class RunOnDisk(Protocol):
    """Runs a function in the thread that owns applier and index."""

    async def __call__(self, work: Callable[[], _T]) -> _T:
        """What the function returns, or raises."""
        ...


class ActiveTrees(Protocol):
    """The active's trees, as its TreeService shows them. All raise ReplicationError."""

    async def begin(self) -> Opening:
        """Everything that was written on the active before is in what the other calls return."""
        ...

    def list_directories(
        self, tree: str, paths: Sequence[bytes]
    ) -> AsyncIterator[tuple[bytes, list[Listed] | None]]:
        """The entries of directories, None for one that is not there."""
        ...

    def describe(
        self, tree: str, paths: Sequence[bytes], *, children: bool, deep: bool
    ) -> AsyncIterator[dict[bytes, State]]:
        """What objects are now; absent ones are left out."""
        ...

    def fetch(
        self, tree: str, paths: Sequence[bytes], have: Sequence[bytes] = ()
    ) -> AsyncIterator[list[Record]]:
        """Whole objects as they are now: Chunks and an Upsert, or a Remove, for each path.

        `have`: for each path the digest of what is here already, or empty. What the active has with
        the same digest comes without its content.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a reconcile is. Counts are objects; `total` grows while more is found.

    `fetched` and `bytes` came from the active. What is still to come is known only as far as it was
    compared, and guessed from how much more the active has: the larger of both.
    """

    phase: str = "looking at this node's own files"
    scanned: int = 0  # of this node's own, before the comparison begins
    done: int = 0
    total: int = 0
    fetched: int = 0
    bytes: int = 0
    quarantined: int = 0
    known: int = 0  # to be fetched, as found so far
    known_bytes: int = 0
    lacking: int = 0  # what the active has more
    lacking_bytes: int = 0
    bytes_per_s: float = 0.0
    left_ms: int = -1  # until everything is fetched; below 0: not known

    @property
    def to_fetch(self) -> int:
        """Objects to be fetched in all."""
        return max(self.known, self.lacking, self.fetched)

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes of these."""
        return max(self.known_bytes, self.lacking_bytes, self.bytes)


class Reconciler:
    """One reconcile; progress can be read at any time.

    `has_own`: somebody else than this node's applier may have changed its trees since they were
    the same as the active's. Else what no record tells of was applied, and forgotten by a crash.
    """

    def __init__(
        self,
        *,
        applier: Applier,
        active: ActiveTrees,
        quarantine: Quarantine,
        shared: SharedHistory,
        excluded: dict[str, Excluded],
        run_on_disk: RunOnDisk,
        clock_ms: Callable[[], int],
        has_own: bool = True,
        look_at: frozenset[str] | None = None,
        is_written: Callable[[], bool] = lambda: True,
    ) -> None:
        """`look_at`: the trees whose files may not be as the index says; None: all.

        `is_written`: whether a commit would be short now, asked when one is due.
        """
        self._is_written = is_written
        self.progress = Progress()
        self._look_at = look_at
        self._applier = applier
        self._index = applier.index
        self._active = active
        self._quarantine = quarantine
        self._shared = shared
        self._own = OwnVersions(
            applier, quarantine, shared, has_own=has_own, count=self._count_kept
        )
        self._excluded = excluded
        self._run = run_on_disk
        self._clock_ms = clock_ms
        self._committed_ms = clock_ms()
        self._position = Position()
        self._fetching = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._unreadable: PartlyUnreadable | None = None  # the first
        self._vanished: list[bytes] = []  # directories that went somewhere else meanwhile

    async def run(self) -> Position:
        """Returns the position from which the journal is to be followed.

        Raises ReplicationError when the active cannot be asked, CannotWrite and RootMissing when
        this node's trees cannot be written; calling again later goes on where this ended.
        """
        for tree in self._applier.roots:
            await self._run(partial(self._require, tree))
            if self._look_at is None or tree in self._look_at:
                await self._scan(tree)
        await self._run(self._applier.forget_unfinished)
        self._applier.doubtful.cleaned.clear()
        for _ in range(_PASSES):
            await self._pass()
            if not self._vanished:
                break
        else:
            raise ReplicationError(
                f"{len(self._vanished)} directories were moved while they were compared, the last "
                f"was {self._vanished[-1]!r}; the comparison is repeated"
            )
        if self._unreadable is not None:
            await self._run(partial(self._applier.commit, self._index.position))
            raise self._unreadable
        self.progress.phase = "looking again at what could not be put right at once"
        await self._settle()
        ended = (await self._active.begin()).position
        await self._run(partial(self._finish, ended))
        self.progress.total = self.progress.done = max(self.progress.total, self.progress.done)
        return self._position

    async def _pass(self) -> None:
        """Compares all trees with what the active has behind a barrier."""
        self._vanished.clear()
        self.progress.lacking, self.progress.lacking_bytes = (
            self.progress.fetched,
            self.progress.bytes,
        )
        opening = await self._active.begin()
        self._position = opening.position
        for tree, theirs in opening.trees.items():
            if tree not in self._applier.roots:
                raise ReplicationError(
                    f"the active replicates tree {tree!r}, which this node's configuration does "
                    "not have: make the configurations equal"
                )
            self.progress.total += theirs.objects
            mine = self._index.totals(tree)
            self.progress.lacking += max(0, theirs.objects - mine.objects)
            self.progress.lacking_bytes += max(0, theirs.bytes - mine.bytes)
        for tree, theirs in opening.trees.items():
            self.progress.phase = f"comparing tree {tree} with the active's"
            await self._tree(tree, theirs)

    # --- steps -------------------------------------------------------------------------------

    def _require(self, tree: str) -> None:
        root = self._applier.roots[tree]
        root.require_present()
        root.require_staging()

    async def _scan(self, tree: str) -> None:
        """A slice at a time, so that it can be ended, and goes on where it was after a kill."""
        root = self._applier.roots[tree]
        looking = scanning(root, self._index, self._excluded[tree])
        changed = 0
        while (more := await self._run(partial(self._look_on, looking))) is not None:
            changed += more
            await self._run(self._commit_now_and_then)
        await self._run(root.release)
        await self._run(partial(self._applier.commit, self._index.position))
        logger.info("tree %s: scanned, %d objects were not as the index had them", tree, changed)

    def _look_on(self, looking: Iterator[int]) -> int | None:
        """For a moment; how many objects were not as indexed. None: all have been looked at."""
        until, changed, steps = self._clock_ms() + _SLICE_MS, 0, 0
        for step in looking:
            changed += step
            steps += 1
            if self._clock_ms() >= until:
                break
        self.progress.scanned += steps
        return changed if steps else None

    async def _tree(self, tree: str, theirs: TreeSummary) -> None:
        mine = await self._run(partial(self._index.root, tree))
        if mine.digest == theirs.digest and theirs.digest:
            self.progress.done += theirs.objects
            return
        await self._fetch(tree, [b""])
        level: list[bytes] = [b""]
        gate = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def batch(paths: list[bytes]) -> list[bytes]:
            async with gate:
                return await self._directories(tree, paths)

        while level:
            parts = [
                level[at : at + _DIRECTORIES_A_CALL]
                for at in range(0, len(level), _DIRECTORIES_A_CALL)
            ]
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(batch(part)) for part in parts]
            except ExceptionGroup as errors:
                raise _first(errors) from errors
            level = [path for task in tasks for path in task.result()]

    async def _directories(self, tree: str, paths: list[bytes]) -> list[bytes]:
        """Makes directories equal, but for what is below their directories; returns those."""
        descend: list[bytes] = []
        fetch: list[tuple[bytes, int]] = []
        async for path, theirs in self._active.list_directories(tree, paths):
            if theirs is None:
                self._vanished.append(path)  # what was in it may be in a place that is done
                continue
            found = await self._run(partial(self._clean, tree, path, theirs))
            found = await self._without_equal(tree, path, found)
            prefix = path + b"/" if path else b""
            fetch += [(prefix + listed.name, listed.size) for listed in found.fetch]
            descend += [prefix + name for name in found.descend]
            self.progress.done += len(theirs) - len(found.fetch)
            self.progress.known += len(found.fetch)
            self.progress.known_bytes += sum(listed.size for listed in found.fetch)
        await self._fetch_all(tree, fetch)
        return descend

    async def _without_equal(self, tree: str, path: bytes, found: Difference) -> Difference:
        """Files that the active has not read yet, and that are here: perhaps they are the same."""
        prefix = path + b"/" if path else b""
        asked = [prefix + theirs.name for theirs in found.fetch if not theirs.state]
        asked = await self._run(partial(self._files_here, tree, asked))
        equal: set[bytes] = set()
        for at in range(0, len(asked), _OBJECTS_A_CALL):
            part = asked[at : at + _OBJECTS_A_CALL]
            async for states in self._active.describe(tree, part, children=False, deep=False):
                for child, state in states.items():
                    mine = await self._run(partial(self._index.get, tree, child))
                    if mine is not None and _is_that(mine, state):
                        equal.add(child)
        if not equal:
            return found
        fetch = tuple(theirs for theirs in found.fetch if prefix + theirs.name not in equal)
        return replace(found, fetch=fetch)

    def _files_here(self, tree: str, paths: list[bytes]) -> list[bytes]:
        here: list[bytes] = []
        for at in range(0, len(paths), _OBJECTS_A_CALL):
            part = paths[at : at + _OBJECTS_A_CALL]
            self._index.foresee(tree, part)
            found = ((path, self._index.get(tree, path)) for path in part)
            here += (path for path, entry in found if entry is not None and entry.digest)
        return here

    async def _fetch_all(self, tree: str, objects: list[tuple[bytes, int]]) -> None:
        async def portion(paths: list[bytes]) -> None:
            async with self._fetching:
                have = await self._run(partial(self._have, tree, paths))
                await self._fetch(tree, paths, have)

        async with asyncio.TaskGroup() as group:
            for part in _portions(objects):
                group.create_task(portion(part))

    def _clean(self, tree: str, path: bytes, theirs: list[Listed]) -> Difference:
        """Compares a directory and removes what only this node has, own versions to quarantine."""
        mine = self._index.listing(tree, path) or []
        found = compare(mine, theirs)
        self._applier.roots[tree].require_present()
        for name in found.remove:
            child = path + b"/" + name if path else name
            self._own.keep_below(tree, child, "the active does not have it")
            self._applier.doubtful.cleaned.add((tree, path))
            self._applier.apply(
                Record(tree=tree, path=child, change=Remove(), position=self._position),
                fetched=True,
            )
        return found

    def _have(self, tree: str, paths: Sequence[bytes]) -> list[bytes]:
        """Of each file with one name that nobody doubts: which content it has."""
        self._index.foresee(tree, paths)
        entries = (self._index.get(tree, path) for path in paths)
        return [
            entry.digest
            if entry is not None
            and entry.identity.ctime_ns != NOT_SURE_NS
            and len(self._index.names_of(tree, entry.identity.dev, entry.identity.ino)) == 1
            else b""
            for entry in entries
        ]

    async def _fetch(self, tree: str, paths: Sequence[bytes], have: Sequence[bytes] = ()) -> None:
        try:
            async for records in self._active.fetch(tree, paths, have):
                await self._run(partial(self._take_over, records))
        except PartlyUnreadable as error:  # the rest of the trees need not wait for that
            self._unreadable = self._unreadable or error
        await self._run(self._commit_now_and_then)

    def _take_over(self, records: list[Record]) -> None:
        todo = [
            replace(record, position=max(self._position, record.position)) for record in records
        ]
        while todo:
            # Where a new file can be made nothing stands that could be this node's own.
            done = self._applier.make_new(todo, fetched=True)
            for record in todo[:done]:
                self._count_taken(record.change)
            if not done:
                self._take_over_one(todo[0])
            del todo[: done or 1]

    def _take_over_one(self, record: Record) -> None:
        match record.change:
            case Upsert() as upsert:
                self._own.keep_if_replaced(record, upsert)
            case Remove():
                # Removed since it was listed, or moved: a record will tell which, and where to.
                self._own.keep_below(record.tree, record.path, "the active removed it")
                self._applier.doubtful.suspect(record.tree, record.path)
                self.progress.done += 1
                return
        self._count_taken(record.change)
        self._applier.apply(record, fetched=True)

    def _count_kept(self) -> None:
        self.progress.quarantined += 1

    def _count_taken(self, change: Change) -> None:
        match change:
            case Upsert() as upsert:
                self.progress.done += 1
                self.progress.fetched += 1
                if not isinstance(upsert.content, Staged):  # whose bytes came before
                    self.progress.bytes += upsert.metadata.size
            case Chunk(data=data):
                self.progress.bytes += len(data)

    async def _settle(self) -> None:
        """Fetches again what could not be put right at once (links before their files, say)."""
        wrong = await self._run(self._applier.settle)
        if not wrong:
            return
        for _ in range(_ROUNDS):
            for tree in self._applier.roots:
                paths = [record.path for record in wrong if record.tree == tree]
                for part in _portions([(path, 0) for path in paths]):
                    await self._fetch(tree, part)
            wrong = await self._run(self._applier.settle)
            if not wrong:
                return
        # They change faster than they are fetched: the records that follow tell the rest.

    def _finish(self, ended: Position) -> None:
        for tree in self._applier.roots:
            self._index.adopt(tree, self._shared, self._position)
        self._applier.drop_stages()
        self._applier.doubtful.compared = self._position
        self._applier.doubtful.compared_until = ended
        self._applier.commit(self._position)
        self._quarantine.close_batch()

    def _commit_now_and_then(self) -> None:
        now = self._clock_ms()
        if now - self._committed_ms >= _COMMIT_EVERY_MS and self._is_written():
            self._applier.commit(self._index.position)
            self._committed_ms = now


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """One of them, however deep it is."""
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_that(entry: Entry, state: State) -> bool:
    return bool(state.digest) and (entry.metadata, entry.digest) == (state.metadata, state.digest)


def _portions(objects: list[tuple[bytes, int]]) -> list[list[bytes]]:
    """Paths in portions that are bounded in number and bytes."""
    portions: list[list[bytes]] = []
    size = _BYTES_A_CALL
    for path, object_size in objects:
        if size >= _BYTES_A_CALL or len(portions[-1]) >= _OBJECTS_A_CALL:
            portions.append([])
            size = 0
        portions[-1].append(path)
        size += object_size
    return portions
