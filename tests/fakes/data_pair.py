"""Two replicas' data workers as real processes on loopback; the test is their control process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from fakes.data_process import SCRUB
from fakes.patience import PATIENCE_S
from fakes.ports import free_port
from fakes.records import MAIL
from fakes.stream_pair import A, B, lab_config, until
from lab.compare import differences, manifest
from staqraft.config.schema import Config
from staqraft.index import STAGING_NAME
from staqraft.model import Epoch, EpochStart, NodeId, Position
from staqraft.replication.messages import from_position, to_position, to_starts
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import data_worker_pb2_grpc as pb_grpc

TESTS = Path(__file__).parent.parent
_CHANNEL = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))


class NodeControl:
    """What control says to a replica's two processes, wherever they were started."""

    def __init__(self, config: Config) -> None:
        self.node = config.node
        self.config = config
        self.tree = config.groups[MAIL].trees[0].path
        self._channels = {
            name: grpc.aio.insecure_channel(
                f"unix:{self.config.worker_socket(MAIL, name)}", options=_CHANNEL
            )
            for name in ("trees", "stream")
        }
        self.trees: Any = pb_grpc.TreesWorkerServiceStub(self._channels["trees"])  # type: ignore[no-untyped-call]
        self.stream: Any = pb_grpc.StreamWorkerServiceStub(self._channels["stream"])  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    async def _stream_role(self, assignment: pb.RoleAssignment) -> None:
        await self.stream.SetStreamRole(
            pb.SetStreamRoleRequest(assignment=assignment), timeout=PATIENCE_S, wait_for_ready=True
        )

    async def assign(
        self, role: pb.WorkerRole, epoch: int, starts: tuple[EpochStart, ...], active: NodeId
    ) -> pb.SetTreesRoleResponse:
        """In control's order: the journal is let go by the one before the other takes it."""
        wanted = pb.RoleAssignment(
            role=role, epoch=epoch, epoch_starts=to_starts(starts), active=active
        )
        await self._stream_role(pb.RoleAssignment(role=pb.WORKER_ROLE_IDLE, epoch=epoch))
        answer: pb.SetTreesRoleResponse = await self.trees.SetTreesRole(
            pb.SetTreesRoleRequest(assignment=wanted), timeout=PATIENCE_S, wait_for_ready=True
        )
        if not answer.needs_new_epoch:
            await self._stream_role(wanted)
        return answer

    async def finish(self, epoch: int, *, accept_loss: bool) -> Position:
        await self._stream_role(pb.RoleAssignment(role=pb.WORKER_ROLE_IDLE, epoch=epoch))
        answer = await self.trees.FinishApplying(
            pb.FinishApplyingRequest(epoch=epoch, accept_data_loss=accept_loss),
            timeout=PATIENCE_S,
            wait_for_ready=True,
        )
        return from_position(answer.position)

    async def barrier(self, timeout_s: float = PATIENCE_S) -> Position:
        answer = await self.trees.CaptureBarrier(pb.CaptureBarrierRequest(), timeout=timeout_s)
        return from_position(answer.position)

    async def acknowledged(
        self, node: NodeId, position: Position, timeout_s: float = PATIENCE_S
    ) -> None:
        await self.stream.WaitAcknowledged(
            pb.WaitAcknowledgedRequest(node=node, position=to_position(position)),
            timeout=timeout_s,
        )

    async def status(self) -> pb.GetTreesStatusResponse:
        answer: pb.GetTreesStatusResponse = await self.trees.GetTreesStatus(
            pb.GetTreesStatusRequest(), timeout=PATIENCE_S, wait_for_ready=True
        )
        return answer

    async def stream_status(self) -> pb.GetStreamStatusResponse:
        answer: pb.GetStreamStatusResponse = await self.stream.GetStreamStatus(
            pb.GetStreamStatusRequest(), timeout=PATIENCE_S, wait_for_ready=True
        )
        return answer

    async def problems(self) -> dict[str, str]:
        return {p.code: p.text for p in (await self.status()).problems}

    async def applied(self, position: Position) -> None:
        """Returns when the position is applied and durable."""

        async def done() -> bool:
            status = await self.status()
            return not status.needs_reconcile and from_position(status.applied) >= position

        async def tidied() -> bool:
            return not list((self.tree / os.fsdecode(STAGING_NAME)).iterdir())

        await until(done, f"{self.node} has applied {position}")
        await until(tidied, f"{self.node} has put away what the commit needed no more")

    async def quarantine(self) -> list[pb.QuarantineEntry]:
        answer = await self.trees.ListQuarantine(pb.ListQuarantineRequest(), timeout=PATIENCE_S)
        return list(answer.entries)


