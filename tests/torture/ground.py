"""The pair of a round: two replicas' real processes, their file systems, and the links between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import grpc
import grpc.aio

from fakes.data_pair import DataNode, DataPair
from fakes.grounds import mounted
from fakes.pki import cluster_pki
from fakes.ports import free_port
from fakes.records import LAB, MAIL
from fakes.small_disk import fill
from fakes.stream_pair import A, B
from staqraft.daemon.watch import blockers_of, following
from staqraft.daemon.workers import WorkerStatus
from staqraft.decision.following import Following
from staqraft.model import NodeId, Position
from staqraft.wire.v1 import data_worker_pb2 as pb
from torture.process import set_clock
from torture.relay import Link, Relay
from torture.shape import Shape, address, relayed

T = TypeVar("T")
PATIENCE_S: Final = 120.0
_DISK_MB: Final = 128
_STATE_MB: Final = 192
_RINGS: Final = ("service", "sync")
_IN_SYNC_S: Final = 5.0
_TRANSIENT: Final = (grpc.aio.AioRpcError,)


class Violation(Exception):
    """What must not happen, in words."""


class Ground:
    """What troubles and phases work on."""

    def __init__(self, base: Path, pair: DataPair, relays: dict[str, list[Relay]]) -> None:
        self.base = base
        self.pair = pair
        self.active, self.standby = pair.a, pair.b
        self.notes: list[str] = []  # what is allowed and still worth a look
        self._relays = relays
        self._ballast: set[Path] = set()
        self._frozen: set[int] = set()

    # --- processes -----------------------------------------------------------------------------

    def kill(self, node: DataNode, *names: str) -> None:
        for name in names:
            if node.processes[name].poll() is None:
                node.kill(name)

    def signal(self, node: DataNode, name: str, number: signal.Signals) -> None:
        if node.processes[name].poll() is None:
            node.processes[name].send_signal(number)
            pid = node.processes[name].pid
            (self._frozen.add if number is signal.SIGSTOP else self._frozen.discard)(pid)

    async def revive(self, *nodes: DataNode) -> None:
        """Starts what does not run, and gives the roles again, as control does."""
        for node in nodes:
            for name, process in node.processes.items():
                code = process.poll()
                if code is None:
                    continue
                if code not in (0, -signal.SIGKILL):
                    self.notes.append(f"{node.node}: {name} ended by itself with {code}")
                node.start(name)
        for node in nodes:
            await self._give_role(node)

    async def _give_role(self, node: DataNode) -> None:
        pair = self.pair
        if node is self.standby:
            await pair.follow(node, self.active)
            return
        answer = await node.assign(pb.WORKER_ROLE_ACTIVE, pair.epoch, pair.starts, node.node)
        if answer.needs_new_epoch:
            self.notes.append(f"{node.node} needed a new epoch")
            await pair.promote(node)
            await pair.follow(self.standby, node)

    async def mend(self) -> None:
        """Ends whatever is wrong and is not the product's to mend."""
        for link in _RINGS:
            await self.link(link, Link.UP)
        for ballast in self._ballast:
            ballast.unlink(missing_ok=True)
        self._ballast.clear()
        for node in (self.active, self.standby):
            for name in node.processes:
                self.signal(node, name, signal.SIGCONT)

    async def well(self) -> None:
        """Everything runs in its role."""
        await self.mend()
        await patiently(lambda: self.revive(self.active, self.standby), "both take their roles")

    # --- links, volumes, clocks ----------------------------------------------------------------

    async def link(self, ring: str, link: Link) -> None:
        for relay in self._relays[ring]:
            await relay.set(link)

    def fill(self, node: DataNode, volume: str) -> None:
        directory = self.base / node.node / volume
        ballast = directory / "ballast"
        self._ballast.add(ballast)
        fill(directory)

    def empty(self, node: DataNode, volume: str) -> None:
        (self.base / node.node / volume / "ballast").unlink(missing_ok=True)

    def set_clock(self, node: DataNode, ahead_ms: int) -> None:
        set_clock(self.base, node.node, ahead_ms)

    def outside(self, node: DataNode) -> Path:
        return node.tree.with_name("outside")

    # --- roles ---------------------------------------------------------------------------------

    async def in_sync(self) -> bool:
        """Whether the standby may be promoted: it follows, and has what was written before now.

        As control lets a standby in: behind a barrier that began when it followed already. And as
        a standby asks itself.
        """
        try:
            if not await self._follows():
                return False
            position = await self.active.barrier()
            await self.active.acknowledged(self.standby.node, position, _IN_SYNC_S)
            return await self._follows()
        except _TRANSIENT:
            return False

    async def _follows(self) -> bool:
        trees, stream = await self.standby.status(), await self.standby.stream_status()
        sessions = (await self.active.stream_status()).peers
        return (
            trees.role == pb.WORKER_ROLE_STANDBY
            and not blockers_of(WorkerStatus(trees=trees, stream=stream))
            and bool(sessions)
            and all(following(session) is Following.WHOLE for session in sessions)
        )

    async def settled(self) -> Position:
        """What was written before is applied on the standby, and durable."""

        async def attempt() -> Position:
            position = await self.active.barrier()
            await self.active.acknowledged(self.standby.node, position)
            return position

        position = await patiently(attempt, "a barrier is acknowledged", self._again)
        await patiently(lambda: self._applied(position), f"{position} is applied", self._again)
        return position

    async def _applied(self, position: Position) -> None:
        deadline = time.monotonic() + PATIENCE_S
        status = None
        while time.monotonic() < deadline:
            status = await self.standby.status()
            applied = Position(status.applied.epoch, status.applied.seq)  # type: ignore[arg-type]
            if not status.needs_reconcile and not status.unsettled and applied >= position:
                return
            await asyncio.sleep(0.02)
        raise Violation(
            f"{self.standby.node} has not applied {position} in {PATIENCE_S:.0f} s: {status}"
        )

    async def _again(self) -> None:
        """A process may end by itself and is started again: control does that."""
        await self.revive(self.active, self.standby)

    def swap(self) -> None:
        self.active, self.standby = self.standby, self.active


