"""Mutual TLS between the members of a cluster, and who the other side is.

Both sides are identified by TLS itself: a client dials an address but expects the host name
`<node>.<cluster>.staqraft`; a server demands a client certificate of the cluster's own authority
and reads the URI in it. What TLS cannot know, whether that identity may do what it asks, is
`require_peer`, which every service calls first.

The server looks at the certificate files again before each handshake, so a renewed certificate is
used for new connections without a restart, and running streams go on.

Strangers are logged once, in bounded memory: those that get through the handshake (a node of ours
that has no business here, a certificate without our URI) by `require_peer`, those that do not by
`visitors`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import grpc.aio

from staqraft.config.schema import Tls
from staqraft.errors import CertificateError
from staqraft.logs import Once, log_once
from staqraft.model import NodeId
from staqraft.names import is_name, is_node_name, tls_name
from staqraft.wire import relay
from staqraft.wire.visitors import Visitors, inbound_addresses

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Options = Sequence[tuple[str, str | int]]

# gRPC waits up to two minutes between attempts to reconnect; a peer that is back is wanted at once.
CHANNEL_DEFAULTS: dict[str, str | int] = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 500,
    "grpc.max_reconnect_backoff_ms": 1000,
    # A new channel is to make a new connection, with the certificate of now.
    "grpc.use_local_subchannel_pool": 1,
    # An http_proxy in the environment has no business between the nodes.
    "grpc.enable_http_proxy": 0,
}


_strangers = Once()

# Ports of this process that do not speak TLS; whoever connects there is nobody to warn of.
plain_ports: set[int] = set()


def _later(delay_s: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(delay_s, action)
    timer.daemon = True
    timer.start()


_visitors = Visitors(time.monotonic, _later, lambda: inbound_addresses(plain_ports))


def expect_members(addresses: Iterable[str]) -> None:
    """Who connects from these is of the cluster, even if it says nothing (see `visitors`)."""
    _visitors.expect(addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whoever presented a certificate of the cluster's authority: a node or an administrator."""

    cluster: str
    node: NodeId | None = None
    admin: str | None = None

    def __str__(self) -> str:
        who = f"node {self.node}" if self.node is not None else f"administrator {self.admin}"
        return f"{who} of cluster {self.cluster}"


def server_credentials(files: Tls, *, visitors: Visitors = _visitors) -> grpc.ServerCredentials:
    """For a server that lets in only holders of a certificate of our authority.

    CertificateError when a file cannot be read now. Later changes are taken up before the next
    handshake; files that cannot be read then leave the previous ones in force, said once.
    """
    watched = _WatchedFiles(files, visitors)
    return grpc.dynamic_ssl_server_credentials(
        watched.current(),
        watched.changed,  # type: ignore[arg-type]  # None, "no change", is missing in the stubs
        require_client_authentication=True,
    )


def channel(
    address: str, port: int, node: NodeId, cluster: str, files: Tls, options: Options = ()
) -> grpc.aio.Channel:
    """A channel to `node` at `address`, an IP address; fails to connect when another node answers.

    `options` are gRPC channel arguments and win over `CHANNEL_DEFAULTS`.
    """
    ca, certificate, key = _read(files)
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    arguments: dict[str, str | int] = {
        **CHANNEL_DEFAULTS,
        "grpc.ssl_target_name_override": tls_name(cluster, node),
        **dict(options),
    }
    return grpc.aio.secure_channel(
        target(address, port), credentials, options=list(arguments.items())
    )


def target(address: str, port: int) -> str:
    """`address` and `port` as gRPC wants them to dial or to listen."""
    return f"[{address}]:{port}" if _is_v6(address) else f"{address}:{port}"


def peer_identity(context: Context) -> Identity | None:
    """Who calls, by the URI in its certificate; None without exactly one that is ours to read."""
    uris = list(context.auth_context().get("peer_uri", ()))
    return parse_identity(uris[0]) if len(uris) == 1 else None


