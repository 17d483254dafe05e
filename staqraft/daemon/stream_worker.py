"""A group's stream process: sends the journal when the node is active, receives when it is standby.

It listens on the group's stream port on every ring from its start, and refuses there whatever its
role does not take, so that a peer always learns why. Its role comes from the control process over a
unix socket that only root can open; it begins IDLE and is told again after a restart.

Everything here runs in one event loop, with one thread for the journal. No disk thread is shared
with another role's: leaving a role waits for its last sync, then lets the journal go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio

from staqraft import __version__
from staqraft.config.schema import Config, Group, Ring
from staqraft.daemon import heap, stream_status
from staqraft.daemon.clock import boottime_ms, wall_ms
from staqraft.errors import JournalBusy, JournalCorrupt, StaqraftError
from staqraft.journal.cursor import bounds
from staqraft.journal.doorbell import Bell, Doorbell, bell_path
from staqraft.journal.journal import Journal
from staqraft.model import NO_EPOCH, ORIGIN, Epoch, EpochStart, GroupId, NodeId, Position
from staqraft.replication.messages import (
    CHANNEL_OPTIONS,
    SERVER_OPTIONS,
    from_position,
    from_starts,
    refusal,
    to_position,
)
from staqraft.replication.plan import RefusalKind
from staqraft.replication.problems import Problems
from staqraft.replication.receive_session import Context
from staqraft.replication.receiver import Receiver, Standby
from staqraft.replication.sender import Active, PeerSender
from staqraft.replication.status import PeerStatus
from staqraft.replication.store import Store
from staqraft.replication.tasks import never
from staqraft.replication.trees import TreesOverSocket
from staqraft.wire import tls
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc
from staqraft.wire.v1 import replication_pb2_grpc

logger = logging.getLogger(__name__)

LOCK_WAIT_MS = 2000
LOCK_RETRY_MS = 20
BIND_RETRY_MS = 1000
MAX_CALLS = 16  # sessions of which all but one are about to end
RECONCILE_MARKER = "reconcile.pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The role that control gave, as a value: equal ones change nothing."""

    role: pb.WorkerRole = pb.WORKER_ROLE_IDLE
    epoch: Epoch = NO_EPOCH
    epoch_starts: tuple[EpochStart, ...] = ()
    active: NodeId | None = None


def main(config: Config, group: GroupId) -> int:
    """Runs the process until SIGTERM or SIGINT; returns its exit code."""
    heap.keep()
    return asyncio.run(_until_told(config, config.groups[group]))


async def _until_told(config: Config, group: Group) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    worker = StreamWorker(config, group)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        await stop.wait()
        logger.info(f"the stream process of group {group.id} was told to stop")
        await worker.stop()
        running.cancel()
    return 0