class DataNode(NodeControl):
    """A replica: its two processes, and what control says to them."""

    def __init__(
        self,
        base: Path,
        node: NodeId,
        port: int,
        *,
        config: Config | None = None,
        program: str = "fakes.data_process",
    ) -> None:
        super().__init__(config or lab_config(base, node, port))
        self.tree.mkdir(parents=True, exist_ok=True)
        self._program = program
        self.log = base / f"{node}.log"
        tls = self.config.tls
        self._argv = (str(base), node, str(port), *map(str, (tls.ca, tls.certificate, tls.key)))
        self.environment: dict[str, str] = {}  # of the processes, beside ours
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
            **self.environment,
        }
        for name in names or ("trees", "stream"):
            argv = [sys.executable, "-m", self._program, name, *self._argv]
            with self.log.open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    argv, env=environment, stdout=log, stderr=log
                )

    def kill(self, *names: str) -> None:
        for name in names or ("trees", "stream"):
            self.processes[name].send_signal(signal.SIGKILL)
            self.processes[name].wait()

    def damage_index(self) -> None:
        path = self.config.group_dir(MAIL) / "index.sqlite"
        path.write_bytes(b"no database" * 1000)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    async def stop(self) -> None:
        await self.stop_processes()
        await self.close()

    async def stop_processes(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.to_thread(process.wait, PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(kw_only=True)
class History:
    """The shared history as Raft would keep it, and what control does by it."""

    epoch: int = 0
    starts: tuple[EpochStart, ...] = ()

    async def promote(self, new: NodeControl, old: NodeControl | None = None) -> None:
        """`new` becomes active in the next epoch, `old` (if it lives) its standby."""
        self.epoch += 1
        # As the decision core does: before the first epoch there is nothing to lose.
        position = await new.finish(self.epoch, accept_loss=not self.starts)
        start = EpochStart(epoch=Epoch(self.epoch), seq=position.seq + 1)
        self.starts = (*self.starts, start)
        answer = await new.assign(pb.WORKER_ROLE_ACTIVE, self.epoch, self.starts, new.node)
        assert not answer.needs_new_epoch
        if old is not None:
            await self.follow(old, new)

    async def follow(self, standby: NodeControl, active: NodeControl) -> None:
        await standby.assign(pb.WORKER_ROLE_STANDBY, self.epoch, self.starts, active.node)

    async def settle(self, active: NodeControl, standby: NodeControl) -> None:
        """Barrier, acknowledged, applied; then the trees must be equal."""
        position = await active.barrier()
        await active.acknowledged(standby.node, position)
        await standby.applied(position)
        found = differences(manifest(active.tree), manifest(standby.tree))
        assert not found, "\n".join(map(str, found[:10]))


@dataclass
class DataPair(History):
    """Both, with their processes."""

    a: DataNode
    b: DataNode


@contextlib.asynccontextmanager
async def data_pair(*, scrub_ms: int | None = None) -> AsyncIterator[DataPair]:
    """Two replicas whose processes run and have no role. `scrub_ms`: from pass to pass."""
    with tempfile.TemporaryDirectory(prefix="sr-") as directory:  # unix sockets want short paths
        base, port = Path(directory), free_port()
        both = DataPair(DataNode(base, A, port), DataNode(base, B, port))
        if scrub_ms is not None:
            for node in (both.a, both.b):
                node.environment[SCRUB] = str(scrub_ms)
        try:
            both.a.start()
            both.b.start()
            yield both
        finally:
            await both.a.stop()
            await both.b.stop()
            for node in (both.a, both.b):
                sys.stderr.write(node.log.read_text(errors="replace"))