async def patiently(
    attempt: Callable[[], Awaitable[T]],
    what: str,
    between: Callable[[], Awaitable[None]] | None = None,
) -> T:
    """Tries until it works; a Violation when it does not for long."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await attempt()
        except _TRANSIENT as error:
            if time.monotonic() > deadline:
                raise Violation(
                    f"not in {PATIENCE_S:.0f} s: {what}; the last answer was "
                    f"{error.code().name}: {error.details()}"
                ) from error
        await asyncio.sleep(0.2)
        if between is not None:
            with contextlib.suppress(*_TRANSIENT):
                await between()


@contextlib.asynccontextmanager
async def ground(dice: random.Random, inotify: frozenset[str]) -> AsyncIterator[Ground]:
    """A fresh pair whose first node is active; raises RuntimeError where nothing can be mounted."""
    shape = Shape.draw(dice, inotify)
    async with contextlib.AsyncExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sr-")))
        (base / "shape.json").write_text(json.dumps(shape.to_json()))
        for node, kind in zip((A, B), shape.grounds, strict=True):
            stack.enter_context(mounted(kind, base / node / "disk", megabytes=_DISK_MB))
            stack.enter_context(mounted("tmpfs", base / node / "state", megabytes=_STATE_MB))
            for made in ("tree", "outside"):
                (base / node / "disk" / made).mkdir()
            set_clock(base, node, 0)
        port = free_port()
        relays = {ring: _relays(ring, port) for ring in _RINGS}
        for relay in (one for ring in relays.values() for one in ring):
            await relay.start()
            stack.push_async_callback(relay.stop)
        nodes = [_node(base, node, port, shape) for node in (A, B)]
        for node_ in nodes:
            stack.push_async_callback(_stop, node_)
            node_.start()
        yield Ground(base, DataPair(*nodes), relays)


def _relays(ring: str, port: int) -> list[Relay]:
    return [
        Relay(relayed(node, ring), address(node, ring), at)
        for node in (A, B)
        for at in (port, port + 1)
    ]


def _node(base: Path, node: NodeId, port: int, shape: Shape) -> DataNode:
    tls = cluster_pki(LAB).node(node)
    keys = [str(path) for path in (tls.ca, tls.certificate, tls.key)]
    config = shape.config(base, node, port, keys)
    return DataNode(base, node, port, config=config, program="torture.process")


async def _stop(node: DataNode) -> None:
    for process in node.processes.values():
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
    await node.stop()


def group_dir(node: DataNode) -> Path:
    return node.config.group_dir(MAIL)
