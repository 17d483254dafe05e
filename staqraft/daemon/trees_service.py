"""What the trees process answers: control and stream over the unix socket, the peer over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import starmap
from typing import Final, NoReturn, Protocol

import grpc

from staqraft.api.failures import described
from staqraft.apply.inspect import State
from staqraft.apply.reconcile import Progress
from staqraft.config.schema import Config, Group
from staqraft.daemon.trees_active import ActiveRole
from staqraft.daemon.trees_common import Assignment, Common
from staqraft.daemon.trees_quarantine import QuarantineKeeper
from staqraft.daemon.trees_standby import StandbyRole
from staqraft.daemon.trees_verify import require_standby, verify
from staqraft.errors import StaqraftError
from staqraft.index import Listed
from staqraft.journal.record_codec import fill_metadata
from staqraft.model import Epoch, NodeId, Position
from staqraft.replication.frame import compress
from staqraft.replication.messages import from_starts, to_position
from staqraft.wire import tls
from staqraft.wire.tls import Context
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc
from staqraft.wire.v1 import replication_pb2 as wire
from staqraft.wire.v1 import replication_pb2_grpc as wire_grpc
from staqraft.wire.v1 import types_pb2

_ENTRIES_A_MESSAGE: Final = 2000


class Worker(Protocol):
    """What the services need of the process."""

    config: Config
    group: Group
    common: Common
    assignment: Assignment
    keeper: QuarantineKeeper

    async def set_role(self, wanted: Assignment) -> bool:
        """False: a new epoch is needed."""
        ...

    async def finish(self, epoch: Epoch, *, accept_loss: bool) -> Position:
        """Applies the rest."""
        ...

    async def last(self) -> Position:
        """The journal's end."""
        ...

    async def status(self) -> pb.GetTreesStatusResponse:
        """How it is."""
        ...

    @property
    def active(self) -> ActiveRole:
        """Raises NotActive."""
        ...

    @property
    def standby(self) -> StandbyRole | None:
        """If it is one."""
        ...


async def refuse(context: Context, error: StaqraftError) -> NoReturn:
    """Ends a call with the error's own status and exit code."""
    await context.abort(getattr(grpc.StatusCode, error.grpc_status), str(error), described(error))
    raise AssertionError("abort raises")


