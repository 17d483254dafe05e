"""A group's trees process: captures when the node is active, applies when it is standby.

It owns the index. Its role comes from the control process over a unix socket that only root can
open; it begins IDLE and is told again after a restart. On every ring it answers the other
replica's comparisons, and refuses them when it is not active. It may be killed at any time: the
index, the journal and the watermark say where to go on.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from staqraft.apply.quarantine import Quarantine
from staqraft.config.schema import Config, Group, Ring
from staqraft.daemon import heap
from staqraft.daemon.clock import boottime_ms, wall_ms
from staqraft.daemon.stream_worker import boot_id
from staqraft.daemon.trees_active import ActiveRole, NeedsNewEpoch, describe
from staqraft.daemon.trees_common import Assignment, Common
from staqraft.daemon.trees_quarantine import QuarantineKeeper
from staqraft.daemon.trees_service import ControlServicer, PeerServicer, to_progress
from staqraft.daemon.trees_standby import StandbyRole
from staqraft.errors import NotActive, StaqraftError
from staqraft.index import Index
from staqraft.journal.doorbell import Bell, Doorbell, bell_path
from staqraft.model import Epoch, GroupId, NodeId, Position
from staqraft.replication.messages import SERVER_OPTIONS, to_position
from staqraft.replication.tasks import never
from staqraft.wire import tls
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc
from staqraft.wire.v1 import replication_pb2_grpc

logger = logging.getLogger(__name__)

BIND_RETRY_S = 1.0
_COLLECT_AFTER = 50_000
_GRACE_S = 0.5  # for answers that are on their way when the process ends


def main(config: Config, group: GroupId) -> int:
    """Runs the process until SIGTERM or SIGINT; returns its exit code."""
    # A burst makes many objects that live for a batch, and none of them is part of a cycle.
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    heap.keep()
    return asyncio.run(_until_told(config, config.groups[group]))


async def _until_told(config: Config, group: Group) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with running(config, group) as worker:
        ends = [asyncio.create_task(event.wait()) for event in (told, worker.broken)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        return 1 if worker.broken.is_set() else 0


@asynccontextmanager
async def running(config: Config, group: Group) -> AsyncIterator[TreesWorker]:
    """The process's work inside a loop; left cleanly at the end."""
    worker = TreesWorker(config, group)
    serving = asyncio.create_task(worker.run())
    ready = asyncio.create_task(worker.ready.wait())
    try:
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield worker
    finally:
        ready.cancel()
        await worker.stop()
        serving.cancel()
        await asyncio.wait([serving])


