"""Two stream processes of a group on loopback, a trees process that does what the test says.

The rings `sync` and `service` are different loopback addresses, so that each can fail alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from fakes.patience import PATIENCE_S
from fakes.pki import cluster_pki
from fakes.ports import free_port
from fakes.records import LAB, MAIL, open_journal
from staqraft.config.schema import (
    Config,
    Group,
    Node,
    Ports,
    RemovalLimit,
    Replication,
    Ring,
    Tls,
    Tree,
)
from staqraft.config.schema import Journal as Limits
from staqraft.daemon.stream_worker import StreamWorker
from staqraft.journal.doorbell import Doorbell, bell_path
from staqraft.journal.journal import Journal
from staqraft.journal.record import Record
from staqraft.model import ORIGIN, Epoch, EpochStart, NodeId, NodeRole, Position
from staqraft.replication.messages import from_position, to_position, to_starts
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc

A, B = NodeId("a"), NodeId("b")
FIRST_EPOCH = (EpochStart(epoch=Epoch(1), seq=1),)


def lab_config(
    base: Path,
    node: NodeId,
    port: int,
    *,
    replication: Replication | None = None,
    limits: Limits | None = None,
    files: Tls | None = None,
) -> Config:
    """The configuration of one of the two; both have the same but for directories and keys."""
    last = {A: 1, B: 2}
    nodes = {
        name: Node(
            id=name,
            role=NodeRole.REPLICA,
            rings=(
                Ring(name="service", address=f"127.77.1.{last[name]}"),
                Ring(name="sync", address=f"127.77.2.{last[name]}"),
            ),
        )
        for name in (A, B)
    }
    group = Group(
        id=MAIL,
        initial_active=A,
        trees=(Tree(name="mail", path=base / node / "mail", **_left_out(base / node)),),
        journal=limits or Limits(),
        replication=replication or Replication(),
    )
    return Config(
        cluster=LAB,
        node=node,
        nodes=nodes,
        tls=files or cluster_pki(LAB).node(node),
        groups={MAIL: group},
        ports=Ports(data=port),
        state_dir=base / node,
        run_dir=base / node / "run",
    )


def leave_out(directory: Path, **patterns: str | list[str] | dict[str, int]) -> None:
    """The profile, patterns and `removals` of a node's tree from its next start on."""
    (directory / "patterns.json").write_text(json.dumps(patterns))


def use_backend(directory: Path, backend: str) -> None:
    """How a node watches its tree, from its next start on."""
    (directory / "backend").write_text(backend)


def _left_out(directory: Path) -> dict[str, Any]:
    path = directory / "patterns.json"
    said = json.loads(path.read_text()) if path.exists() else {}
    limit = {"removals": RemovalLimit(**said.pop("removals"))} if "removals" in said else {}
    return limit | {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}


@dataclass
class FakeTrees(pb_grpc.TreesWorkerServiceServicer):
    """A trees process: `position` is what a reconcile ends with."""

    position: Position = ORIGIN
    needs_reconcile: str = ""
    applied: Position = ORIGIN
    settling: bool = False
    reconciled: list[pb.ReconcileRequest] = field(default_factory=list)
    may_finish: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_finish.set()

    async def GetTreesStatus(  # noqa: N802
        self, request: pb.GetTreesStatusRequest, context: object
    ) -> pb.GetTreesStatusResponse:
        return pb.GetTreesStatusResponse(
            applied=to_position(self.applied),
            needs_reconcile=self.needs_reconcile,
            settling=self.settling,
        )

    async def Reconcile(  # noqa: N802
        self, request: pb.ReconcileRequest, context: object
    ) -> AsyncIterator[pb.ReconcileResponse]:
        self.reconciled.append(request)
        yield pb.ReconcileResponse(objects_done=5, objects_total=10)
        await self.may_finish.wait()
        self.needs_reconcile = ""
        yield pb.ReconcileResponse(
            done=True, position=to_position(self.position), objects_done=10, objects_total=10
        )


