"""A group's data worker as the control process sees it: two processes, their roles, their status.

The wanted role is kept here, and told again whenever one of the processes was restarted. A role is
changed in an order that never lets two processes write the journal: the stream process lets go of
it before the trees process may take it, and the other way round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from staqraft.config.schema import Config
from staqraft.daemon.supervise import Child, ChildSpec, worker_argv
from staqraft.errors import ActionError, BarrierTimeout, JournalFull, StaqraftError
from staqraft.model import Epoch, EpochStart, GroupId, NodeId, Position
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc
from staqraft.wire.v1 import types_pb2

logger = logging.getLogger(__name__)

# What a request is called in a message for people.
_DOING: dict[type, str] = {
    pb.SetStreamRoleRequest: "a change of the stream process's role",
    pb.SetTreesRoleRequest: "a change of the trees process's role",
    pb.FinishApplyingRequest: "the end of applying",
    pb.CaptureBarrierRequest: "a barrier",
    pb.ListQuarantineRequest: "a list of the quarantine",
}

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),  # a quarantine can be large
)
_ROLE_TIMEOUT_S = 20.0  # opening a journal and starting to watch a large tree
_FINISH_TIMEOUT_S = 20.0
_STATUS_TIMEOUT_S = 1.0
_REASSIGN_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The role that the data worker is to have."""

    role: pb.WorkerRole
    epoch: Epoch
    epoch_starts: tuple[EpochStart, ...] = ()
    active: NodeId | None = None

    def message(self, role: pb.WorkerRole | None = None) -> pb.RoleAssignment:
        """As protobuf, with another role if one is given."""
        return pb.RoleAssignment(
            role=self.role if role is None else role,
            epoch=self.epoch,
            epoch_starts=[
                types_pb2.EpochStart(epoch=s.epoch, seq=s.seq) for s in self.epoch_starts
            ],
            active=self.active or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """The last status of both processes; None where one does not answer."""

    trees: pb.GetTreesStatusResponse | None = None
    stream: pb.GetStreamStatusResponse | None = None


_IDLE = Assignment(role=pb.WORKER_ROLE_IDLE, epoch=Epoch(0))


class DataWorker:
    """Starts, watches and commands the two processes of one group."""

    def __init__(self, config: Config, group: GroupId, *, now_ms: Callable[[], int]) -> None:
        self._group = group
        self._wanted = _IDLE
        self._lock = asyncio.Lock()
        self._restarted = asyncio.Event()
        self.in_force: Assignment | None = None
        self.capture_broken = False  # restarted while capturing; the epoch cannot be continued
        self.children = tuple(
            Child(
                ChildSpec(
                    name=name,
                    group=group,
                    argv=worker_argv(name, group, str(config.source), config.node),
                ),
                now_ms=now_ms,
                on_start=self._on_start,
            )
            for name in ("trees", "stream")
        )
        self._channels = [
            grpc.aio.insecure_channel(
                f"unix:{config.worker_socket(group, name)}", options=_CHANNEL_OPTIONS
            )
            for name in ("trees", "stream")
        ]
        # For what concerns the core as little as the data itself: see `data_admin`.
        self.trees: Any = pb_grpc.TreesWorkerServiceStub(self._channels[0])  # type: ignore[no-untyped-call]
        self._trees = self.trees
        self._stream = pb_grpc.StreamWorkerServiceStub(self._channels[1])  # type: ignore[no-untyped-call]

    def _on_start(self) -> None:
        self.in_force = None
        self._restarted.set()

    async def run(self) -> None:
        """Keep both processes running and in their role, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for child in self.children:
                    tasks.create_task(child.run())
                tasks.create_task(self._reassign())
        finally:
            for channel in self._channels:
                await channel.close(None)

    async def _reassign(self) -> None:
        """Tell the wanted role again after a restart, until it is in force."""
        while True:
            await self._restarted.wait()
            self._restarted.clear()
            async with self._lock:
                if self.in_force is not None or self._wanted is _IDLE:
                    continue
                try:
                    self.capture_broken = not await self._assign(self._wanted)
                except StaqraftError as error:
                    logger.warning("group %s: %s; tried again", self._group, error)
                    self._restarted.set()
            await asyncio.sleep(_REASSIGN_PAUSE_S)

    # --- roles ------------------------------------------------------------------------------------

    async def follow(
        self, epoch: Epoch, active: NodeId | None, starts: tuple[EpochStart, ...]
    ) -> None:
        """Receive and apply what `active` sends; None: neither.

        Raises:
            ActionError: a process did not take the role; it is told again when it was restarted.
        """
        role = pb.WORKER_ROLE_STANDBY if active else pb.WORKER_ROLE_IDLE
        wanted = Assignment(role=role, epoch=epoch, epoch_starts=starts, active=active)
        async with self._lock:
            self._wanted = wanted
            if self.in_force != wanted:
                await self._assign(wanted)

    async def start_capture(
        self, epoch: Epoch, starts: tuple[EpochStart, ...], node: NodeId
    ) -> bool:
        """Capture and send in this epoch. False: the epoch cannot be continued, nothing changed.

        Raises:
            ActionError: a process did not take the role.
        """
        wanted = Assignment(
            role=pb.WORKER_ROLE_ACTIVE, epoch=epoch, epoch_starts=starts, active=node
        )
        async with self._lock:
            self._wanted = wanted
            if self.in_force == wanted:
                return True
            return await self._assign(wanted)

    async def finish(self, epoch: Epoch, *, accept_loss: bool) -> Position:
        """Stop receiving, apply everything received; the last applied position.

        Raises:
            ActionError: a process did not answer, or something received cannot be applied (with
                `accept_loss` only the former).
        """
        async with self._lock:
            self._wanted = _IDLE
            self.in_force = None
            self.capture_broken = False
            idle = _IDLE.message()
            await self._call(
                self._stream.SetStreamRole,
                pb.SetStreamRoleRequest(assignment=idle),
                _ROLE_TIMEOUT_S,
            )
            answer = await self._call(
                self._trees.FinishApplying,
                pb.FinishApplyingRequest(epoch=epoch, accept_data_loss=accept_loss),
                _FINISH_TIMEOUT_S,
            )
            return Position(Epoch(answer.position.epoch), answer.position.seq)

    async def _assign(self, wanted: Assignment) -> bool:
        """Bring both processes into the role. False: needs a new epoch."""
        self.in_force = None
        idle = pb.SetStreamRoleRequest(assignment=wanted.message(pb.WORKER_ROLE_IDLE))
        await self._call(self._stream.SetStreamRole, idle, _ROLE_TIMEOUT_S)
        answer = await self._call(
            self._trees.SetTreesRole,
            pb.SetTreesRoleRequest(assignment=wanted.message()),
            _ROLE_TIMEOUT_S,
        )
        if answer.needs_new_epoch:
            return False
        await self._call(
            self._stream.SetStreamRole,
            pb.SetStreamRoleRequest(assignment=wanted.message()),
            _ROLE_TIMEOUT_S,
        )
        self.in_force = wanted
        return True

    async def stop_following_for(self, pause_s: float) -> None:
        """As a standby: ends the stream, and follows again a moment later.

        Raises:
            ActionError: the stream process does not answer.
        """
        async with self._lock:
            wanted = self._wanted
            if wanted.role != pb.WORKER_ROLE_STANDBY:
                return
            idle = pb.SetStreamRoleRequest(assignment=wanted.message(pb.WORKER_ROLE_IDLE))
            await self._call(self._stream.SetStreamRole, idle, _ROLE_TIMEOUT_S)
        asyncio.get_running_loop().call_later(pause_s, self._follow_again, wanted)

    def _follow_again(self, wanted: Assignment) -> None:
        if self._wanted is wanted:
            self.in_force = None
            self._restarted.set()

    # --- positions --------------------------------------------------------------------------------

    async def capture_barrier(self, timeout_s: float, *, complete: bool = False) -> Position:
        """Everything written before the call is in the journal, durable here, at this position.

        But for what cannot be read, unless it is to be `complete`.

        Raises:
            ActionError: not within the time limit, or not capturing, or not complete.
        """
        request = pb.CaptureBarrierRequest(complete=complete)
        answer = await self._call(self._trees.CaptureBarrier, request, timeout_s)
        return Position(Epoch(answer.position.epoch), answer.position.seq)

    async def wait_acknowledged(self, node: NodeId, position: Position, timeout_s: float) -> None:
        """Return when `node` has acknowledged `position` as durable.

        Raises:
            BarrierTimeout: not within the time limit.
            ActionError: the stream process does not answer.
        """
        request = pb.WaitAcknowledgedRequest(
            node=node, position=types_pb2.Position(epoch=position.epoch, seq=position.seq)
        )
        try:
            await self._stream.WaitAcknowledged(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise BarrierTimeout(
                    f"{node} has not acknowledged position {position} within {timeout_s:.1f} s: "
                    "see its stream's problem in 'staqctl status'"
                ) from error
            raise _failed("stream", error) from error

    async def status(self) -> WorkerStatus:
        """How both processes are; one that does not answer within a second is None."""
        trees, stream = await asyncio.gather(
            self._answer(self._trees.GetTreesStatus, pb.GetTreesStatusRequest()),
            self._answer(self._stream.GetStreamStatus, pb.GetStreamStatusRequest()),
        )
        return WorkerStatus(trees=trees, stream=stream)

    async def quarantine(self) -> Sequence[pb.QuarantineEntry]:
        """What is in quarantine on this node, oldest first.

        Raises:
            ActionError: the trees process does not answer.
        """
        answer = await self._call(
            self._trees.ListQuarantine, pb.ListQuarantineRequest(), _ROLE_TIMEOUT_S
        )
        entries: Sequence[pb.QuarantineEntry] = answer.entries
        return entries

    async def _answer(
        self, method: Callable[..., Awaitable[Answer]], request: Request
    ) -> Answer | None:
        try:
            return await method(request, timeout=_STATUS_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return None  # shown in status as a process that does not answer

    async def _call(
        self, method: Callable[..., Awaitable[Answer]], request: Request, timeout_s: float
    ) -> Answer:
        try:
            return await method(request, timeout=timeout_s, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise _failed(_DOING[type(request)], error) from error


def _failed(what: str, error: grpc.aio.AioRpcError) -> StaqraftError:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ActionError(f"the data worker did not answer {what} in time")
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return JournalFull(error.details() or "the journal is full")
    return ActionError(f"the data worker could not do {what}: {error.details()}")