class StreamWorker:
    """The process: its role, what it does in it, and what it tells of itself."""

    def __init__(self, config: Config, group: Group) -> None:
        self.config = config
        self.group = group
        self.assignment = Assignment()
        self.problems = Problems()
        self.receiver: Receiver | None = None
        self.senders: dict[NodeId, PeerSender] = {}
        self._directory = config.group_dir(group.id) / "journal"
        self._volume = stream_status.VolumeLook(self._directory)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._changing = asyncio.Lock()
        self._sending: dict[NodeId, asyncio.Task[None]] = {}
        self._trees: TreesOverSocket | None = None
        self._to_trees = Doorbell(bell_path(config, group.id, "trees"))
        self._control: grpc.aio.Server | None = None
        self._listening: dict[Ring, grpc.aio.Server] = {}
        self.ready = asyncio.Event()

    @property
    def peers(self) -> tuple[NodeId, ...]:
        """The other replicas."""
        return tuple(n for n in self.config.replicas if n != self.config.node)

    async def run(self) -> None:
        """Serves until cancelled."""
        self.config.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        with Bell(bell_path(self.config, self.group.id, "stream")) as bell:
            loop.add_reader(bell.fileno(), self._on_bell, bell)
            try:
                await self._serve_control()
                async with asyncio.TaskGroup() as tasks:
                    for ring in self.config.me.rings:
                        tasks.create_task(self.serve_ring(ring))
                    tasks.create_task(heap.tidy_for_ever())
                    self.ready.set()
                    await never()
            finally:
                loop.remove_reader(bell.fileno())
                for ring in tuple(self._listening):
                    await self.close_ring(ring)
                if self._control is not None:
                    await self._control.stop(None)
                self._to_trees.close()

    async def stop(self) -> None:
        """Leaves the role cleanly."""
        await self.set_role(Assignment(epoch=self.assignment.epoch))
        self._executor.shutdown()

    # --- listening -------------------------------------------------------------------------------

    async def _serve_control(self) -> None:
        path = self.config.worker_socket(self.group.id, "stream")
        path.unlink(missing_ok=True)
        server = grpc.aio.server()
        servicer = _ControlServicer(self)
        pb_grpc.add_StreamWorkerServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        before = os.umask(0o177)  # nobody may connect, not even before a chmod
        try:
            server.add_insecure_port(f"unix:{path}")
            await server.start()
        finally:
            os.umask(before)
        self._control = server

    async def serve_ring(self, ring: Ring) -> None:
        """Listens on one ring's address; tries again while the address is not there."""
        port = self.config.stream_port(self.group.id)
        code = f"listen-{ring.name}"
        while True:
            server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
            servicer = _PeerServicer(self, ring)
            replication_pb2_grpc.add_ReplicationServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
            try:
                credentials = tls.server_credentials(self.config.tls)
                server.add_secure_port(tls.target(ring.address, port), credentials)
                await server.start()
            except (RuntimeError, StaqraftError) as error:
                text = (
                    f"cannot listen for the other replica on {ring.address} port {port} (ring "
                    f"{ring.name}): {error}. Is the address there, and the port free? "
                    "It is tried again."
                )
                self.problems.set(code, text)
                await server.stop(None)
                await asyncio.sleep(BIND_RETRY_MS / 1000)
            else:
                self.problems.clear(code)
                self._listening[ring] = server
                logger.info(f"listening on {ring.address} port {port} (ring {ring.name})")
                return

    async def close_ring(self, ring: Ring) -> None:
        """Stops listening there; calls over it end."""
        server = self._listening.pop(ring, None)
        if server is not None:
            await server.stop(None)

    def _on_bell(self, bell: Bell) -> None:
        bell.drain()
        for sender in self.senders.values():
            sender.ring_bell()

    # --- role ------------------------------------------------------------------------------------

    async def set_role(self, wanted: Assignment) -> None:
        """Brings the role into force; twice changes nothing. StaqraftError: it is IDLE now."""
        async with self._changing:
            if wanted == self.assignment:
                return
            if self.receiver is not None and wanted.role == pb.WORKER_ROLE_STANDBY:
                await self.receiver.follow(wanted.epoch, wanted.active)
                self.assignment = wanted
                return
            await self._leave(f"{self.config.node} takes the role {_name(wanted.role)}")
            self.assignment = Assignment(epoch=wanted.epoch)
            match wanted.role:
                case pb.WORKER_ROLE_ACTIVE:
                    self._send(wanted)
                case pb.WORKER_ROLE_STANDBY:
                    await self._receive(wanted)
            self.assignment = wanted
            logger.info(f"role {_name(wanted.role)} in epoch {wanted.epoch}")

    async def _leave(self, reason: str) -> None:
        for sender in self.senders.values():
            sender.stop(reason)
        await asyncio.gather(*self._sending.values())
        self.senders.clear()
        self._sending.clear()
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            await receiver.stop()
        if self._trees is not None:
            await self._trees.close()
            self._trees = None
        for code in ("stream", "journal-full", "trees-unreachable"):
            self.problems.clear(code)

    def _send(self, wanted: Assignment) -> None:
        # Its journal is the history now, as it is: what a power cut took of it is decided.
        self.problems.clear("journal-repaired")
        active = Active(
            cluster=self.config.cluster,
            group=self.group.id,
            node=self.config.node,
            epoch=wanted.epoch,
            epoch_starts=wanted.epoch_starts,
            version=__version__,
        )
        for peer in self.peers:
            sender = PeerSender(
                active=active,
                peer=peer,
                rings=preferred_rings(self.config, self.group, peer),
                dial=self._dialler(peer),
                directory=self._directory,
                settings=self.group.replication,
                executor=self._executor,
                clock=boottime_ms,
                problems=self.problems,
            )
            self.senders[peer] = sender
            self._sending[peer] = asyncio.create_task(sender.run())

    def _dialler(self, peer: NodeId) -> Callable[[Ring], grpc.aio.Channel]:
        config, port = self.config, self.config.stream_port(self.group.id)

        def dial(ring: Ring) -> grpc.aio.Channel:
            return tls.channel(
                ring.address, port, peer, config.cluster, config.tls, CHANNEL_OPTIONS
            )

        return dial

    async def _receive(self, wanted: Assignment) -> None:
        config, group = self.config, self.group
        trees = TreesOverSocket(config.worker_socket(group.id, "trees"))
        receiver = Receiver(
            standby=Standby(
                cluster=config.cluster,
                group=group.id,
                node=config.node,
                epoch=wanted.epoch,
                active=wanted.active,
                dead_peer_ms=group.replication.dead_peer_ms,
            ),
            store=Store(
                open_journal=self._open_journal,
                rebuild=self._rebuild_journal,
                marker=config.group_dir(group.id) / RECONCILE_MARKER,
                executor=self._executor,
                problems=self.problems,
                changed=self._to_trees.ring,
            ),
            trees=trees,
            clock=boottime_ms,
            problems=self.problems,
        )
        try:
            await receiver.start()
        except StaqraftError:
            await trees.close()
            raise
        self._trees, self.receiver = trees, receiver

    # --- the journal (on its thread) -------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {
            "cluster": self.config.cluster,
            "group": self.group.id,
            "limits": self.group.journal,
            "boot_id": boot_id(),
            "now_ms": wall_ms,
        }

    def _open_journal(self) -> Journal:
        """Waits a little for the trees process to let go of it, as it does at a change of role."""
        deadline_ms = boottime_ms() + LOCK_WAIT_MS
        while True:
            try:
                return Journal.open(self._directory, **self._identity())
            except JournalBusy:
                if boottime_ms() >= deadline_ms:
                    raise
                time.sleep(LOCK_RETRY_MS / 1000)

    def _rebuild_journal(self) -> Journal:
        return Journal.rebuild(self._directory, **self._identity(), after=ORIGIN)

    # --- status ----------------------------------------------------------------------------------

    async def ends(self) -> tuple[Position, Position, int]:
        """First and last record, and bytes on disk."""
        if self.receiver is not None:
            store = self.receiver.store
            return store.first, store.last, store.bytes_on_disk
        loop = asyncio.get_running_loop()
        try:
            first, last = await loop.run_in_executor(None, bounds, self._directory)
        except (JournalCorrupt, OSError) as error:
            self.problems.set("journal-unreadable", f"the journal cannot be looked at: {error}")
            return Position(NO_EPOCH, 1), ORIGIN, 0
        self.problems.clear("journal-unreadable")
        size = await loop.run_in_executor(None, stream_status.segment_bytes, self._directory)
        return first, last, size

    async def status(self) -> pb.GetStreamStatusResponse:
        """What control asks each second."""
        first, last, size = await self.ends()
        if self.receiver is not None:
            sessions = [self.receiver.status] if self.receiver.status.node else []
        else:
            sessions = [sender.status for sender in self.senders.values()]
        volume = self._volume.latest()
        return pb.GetStreamStatusResponse(
            role=self.assignment.role,
            epoch=self.assignment.epoch,
            first=to_position(first),
            last=to_position(last),
            peers=[await self._session(status, last) for status in sessions],
            problems=[pb.WorkerProblem(code=c, text=t) for c, t in self.problems.now()],
            journal_bytes=size,
            journal_segments=volume.segments,
            journal_free_bytes=volume.free_bytes,
        )

    async def _session(self, status: PeerStatus, last: Position) -> pb.PeerSession:
        session = stream_status.session(status, last)
        if session.lag_records:
            loop = asyncio.get_running_loop()
            try:
                args = (self._directory, session, status.durable)
                await loop.run_in_executor(None, stream_status.add_lag, *args)
            except (JournalCorrupt, OSError) as error:
                self.problems.set("journal-unreadable", f"the journal cannot be read: {error}")
        return session


