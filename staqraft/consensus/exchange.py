"""The service that peers dial: the other side of `transport`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import grpc
import grpc.aio

from staqraft.consensus.errors import BadMessage
from staqraft.consensus.openings import check_opening
from staqraft.consensus.transport import RaftTransport
from staqraft.wire import tls
from staqraft.wire.stream import Lost
from staqraft.wire.v1 import raft_pb2 as pb
from staqraft.wire.v1 import raft_pb2_grpc

EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it

_OPEN_TIMEOUT_S: Final = 1.0


class Exchanger(raft_pb2_grpc.RaftServiceServicer):
    """Hands each session to the transport of its cluster, which `transports` has by then."""

    def __init__(self, transports: Mapping[str, RaftTransport]) -> None:
        self._transports = transports

    def add_to(self, server: grpc.aio.Server) -> None:
        """Before the server starts."""
        add = raft_pb2_grpc.add_RaftServiceServicer_to_server
        add(self, server)  # type: ignore[no-untyped-call]

    async def Exchange(  # noqa: N802 - the name of the call
        self, request_iterator: object, context: tls.Context
    ) -> None:
        """Checks who calls before it reads anything, then carries the session."""
        del request_iterator  # the context reads one message at a time
        presented = tls.peer_identity(context)
        transport = self._transports.get(presented.cluster) if presented is not None else None
        cluster = transport.cluster if transport is not None else ""
        members = transport.peers.keys() if transport is not None else ()
        identity = await tls.require_peer(context, cluster, members)
        assert transport is not None, "require_peer let in a caller of no cluster"
        assert identity.node is not None, "require_peer let in a caller that is no node"
        try:
            first = await asyncio.wait_for(context.read(), _OPEN_TIMEOUT_S)
            if first is EOF:
                return
            opening = check_opening(first.envelopes, transport.cluster, identity.node, None)
            told = transport.opening(opening.session)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no session was opened")
        except BadMessage as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

        async def read() -> pb.ExchangeRequest:
            try:
                message = await context.read()
            except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
                raise Lost(_why(error)) from error
            if message is EOF:
                raise Lost("the peer ended it")
            request: pb.ExchangeRequest = message
            return request

        async def write(envelopes: list[pb.Envelope]) -> None:
            try:
                await context.write(pb.ExchangeResponse(envelopes=envelopes))
            except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as error:
                raise Lost(_why(error)) from error

        await context.write(pb.ExchangeResponse(envelopes=[pb.Envelope(session_open=told)]))
        await transport.carry(identity.node, read, write, told, opening)


def _why(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"the connection is gone ({error.code().name})"
    return "the connection is gone"
