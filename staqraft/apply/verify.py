"""Whether a standby's trees are the active's, by what is on both disks, while both go on changing.

First everything is compared once; most of what differs then was changed just now. So each suspect
is looked at again in rounds: the active's state, then a barrier, which the standby applies, then
the standby's state, then the active's again. Where the active's state was the same before and
after, the standby must have it; what does not is a finding. What changes in every round is told
as restless, and not as a difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from staqraft.apply.inspect import State, aspects
from staqraft.errors import ReplicationError
from staqraft.index import TreeSummary
from staqraft.journal.record import ObjectType
from staqraft.model import Position

_DIRECTORIES_A_CALL: Final = 32
_OBJECTS_A_CALL: Final = 200
_ROUNDS: Final = 6
_MOST: Final = 100_000

States = dict[bytes, State]


class ActiveDisk(Protocol):
    """What is on the active's disk. All raise ReplicationError."""

    async def barrier(self) -> tuple[Position, dict[str, TreeSummary]]:
        """Everything written before is at or before this position; how much there is."""
        ...

    def describe(
        self, tree: str, paths: Sequence[bytes], *, children: bool, deep: bool
    ) -> AsyncIterator[States]:
        """What objects, or what is in directories, are now; absent ones are left out."""
        ...


class StandbyDisk(Protocol):
    """What is on this node's disk. Raises RootMissing, OSError."""

    async def children(self, tree: str, paths: Sequence[bytes]) -> States:
        """What is in these directories."""
        ...

    async def objects(self, tree: str, paths: Sequence[bytes]) -> States:
        """What stands at these paths, with nothing half applied."""
        ...

    async def applied(self, position: Position) -> None:
        """Returns when everything up to the position is applied. ReplicationError if it is not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An object that is not the same on both."""

    tree: str
    path: bytes
    aspects: tuple[str, ...]
    mine: State | None
    theirs: State | None


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far it is."""

    phase: str = "waiting until this node has applied everything"
    objects: int = 0
    objects_total: int = 0
    bytes: int = 0
    bytes_total: int = 0
    suspects: int = 0


@dataclass(slots=True, kw_only=True)
class Result:
    """What was found. `restless` could not be compared: it never stopped changing."""

    findings: list[Finding] = field(default_factory=list)
    restless: list[tuple[str, bytes]] = field(default_factory=list)


class Verifier:
    """One comparison of some trees. `progress` can be read at any time."""

    def __init__(
        self, active: ActiveDisk, standby: StandbyDisk, trees: Sequence[str], *, deep: bool
    ) -> None:
        self.progress = Progress()
        self._active = active
        self._standby = standby
        self._trees = trees
        self._deep = deep

    async def run(self) -> Result:
        """Compares everything. Raises ReplicationError, RootMissing, OSError."""
        position, sizes = await self._active.barrier()
        totals = [sizes[tree] for tree in self._trees if tree in sizes]
        self.progress.objects_total = sum(total.objects for total in totals)
        self.progress.bytes_total = sum(total.bytes for total in totals)
        await self._standby.applied(position)
        result = Result()
        for tree in self._trees:
            self.progress.phase = f"comparing tree {tree}"
            suspects = await self._sweep(tree)
            self.progress.phase = f"looking again at what seems to differ in tree {tree}"
            await self.settle(tree, suspects, result)
        return result

    async def _sweep(self, tree: str) -> list[bytes]:
        root = [b""]
        suspects, _ = await self._compare(tree, root, self._active_objects, self._standby.objects)
        self.progress.objects += 1
        level = root
        while level:
            below: list[bytes] = []
            for at in range(0, len(level), _DIRECTORIES_A_CALL):
                part = level[at : at + _DIRECTORIES_A_CALL]
                different, directories = await self._compare(
                    tree, part, self._active_children, self._standby.children
                )
                suspects += different
                below += directories
                if len(suspects) > _MOST:
                    raise ReplicationError(
                        f"more than {_MOST:,} objects of tree {tree} differ, the first is"
                        f" {suspects[0]!r}: this is no drift. 'staqctl resync' makes them equal"
                    )
            level = below
        return suspects

    async def _compare(
        self,
        tree: str,
        paths: Sequence[bytes],
        theirs_of: Callable[[str, Sequence[bytes]], Awaitable[States]],
        mine_of: Callable[[str, Sequence[bytes]], Awaitable[States]],
    ) -> tuple[list[bytes], list[bytes]]:
        """What differs, and the directories on either side."""
        theirs, mine = await asyncio.gather(theirs_of(tree, paths), mine_of(tree, paths))
        everything = sorted(theirs.keys() | mine.keys())
        different = [path for path in everything if _suspect(theirs.get(path), mine.get(path))]
        self.progress.suspects += len(different)
        states = (theirs, mine)
        directories = [
            path
            for path in everything
            if any(path in s and s[path].metadata.type is ObjectType.DIRECTORY for s in states)
        ]
        return different, directories

    async def settle(self, tree: str, suspects: Sequence[bytes], result: Result) -> None:
        """Looks again until each is the same, a finding, or restless.

        A finding is what differs in the same way behind two barriers: a change that was made and
        undone between two looks at the active (a link, say) is seen on the standby only, once.
        """
        left = list(suspects)
        seen: dict[bytes, tuple[State | None, State | None]] = {}
        before = await self._active_objects(tree, left)
        for _ in range(_ROUNDS):
            if not left:
                return
            position, _ = await self._active.barrier()
            await self._standby.applied(position)
            mine = await self._standby.objects(tree, left)
            after = await self._active_objects(tree, left)
            again: list[bytes] = []
            for path in left:
                a, b = after.get(path), mine.get(path)
                if a == before.get(path) and not _restless(a, b):
                    if _suspect(a, b) and seen.get(path) != (a, b):
                        seen[path] = (a, b)
                        again.append(path)
                    elif _suspect(a, b):
                        differs = aspects(a, b)
                        result.findings.append(
                            Finding(tree=tree, path=path, aspects=differs, mine=b, theirs=a)
                        )
                elif _restless(a, b) or aspects(a, b):
                    again.append(path)
            left, before = again, after
        result.restless += [(tree, path) for path in left]

    async def _active_children(self, tree: str, paths: Sequence[bytes]) -> States:
        found: States = {}
        async for states in self._active.describe(tree, paths, children=True, deep=self._deep):
            found.update(states)
            self.progress.objects += len(states)
            self.progress.bytes += sum(state.metadata.size for state in states.values())
        return found

    async def _active_objects(self, tree: str, paths: Sequence[bytes]) -> States:
        found: States = {}
        for at in range(0, len(paths), _OBJECTS_A_CALL):
            part = paths[at : at + _OBJECTS_A_CALL]
            async for states in self._active.describe(tree, part, children=False, deep=self._deep):
                found.update(states)
        return found


def _suspect(theirs: State | None, mine: State | None) -> bool:
    damaged = any(state is not None and state.corrupt for state in (theirs, mine))
    return damaged or _restless(theirs, mine) or bool(aspects(theirs, mine))


def _restless(*states: State | None) -> bool:
    return any(state is not None and state.restless for state in states)
