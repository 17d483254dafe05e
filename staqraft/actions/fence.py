"""Fencing by request: the loser is asked to let go, on every way that leads to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from staqraft.config.schema import Config, Node, Ring
from staqraft.errors import StaqraftError
from staqraft.model import Epoch, GroupId, NodeId
from staqraft.wire import tls
from staqraft.wire.failures import in_words
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc

logger = logging.getLogger(__name__)

Dial = Callable[[Ring, Node], grpc.aio.Channel]
LetGo = Callable[[GroupId, Epoch], Awaitable[tuple[bool, str]]]

RELAY_RESERVE_MS = 50  # of a relayed call's time: for the answer's own way back
RELAY_DEFAULT_MS = 1000  # for a caller without a deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceAnswer:
    """Whether the loser confirmed that everything is down; `detail` is a sentence either way."""

    let_go: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A ring address to call: the loser's own, or that of a node that passes the call on."""

    node: Node
    ring: Ring
    relay: bool

    def __str__(self) -> str:
        through = f"through {self.node.id} on" if self.relay else "on"
        return f"{through} ring {self.ring.name} ({self.ring.address})"


def mtls_dial(config: Config) -> Dial:
    """Dials the control port of a node with this node's certificate."""

    def dial(ring: Ring, node: Node) -> grpc.aio.Channel:
        return tls.channel(ring.address, config.ports.control, node.id, config.cluster, config.tls)

    return dial


