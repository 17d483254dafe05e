"""Who gets in: real TLS on loopback, with right, wrong and missing certificates."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fakes.patience import PATIENCE_S
from fakes.pki import Pki, cluster_pki, new_pki
from staqraft import certs
from staqraft.config.schema import Tls
from staqraft.errors import CertificateError
from staqraft.logs import Once
from staqraft.model import NodeId
from staqraft.wire import tls
from staqraft.wire.visitors import WAIT_S, Visitors, inbound_addresses

A, B = NodeId("a"), NodeId("b")


@contextlib.asynccontextmanager
async def server(
    files: Tls, *, admins: bool = False, visitors: Visitors | None = None
) -> AsyncIterator[int]:
    """A node with a service that only `b` (and administrators) may use and that says who calls."""
    strangers = Once()
    if visitors is None:
        visitors = Visitors(lambda: 0.0, lambda _delay, _action: None, list)
    doorkeeper = visitors

    async def who(_request: bytes, context: tls.Context) -> bytes:
        caller = await tls.require_peer(
            context, "lab", {B}, admins=admins, strangers=strangers, visitors=doorkeeper
        )
        return str(caller).encode()

    running = grpc.aio.server()
    handlers = {"Who": grpc.unary_unary_rpc_method_handler(who)}
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = running.add_secure_port(
        "127.0.0.1:0", tls.server_credentials(files, visitors=doorkeeper)
    )
    await running.start()
    try:
        yield port
    finally:
        await running.stop(None)


async def ask(port: int, files: Tls, node: NodeId = A, cluster: str = "lab") -> str:
    """What the server says, or the status and the reason why it said nothing."""
    async with tls.channel("127.0.0.1", port, node, cluster, files) as channel:
        call = channel.unary_unary("/test/Who", None, None)
        try:
            answer: bytes = await call(b"", timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return answer.decode()


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "staqraft.wire.tls"]


@pytest.fixture
def pki() -> Pki:
    return cluster_pki()


async def test_a_peer_is_let_in_and_named(pki: Pki) -> None:
    async with server(pki.node("a")) as port:
        assert await ask(port, pki.node("b")) == "node b of cluster lab"


async def test_a_member_that_has_no_business_here_is_refused_and_logged_once(
    pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    async with server(pki.node("a")) as port:
        for _ in range(3):
            answer = await ask(port, pki.node("w"))
            assert answer == (
                "PERMISSION_DENIED: node w of cluster lab may not use this service of cluster lab"
            )
    (said,) = refusals(caplog)
    assert said == (
        "refused a stranger: node w of cluster lab may not use this service of cluster lab;"
        " not logged again"
    )


async def test_administrators_are_let_in_only_where_they_may(pki: Pki) -> None:
    async with server(pki.node("a"), admins=True) as port:
        assert await ask(port, pki.admin()) == "administrator lea of cluster lab"
    async with server(pki.node("a")) as port:
        assert (await ask(port, pki.admin())).startswith("PERMISSION_DENIED: administrator lea")


async def test_another_node_at_the_address_is_not_spoken_to(pki: Pki) -> None:
    async with server(pki.node("w")) as port:
        answer = await ask(port, pki.node("b"), node=A)
        assert answer.startswith("UNAVAILABLE")
        assert "Hostname Verification Check failed" in answer


async def test_a_certificate_of_another_authority_is_refused(pki: Pki, tmp_path: Path) -> None:
    other = new_pki(tmp_path / "other", "lab").node("b")
    mixed = Tls(ca=pki.node("b").ca, certificate=other.certificate, key=other.key)
    async with server(pki.node("a")) as port:
        assert (await ask(port, mixed)).startswith("UNAVAILABLE")


async def test_an_administrators_certificate_cannot_serve(pki: Pki) -> None:
    async with server(pki.admin()) as port:
        assert (await ask(port, pki.node("b"))).startswith("UNAVAILABLE")


def without_certificate(port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain) as secure,
    ):
        # In TLS 1.3 the client is through before the server has missed its certificate.
        while secure.recv(1000):
            pass


def without_tls(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        while plain.recv(1000):
            pass


@pytest.mark.parametrize("stranger", [without_certificate, without_tls])
async def test_strangers_without_a_certificate_get_nothing_and_leave_nothing(
    pki: Pki, stranger: Callable[[int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """The log stays silent, memory stays flat, and a peer is served as before."""

    def visits(port: int, number: int) -> None:
        for _ in range(number):
            with contextlib.suppress(OSError):  # ended by an alert, a reset, or plainly
                stranger(port)

    async with server(pki.node("a")) as port:
        grown = []
        for _ in range(4):  # who keeps something keeps it each time
            before = resident_kib()
            await asyncio.to_thread(visits, port, 60)
            grown.append(resident_kib() - before)
        assert min(grown) < 1024, grown
        assert await ask(port, pki.node("b")) == "node b of cluster lab"
    assert capfd.readouterr().err == ""


async def test_a_failed_handshake_is_logged_once_with_its_address(
    pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    sweeps: list[Callable[[], None]] = []
    visitors = Visitors(
        lambda: now, lambda _delay, sweep: sweeps.append(sweep), lambda: inbound_addresses(set())
    )

    def from_stranger(port: int) -> None:
        with (
            socket.create_connection(
                ("127.0.0.1", port), timeout=PATIENCE_S, source_address=("127.0.0.66", 0)
            ) as plain,
            contextlib.suppress(OSError),
        ):
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while plain.recv(1000):
                pass

    async with server(pki.node("a"), visitors=visitors) as port:
        for _ in range(3):
            await asyncio.to_thread(from_stranger, port)
            assert await ask(port, pki.node("b")) == "node b of cluster lab"
            now += WAIT_S
            while sweeps:
                sweeps.pop()()
    (said,) = [r for r in caplog.records if r.name == "staqraft.wire.visitors"]
    assert said.getMessage().startswith(
        "refused a stranger: it connected and showed no certificate"
    )
    assert vars(said)["address"] == "127.0.0.66"


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4


async def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    pki = cluster_pki().copy_to(tmp_path / "pki")
    async with server(pki.node("a")) as port:
        first = await asyncio.to_thread(shown_by, port)
        assert await asyncio.to_thread(shown_by, port) == first
        certs.issue(pki.directory, "a", force=True)
        assert await asyncio.to_thread(shown_by, port) != first
        assert await ask(port, pki.node("b")) == "node b of cluster lab"


def shown_by(port: int) -> str:
    """The certificate that the server shows now."""
    return ssl.get_server_certificate(("127.0.0.1", port))


async def test_while_an_authority_is_replaced_members_of_both_understand_each_other(
    tmp_path: Path,
) -> None:
    """In the order that deploy/RUNBOOK.md tells under StaqraftCertificateEndsSoon, no restarts."""
    old = new_pki(tmp_path / "old")
    serving = old.copy_to(tmp_path / "a")
    new = new_pki(tmp_path / "new")
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join((pki.directory / "ca.pem").read_bytes() for pki in (old, new)))
    mine = serving.node("a")
    async with server(mine) as port:
        assert "UNAVAILABLE" in await ask(port, new.node("b")), "nobody trusts the new one yet"
        shutil.copy(both, mine.ca)
        for pki in (old, new):
            assert await ask(port, replace(pki.node("b"), ca=both)) == "node b of cluster lab"
        for name in ("a.key", "a.pem"):
            shutil.copy(new.directory / name, serving.directory)
        for pki in (old, new):
            assert await ask(port, replace(pki.node("b"), ca=both)) == "node b of cluster lab"
        shutil.copy(new.directory / "ca.pem", mine.ca)
        assert await ask(port, new.node("b")) == "node b of cluster lab"
        assert "UNAVAILABLE" in await ask(port, old.node("b"))


async def test_a_renewal_that_went_wrong_leaves_the_old_certificate_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pki = cluster_pki().copy_to(tmp_path / "pki")
    async with server(pki.node("a")) as port:
        (pki.directory / "a.pem").unlink()
        for _ in range(2):
            assert await ask(port, pki.node("b")) == "node b of cluster lab"
    (said,) = refusals(caplog)
    assert said.endswith(
        "a.pem: No such file or directory; the certificate read before stays in use"
    )


def test_unreadable_files_are_named_at_once(tmp_path: Path) -> None:
    files = Tls(ca=tmp_path / "ca", certificate=tmp_path / "pem", key=tmp_path / "key")
    with pytest.raises(CertificateError, match=r"cannot read .*/ca: No such file"):
        tls.server_credentials(files)


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        (b"staqraft://lab/a", tls.Identity(cluster="lab", node=A)),
        (b"staqraft://lab/admin/lea", tls.Identity(cluster="lab", admin="lea")),
        (b"staqraft://lab/admin", None),
        (b"staqraft://lab/a/b", None),
        (b"staqraft://lab/", None),
        (b"staqraft:///a", None),
        (b"https://lab/a", None),
        (b"staqraft://lab/\xff", None),
        (b"", None),
    ],
)
def test_an_identity_is_exactly_one_of_two_forms(uri: bytes, identity: tls.Identity | None) -> None:
    assert tls.parse_identity(uri) == identity


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[::1]:4711", "::1"),
        ("unix:", "unix"),
    ],
)
def test_a_peers_address_is_told_without_its_port(peer: str, address: str) -> None:
    assert tls.peer_address(peer) == address


async def test_strangers_cost_bounded_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of made-up identities and addresses: each may be logged, few are remembered."""
    strangers = Once(capacity=8)
    caplog.set_level(logging.CRITICAL)
    for number in range(1000):
        strangers.first(f"192.0.2.{number}|node x{number}")
    assert len(strangers) == 8