class Replica:
    """One node: its stream process, its trees process, and the control process's view of it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.journal_dir = config.group_dir(MAIL) / "journal"
        self.worker = StreamWorker(config, config.groups[MAIL])
        self.trees = FakeTrees()
        self.journal: Journal | None = None
        self._running: asyncio.Task[None] | None = None
        self._trees_server: grpc.aio.Server | None = None
        self._channel = grpc.aio.insecure_channel(f"unix:{config.worker_socket(MAIL, 'stream')}")
        self.control: Any = pb_grpc.StreamWorkerServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._bell = Doorbell(bell_path(config, MAIL, "stream"))

    async def start(self) -> None:
        self.config.run_dir.mkdir(parents=True, exist_ok=True)
        self._trees_server = grpc.aio.server()
        pb_grpc.add_TreesWorkerServiceServicer_to_server(self.trees, self._trees_server)  # type: ignore[no-untyped-call]
        self._trees_server.add_insecure_port(f"unix:{self.config.worker_socket(MAIL, 'trees')}")
        await self._trees_server.start()
        self._running = asyncio.create_task(self.worker.run())
        ready = asyncio.create_task(self.worker.ready.wait())
        await asyncio.wait([ready, self._running], return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            await self._running

    async def stop(self) -> None:
        await self.worker.stop()
        await self.crash()
        self.close_journal()
        if self._trees_server is not None:
            await self._trees_server.stop(None)
        await self._channel.close(None)
        self._bell.close()

    async def crash(self) -> None:
        """The listeners go, without leaving any role."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def assign(
        self,
        role: pb.WorkerRole,
        *,
        epoch: int = 1,
        starts: tuple[EpochStart, ...] = FIRST_EPOCH,
        active: NodeId = A,
    ) -> None:
        assignment = pb.RoleAssignment(
            role=role, epoch=epoch, epoch_starts=to_starts(starts), active=active
        )
        request = pb.SetStreamRoleRequest(assignment=assignment)
        await self.control.SetStreamRole(request, timeout=PATIENCE_S)

    async def be_active(self, **kwargs: Any) -> None:
        self.open_journal()
        await self.assign(pb.WORKER_ROLE_ACTIVE, **kwargs)

    async def be_standby(self, **kwargs: Any) -> None:
        self.close_journal()
        await self.assign(pb.WORKER_ROLE_STANDBY, **kwargs)

    async def be_idle(self, **kwargs: Any) -> None:
        await self.assign(pb.WORKER_ROLE_IDLE, **kwargs)

    def open_journal(self) -> Journal:
        if self.journal is None:
            limits = self.config.groups[MAIL].journal
            self.journal = open_journal(self.journal_dir, limits=limits)
        return self.journal

    def close_journal(self) -> None:
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def write(self, records: list[Record], epoch: int = 1) -> Position:
        """What the trees process does with changes: append, ring."""
        last = self.open_journal().append(records, Epoch(epoch))
        self._bell.ring()
        return last

    async def acknowledged(
        self, node: NodeId, position: Position, timeout_s: float = PATIENCE_S
    ) -> Position:
        request = pb.WaitAcknowledgedRequest(node=node, position=to_position(position))
        answer = await self.control.WaitAcknowledged(request, timeout=timeout_s)
        return from_position(answer.durable)

    async def status(self) -> pb.GetStreamStatusResponse:
        answer: pb.GetStreamStatusResponse = await self.control.GetStreamStatus(
            pb.GetStreamStatusRequest(), timeout=PATIENCE_S
        )
        return answer

    async def session(self) -> pb.PeerSession:
        status = await self.status()
        return status.peers[0]

    async def problems(self) -> dict[str, str]:
        return {p.code: p.text for p in (await self.status()).problems}


@dataclass
class Pair:
    """The two."""

    a: Replica
    b: Replica


@contextlib.asynccontextmanager
async def pair(
    *,
    replication: Replication | None = None,
    limits: Limits | None = None,
    b_limits: Limits | None = None,
    b_base: Path | None = None,
) -> AsyncIterator[Pair]:
    """Two idle replicas. `b_base`: where the second keeps its journal, say on a small disk."""
    with tempfile.TemporaryDirectory(prefix="sr-") as directory:  # unix sockets want short paths
        base, port = Path(directory), free_port()
        config_a = lab_config(base, A, port, replication=replication, limits=limits)
        config_b = lab_config(base, B, port, replication=replication, limits=b_limits or limits)
        if b_base is not None:
            config_b = replace(config_b, state_dir=b_base)
        both = Pair(Replica(config_a), Replica(config_b))
        await both.a.start()
        await both.b.start()
        try:
            yield both
        finally:
            await both.a.stop()
            await both.b.stop()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Waits for something that only shows in a status."""
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.02)
