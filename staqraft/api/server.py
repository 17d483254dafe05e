"""The gRPC servers of a staqraftd: root's unix socket, and one with mutual TLS on each ring."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from staqraft.actions.fence import FenceServicer
from staqraft.api.admin import AdminServicer
from staqraft.api.authorisation import ADMIN_SERVICE, DATA_ADMIN_SERVICE, Authorisation
from staqraft.api.data_admin import DataAdminServicer
from staqraft.api.sockets import CannotListen, make_way
from staqraft.config.schema import Config, Ring
from staqraft.errors import StaqraftError
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc, data_admin_pb2_grpc

logger = logging.getLogger(__name__)

AddToServer = Callable[[grpc.aio.Server], None]

FENCE_SERVICE: str = admin_pb2.DESCRIPTOR.services_by_name["FenceService"].full_name
RETRY_S = 2.0
GRACE_S = 0.5

OPTIONS: dict[str, str | int] = {
    # A second daemon must not share the port: half of the calls would go astray.
    "grpc.so_reuseport": 0,
    # Strangers that connect and say nothing keep a descriptor for so long only.
    "grpc.server_handshake_timeout_ms": 5000,
    # A peer that is gone without a word is noticed, and clients may ask as often as they like.
    "grpc.keepalive_time_ms": 1000,
    "grpc.keepalive_timeout_ms": 1000,
    "grpc.http2.ping_timeout_ms": 1000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.http2.min_recv_ping_interval_without_data_ms": 50,
    "grpc.http2.max_ping_strikes": 0,
}


class ApiServers:
    """The servers of this node. `start` fails for the unix socket only; rings are tried again."""

    def __init__(
        self,
        config: Config,
        admin: AdminServicer,
        fence: FenceServicer,
        *,
        peers: Sequence[AddToServer] = (),
        data: DataAdminServicer | None = None,
        options: tls.Options = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`peers` add further services between nodes (Raft) to each ring's server.

        `data` is for who holds some.
        """
        self._config = config
        self._admin = admin
        self._fence = fence
        self._peers = tuple(peers)
        self._data = data
        self._options = [*{**OPTIONS, **dict(options)}.items()]
        self._sleep = sleep
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not re-exported
        self._unix: grpc.aio.Server | None = None
        self._rings: dict[str, grpc.aio.Server] = {}
        self._problems: dict[str, str] = {}
        self._retrying: asyncio.Task[None] | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """The rings on which this node does not answer yet, a sentence each."""
        return tuple(self._problems.values())

    async def start(self) -> None:
        """Opens everything. CannotListen for the unix socket; a ring that fails is tried again."""
        self._unix = self._server()
        open_unix(self._unix, self._config.admin_socket)
        await self._unix.start()
        await self._open_rings()
        if self._problems:
            self._retrying = asyncio.create_task(self._retry(), name="open rings")
        await self.set_serving(serving=True)

    async def set_serving(self, *, serving: bool) -> None:
        """What the health service says, for the node as a whole and for each of our services."""
        known = health_pb2.HealthCheckResponse
        state = known.SERVING if serving else known.NOT_SERVING
        for service in ("", ADMIN_SERVICE, FENCE_SERVICE):
            await self._health.set(service, state)

    async def stop(self) -> None:
        """Lets running calls end for a moment, then closes everything."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)
        await self.set_serving(serving=False)
        servers = [*self._rings.values(), *([self._unix] if self._unix is not None else [])]
        await asyncio.gather(*(server.stop(GRACE_S) for server in servers))

    def _server(self, *interceptors: Authorisation) -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=list(interceptors), options=self._options)
        shown = [ADMIN_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME]
        if self._data is not None:
            shown.append(DATA_ADMIN_SERVICE)
        reflection.enable_server_reflection(shown, server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, server)  # type: ignore[no-untyped-call]  # generated
        if self._data is not None:
            data_admin_pb2_grpc.add_DataAdminServiceServicer_to_server(self._data, server)  # type: ignore[no-untyped-call]  # generated
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _ring_server(self) -> grpc.aio.Server:
        server = self._server(Authorisation(self._config))
        admin_pb2_grpc.add_FenceServiceServicer_to_server(self._fence, server)  # type: ignore[no-untyped-call]  # generated
        for add in self._peers:
            add(server)
        return server

    async def _open_rings(self) -> None:
        for ring in self._config.me.rings:
            if ring.name in self._rings:
                continue
            try:
                self._rings[ring.name] = await self._open_ring(ring)
            except StaqraftError as error:
                if str(error) != self._problems.get(ring.name):
                    logger.warning("%s", error, extra={"ring": ring.name})
                self._problems[ring.name] = str(error)
            else:
                self._problems.pop(ring.name, None)
                logger.info("listening", extra={"ring": ring.name, "address": ring.address})

    async def _open_ring(self, ring: Ring) -> grpc.aio.Server:
        port = self._config.ports.control
        server = self._ring_server()
        try:
            server.add_secure_port(
                tls.target(ring.address, port), tls.server_credentials(self._config.tls)
            )
        except RuntimeError as error:
            raise CannotListen(
                f"cannot listen on {ring.address} port {port} (ring {ring.name}):"
                f" {_why(ring.address, port)}; tried again every {RETRY_S:g} s"
            ) from error
        await server.start()
        return server

    async def _retry(self) -> None:
        while self._problems:
            await self._sleep(RETRY_S)
            await self._open_rings()


def _why(address: str, port: int) -> str:
    """Why a port cannot be bound, by the kernel: gRPC says only that it cannot."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return "this host does not have that address now (see 'ip address')"
            if error.errno == errno.EADDRINUSE:
                return f"another program has that port (see 'ss -ltnp sport = :{port}')"
            return os.strerror(error.errno or 0)
    return "gRPC does not say why"


def open_unix(server: grpc.aio.Server, path: Path) -> None:
    """Binds the socket so that it is root's alone from its first moment."""
    make_way(path)
    before = os.umask(0o177)  # nothing else runs between these lines: bind does not wait
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise CannotListen(f"cannot make the admin socket {path}") from error
    finally:
        os.umask(before)
    path.chmod(0o600)
