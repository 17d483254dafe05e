"""A pair that does to its witness what no pair should: one process, one kind, for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio

from fakes.many import WITNESS_ADDRESS, Town
from staqraft.config.schema import Config
from staqraft.consensus import SERVER_OPTIONS
from staqraft.model import NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc, raft_pb2, raft_pb2_grpc

BATCH = 1000
KNOCKERS = 8
HUGE_BYTES = 4_000_000

Envelopes = Callable[[random.Random], list[raft_pb2.Envelope]]


def appends(rng: random.Random) -> list[raft_pb2.Envelope]:
    """Well formed, and far too many: an older term, so that each has to be answered."""
    append = raft_pb2.AppendEntries(term=0, commit_index=rng.randrange(1 << 20))
    append.entries.SetInParent()
    return [raft_pb2.Envelope(append_entries=append)] * BATCH


def nonsense(rng: random.Random) -> list[raft_pb2.Envelope]:
    """Whatever random bytes happen to mean."""
    envelope = raft_pb2.Envelope()
    with contextlib.suppress(Exception):
        envelope.ParseFromString(rng.randbytes(rng.randrange(40)))
    return [envelope]


def huge(_: random.Random) -> list[raft_pb2.Envelope]:
    """As large as a message may be, and nothing that may stand in a log."""
    entries = raft_pb2.LogEntries(
        entries=[raft_pb2.LogEntry(index=2, term=1, command=bytes(HUGE_BYTES))]
    )
    append = raft_pb2.AppendEntries(term=1, commit_index=1, entries=entries)
    return [raft_pb2.Envelope(append_entries=append)]


class BadReplica(raft_pb2_grpc.RaftServiceServicer):
    """Opens each session as it should, and then sends `what`; None: it ends the session."""

    def __init__(self, config: Config, what: Envelopes | None) -> None:
        self._config = config
        self._what = what

    async def Exchange(  # noqa: N802 - the name of the call
        self, request_iterator: object, context: tls.Context
    ) -> AsyncIterator[raft_pb2.ExchangeResponse]:
        first = await context.read()
        opening = raft_pb2.SessionOpen()
        opening.CopyFrom(first.envelopes[0].session_open)
        opening.node = self._config.node
        yield raft_pb2.ExchangeResponse(envelopes=[raft_pb2.Envelope(session_open=opening)])
        rng = random.Random()
        while self._what is not None:
            yield raft_pb2.ExchangeResponse(envelopes=self._what(rng))


async def serve(config: Config, what: Envelopes | None) -> None:
    """A replica's port, for ever."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    raft_pb2_grpc.add_RaftServiceServicer_to_server(BadReplica(config, what), server)  # type: ignore[no-untyped-call]
    place = tls.target(config.me.rings[0].address, config.ports.control)
    server.add_secure_port(place, tls.server_credentials(config.tls))
    await server.start()
    await server.wait_for_termination()


async def knock(config: Config) -> None:
    """Connects, asks something, leaves, and again; in between without a word of TLS."""
    port = config.ports.control
    while True:
        async with tls.channel(
            WITNESS_ADDRESS, port, NodeId("w"), config.cluster, config.tls
        ) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=1)
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(WITNESS_ADDRESS, port)
            writer.write(os.urandom(1000))
            writer.close()


WHAT: dict[str, Envelopes] = {"flood": appends, "nonsense": nonsense, "huge": huge}
TOGETHER = ("flood", "huge")


async def run(town: Town, kind: str) -> None:
    """Both replicas do the same; with `everything` each does something else, and they knock."""
    configs = [town.config(0, node) for node in ("a", "b")]
    kinds = TOGETHER if kind == "everything" else (kind, kind)
    async with asyncio.TaskGroup() as tasks:
        for config, what in zip(configs, kinds, strict=True):
            if kind != "knock":
                tasks.create_task(serve(config, WHAT.get(what)))
        for number in range(KNOCKERS if kind in {"knock", "everything"} else 0):
            tasks.create_task(knock(configs[number % 2]))


def main() -> None:
    """`mischief DIRECTORY CONTROL METRICS ELECTION LEASE KIND`."""
    os.nice(19)  # it would be on another machine: it may disturb the witness, but not its processor
    directory, control, metrics, election, lease, kind = sys.argv[1:]
    town = Town(Path(directory), int(control), int(metrics), (election, lease))
    asyncio.run(run(town, kind))


if __name__ == "__main__":
    main()