class _ControlServicer(pb_grpc.StreamWorkerServiceServicer):
    """What the control process asks, over the unix socket."""

    def __init__(self, worker: StreamWorker) -> None:
        self._worker = worker

    async def SetStreamRole(  # noqa: N802 - gRPC's name
        self, request: pb.SetStreamRoleRequest, context: Context
    ) -> pb.SetStreamRoleResponse:
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
            await asyncio.shield(asyncio.ensure_future(self._worker.set_role(assignment)))
        except StaqraftError as error:
            await context.abort(getattr(grpc.StatusCode, error.grpc_status), str(error))
        except OSError as error:
            await context.abort(grpc.StatusCode.INTERNAL, f"the role was not taken: {error}")
        _, last, _ = await self._worker.ends()
        return pb.SetStreamRoleResponse(last=to_position(last))

    async def WaitAcknowledged(  # noqa: N802 - gRPC's name
        self, request: pb.WaitAcknowledgedRequest, context: Context
    ) -> pb.WaitAcknowledgedResponse:
        """Returns as soon as the peer has acknowledged; the caller's deadline limits it."""
        node = NodeId(request.node)
        sender = self._worker.senders.get(node)
        if sender is None:
            text = f"this node sends nothing to {node}: it is not active, or {node} is no replica"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        durable = await cast("PeerSender", sender).wait_durable(from_position(request.position))
        if durable is None:
            text = f"this node stopped being active before {node} acknowledged"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        return pb.WaitAcknowledgedResponse(durable=to_position(cast("Position", durable)))

    async def GetStreamStatus(  # noqa: N802 - gRPC's name
        self,
        request: pb.GetStreamStatusRequest,  # noqa: ARG002 - it has nothing in it
        context: Context,  # noqa: ARG002
    ) -> pb.GetStreamStatusResponse:
        """What it is doing and how it is."""
        return await self._worker.status()


