"""The cluster's private certificate authority: a directory with `ca.pem`, `ca.key`, what they sign.

Every connection between nodes is mutual TLS under this authority and nothing else is trusted, so
whoever has `ca.key` can join the cluster: it belongs on one machine, best offline, and no daemon
ever reads it. Keys are EC P-256 and are made with mode 0600. Nothing that exists is overwritten
unless the caller forces it. Certificates begin an hour early, because hosts' clocks differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from staqraft.errors import CertificateError
from staqraft.names import NAME_RULE, admin_uri, is_name, is_node_name, node_uri, tls_name

CA_DAYS = 3650
CERTIFICATE_DAYS = 1825
MAX_DAYS = 36_500  # a hundred years; dates end at the year 9999
EARLY = timedelta(hours=1)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, which certificates are about."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What was made: copy `ca`, `certificate` and `key` to the node that they are for."""

    ca: Path
    certificate: Path
    key: Path
    not_after: datetime


@dataclass(frozen=True, slots=True)
class _Authority:
    cluster: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def init(
    directory: Path,
    cluster: str,
    *,
    days: int = CA_DAYS,
    force: bool = False,
    clock: Clock = utc_now,
) -> Issued:
    """Makes the authority of `cluster`. With `force` a new one replaces the old, whose
    certificates are then worthless. CertificateError when one exists or cannot be written.
    """
    if not is_name(cluster):
        raise CertificateError(f"cluster name {cluster!r} is not usable: it is to be {NAME_RULE}")
    _check_days(days)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, f"StaqRaft CA of {cluster}"),
        ]
    )
    now = clock()
    certificate = (
        _builder(subject, subject, key.public_key(), now - EARLY, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CertificateError(
            f"cannot make the directory {directory}: {error.strerror}"
        ) from error
    return _write(directory, "ca", certificate, key, force=force)


def issue(
    directory: Path,
    node: str,
    *,
    days: int = CERTIFICATE_DAYS,
    force: bool = False,
    clock: Clock = utc_now,
) -> Issued:
    """Makes `<node>.pem` and `<node>.key` for a replica or witness of the directory's cluster.

    The certificate ends with its authority if that ends earlier. CertificateError when they exist
    (and not `force`), or there is no usable authority in `directory`.
    """
    if not is_node_name(node):
        raise CertificateError(
            f"node name {node!r} is not usable: it is to be {NAME_RULE}, and not 'ca' or 'admin'"
        )
    authority = _open_authority(directory)
    names: list[x509.GeneralName] = [
        x509.DNSName(tls_name(authority.cluster, node)),
        x509.UniformResourceIdentifier(node_uri(authority.cluster, node)),
    ]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate, key = _sign(authority, node, names, usages, days, clock())
    return _write(directory, node, certificate, key, force=force)


def issue_admin(
    directory: Path,
    name: str,
    *,
    days: int = CERTIFICATE_DAYS,
    force: bool = False,
    clock: Clock = utc_now,
) -> Issued:
    """Makes `<name>.admin.pem` and `.key` for a person, who may use the admin API over TCP.

    It proves nothing but the person: it cannot serve and is no member of the cluster.
    """
    if not is_name(name):
        raise CertificateError(f"name {name!r} is not usable: it is to be {NAME_RULE}")
    authority = _open_authority(directory)
    names = [x509.UniformResourceIdentifier(admin_uri(authority.cluster, name))]
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate, key = _sign(authority, name, names, usages, days, clock())
    return _write(directory, f"{name}.admin", certificate, key, force=force)


def _sign(
    authority: _Authority,
    common_name: str,
    names: Sequence[x509.GeneralName],
    usages: list[x509.ObjectIdentifier],
    days: int,
    now: datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    _check_days(days)
    end = authority.certificate.not_valid_after_utc
    if now >= end:
        raise CertificateError(
            f"the CA of cluster {authority.cluster} ran out on {end:%Y-%m-%d}: make a new one with"
            " 'staqctl certs init --force' and issue every node's certificate again"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, authority.cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    until = min(now + timedelta(days=days), end)
    start = max(now - EARLY, authority.certificate.not_valid_before_utc)
    certificate = (
        _builder(subject, authority.certificate.subject, key.public_key(), start, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _check_days(days: int) -> None:
    if not 1 <= days <= MAX_DAYS:
        raise CertificateError(f"a validity of {days} days is not usable: 1 to {MAX_DAYS} are")


def _open_authority(directory: Path) -> _Authority:
    """The authority in `directory`, checked to be one and to belong together."""
    certificate_path, key_path = directory / "ca.pem", directory / "ca.key"
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise CertificateError(
            f"there is no {error.filename}: make the cluster's authority first with"
            f" 'staqctl certs init', or name its directory"
        ) from error
    except OSError as error:
        raise CertificateError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise CertificateError(f"the authority in {directory} is damaged: {error}") from error
    organisations = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or len(organisations) != 1:
        raise CertificateError(f"{certificate_path} was not made by 'staqctl certs init'")
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{key_path} is not the key of {certificate_path}")
    return _Authority(str(organisations[0].value), certificate, key)


def _write(
    directory: Path,
    stem: str,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    *,
    force: bool,
) -> Issued:
    certificate_path, key_path = directory / f"{stem}.pem", directory / f"{stem}.key"
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
    if not force:
        for path in (key_path, certificate_path):
            if path.exists():
                raise _exists(path)
    _place(key_path, key_pem, 0o600, force=force)
    _place(certificate_path, certificate_pem, 0o644, force=force)
    return Issued(
        ca=directory / "ca.pem",
        certificate=certificate_path,
        key=key_path,
        not_after=certificate.not_valid_after_utc,
    )


def _place(path: Path, data: bytes, mode: int, *, force: bool) -> None:
    """Puts a whole, durable file at `path`, never a part of one; only `force` replaces another."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if force:
                scratch.replace(path)
            else:
                path.hardlink_to(scratch)  # fails where rename would overwrite
        finally:
            scratch.unlink(missing_ok=True)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise CertificateError(f"cannot write {path}: {error.strerror}") from error


def _exists(path: Path) -> CertificateError:
    return CertificateError(f"{path} exists and is kept: use --force to replace it")
