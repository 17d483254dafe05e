"""Finds the daemon that is meant, and says in plain words why it does not answer."""

from __future__ import annotations

import socket
import ssl
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from staqraft.api.failures import exit_code_of
from staqraft.config.loader import read
from staqraft.config.schema import Config, Tls
from staqraft.errors import ConfigError, StaqraftError, Unreachable
from staqraft.model import NodeId
from staqraft.names import tls_name
from staqraft.wire import tls

DEFAULT_CONFIG = Path("/etc/staqraft/staqraft.yaml")
DEFAULT_SOCKET = Path("/run/staqraft/admin.sock")
CONNECT_S = 3.0

_LOCAL: tuple[tuple[str, str | int], ...] = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),  # root's own daemon; a quarantine can be large
)


class Refusal(StaqraftError):
    """The daemon answered with an error; `exit_code` is the one that it attached, if it did."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.ends_with = exit_code


def configuration(options: Namespace) -> Config:
    """The configuration that the options name, or the default one. ConfigError."""
    path = options.config or DEFAULT_CONFIG
    if options.config is None and not path.exists():
        raise ConfigError([f"there is no {path}: name the configuration with --config"])
    return read(path, options.node).config


def socket_path(options: Namespace) -> Path:
    """The unix socket of the daemon on this host."""
    if options.socket is not None:
        return Path(options.socket)
    if options.config is not None or DEFAULT_CONFIG.exists():
        return configuration(options).admin_socket
    return DEFAULT_SOCKET


@asynccontextmanager
async def connected(options: Namespace) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the daemon that the options name. Unreachable says what to check.

    An error of a call inside becomes Unreachable or Refusal.
    """
    channel = _by_tcp(options) if options.address is not None else _by_socket(options)
    try:
        async with channel:
            yield channel
    except grpc.aio.AioRpcError as error:
        raise _in_words(error) from error


@asynccontextmanager
async def worker(path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a data worker's socket on this host."""
    _probe_socket(path, "the data worker")
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}", options=_LOCAL) as channel:
            yield channel
    except grpc.aio.AioRpcError as error:
        raise _in_words(error) from error


def _by_socket(options: Namespace) -> grpc.aio.Channel:
    path = socket_path(options)
    _probe_socket(path, "staqraftd")
    return grpc.aio.insecure_channel(f"unix:{path.absolute()}", options=_LOCAL)


def _probe_socket(path: Path, who: str) -> None:
    """Connects once by hand: the kernel says why not, gRPC only that it cannot."""
    advice = (
        f"check 'systemctl status staqraftd' and 'journalctl -u staqraftd', and that"
        f" {path} is its socket ('admin_socket' in the configuration; --config or --socket here)"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except FileNotFoundError as error:
            raise Unreachable(f"{who} does not run here: there is no {path}; {advice}") from error
        except ConnectionRefusedError as error:
            raise Unreachable(
                f"{who} does not run any more: nobody listens on {path}; {advice}"
            ) from error
        except PermissionError as error:
            raise Unreachable(
                f"only root may use {path}: use sudo, or --address with an administrator's"
                " certificate ('staqctl certs issue --admin NAME')"
            ) from error
        except TimeoutError as error:
            raise Unreachable(f"{who} hangs: it does not accept on {path}; {advice}") from error
        except OSError as error:
            raise Unreachable(f"cannot connect to {path}: {error.strerror or error}") from error


def _by_tcp(options: Namespace) -> grpc.aio.Channel:
    files = _tls_files(options)
    host, _, port = options.address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        raise ConfigError([f"--address {options.address} is not host:port, for instance b:7400"])
    address, identity = _probe_tcp(host, int(port), files)
    return tls.channel(address, int(port), identity[1], identity[0], files)


def _tls_files(options: Namespace) -> Tls:
    given = [options.ca, options.cert, options.key]
    if all(given):
        return Tls(ca=options.ca, certificate=options.cert, key=options.key)
    if any(given):
        raise ConfigError(["--ca, --cert and --key belong together: give all three"])
    return configuration(options).tls


def _probe_tcp(host: str, port: int, files: Tls) -> tuple[str, tuple[str, NodeId]]:
    """Handshakes once by hand: the address, and cluster and name of the node that answers there.

    That node proved by our CA that it is a node of the cluster; which one is not known before.
    """
    where = f"{host} port {port}"
    context = ssl.create_default_context(cafile=files.ca)
    context.check_hostname = False  # its name is not known before; the authority decides
    try:
        context.load_cert_chain(files.certificate, files.key)
        with (
            socket.create_connection((host, port), timeout=CONNECT_S) as plain,
            # A witness for many clusters asks whom we want; any node of ours will do.
            context.wrap_socket(plain, server_hostname=_any_node(files)) as secured,
        ):
            address = str(secured.getpeername()[0])
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(
            f"who answers on {where} has no certificate of the authority in {files.ca}"
            f" ({error.verify_message}): is it the right address and the right cluster?"
        ) from error
    except ssl.SSLError as error:
        raise Unreachable(
            f"no TLS connection with {where} using {files.certificate}: {error.reason}"
        ) from error
    except OSError as error:
        raise Unreachable(
            f"nobody answers on {where} ({error.strerror or error}): is the host up ('ping"
            f" {host}'), does its daemon run ('systemctl status staqraftd' there), does a firewall"
            " let this port through?"
        ) from error
    names = certificate.get("subjectAltName", ())
    uris = [str(name[1]) for name in names if name[0] == "URI"]
    identity = tls.parse_identity(uris[0].encode()) if len(uris) == 1 else None
    if identity is None or identity.node is None:
        raise Unreachable(f"who answers on {where} has no certificate of a StaqRaft node")
    return address, (identity.cluster, identity.node)


def _any_node(files: Tls) -> str | None:
    """A host name of the cluster that our certificate is of; None when it does not say."""
    from cryptography import x509  # noqa: PLC0415 - large, and seldom needed

    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None  # the handshake will say what is wrong with it
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    identity = tls.parse_identity(uris[0].encode()) if len(uris) == 1 else None
    return tls_name(identity.cluster, "any") if identity is not None else None


def _in_words(error: grpc.aio.AioRpcError) -> StaqraftError:
    attached = exit_code_of(error)
    details = error.details() or error.code().name
    if attached is not None:
        return Refusal(details, attached)
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return Unreachable(
                f"the daemon went away or refused the connection ({details}): check 'systemctl"
                " status staqraftd' there, and over TCP that the certificate is of its cluster"
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unreachable(
                "the daemon accepted the call but does not answer: check 'journalctl -u staqraftd'"
            )
        case grpc.StatusCode.CANCELLED | grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN:
            return Unreachable(
                f"the daemon did not answer to the end ({error.code().name}: {details}): it may be"
                " stopping; check 'journalctl -u staqraftd'"
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return Unreachable(f"the daemon is of another version: {details}")
        case _:
            return Refusal(details, 1)
