"""The TLS server of one of many clusters, behind the port that they share (`front`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import grpc.aio

from staqraft.actions.fence import FenceServicer
from staqraft.api.admin import AdminServicer
from staqraft.api.authorisation import Authorisation
from staqraft.api.server import GRACE_S, OPTIONS, AddToServer
from staqraft.api.sockets import CannotListen
from staqraft.config.schema import Config
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2_grpc
from staqraft.wire.visitors import Visitors

# Who connects is seen by the front, which also names the strangers.
_NOBODY = Visitors(time.monotonic, lambda _delay, _action: None, list)


class ClusterServer:
    """Made when somebody connects for the first time: a witness mostly dials, and is not dialled.

    It lets in holders of a certificate of its own cluster's authority only, and each service asks
    who they are (`authorisation`), as on a node of one cluster.
    """

    def __init__(
        self,
        config: Config,
        path: Path,
        admin: AdminServicer,
        fence: FenceServicer,
        *,
        peers: Sequence[AddToServer] = (),
        options: tls.Options = (),
    ) -> None:
        """`path` is its unix socket, in a directory that is root's alone."""
        self._config = config
        self._path = path
        self._admin = admin
        self._fence = fence
        self._peers = tuple(peers)
        self._options = [*{**OPTIONS, **dict(options)}.items()]
        self._starting = asyncio.Lock()
        self._server: grpc.aio.Server | None = None

    async def socket(self) -> Path:
        """Where it listens, started now if it was not. CertificateError, CannotListen."""
        async with self._starting:
            if self._server is None:
                self._server = await self._start()
        return self._path

    async def stop(self) -> None:
        """Lets running calls end for a moment, then closes everything."""
        async with self._starting:
            server, self._server = self._server, None
            if server is not None:
                await server.stop(GRACE_S)

    async def _start(self) -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=[Authorisation(self._config)], options=self._options)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, server)  # type: ignore[no-untyped-call]  # generated
        admin_pb2_grpc.add_FenceServiceServicer_to_server(self._fence, server)  # type: ignore[no-untyped-call]  # generated
        for add in self._peers:
            add(server)
        try:
            credentials = tls.server_credentials(self._config.tls, visitors=_NOBODY)
            server.add_secure_port(f"unix:{self._path}", credentials)
        except RuntimeError as error:
            raise CannotListen(f"cannot make the socket {self._path}") from error
        await server.start()
        return server
