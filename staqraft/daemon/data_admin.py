"""What administrators do with a group's data on this node (`api.data_admin.DataNode`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import grpc.aio

from staqraft.api.data_admin import DataNode
from staqraft.api.failures import exit_code_of
from staqraft.config.schema import Config
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.announcing import propose_until_known
from staqraft.daemon.clock import wall_ms
from staqraft.daemon.loop import GroupLoop
from staqraft.errors import ActionError, NotActive
from staqraft.model import GroupId, GroupRecord, NodeId, NoteEvent, Refused, SetInSync
from staqraft.wire.v1 import data_worker_pb2 as pb

logger = logging.getLogger(__name__)

_DROP_S = 600.0
_PREPARE_S = 50.0
_TRIES = 5
_STOPPED_S = 5.0  # until the active's core sees that a standby stopped following
_PAUSE_S = 2.0  # in which the active takes it out of the in-sync set
_NAMED = 20  # objects in a line of the history


class NodeData(DataNode):
    """Asks the data worker, and writes into the history what was done."""

    def __init__(
        self,
        config: Config,
        raft: RaftGroup,
        loops: Mapping[GroupId, GroupLoop],
        *,
        verified: Callable[[GroupId, int, int], None],
    ) -> None:
        """`verified` is told how many objects a comparison found different, and left so."""
        self._config = config
        self._verified = verified
        self._raft = raft
        self._loops = loops
        self._notes: set[asyncio.Task[None]] = set()

    async def restore(
        self, group: GroupId, wish: pb.RestoreQuarantinedRequest, who: str
    ) -> AsyncGenerator[pb.RestoreQuarantinedResponse, None]:
        """Brings objects back; what was done is in the history also when the caller goes away."""
        loop = self._loop(group)
        done: list[pb.QuarantineEntry] = []
        call = loop.hands.data.trees.RestoreQuarantined(wish, wait_for_ready=False)
        try:
            async for outcome in call:
                if outcome.restored:
                    done.append(outcome.entry)
                yield outcome
        except grpc.aio.AioRpcError as error:
            raise self._told(group, error) from error
        finally:
            call.cancel()
            if done:
                where = f" to {_text(wish.target)}" if wish.target else ""
                self._note(loop, f"{who} restored {_named(done)} from quarantine{where}")

    async def drop(
        self, group: GroupId, wish: pb.DropQuarantinedRequest, who: str
    ) -> pb.DropQuarantinedResponse:
        """Removes objects for good."""
        loop = self._loop(group)
        try:
            gone: pb.DropQuarantinedResponse = await loop.hands.data.trees.DropQuarantined(
                wish, timeout=_DROP_S
            )
        except grpc.aio.AioRpcError as error:
            raise self._told(group, error) from error
        if gone.objects:
            names = _named(gone.some, gone.objects)
            self._note(loop, f"{who} removed {names} from quarantine for good")
        return gone

    def group(self, group: GroupId) -> GroupRecord:
        """The group's record as applied on this node."""
        return self._raft.state.groups.get(group, GroupRecord())

    async def verify(
        self, group: GroupId, wish: pb.VerifyTreesRequest, who: str
    ) -> AsyncGenerator[pb.VerifyTreesResponse, None]:
        """Compares this node's trees with the active's; a finished one is in the history."""
        loop = self._loop(group)
        findings: list[pb.VerifyFinding] = []
        call = loop.hands.data.trees.VerifyTrees(wish)
        try:
            async for step in call:
                if step.HasField("finding"):
                    findings.append(step.finding)
                if step.done:
                    left = sum(not finding.repaired for finding in findings)
                    self._verified(group, len(findings), left)
                    self._note(loop, _verdict(findings, wish, who), kind="verify")
                yield step
        except grpc.aio.AioRpcError as error:
            raise self._told(group, error) from error
        finally:
            call.cancel()

    async def require_majority(self, group: GroupId) -> None:
        """The record as a majority has it, and this node is active in it."""
        await self._own_record(group)

    async def _own_record(self, group: GroupId) -> GroupRecord:
        record = (await self._raft.barrier()).groups.get(group, GroupRecord())
        if record.active != self._config.node or record.released:
            raise NotActive(
                f"{self._config.node} is not active in group {group} any more: try again"
            )
        return record

    async def leave_in_sync(self, group: GroupId, standby: NodeId, reason: str) -> None:
        """Waits until the core sees that it does not follow, so that it is not let in again.

        Raises NotActive when another has taken over, ConsensusError without a majority.
        """
        loop = self._loop(group)
        try:
            async with asyncio.timeout(_STOPPED_S):
                while (seen := loop.state.peers.get(standby)) is not None and seen.whole:
                    await loop.changed()
        except TimeoutError:
            logger.warning("group %s: %s still follows, or again", group, standby)
            return
        for _ in range(_TRIES):
            record = await self._own_record(group)
            if standby not in record.in_sync:
                return
            outcome = await self._raft.propose(
                SetInSync(
                    node=self._config.node,
                    group=group,
                    epoch=record.epoch,
                    expected=record.in_sync,
                    expected_index=record.in_sync_index,
                    members=record.in_sync - {standby},
                    reason=reason,
                    wall_ms=wall_ms(),
                )
            )
            if isinstance(outcome, Refused):
                logger.info("group %s: %s; tried again", group, outcome.reason)
        raise ActionError(
            f"{standby} could not be taken out of the in-sync set, which changes all the time: it"
            " compares its trees all the same"
        )

    async def resync(self, group: GroupId, wish: pb.PrepareResyncRequest) -> None:
        """Stops following; the trees process compares when it is to follow again."""
        loop = self._loop(group)
        try:
            await loop.hands.data.trees.PrepareResync(wish, timeout=_PREPARE_S)
        except grpc.aio.AioRpcError as error:
            raise self._told(group, error) from error
        await loop.hands.data.stop_following_for(_PAUSE_S)

    async def allow_removals(self, group: GroupId, tree: str) -> int:
        """What vanished from a tree was meant to; for how many ms nobody is asked."""
        loop = self._loop(group)
        try:
            answer: pb.BelieveRemovalsResponse = await loop.hands.data.trees.BelieveRemovals(
                pb.BelieveRemovalsRequest(tree=tree), timeout=_PREPARE_S
            )
        except grpc.aio.AioRpcError as error:
            raise self._told(group, error) from error
        return answer.for_ms

    def note(self, group: GroupId, kind: str, text: str) -> None:
        """Writes into the history."""
        self._note(self._loop(group), text, kind=kind)

    def _loop(self, group: GroupId) -> GroupLoop:
        loop = self._loops.get(group)
        if loop is None:
            raise NotActive(f"{self._config.node} is a witness: it holds no data, ask a replica")
        return loop

    def _told(self, group: GroupId, error: grpc.aio.AioRpcError) -> Exception:
        """An error that the worker explained goes on as it is."""
        if exit_code_of(error) is not None:
            return error
        return ActionError(
            f"the trees process of group {group} on {self._config.node} did not answer to the end"
            f" ({error.details() or error.code().name}): see 'journalctl -u staqraftd', and try"
            " again"
        )

    def _note(self, loop: GroupLoop, text: str, *, kind: str = "quarantine") -> None:
        logger.info("group %s: %s", loop.group, text)
        note = NoteEvent(
            node=loop.state.settings.node,
            group=loop.group,
            kind=kind,
            text=text,
            epoch=loop.state.record.epoch,
            wall_ms=wall_ms(),
        )
        task = asyncio.create_task(propose_until_known(self._raft, note))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)


def _verdict(findings: list[pb.VerifyFinding], wish: pb.VerifyTreesRequest, who: str) -> str:
    what = f"tree {', '.join(wish.trees)}" if wish.trees else "all trees"
    how = f"{who} verified {what}{' and read every file' if wish.deep else ''}"
    if not findings:
        return f"{how}: equal on both replicas"
    repaired = sum(finding.repaired for finding in findings)
    healed = f", {repaired} of them fetched from the active" if repaired else ""
    return f"{how}: {_named(findings)} not as on the active{healed}"


def _named(entries: Any, count: int | None = None) -> str:
    count = len(entries) if count is None else count
    names = [f"{entry.tree}:{_text(entry.path)}" for entry in entries[:_NAMED]]
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return f"{'1 object' if count == 1 else f'{count} objects'} ({', '.join(names)}{more})"


def _text(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
