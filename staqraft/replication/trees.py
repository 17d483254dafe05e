"""The standby's trees process, as the stream process sees it over its unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc.aio

from staqraft.errors import ReplicationError
from staqraft.model import Epoch, EpochStart, NodeId, Position
from staqraft.replication.messages import from_position, to_starts
from staqraft.wire.failures import in_words
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc

STATUS_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesStatus:
    """What the stream needs to know of it."""

    applied: Position
    needs_reconcile: str
    settling: bool = False  # they are not whole yet without the active


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a reconcile is. `position` is set when it is done: live changes follow it."""

    objects_done: int
    objects_total: int
    bytes_done: int
    bytes_per_s: int = 0
    left_ms: int = -1  # below 0: not known
    position: Position | None = None


class Trees(Protocol):
    """What the receiver asks of the trees process. All raise ReplicationError when it cannot."""

    async def status(self) -> TreesStatus:
        """How it is."""
        ...

    def reconcile(
        self, *, reason: str, active: NodeId, epoch: Epoch, epoch_starts: Sequence[EpochStart]
    ) -> AsyncIterator[Progress]:
        """Makes the trees equal to the active's; the last progress has the position."""
        ...


class TreesOverSocket:
    """Trees by gRPC. The process may come and go; each call fails on its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}",
            options=[
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.enable_http_proxy", 0),
            ],
        )
        self._stub = pb_grpc.TreesWorkerServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def status(self) -> TreesStatus:
        """How it is; ReplicationError when it does not answer within a second."""
        try:
            answer: pb.GetTreesStatusResponse = await self._stub.GetTreesStatus(
                pb.GetTreesStatusRequest(), timeout=STATUS_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            raise self._no_answer(error) from error
        return TreesStatus(
            applied=from_position(answer.applied),
            needs_reconcile=answer.needs_reconcile,
            settling=answer.settling,
        )

    async def reconcile(
        self, *, reason: str, active: NodeId, epoch: Epoch, epoch_starts: Sequence[EpochStart]
    ) -> AsyncIterator[Progress]:
        """Runs one; no deadline, since a first copy may take hours and can be resumed."""
        request = pb.ReconcileRequest(
            reason=reason, active=active, epoch=epoch, epoch_starts=to_starts(epoch_starts)
        )
        call = self._stub.Reconcile(request)
        try:
            async for progress in call:
                yield Progress(
                    objects_done=progress.objects_done,
                    objects_total=progress.objects_total,
                    bytes_done=progress.bytes_done,
                    bytes_per_s=progress.bytes_per_s,
                    left_ms=progress.left_ms,
                    position=from_position(progress.position) if progress.done else None,
                )
        except grpc.aio.AioRpcError as error:
            raise self._no_answer(error) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._channel.close(None)

    def _no_answer(self, error: grpc.aio.AioRpcError) -> ReplicationError:
        return ReplicationError(
            f"this node's trees process (at {self._socket}) says: {in_words(error)}"
        )