class TreesWorker:
    """The process: its role, and what it tells of itself. `broken` is set when it has to end."""

    def __init__(self, config: Config, group: Group) -> None:
        self.config = config
        self.group = group
        self.assignment = Assignment()
        self.ready = asyncio.Event()
        self.broken = asyncio.Event()
        directory = config.group_dir(group.id)
        for made in (directory, directory / "journal"):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._to_stream = Doorbell(bell_path(config, group.id, "stream"))
        self.common = Common(
            config=config,
            group=group,
            index=Index.open(directory / "index.sqlite"),
            quarantine=Quarantine(directory / "quarantine", wall_ms),
            boot_id=boot_id(),
            clock_ms=boottime_ms,
            wall_ms=wall_ms,
            ring_stream=self._to_stream.ring,
        )
        self.keeper = QuarantineKeeper(self.common, self._epoch_if_active)
        self._role: ActiveRole | StandbyRole | None = None
        self._changing = asyncio.Lock()
        self._servers: list[grpc.aio.Server] = []

    # --- life --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serves until cancelled."""
        self.config.run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.common.index.rebuilt:
            logger.error("%s", self.common.index.rebuilt)
        loop = asyncio.get_running_loop()
        with Bell(bell_path(self.config, self.group.id, "trees")) as bell:
            loop.add_reader(bell.fileno(), self._on_bell, bell)
            try:
                await self._serve_control()
                async with asyncio.TaskGroup() as tasks:
                    for ring in self.config.me.rings:
                        tasks.create_task(self._serve_ring(ring))
                    tasks.create_task(self.keeper.retire_for_ever())
                    tasks.create_task(heap.tidy_for_ever())
                    self.ready.set()
                    await never()
            finally:
                loop.remove_reader(bell.fileno())
                for server in self._servers:
                    await server.stop(None)

    async def stop(self) -> None:
        """Leaves the role, as when the process ends, and closes the index."""
        async with self._changing:
            await self._leave(told=False)
            self.assignment = Assignment(epoch=self.assignment.epoch)
        # Whoever is being answered still reads the index; who asks from now on finds nobody.
        await asyncio.gather(*(server.stop(_GRACE_S) for server in self._servers))
        for readers in (self.common.readers, self.common.inspectors):
            await asyncio.to_thread(readers.shutdown)
        await self.common.on_disk(self.common.index.close)
        self.common.disk.shutdown()
        self._to_stream.close()

    async def _serve_control(self) -> None:
        path = self.config.worker_socket(self.group.id, "trees")
        path.unlink(missing_ok=True)
        server = grpc.aio.server()
        pb_grpc.add_TreesWorkerServiceServicer_to_server(ControlServicer(self), server)  # type: ignore[no-untyped-call]
        before = os.umask(0o177)  # nobody may connect, not even before a chmod
        try:
            server.add_insecure_port(f"unix:{path}")
            await server.start()
        finally:
            os.umask(before)
        self._servers.append(server)

    async def _serve_ring(self, ring: Ring) -> None:
        """Listens on one ring's address; tries again while the address is not there."""
        port = self.config.trees_port(self.group.id)
        code = f"listen-{ring.name}"
        while True:
            server = grpc.aio.server(options=SERVER_OPTIONS)
            replication_pb2_grpc.add_TreeServiceServicer_to_server(PeerServicer(self), server)  # type: ignore[no-untyped-call]
            try:
                credentials = tls.server_credentials(self.config.tls)
                server.add_secure_port(tls.target(ring.address, port), credentials)
                await server.start()
            except (RuntimeError, StaqraftError) as error:
                self.common.problems.set(
                    code,
                    f"cannot listen for the other replica on {ring.address} port {port} (ring "
                    f"{ring.name}): {error}. Is the address there and the port free? It is tried "
                    "again.",
                )
                await server.stop(None)
                await asyncio.sleep(BIND_RETRY_S)
            else:
                self.common.problems.clear(code)
                self._servers.append(server)
                logger.info("listening on %s port %d (ring %s)", ring.address, port, ring.name)
                return

    def _on_bell(self, bell: Bell) -> None:
        bell.drain()
        if isinstance(self._role, StandbyRole):
            self._role.ring()

    def _role_failed(self, error: BaseException) -> None:
        """A process that does nothing must not look as if it did: it ends and is restarted."""
        self.common.problems.set("role-failed", f"this process is restarted: {describe(error)}")
        self.broken.set()

    # --- role ----------------------------------------------------------------------------------

    async def set_role(self, wanted: Assignment) -> bool:
        """Brings the role into force; doing it twice changes nothing.

        Returns False if ACTIVE needs a new epoch: nothing changed then but that it is IDLE.
        StaqraftError: it is IDLE now.
        """
        async with self._changing:
            if wanted == self.assignment:
                return True
            if isinstance(self._role, StandbyRole) and wanted.role == pb.WORKER_ROLE_STANDBY:
                self.assignment = wanted
                await self._role.reassign(wanted)
                return True
            if (
                isinstance(self._role, ActiveRole)
                and wanted.role == pb.WORKER_ROLE_ACTIVE
                and wanted.epoch == self.assignment.epoch
            ):
                self.assignment = wanted  # only more is known of the history
                return True
            await self._leave(told=True)
            self.assignment = Assignment(role=pb.WORKER_ROLE_IDLE, epoch=wanted.epoch)
            match wanted.role:
                case pb.WORKER_ROLE_ACTIVE:
                    active = ActiveRole(self.common, wanted, self._role_failed)
                    try:
                        await active.start()
                    except NeedsNewEpoch:
                        return False
                    self._role = active
                case pb.WORKER_ROLE_STANDBY:
                    standby = StandbyRole(self.common, wanted, self._role_failed)
                    await standby.start()
                    self._role = standby
            self.assignment = wanted
            name = pb.WorkerRole.Name(wanted.role).removeprefix("WORKER_ROLE_")
            logger.info("role %s in epoch %d", name, wanted.epoch)
            return True

    async def _leave(self, *, told: bool) -> None:
        """`told`: control said so, and this process does not just end."""
        role, self._role = self._role, None
        match role:
            case ActiveRole():
                await role.stop(told=told)
            case StandbyRole():
                await role.stop()

    async def finish(self, epoch: Epoch, *, accept_loss: bool) -> Position:
        """Applies what the journal holds and then no more; where the new epoch begins behind."""
        async with self._changing:
            if isinstance(self._role, ActiveRole):
                return self._role.last
            standby = self._role
            if standby is None:  # restarted between the role and this call, or never told
                standby = StandbyRole(self.common, Assignment(epoch=epoch), self._role_failed)
                await standby.look_back()
            position = await standby.finish(accept_loss=accept_loss)
            self._role = None
            await standby.stop()
            self.assignment = Assignment(role=pb.WORKER_ROLE_IDLE, epoch=epoch)
            logger.info("everything received is applied, up to %s", position)
            return position

    @property
    def active(self) -> ActiveRole:
        """The active role. Raises NotActive in any other."""
        if isinstance(self._role, ActiveRole):
            return self._role
        active: NodeId | None = self.assignment.active
        raise NotActive(
            f"{self.config.node} does not capture group {self.group.id}: "
            + (f"{active} is active" if active else "its active is not known here")
        )

    def _epoch_if_active(self) -> Epoch:
        """The epoch in which this node may write to the trees. NotActive says where to restore."""
        if isinstance(self._role, ActiveRole):
            return self.assignment.epoch
        node, active = self.config.node, self.assignment.active
        whose = f"{active} is" if active else "nobody is known to be"
        there = f", and copy it to {active}" if active else ""
        raise NotActive(
            f"{node} is not active in group {self.group.id} ({whose}): a file that is restored"
            " here would not be replicated. Either make it active first ('staqctl switchover --to"
            f" {node}') and restore then, or restore outside of the trees ('staqctl quarantine"
            f" restore ID --to /root/'){there}"
        )

    @property
    def standby(self) -> StandbyRole | None:
        """The standby role, if it is in force."""
        return self._role if isinstance(self._role, StandbyRole) else None

    # --- status --------------------------------------------------------------------------------

    async def last(self) -> Position:
        """The newest record in the journal."""
        if isinstance(self._role, ActiveRole):
            return self._role.last
        return await self.common.read(self.common.journal_end_or_nothing)

    async def status(self) -> pb.GetTreesStatusResponse:
        """What control asks each second and the stream process twice a second."""
        common = self.common
        answer = pb.GetTreesStatusResponse(
            role=self.assignment.role or pb.WORKER_ROLE_IDLE,
            epoch=self.assignment.epoch,
            applied=to_position(common.index.position),
        )
        dirty = 0
        match self._role:
            case ActiveRole() as active:
                capture = active.status()
                dirty = capture.dirty
                answer.capture = capture.backend
                answer.changes["journalled"] = capture.journalled
                for text in capture.problems:
                    answer.problems.add(code="capture", text=text)
                answer.last.CopyFrom(to_position(active.last))
                answer.scrub.CopyFrom(active.scrubber.status())
            case StandbyRole() as standby:
                answer.needs_reconcile = standby.reason
                answer.healed = standby.healed
                answer.unsettled = standby.unsettled
                answer.settling = standby.settling
                for kind, count in standby.changes.items():
                    answer.changes[kind] = count
                answer.scrub.CopyFrom(standby.scrubber.status())
                if standby.progress is not None:
                    answer.reconcile.CopyFrom(to_progress(standby.progress))
        for code, text in common.problems.now():
            answer.problems.add(code=code, text=text)
        await common.read(lambda: self._add_slow(answer, dirty))
        return answer

    def _add_slow(self, answer: pb.GetTreesStatusResponse, dirty: int) -> None:
        common = self.common
        if not answer.HasField("last"):
            answer.last.CopyFrom(to_position(common.journal_end_or_nothing()))
        if self._role is None:
            answer.needs_reconcile = common.notes.needs_reconcile
            answer.settling = common.notes.settling_until is not None
        for number, tree in enumerate(self.group.trees):
            totals = common.index.totals(tree.name)
            answer.trees.add(
                tree=tree.name,
                path=str(tree.path),
                objects=totals.objects,
                bytes=totals.bytes,
                dirty=dirty if number == 0 else 0,  # capture counts a group's places together
            )
        extent = common.quarantine.extent()
        answer.quarantined, answer.quarantined_bytes = extent.objects, extent.bytes
