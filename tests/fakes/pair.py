"""The replicas of a cluster as their witness sees them: real Raft members that renew a lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from staqraft.config.schema import Config
from staqraft.consensus import SERVER_OPTIONS, Group, RaftEndpoint, RaftTicker
from staqraft.consensus.manners import keepalive
from staqraft.errors import ConsensusError
from staqraft.model import ORIGIN, Accepted, Acquire, GroupId, GroupRecord, NodeId, Renew
from staqraft.wire import tls

DEFAULT = GroupId("default")
_RETRY_S = 0.2


@dataclass
class Member:
    """One replica's control process, as far as Raft goes."""

    config: Config
    raft: Group
    server: grpc.aio.Server


@asynccontextmanager
async def member(
    config: Config, ticker: RaftTicker, directory: Path | None = None
) -> AsyncIterator[Member]:
    """Takes part in its cluster as long as the context lasts."""
    endpoint = RaftEndpoint()
    calm = keepalive(config.consensus.election_min_ms)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *SERVER_OPTIONS, *calm])
    endpoint.add_to_server(server)
    place = tls.target(config.me.rings[0].address, config.ports.control)
    server.add_secure_port(place, tls.server_credentials(config.tls))
    raft = Group(config, ticker, endpoint, directory=directory)
    await raft.start()
    await server.start()
    try:
        yield Member(config, raft, server)
    finally:
        await raft.stop()
        await server.stop(0)


@dataclass
class Figures:
    """What came of the renewals."""

    committed: int = 0
    failed: int = 0
    commit_ms: list[float] = field(default_factory=list)
    terms: int = 0  # leaders that were elected


async def _acquired(raft: Group, node: NodeId) -> GroupRecord:
    """The record with `node` as the active, which it becomes if it is not."""
    while True:
        try:
            record = (await raft.barrier()).groups.get(DEFAULT, GroupRecord())
            if record.active == node:
                return record
            await raft.propose(
                Acquire(
                    node=node,
                    group=DEFAULT,
                    base_epoch=record.epoch,
                    base_renewal=record.renewal,
                    reason="first start",
                )
            )
        except ConsensusError:
            await asyncio.sleep(_RETRY_S)


async def renew(raft: Group, config: Config, figures: Figures) -> None:
    """Acquires the lease of the default group and renews it until cancelled."""
    node = config.node
    record = await _acquired(raft, node)
    epoch, number = record.epoch, record.renewal
    period_s = config.lease.renew_ms / 1000
    due = time.monotonic()
    while True:
        due = max(due + period_s, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
        number += 1
        began = time.monotonic()
        try:
            outcome = await raft.propose(
                Renew(node=node, group=DEFAULT, epoch=epoch, renewal=number, position=ORIGIN),
                timeout_ms=config.lease.ttl_ms,
            )
        except ConsensusError:
            figures.failed += 1
            continue
        figures.failed += not isinstance(outcome, Accepted)
        figures.committed += 1
        figures.commit_ms.append((time.monotonic() - began) * 1000)
        figures.terms = raft.status().term
