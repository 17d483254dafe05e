"""The private authority: what it makes, what it keeps, what it refuses."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from staqraft import certs
from staqraft.errors import CertificateError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_an_authority_lasts_ten_years_and_its_key_is_private(tmp_path: Path) -> None:
    made = certs.init(tmp_path / "pki", "lab", clock=lambda: NOW)
    assert made.not_after == NOW + timedelta(days=3650)
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700
    constraints = certificate(made.ca).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


def test_a_nodes_certificate_says_which_node_of_which_cluster(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab")
    made = certs.issue(tmp_path, "a")
    assert made.key == tmp_path / "a.key"
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    extensions = certificate(made.certificate).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.lab.staqraft"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["staqraft://lab/a"]
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_a_strict_verifier_accepts_the_chain(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab")
    made = certs.issue(tmp_path, "a")
    verifier = (
        PolicyBuilder()
        .store(Store([certificate(made.ca)]))
        .build_server_verifier(x509.DNSName("a.lab.staqraft"))
    )
    verifier.verify(certificate(made.certificate), [])


def test_a_persons_certificate_is_for_clients_only(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab")
    made = certs.issue_admin(tmp_path, "lea")
    assert made.certificate == tmp_path / "lea.admin.pem"
    extensions = certificate(made.certificate).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["staqraft://lab/admin/lea"]
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_validity_is_chosen_and_ends_with_the_authority(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab", days=100, clock=lambda: NOW)
    assert certs.issue(tmp_path, "a", days=30, clock=lambda: NOW).not_after == NOW + timedelta(30)
    assert certs.issue(tmp_path, "b", days=300, clock=lambda: NOW).not_after == NOW + timedelta(100)


def test_an_authority_that_ran_out_issues_nothing(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab", days=1, clock=lambda: NOW)
    with pytest.raises(CertificateError, match="ran out on 2026-01-02: make a new one"):
        certs.issue(tmp_path, "a", clock=lambda: NOW + timedelta(days=2))


def test_nothing_is_overwritten_by_accident(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab")
    certs.issue(tmp_path, "a")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CertificateError, match=r"ca\.key exists and is kept: use --force"):
        certs.init(tmp_path, "lab")
    with pytest.raises(CertificateError, match=r"a\.key exists and is kept"):
        certs.issue(tmp_path, "a")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_certificate_left_without_its_key_is_kept_too(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab")
    (tmp_path / "a.pem").write_text("somebody's")
    with pytest.raises(CertificateError, match=r"a\.pem exists"):
        certs.issue(tmp_path, "a")
    assert not (tmp_path / "a.key").exists()


def test_force_replaces_and_leaves_no_scratch_files(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab")
    first = certs.issue(tmp_path, "a").certificate.read_bytes()
    made = certs.issue(tmp_path, "a", force=True)
    assert made.certificate.read_bytes() != first
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem", "ca.key", "a.pem", "a.key"}


@pytest.mark.parametrize("name", ["", "A", "a.b", "a/b", "../a", "-a", "a-", "a" * 33, "ä", "ca"])
def test_a_node_is_not_named_like_that(tmp_path: Path, name: str) -> None:
    certs.init(tmp_path, "lab")
    with pytest.raises(CertificateError, match="is not usable: it is to be"):
        certs.issue(tmp_path, name)


def test_without_an_authority_the_advice_is_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="make the cluster's authority first"):
        certs.issue(tmp_path, "a")


def test_a_damaged_authority_is_said_to_be_damaged(tmp_path: Path) -> None:
    certs.init(tmp_path, "lab")
    (tmp_path / "ca.pem").write_text("garbage")
    with pytest.raises(CertificateError, match="is damaged"):
        certs.issue(tmp_path, "a")


def test_a_foreign_key_is_noticed(tmp_path: Path) -> None:
    certs.init(tmp_path / "one", "lab")
    certs.init(tmp_path / "two", "lab")
    (tmp_path / "one/ca.key").write_bytes((tmp_path / "two/ca.key").read_bytes())
    with pytest.raises(CertificateError, match=r"ca\.key is not the key of"):
        certs.issue(tmp_path / "one", "a")


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot make the directory"):
        certs.init(tmp_path / "file/pki", "lab")


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_a_validity_is_sensible(tmp_path: Path, days: int) -> None:
    with pytest.raises(CertificateError, match="1 to 36500"):
        certs.init(tmp_path, "lab", days=days)
