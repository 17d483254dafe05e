"""`staqctl verify` at the standby: both disks compared, and repaired when that was asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Final

from staqraft.api.asked import BadRequest
from staqraft.apply.inspect import Inspector, State
from staqraft.apply.reconcile import PartlyUnreadable
from staqraft.apply.safety import RootMissing
from staqraft.apply.verify import Finding, Result, States, Verifier
from staqraft.config.schema import Config, Group
from staqraft.daemon.trees_client import RemoteTrees
from staqraft.daemon.trees_common import Common
from staqraft.daemon.trees_repair import repair_all
from staqraft.daemon.trees_standby import StandbyRole
from staqraft.daemon.troubles import TROUBLES
from staqraft.errors import ActionError, NotActive, ReplicationError
from staqraft.journal.record import ObjectType
from staqraft.model import NodeId, Position
from staqraft.wire.v1 import data_worker_pb2 as pb

logger = logging.getLogger(__name__)

_PROGRESS_S: Final = 0.5
_APPLIED_LOOK_S: Final = 0.05
_APPLIED_WAIT_S: Final = 120.0


class NoStandby(NotActive):
    """Asked of a node that is not the group's standby, or not in a state to compare."""


def require_standby(standby: StandbyRole | None, config: Config, group: Group) -> StandbyRole:
    """The role, if its trees can be compared now. NoStandby says what to wait for."""
    if standby is None:
        raise NoStandby(
            f"{config.node} is not a standby of group {group.id} now, so it has nothing to compare"
            " with: 'staqctl status' says who is"
        )
    if standby.reason:
        raise NoStandby(
            f"the trees of {config.node} are being made equal to the active's anyway"
            f" ({standby.reason}): verify when it is in sync again, 'staqctl status' says how far"
            " it is"
        )
    return standby


async def verify(
    common: Common, standby: StandbyRole, wish: pb.VerifyTreesRequest
) -> AsyncGenerator[pb.VerifyTreesResponse, None]:
    """Progress, findings, end. Raises StaqraftErrors."""
    known = [tree.name for tree in common.group.trees]
    if unknown := [tree for tree in wish.trees if tree not in known]:
        raise BadRequest(
            f"group {common.group.id} has no tree {unknown[0]!r}: it is one of {', '.join(known)}"
        )
    active = standby.assignment.active
    if active is None:
        raise NoStandby(f"nobody is active in group {common.group.id}: there is nothing to compare")
    remote = RemoteTrees(common.config, common.group, active, standby.assignment.epoch)
    here = Here(common, standby, deep=wish.deep)
    verifier = Verifier(remote, here, list(wish.trees) or known, deep=wish.deep)
    task = asyncio.create_task(_run(verifier, here, remote, repair=wish.repair))
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_PROGRESS_S)
            if not task.done():
                yield _progress(verifier)
        try:
            result, repaired, not_repaired = task.result()
        except (OSError, RootMissing) as error:
            raise ActionError(
                f"the trees of {common.config.node} cannot be read: {error}"
            ) from error
        for finding in sorted(result.findings, key=lambda found: (found.tree, found.path)):
            yield pb.VerifyTreesResponse(
                finding=_finding(finding, common.config.node, active, repaired)
            )
        last = _progress(verifier)
        last.done, last.restless = True, len(result.restless)
        last.not_repaired.extend(not_repaired)
        yield last
    finally:
        task.cancel()
        await asyncio.wait([task])
        await here.close()
        await remote.close()


async def _run(
    verifier: Verifier, here: Here, remote: RemoteTrees, *, repair: bool
) -> tuple[Result, set[tuple[str, bytes]], list[str]]:
    """What was found, what of it was repaired, and why something was not, in words."""
    result = await verifier.run()
    repaired: set[tuple[str, bytes]] = set()
    not_repaired: list[str] = []
    if repair and result.findings:
        verifier.progress.phase = "fetching what differs from the active"
        fixable = [f for f in result.findings if f.theirs is None or not f.theirs.corrupt]
        try:
            await repair_all(here.common, here.standby, remote, fixable)
        except PartlyUnreadable as error:
            not_repaired.append(str(error))
        for tree in {finding.tree for finding in fixable}:
            again = Result()
            paths = [finding.path for finding in fixable if finding.tree == tree]
            await verifier.settle(tree, paths, again)
            wrong = {f.path for f in again.findings} | {path for _, path in again.restless}
            repaired |= {(tree, path) for path in paths if path not in wrong}
    return result, repaired, not_repaired


