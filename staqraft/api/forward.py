"""A channel to another node's control port, over whichever of its rings connects first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import grpc.aio

from staqraft.config.schema import Config
from staqraft.errors import Unreachable
from staqraft.model import NodeId
from staqraft.wire import tls

FORWARDED_KEY = "staqraft-forwarded-by"
REACH_MS = 2_000  # for a connection to the node that is to do it

Forward = Callable[[NodeId, int], AbstractAsyncContextManager[grpc.aio.Channel]]
"""`forward(node, timeout_ms)`: a connected channel, or Unreachable."""


def over_any_ring(config: Config) -> Forward:
    """Dials all rings of a node at once with this node's certificate."""

    @asynccontextmanager
    async def forward(node: NodeId, timeout_ms: int) -> AsyncIterator[grpc.aio.Channel]:
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(
                    tls.channel(
                        ring.address, config.ports.control, node, config.cluster, config.tls
                    )
                )
                for ring in config.nodes[node].rings
            ]
            yield await _first_connected(channels, node, timeout_ms)

    return forward


async def _first_connected(
    channels: list[grpc.aio.Channel], node: NodeId, timeout_ms: int
) -> grpc.aio.Channel:
    waiting = {asyncio.ensure_future(c.channel_ready()): c for c in channels}
    try:
        done, _ = await asyncio.wait(
            waiting, timeout=timeout_ms / 1000, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    if not done:
        raise Unreachable(
            f"{node} is to do this but cannot be reached from here on any of its rings: ask it"
            f" directly, and check the network and 'systemctl status staqraftd' on {node}"
        )
    return waiting[next(iter(done))]