def parse_identity(uri: bytes) -> Identity | None:
    """`staqraft://<cluster>/<node>` or `staqraft://<cluster>/admin/<name>`, else None."""
    try:
        text = uri.decode("ascii")
    except UnicodeDecodeError:
        return None
    scheme, _, rest = text.partition("://")
    if scheme != "staqraft":
        return None
    match rest.split("/"):
        case [cluster, node] if is_name(cluster) and is_node_name(node):
            return Identity(cluster=cluster, node=NodeId(node))
        case [cluster, "admin", name] if is_name(cluster) and is_name(name):
            return Identity(cluster=cluster, admin=name)
        case _:
            return None


async def require_peer(
    context: Context,
    cluster: str,
    nodes: Collection[NodeId],
    *,
    admins: bool = False,
    strangers: Once = _strangers,
    visitors: Visitors = _visitors,
) -> Identity:
    """The caller's identity if it is one of `nodes` (or, with `admins`, an administrator).

    Otherwise ends the call with UNAUTHENTICATED (no identity) or PERMISSION_DENIED (the wrong one)
    and logs the stranger, once for each address and identity among the last few hundred.
    """
    identity = peer_identity(context)
    address = peer_address(context.peer())
    if (tell := relay.relays.pop(relay.name_in(context.peer()), None)) is not None:
        tell()
    visitors.identified(address)  # it is through the handshake; what follows is logged here
    if identity is None:
        reason = (
            "the caller has no certificate with a StaqRaft identity;"
            " issue one with 'staqctl certs issue'"
        )
        code = grpc.StatusCode.UNAUTHENTICATED
    elif identity.cluster == cluster and (
        (identity.node is not None and identity.node in nodes)
        or (admins and identity.admin is not None)
    ):
        return identity
    else:
        reason = f"{identity} may not use this service of cluster {cluster}"
        code = grpc.StatusCode.PERMISSION_DENIED
    log_once(
        strangers,
        f"{address}|{identity}",
        logger,
        logging.WARNING,
        f"refused a stranger: {reason}; not logged again",
        address=address,
    )
    return await context.abort(code, reason)  # it raises


def peer_address(peer: str) -> str:
    """The address in gRPC's `ipv4:192.0.2.1:4711` or `ipv6:%5B::1%5D:4711`, without the port.

    Of a connection that was passed on (`relay`), the address that it came from.
    """
    kind, _, rest = unquote(peer).partition(":")
    if passed_on := relay.name_in(peer):
        return relay.address_in(passed_on)
    if kind not in {"ipv4", "ipv6"}:
        return kind
    return urlsplit(f"//{rest}").hostname or rest


def _is_v6(address: str) -> bool:
    return isinstance(ip_address(address), IPv6Address)


def _read(files: Tls) -> tuple[bytes, bytes, bytes]:
    """CA, certificate and key; CertificateError names the file that cannot be read."""

    def content(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise CertificateError(f"cannot read {path}: {error.strerror}") from error

    return content(files.ca), content(files.certificate), content(files.key)


class _WatchedFiles:
    """The files as gRPC wants them, and whether they changed. Called from gRPC's own threads."""

    def __init__(self, files: Tls, visitors: Visitors) -> None:
        self._files = files
        self._visitors = visitors
        self._stamp = self._look()
        self._problems = Once(capacity=16)

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        paths = (self._files.ca, self._files.certificate, self._files.key)
        try:
            stats = [path.stat() for path in paths]
        except OSError as error:
            raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from error
        return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)

    def current(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold now."""
        ca, certificate, key = _read(self._files)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], ca)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration if a file changed since the last call, else None: no change.

        gRPC calls this when somebody has connected, before the handshake.
        """
        self._visitors.knocked()
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return None
            configuration = self.current()
        except CertificateError as error:
            sentence = f"{error}; the certificate read before stays in use"
            log_once(self._problems, str(error), logger, logging.ERROR, sentence)
            return None
        self._stamp = stamp
        logger.info("took up changed certificate files", extra={"file": self._files.certificate})
        return configuration