class Here:
    """The standby's own disk, for a comparison (`apply.verify.StandbyDisk`)."""

    def __init__(self, common: Common, standby: StandbyRole, *, deep: bool) -> None:
        self.common = common
        self.standby = standby
        trees = {tree.name: tree.path for tree in common.group.trees}
        self._inspector = Inspector(trees, common.index, common.excluded(), deep=deep, cold=deep)
        # Of its own, because it is used in the disk thread.
        self._plain = Inspector(trees, common.index, common.excluded(), deep=False)

    async def close(self) -> None:
        """Lets go of the trees."""
        await self.common.inspect(self._inspector.close)
        await self.common.on_disk(self._plain.close)

    async def children(self, tree: str, paths: Sequence[bytes]) -> States:
        """What is in these directories."""
        found: States = {}
        for path in paths:
            found.update(await self.common.inspect(partial(_all, self._inspector, tree, path)))
        return found

    async def objects(self, tree: str, paths: Sequence[bytes]) -> States:
        """What stands at these paths; directories while nothing is half applied."""
        found: States = {}
        for path in paths:
            state = await self.common.inspect(partial(self._inspector.object, tree, path))
            if state is not None:
                found[path] = state
        directories = [
            path for path, state in found.items() if state.metadata.type is ObjectType.DIRECTORY
        ]
        if directories:
            again = await self.standby.consistent(
                lambda: {path: self._plain.object(tree, path) for path in directories}
            )
            for path, state in again.items():
                if state is None:
                    del found[path]
                else:
                    found[path] = state
        return found

    async def applied(self, position: Position) -> None:
        """Waits until the position is applied and durable."""
        try:
            async with asyncio.timeout(_APPLIED_WAIT_S):
                while self.common.index.position < position:
                    if self.standby.reason:
                        raise ReplicationError(
                            f"the trees have to be compared anew meanwhile: {self.standby.reason}"
                        )
                    if trouble := self._trouble():
                        raise ReplicationError(
                            f"{self.common.config.node} cannot apply what it has received, so it"
                            f" cannot be compared: {trouble}"
                        )
                    await asyncio.sleep(_APPLIED_LOOK_S)
        except TimeoutError as error:
            raise ReplicationError(
                f"{self.common.config.node} has not applied {position} within"
                f" {_APPLIED_WAIT_S:.0f} s, so it cannot be compared: 'staqctl status' says how far"
                " behind it is"
            ) from error

    def _trouble(self) -> str:
        """Why nothing is applied at present, or empty."""
        return next((text for code, text in self.common.problems.now() if code in TROUBLES), "")


def _all(inspector: Inspector, tree: str, path: bytes) -> dict[bytes, State]:
    return dict(inspector.children(tree, path))


def _progress(verifier: Verifier) -> pb.VerifyTreesResponse:
    progress = verifier.progress
    return pb.VerifyTreesResponse(
        phase=progress.phase,
        objects_done=progress.objects,
        objects_total=max(progress.objects, progress.objects_total),
        bytes_done=progress.bytes,
        bytes_total=max(progress.bytes, progress.bytes_total),
        suspects=progress.suspects,
    )


def _finding(
    finding: Finding, me: NodeId, active: NodeId, repaired: set[tuple[str, bytes]]
) -> pb.VerifyFinding:
    damaged = ""
    if finding.theirs is not None and finding.theirs.corrupt:
        damaged = active
    elif finding.mine is not None and finding.mine.corrupt:
        damaged = me
    return pb.VerifyFinding(
        tree=finding.tree,
        path=finding.path,
        aspects=finding.aspects,
        corrupt_on=damaged,
        repaired=(finding.tree, finding.path) in repaired,
    )