class ControlServicer(pb_grpc.TreesWorkerServiceServicer):
    """What control and the stream process ask."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def SetTreesRole(  # noqa: N802 - gRPC's name
        self, request: pb.SetTreesRoleRequest, context: Context
    ) -> pb.SetTreesRoleResponse:
        """Returns when the role is in force."""
        wanted = request.assignment
        if wanted.role == pb.WORKER_ROLE_UNSPECIFIED:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no role was given")
        assignment = Assignment(
            role=wanted.role,
            epoch=Epoch(wanted.epoch),
            epoch_starts=from_starts(wanted.epoch_starts),
            active=NodeId(wanted.active) if wanted.active else None,
        )
        try:
            # The caller's patience ends, the change does not: half a role change must not be left.
            continued = await asyncio.shield(
                asyncio.ensure_future(self._worker.set_role(assignment))
            )
        except StaqraftError as error:
            await refuse(context, error)
        last = to_position(await self._worker.last())
        return pb.SetTreesRoleResponse(last=last, needs_new_epoch=not continued)

    async def CaptureBarrier(  # noqa: N802
        self,
        request: pb.CaptureBarrierRequest,
        context: Context,
    ) -> pb.CaptureBarrierResponse:
        """Everything written before is durable here when it returns."""
        try:
            position = await self._worker.active.barrier(complete=request.complete)
        except StaqraftError as error:
            await refuse(context, error)
        return pb.CaptureBarrierResponse(position=to_position(position))

    async def FinishApplying(  # noqa: N802
        self, request: pb.FinishApplyingRequest, context: Context
    ) -> pb.FinishApplyingResponse:
        """Applies the rest of the journal."""
        try:
            finishing = asyncio.ensure_future(
                self._worker.finish(Epoch(request.epoch), accept_loss=request.accept_data_loss)
            )
            position = await asyncio.shield(finishing)
        except StaqraftError as error:
            await refuse(context, error)
        return pb.FinishApplyingResponse(position=to_position(position))

    async def Reconcile(  # noqa: N802
        self, request: pb.ReconcileRequest, context: Context
    ) -> AsyncIterator[pb.ReconcileResponse]:
        """Compares with the active; the last message is the one that is done."""
        standby = self._worker.standby
        if standby is None:
            text = f"{self._worker.config.node} is not a standby: it compares with nobody"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        compared = standby.reconcile(
            reason=request.reason,
            active=NodeId(request.active),
            epoch=Epoch(request.epoch),
            starts=from_starts(request.epoch_starts),
        )
        try:
            async for progress, position in compared:
                answer = to_progress(progress)
                if position is not None:
                    answer.done = True
                    answer.position.CopyFrom(to_position(position))
                yield answer
        except StaqraftError as error:
            await refuse(context, error)
        finally:
            await compared.aclose()

    async def VerifyTrees(  # noqa: N802
        self, request: pb.VerifyTreesRequest, context: Context
    ) -> AsyncIterator[pb.VerifyTreesResponse]:
        """Progress, then findings, then the message that is done."""
        try:
            standby = require_standby(self._worker.standby, self._worker.config, self._worker.group)
            steps = verify(self._worker.common, standby, request)
            try:
                async for step in steps:
                    yield step
            finally:
                await steps.aclose()
        except StaqraftError as error:
            await refuse(context, error)

    async def PrepareResync(  # noqa: N802
        self, request: pb.PrepareResyncRequest, context: Context
    ) -> pb.PrepareResyncResponse:
        """Returns when it is durable that the trees are to be compared."""
        worker = self._worker
        known = [tree.name for tree in worker.group.trees]
        standby = worker.standby
        if standby is None:
            text = f"{worker.config.node} is not a standby: it compares with nobody"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        try:
            await standby.resync(
                request.reason, list(request.trees) or known, from_scratch=request.from_scratch
            )
        except StaqraftError as error:
            await refuse(context, error)
        return pb.PrepareResyncResponse()

    async def BelieveRemovals(  # noqa: N802
        self, request: pb.BelieveRemovalsRequest, context: Context
    ) -> pb.BelieveRemovalsResponse:
        """Removals that are held are carried out."""
        try:
            for_ms = self._worker.active.believe_removals(request.tree)
        except StaqraftError as error:
            await refuse(context, error)
        return pb.BelieveRemovalsResponse(for_ms=for_ms)

    async def GetTreesStatus(  # noqa: N802
        self,
        request: pb.GetTreesStatusRequest,  # noqa: ARG002 - it has nothing in it
        context: Context,  # noqa: ARG002
    ) -> pb.GetTreesStatusResponse:
        """What it is doing and how it is."""
        return await self._worker.status()

    async def ListQuarantine(  # noqa: N802
        self,
        request: pb.ListQuarantineRequest,  # noqa: ARG002 - it has nothing in it
        context: Context,  # noqa: ARG002
    ) -> pb.ListQuarantineResponse:
        """What is in quarantine, oldest first."""
        return await self._worker.keeper.list()

    async def RestoreQuarantined(  # noqa: N802
        self, request: pb.RestoreQuarantinedRequest, context: Context
    ) -> AsyncIterator[pb.RestoreQuarantinedResponse]:
        """One message for each object."""
        outcomes = self._worker.keeper.restore(request)
        try:
            async for outcome in outcomes:
                yield outcome
        except StaqraftError as error:
            await refuse(context, error)
        finally:
            await outcomes.aclose()

    async def DropQuarantined(  # noqa: N802
        self, request: pb.DropQuarantinedRequest, context: Context
    ) -> pb.DropQuarantinedResponse:
        """What was removed."""
        try:
            return await self._worker.keeper.drop(request)
        except StaqraftError as error:
            await refuse(context, error)


class PeerServicer(wire_grpc.TreeServiceServicer):
    """What the other replica asks while it compares its trees with ours."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def BeginReconcile(  # noqa: N802
        self, request: wire.BeginReconcileRequest, context: Context
    ) -> wire.BeginReconcileResponse:
        """A capture barrier, and the digests of the trees behind it."""
        active = await self._admit(context, request.cluster, request.group)
        epoch = self._worker.assignment.epoch
        if request.epoch != epoch:
            text = (
                f"{self._worker.config.node} is active in epoch {epoch}, the comparison is for "
                f"epoch {request.epoch}"
            )
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        try:
            begin = active.barrier if request.barrier_only else active.begin_comparison
            position = await begin()
        except StaqraftError as error:
            await refuse(context, error)
        answer = wire.BeginReconcileResponse(position=to_position(position))
        index = self._worker.common.index
        for tree in self._worker.group.trees:
            if request.barrier_only:
                totals = index.totals(tree.name)
                answer.trees.add(tree=tree.name, objects=totals.objects, bytes=totals.bytes)
                continue
            root = await self._worker.common.read(partial(index.root, tree.name))
            answer.trees.add(
                tree=tree.name, digest=root.digest, objects=root.objects, bytes=root.bytes
            )
        return answer

    async def ListDirectories(  # noqa: N802
        self, request: wire.ListDirectoriesRequest, context: Context
    ) -> AsyncIterator[wire.ListDirectoriesResponse]:
        """Entries with their digests; a large directory in several messages."""
        active = await self._admit(context, request.cluster, request.group)
        for path in request.paths:
            entries = await self._worker.common.read(partial(active.listing, request.tree, path))
            if entries is None:
                yield wire.ListDirectoriesResponse(path=path, missing=True, complete=True)
                continue
            for at in range(0, max(1, len(entries)), _ENTRIES_A_MESSAGE):
                yield wire.ListDirectoriesResponse(
                    path=path,
                    entries=[_entry(item) for item in entries[at : at + _ENTRIES_A_MESSAGE]],
                    complete=at + _ENTRIES_A_MESSAGE >= len(entries),
                )

    async def FetchObjects(  # noqa: N802
        self, request: wire.FetchObjectsRequest, context: Context
    ) -> AsyncIterator[wire.FetchObjectsResponse]:
        """Whole objects as they are now, in the order of the paths."""
        active = await self._admit(context, request.cluster, request.group)
        policy = self._worker.group.replication.compression
        batches = active.objects.whole(request.tree, list(request.paths), list(request.have))
        while True:
            active.scrubber.give_way()
            try:
                batch = await self._worker.common.read(partial(_next, batches, policy))
            except StaqraftError as error:
                await refuse(context, error)
            except OSError as error:
                text = f"an object of tree {request.tree} cannot be read: {error}"
                await context.abort(grpc.StatusCode.UNAVAILABLE, text)
            if batch is None:
                return
            yield batch

    async def DescribeObjects(  # noqa: N802
        self, request: wire.DescribeObjectsRequest, context: Context
    ) -> AsyncIterator[wire.DescribeObjectsResponse]:
        """What is on the disk now, in the order of the paths."""
        active = await self._admit(context, request.cluster, request.group)
        try:
            async for states in active.objects.describe(
                request.tree, list(request.paths), children=request.children, deep=request.deep
            ):
                yield wire.DescribeObjectsResponse(states=starmap(to_state, states))
        except StaqraftError as error:
            await refuse(context, error)
        except OSError as error:
            text = f"tree {request.tree} cannot be read on {self._worker.config.node}: {error}"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text)

    async def _admit(self, context: Context, cluster: str, group: str) -> ActiveRole:
        worker = self._worker
        peers = [node for node in worker.config.replicas if node != worker.config.node]
        await tls.require_peer(context, worker.config.cluster, peers)
        if (cluster, group) != (worker.config.cluster, worker.group.id):
            text = f"group {group} of cluster {cluster} is not served on this port"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        try:
            return worker.active
        except StaqraftError as error:
            await refuse(context, error)