class FenceClient:
    """Asks a loser to let go."""

    def __init__(self, config: Config, *, dial: Dial | None = None) -> None:
        self._config = config
        self._dial = dial if dial is not None else mtls_dial(config)

    async def fence(
        self, group: GroupId, epoch: Epoch, loser: NodeId, timeout_ms: int
    ) -> FenceAnswer:
        """Calls the loser on each of its rings and through each other node, all at once.

        Returns at the first confirmation, or when every way failed, at the latest after
        `timeout_ms`. Ways that do not answer are tried again meanwhile: the loser's daemon may just
        be restarting.
        """
        others = [
            node
            for node in self._config.nodes.values()
            if node.id not in {loser, self._config.node}
        ]
        ways = self._ways(self._config.nodes[loser], relay=False)
        ways += [way for node in others for way in self._ways(node, relay=True)]
        request = self._request(group, epoch, loser, relayed=False)
        return await self._ask(request, ways, timeout_ms)

    async def pass_on(
        self, group: GroupId, epoch: Epoch, loser: NodeId, timeout_ms: int
    ) -> FenceAnswer:
        """Calls the loser on each of its rings for another node, and no one else."""
        request = self._request(group, epoch, loser, relayed=True)
        ways = self._ways(self._config.nodes[loser], relay=False)
        return await self._ask(request, ways, timeout_ms)

    def _request(
        self, group: GroupId, epoch: Epoch, loser: NodeId, *, relayed: bool
    ) -> admin_pb2.FenceRequest:
        return admin_pb2.FenceRequest(
            cluster=self._config.cluster, group=group, epoch=epoch, loser=loser, relayed=relayed
        )

    def _ways(self, node: Node, *, relay: bool) -> list[_Way]:
        return [_Way(node=node, ring=ring, relay=relay) for ring in node.rings]

    async def _ask(
        self, request: admin_pb2.FenceRequest, ways: list[_Way], timeout_ms: int
    ) -> FenceAnswer:
        tasks = [asyncio.create_task(self._try(request, way, timeout_ms)) for way in ways]
        failures: list[str] = []
        try:
            for answered in asyncio.as_completed(tasks):
                answer = await answered
                if answer.let_go:
                    return answer
                failures.append(answer.detail)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if request.relayed:  # quoted by whoever asks us, who says what for
            return FenceAnswer(let_go=False, detail=f"in vain {' and '.join(sorted(failures))}")
        return FenceAnswer(
            let_go=False,
            detail=f"{request.loser} did not confirm that it let go of group {request.group}:"
            f" {'; '.join(sorted(failures))}",
        )

    async def _try(
        self, request: admin_pb2.FenceRequest, way: _Way, timeout_ms: int
    ) -> FenceAnswer:
        channel = self._dial(way.ring, way.node)
        try:
            stub = admin_pb2_grpc.FenceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            response: admin_pb2.FenceResponse = await stub.Fence(
                request, timeout=timeout_ms / 1000, wait_for_ready=True
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return FenceAnswer(let_go=False, detail=f"{way}: no answer in {timeout_ms} ms")
            return FenceAnswer(let_go=False, detail=f"{way}: {in_words(error)}")
        finally:
            await channel.close(None)
        if response.let_go:
            detail = f"{request.loser} confirmed {way} that it let go of group {request.group}"
            return FenceAnswer(let_go=True, detail=detail)
        return FenceAnswer(let_go=False, detail=f"{way}: {response.detail or 'it says no'}")


class FenceServicer(admin_pb2_grpc.FenceServiceServicer):
    """Lets go when it is asked to, or passes the call on to the node that is meant.

    Letting go is never cancelled because the caller went away, and calls for the same group and
    epoch that arrive on several ways share one.
    """

    def __init__(self, config: Config, let_go: LetGo, client: FenceClient) -> None:
        self._config = config
        self._let_go = let_go
        self._client = client
        self._running: dict[tuple[GroupId, Epoch], asyncio.Task[tuple[bool, str]]] = {}

    async def Fence(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.FenceRequest, context: tls.Context
    ) -> admin_pb2.FenceResponse:
        """See the protocol. INVALID_ARGUMENT for a cluster, group or node not known here."""
        caller = await tls.require_peer(context, self._config.cluster, self._config.nodes)
        group, epoch, loser = GroupId(request.group), Epoch(request.epoch), NodeId(request.loser)
        mistake = self._mistake(request)
        if mistake:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, mistake)
        if loser == self._config.node:
            logger.debug("Fence arrived", extra={"group": group, "by": caller.node})
            let_go, detail = await self._local(group, epoch)
            return admin_pb2.FenceResponse(let_go=let_go, detail=detail)
        if request.relayed:
            return admin_pb2.FenceResponse(
                let_go=False,
                detail=f"this is {self._config.node}, not {loser}: compare the addresses under"
                " 'nodes' in the configurations",
            )
        left_s: float | None = context.time_remaining()
        left_ms = RELAY_DEFAULT_MS if left_s is None else int(left_s * 1000) - RELAY_RESERVE_MS
        answer = await self._client.pass_on(group, epoch, loser, max(1, left_ms))
        return admin_pb2.FenceResponse(let_go=answer.let_go, detail=answer.detail)

    def _mistake(self, request: admin_pb2.FenceRequest) -> str:
        me = self._config.node
        if request.cluster != self._config.cluster:
            return f"{me} belongs to cluster {self._config.cluster}, not {request.cluster}"
        if request.group not in self._config.groups:
            return f"{me} knows no group {request.group}: compare the configurations"
        if request.loser not in self._config.nodes:
            return f"{me} knows no node {request.loser}: compare the configurations"
        return "" if request.epoch > 0 else "epoch 0 is nobody's"

    async def _local(self, group: GroupId, epoch: Epoch) -> tuple[bool, str]:
        key = (group, epoch)
        task = self._running.get(key)
        if task is None:
            logger.warning("asked to let go", extra={"group": group, "epoch": epoch})
            task = asyncio.create_task(self._guarded(group, epoch), name=f"let go of {group}")
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _guarded(self, group: GroupId, epoch: Epoch) -> tuple[bool, str]:
        try:
            return await self._let_go(group, epoch)
        except StaqraftError as error:
            logger.exception("could not let go", extra={"group": group, "epoch": epoch})
            return False, str(error)
