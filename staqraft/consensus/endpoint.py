"""The side of a Raft session that is dialled: a service of the node's gRPC server.

gRPC is not imported before there is such a server: a witness of many clusters dials its peers, and
mostly does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.consensus.transport import RaftTransport

if TYPE_CHECKING:
    import grpc.aio


class RaftEndpoint:
    """Knows to whose transport the sessions belong that are opened at this node."""

    def __init__(self) -> None:
        self._transports: dict[str, RaftTransport] = {}

    def add_to_server(self, server: grpc.aio.Server) -> None:
        """The server's credentials must demand client certificates; see `SERVER_OPTIONS`."""
        from staqraft.consensus.exchange import Exchanger  # noqa: PLC0415 - see above

        Exchanger(self._transports).add_to(server)

    def register(self, transport: RaftTransport) -> None:
        """Sessions of this transport's cluster are for it from now on."""
        self._transports[transport.cluster] = transport

    def unregister(self, transport: RaftTransport) -> None:
        """No more."""
        self._transports.pop(transport.cluster, None)