class _PeerServicer(replication_pb2_grpc.ReplicationServiceServicer):
    """What the other replica calls."""

    def __init__(self, worker: StreamWorker, ring: Ring) -> None:
        self._worker = worker
        self._ring = ring

    async def Replicate(  # noqa: N802 - gRPC's name
        self,
        request_iterator: object,  # noqa: ARG002 - the context reads
        context: Context,
    ) -> None:
        """One session."""
        worker = self._worker
        identity = await tls.require_peer(context, worker.config.cluster, worker.peers)
        node = cast("NodeId", identity.node)
        await context.send_initial_metadata(())  # the caller knows that we are there
        receiver = worker.receiver
        if receiver is None:
            text = f"{worker.config.node} is not a standby at the moment"
            await context.write(refusal(RefusalKind.NOT_STANDBY, text))
            return
        await receiver.serve(node, self._ring.name, context)


def preferred_rings(config: Config, group: Group, peer: NodeId) -> tuple[Ring, ...]:
    """The peer's rings in the order in which the stream tries them."""
    preferred = group.replication.prefer_rings
    rings = config.nodes[peer].rings
    first = [ring for name in preferred for ring in rings if ring.name == name]
    return (*first, *(ring for ring in rings if ring.name not in preferred))


def boot_id() -> str:
    """Names this run of the kernel: another one means that what was not synced may be lost."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _name(role: pb.WorkerRole) -> str:
    return pb.WorkerRole.Name(role).removeprefix("WORKER_ROLE_")
