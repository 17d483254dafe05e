"""Whether this node's certificate files are what the other members will accept.

One handshake in memory, the node with itself, asks OpenSSL what a peer will ask: is the certificate
signed by the authority, good for both ends of a connection, and whose is it? Dates are left out
there and looked at here, to say them in words. This costs a daemon no X.509 library of its own.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from staqraft.config.document import Finding, Key
from staqraft.config.schema import Config, Tls
from staqraft.names import node_uri, tls_name

WARN_DAYS = 30

_FILES: tuple[Key, ...] = (("tls", "ca"), ("tls", "certificate"), ("tls", "key"))
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME, which ssl does not name
_INVALID_PURPOSE = 26  # X509_V_ERR_INVALID_PURPOSE
_ROUND_TRIPS = 8  # TLS 1.3 needs two

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, which certificates are about."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Validity:
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certificate:
    names: frozenset[tuple[str, str]]  # ("DNS", ...), ("URI", ...)
    validity: _Validity


def check(config: Config, now: datetime) -> Iterator[Finding]:
    """The files are there, private, belong together, are this node's and are valid `now`."""
    if (yield from _files(config.tls)):
        yield from _contents(config, now)


def expiries(files: Tls) -> dict[str, datetime]:
    """When the node's "certificate" and its "authority" end; of files that cannot be used: none."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        for context in (server, client):
            context.load_verify_locations(files.ca)
            context.load_cert_chain(files.certificate, files.key, password="")
        certificate = _handshake(server, client)
    except (OSError, ValueError):  # SSLError is one
        return {}
    authorities = [_validity(found) for found in server.get_ca_certs()]
    return {
        "certificate": certificate.validity.end,
        "authority": max(validity.end for validity in authorities),
    }


def _files(files: Tls) -> Generator[Finding, None, bool]:
    """Whether all can be read."""
    readable = True
    for name in ("ca", "certificate", "key"):
        path: Path = getattr(files, name)
        try:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                readable = False
                yield Finding(key=("tls", name), text=f"{path} is not a file")
                continue
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            readable = False
            advice = "'staqctl certs' makes it"
            if isinstance(error, PermissionError):
                advice = "this needs root, try again with sudo"
            yield Finding(
                key=("tls", name), text=f"{path} cannot be read ({error.strerror}): {advice}"
            )
            continue
        if name == "key" and stat.S_IMODE(mode) & 0o077:
            yield Finding(key=("tls", name), text=f"{path} is open to others: chmod 600 {path}")
    return readable


def _contents(config: Config, now: datetime) -> Iterator[Finding]:
    files = config.tls
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities: list[_Validity] = []
    try:
        for context in (server, client):
            context.load_verify_locations(files.ca)
        authorities = [_validity(found) for found in server.get_ca_certs()]
        if not authorities:
            yield Finding(key=_FILES[0], text=f"{files.ca} is not the certificate of an authority")
    except OSError:  # SSLError is one
        yield Finding(key=_FILES[0], text=f"{files.ca} is not a PEM certificate")
    try:
        for context in (server, client):
            # A password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError):
        yield Finding(
            key=_FILES[2],
            text=f"{files.key} is not the key of {files.certificate}, or one of them is not PEM",
            reads=_FILES,
        )
        return
    if not authorities:
        return
    try:
        certificate = _handshake(server, client)
    except ssl.SSLError as error:
        yield _refused(config, error)
        return
    if not _wanted(config) <= certificate.names:
        yield _not_ours(config)
    again = f"'staqctl certs issue {config.node} --force' makes a new one"
    yield from _dates(_FILES[1], files.certificate, certificate.validity, now, again)
    # Of several, as when an authority is being replaced, the one that lasts longest counts.
    longest = max(authorities, key=lambda validity: validity.end)
    again = (
        "every node needs a new authority and a new certificate of it, in the order that"
        " deploy/RUNBOOK.md tells under StaqraftCertificateEndsSoon"
    )
    yield from _dates(_FILES[0], files.ca, longest, now, again)


def _refused(config: Config, error: ssl.SSLError) -> Finding:
    files = config.tls
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _INVALID_PURPOSE:
            return _not_ours(config)
        return Finding(
            key=_FILES[0],
            text=f"{files.ca} is not the authority that signed {files.certificate}"
            f" ({error.verify_message}): copy both from the directory of 'staqctl certs'",
            reads=_FILES,
        )
    return Finding(
        key=_FILES[1],
        text=f"{files.certificate} is not usable for TLS ({error.reason or error}):"
        f" 'staqctl certs issue {config.node}' makes one that is",
        reads=_FILES,
    )


def _not_ours(config: Config) -> Finding:
    return Finding(
        key=_FILES[1],
        text=f"{config.tls.certificate} is not for node {config.node} of cluster {config.cluster}:"
        f" 'staqctl certs issue {config.node}' makes one",
        reads=(("cluster",), ("node",), *_FILES),
    )


def _wanted(config: Config) -> set[tuple[str, str]]:
    return {
        ("URI", node_uri(config.cluster, config.node)),
        ("DNS", tls_name(config.cluster, config.node)),
    }


def _dates(
    key: Key, path: Path, validity: _Validity, now: datetime, again: str
) -> Iterator[Finding]:
    """Whether `path` is valid `now`, and for how long still."""
    end, left = validity.end, validity.end - now
    if now >= end:
        yield Finding(
            key=key,
            text=f"{path} ended on {end:%Y-%m-%d %H:%M} UTC: {again}",
            reads=_FILES,
            passes=True,
        )
    elif now < validity.start:
        yield Finding(
            key=key,
            text=f"{path} is not valid before {validity.start:%Y-%m-%d %H:%M} UTC, and here it is"
            f" {now:%Y-%m-%d %H:%M} UTC: set the clock right, or {again}",
            reads=_FILES,
            passes=True,
        )
    elif left.days < WARN_DAYS:
        yield Finding(
            key=key,
            text=f"{path} ends on {end:%Y-%m-%d %H:%M} UTC, in less than {left.days + 1} days:"
            f" {again}",
            reads=_FILES,
            fatal=False,
        )


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> _Certificate:
    """Both ends with the same files, each demanding the other's certificate. SSLError."""
    client.check_hostname = False  # the names are looked at afterwards, all of them
    for context in (server, client):
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(_ROUND_TRIPS):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = ends[0].getpeercert() or {}
    names = cast("Iterable[tuple[str, str]]", found.get("subjectAltName", ()))
    return _Certificate(names=frozenset(names), validity=_validity(found))


def _validity(found: Mapping[str, object]) -> _Validity:
    return _Validity(start=_time(str(found["notBefore"])), end=_time(str(found["notAfter"])))


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