def to_progress(progress: Progress) -> pb.ReconcileResponse:
    """As a message."""
    return pb.ReconcileResponse(
        objects_done=progress.done if progress.total else progress.scanned,
        objects_total=progress.total,
        bytes_done=progress.bytes,
        quarantined=progress.quarantined,
        phase=progress.phase,
        fetched=progress.fetched,
        to_fetch=progress.to_fetch,
        bytes_to_fetch=progress.bytes_to_fetch,
        bytes_per_s=round(progress.bytes_per_s),
        left_ms=progress.left_ms,
    )


def to_state(path: bytes, state: State) -> wire.ObjectState:
    """As a message."""
    message = wire.ObjectState(
        path=path,
        digest=state.digest,
        names=state.names,
        corrupt=state.corrupt,
        restless=state.restless,
    )
    fill_metadata(message.metadata, state.metadata)
    return message


def _entry(listed: Listed) -> wire.DirectoryEntry:
    return wire.DirectoryEntry(
        name=listed.name,
        type=types_pb2.ObjectType.Name(listed.type),
        state=listed.state,
        subtree=listed.subtree,
        size=listed.size,
    )


def _next(batches: Iterator[bytes], policy: str) -> wire.FetchObjectsResponse | None:
    frames = next(batches, None)
    if frames is None:
        return None
    codec, data = compress(frames, policy)
    return wire.FetchObjectsResponse(codec=codec, raw_bytes=len(frames), frames=data)
