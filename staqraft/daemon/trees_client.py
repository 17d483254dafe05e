"""The active's trees, asked over the network: over the preferred ring, else over another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import grpc
import grpc.aio

from staqraft.apply.inspect import State
from staqraft.apply.reconcile import Opening, PartlyUnreadable
from staqraft.config.schema import Config, Group, Ring
from staqraft.errors import JournalCorrupt, ReplicationError
from staqraft.index import Listed, TreeSummary
from staqraft.journal.record import ObjectType, Record
from staqraft.journal.record_codec import decode, metadata_from
from staqraft.model import Epoch, NodeId, Position
from staqraft.replication.frame import decompress
from staqraft.replication.messages import CHANNEL_OPTIONS, from_position
from staqraft.wire import tls
from staqraft.wire.failures import in_words
from staqraft.wire.v1 import replication_pb2 as pb
from staqraft.wire.v1 import replication_pb2_grpc as pb_grpc

_BEGIN_S: Final = 120.0  # a capture barrier: a scan of the active's trees may have to end first
_LIST_S: Final = 120.0
_FETCH_S: Final = 600.0


class RemoteTrees:
    """An `ActiveTrees` over gRPC. `begin` chooses the ring; call it again after an error."""

    def __init__(self, config: Config, group: Group, active: NodeId, epoch: Epoch) -> None:
        self._config = config
        self._group = group
        self._active = active
        self._epoch = epoch
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        """Closes the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    async def begin(self) -> Opening:
        """Takes a capture barrier on the active."""
        return await self._begin(barrier_only=False)

    async def barrier(self) -> tuple[Position, dict[str, TreeSummary]]:
        """The same without a comparison to follow; digests are missing."""
        opening = await self._begin(barrier_only=True)
        return opening.position, opening.trees

    async def describe(
        self, tree: str, paths: Sequence[bytes], *, children: bool, deep: bool
    ) -> AsyncIterator[dict[bytes, State]]:
        """What objects are on the active's disk now, some at a time."""
        request = pb.DescribeObjectsRequest(
            cluster=self._config.cluster,
            group=self._group.id,
            tree=tree,
            paths=paths,
            children=children,
            deep=deep,
        )
        try:
            # Reading everything takes as long as it takes; who is gone is noticed by keepalive.
            async for answer in self._stub().DescribeObjects(request):
                yield {state.path: _state(state) for state in answer.states}
        except grpc.aio.AioRpcError as error:
            raise self._broke(error) from error
        except ValueError as error:
            raise ReplicationError(
                f"{self._active} described an object that this version does not know: run the same"
                " StaqRaft version on both replicas"
            ) from error

    async def _begin(self, *, barrier_only: bool) -> Opening:
        request = pb.BeginReconcileRequest(
            cluster=self._config.cluster,
            group=self._group.id,
            epoch=self._epoch,
            barrier_only=barrier_only,
        )
        failures: list[str] = []
        for ring in self._rings():
            await self.close()
            self._channel = self._dial(ring.address)
            try:
                answer = await self._stub().BeginReconcile(request, timeout=_BEGIN_S)
            except grpc.aio.AioRpcError as error:
                failures.append(f"{ring.name}: {in_words(error)}")
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    break
                continue
            trees = {
                tree.tree: TreeSummary(digest=tree.digest, objects=tree.objects, bytes=tree.bytes)
                for tree in answer.trees
            }
            return Opening(position=from_position(answer.position), trees=trees)
        raise ReplicationError(
            f"the trees of {self._active} cannot be compared now ({'; '.join(failures)}); "
            "it is tried again"
        )

    async def list_directories(
        self, tree: str, paths: Sequence[bytes]
    ) -> AsyncIterator[tuple[bytes, list[Listed] | None]]:
        """The directories' entries, each directory when it is complete."""
        request = pb.ListDirectoriesRequest(
            cluster=self._config.cluster, group=self._group.id, tree=tree, paths=paths
        )
        entries: list[Listed] = []
        try:
            async for answer in self._stub().ListDirectories(request, timeout=_LIST_S):
                if answer.missing:
                    yield answer.path, None
                    continue
                entries += [_listed(entry) for entry in answer.entries]
                if answer.complete:
                    yield answer.path, entries
                    entries = []
        except grpc.aio.AioRpcError as error:
            raise self._broke(error) from error

    async def fetch(
        self, tree: str, paths: Sequence[bytes], have: Sequence[bytes] = ()
    ) -> AsyncIterator[list[Record]]:
        """Whole objects, in the order in which they were asked for."""
        request = pb.FetchObjectsRequest(
            cluster=self._config.cluster, group=self._group.id, tree=tree, paths=paths, have=have
        )
        try:
            async for answer in self._stub().FetchObjects(request, timeout=_FETCH_S):
                yield await asyncio.to_thread(_decoded, answer)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DATA_LOSS:
                raise PartlyUnreadable(error.details()) from error
            raise self._broke(error) from error
        except JournalCorrupt as error:
            raise ReplicationError(f"{self._active} sent damaged objects: {error}") from error

    def _rings(self) -> list[Ring]:
        rings = self._config.nodes[self._active].rings
        preferred = self._group.replication.prefer_rings
        rank = {name: number for number, name in enumerate(preferred)}
        return sorted(rings, key=lambda ring: rank.get(ring.name, len(rank)))

    def _dial(self, address: str) -> grpc.aio.Channel:
        config = self._config
        port = config.trees_port(self._group.id)
        return tls.channel(address, port, self._active, config.cluster, config.tls, CHANNEL_OPTIONS)

    def _stub(self) -> pb_grpc.TreeServiceStub:
        if self._channel is None:
            raise ReplicationError(f"no comparison with {self._active} is open")
        return pb_grpc.TreeServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def _broke(self, error: grpc.aio.AioRpcError) -> ReplicationError:
        return ReplicationError(
            f"the comparison with {self._active} broke off ({in_words(error)}); what is equal "
            "already stays so, and it goes on there"
        )


def _state(state: pb.ObjectState) -> State:
    return State(
        metadata=metadata_from(state.metadata),
        digest=state.digest,
        names=state.names,
        corrupt=state.corrupt,
        restless=state.restless,
    )


def _decoded(answer: pb.FetchObjectsResponse) -> list[Record]:
    return list(decode(decompress(answer.codec, answer.raw_bytes, answer.frames)))


def _listed(entry: pb.DirectoryEntry) -> Listed:
    try:
        kind = ObjectType(entry.type)
    except ValueError as error:
        raise ReplicationError(
            f"the active listed an object of type {entry.type}, which this version does not know:"
            " run the same StaqRaft version on both replicas"
        ) from error
    return Listed(
        name=entry.name,
        type=kind,
        state=entry.state,
        subtree=entry.subtree,
        size=entry.size,
    )
