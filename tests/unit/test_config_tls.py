"""Certificates and keys that a configuration names: files, names, modes, dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.config_findings import findings, the_finding
from fakes.configs import write_config
from fakes.pki import cluster_pki, new_pki
from staqraft import certs
from staqraft.config.loader import check, read


class TestTls:
    def test_missing_files_are_named(self, tmp_path: Path) -> None:
        pki = cluster_pki()
        path = write_config(tmp_path, {str(pki.node("a").key): "/nowhere/a.key"})
        assert the_finding(path) == (
            "tls.key: /nowhere/a.key cannot be read (No such file or directory):"
            " 'staqctl certs' makes it"
        )

    def test_the_key_is_nobody_elses(self, tmp_path: Path) -> None:
        pki = cluster_pki().copy_to(tmp_path / "pki")
        pki.node("a").key.chmod(0o640)
        path = write_config(tmp_path, {str(cluster_pki().node("a").key): str(pki.node("a").key)})
        assert "is open to others: chmod 600" in the_finding(path)

    def test_the_key_belongs_to_the_certificate(self, tmp_path: Path) -> None:
        pki = cluster_pki()
        path = write_config(tmp_path, {str(pki.node("a").key): str(pki.node("b").key)})
        assert "is not the key of" in the_finding(path)

    def test_the_certificate_is_this_nodes(self, tmp_path: Path) -> None:
        pki = cluster_pki()
        path = write_config(
            tmp_path,
            {
                str(pki.node("a").certificate): str(pki.node("b").certificate),
                str(pki.node("a").key): str(pki.node("b").key),
            },
        )
        assert "is not for node a of cluster lab: 'staqctl certs issue a'" in the_finding(path)

    def test_the_certificate_is_this_clusters(self, tmp_path: Path) -> None:
        other = new_pki(tmp_path / "other", "other").node("a")
        mine = cluster_pki().node("a")
        path = write_config(
            tmp_path,
            {
                str(mine.ca): str(other.ca),
                str(mine.certificate): str(other.certificate),
                str(mine.key): str(other.key),
            },
        )
        assert "is not for node a of cluster lab" in the_finding(path)

    def test_another_authority_of_the_same_name_is_noticed(self, tmp_path: Path) -> None:
        other = new_pki(tmp_path / "other").node("a")
        mine = cluster_pki().node("a")
        path = write_config(tmp_path, {str(mine.ca): str(other.ca)})
        found = the_finding(path)
        assert found.startswith(
            f"tls.ca: {other.ca} is not the authority that signed {mine.certificate} ("
        )
        assert found.endswith("copy both from the directory of 'staqctl certs'")

    def test_two_authorities_in_a_file_are_fine(self, tmp_path: Path) -> None:
        mine = cluster_pki().node("a")
        both = tmp_path / "ca.pem"
        both.write_bytes(
            new_pki(tmp_path / "other").node("a").ca.read_bytes() + mine.ca.read_bytes()
        )
        assert findings(write_config(tmp_path, {str(mine.ca): str(both)})) == []

    def test_a_nodes_certificate_is_no_authority(self, tmp_path: Path) -> None:
        pki = cluster_pki()
        path = write_config(tmp_path, {str(pki.node("a").ca): str(pki.node("b").certificate)})
        assert "b.pem is not the certificate of an authority" in the_finding(path)

    def test_an_administrators_certificate_is_no_nodes(self, tmp_path: Path) -> None:
        mine, person = cluster_pki().node("a"), cluster_pki().admin()
        path = write_config(
            tmp_path,
            {
                str(mine.certificate): str(person.certificate),
                str(mine.key): str(person.key),
            },
        )
        assert "lea.admin.pem is not for node a of cluster lab" in the_finding(path)

    def test_another_clusters_name_hides_no_wrong_authority(self, tmp_path: Path) -> None:
        other = new_pki(tmp_path / "other").node("a")
        path = write_config(
            tmp_path, {str(cluster_pki().node("a").ca): str(other.ca), "cluster: lab": "cluster: L"}
        )
        assert [found.split(": ", 1)[0] for found in findings(path)] == ["cluster", "tls.ca"]

    def test_what_is_no_certificate_is_named(self, tmp_path: Path) -> None:
        garbage = tmp_path / "ca.pem"
        garbage.write_text("garbage")
        path = write_config(tmp_path, {str(cluster_pki().node("a").ca): str(garbage)})
        assert the_finding(path) == f"tls.ca: {garbage} is not a PEM certificate"


class TestDates:
    """Certificates of 90 days under an authority of a year, looked at on other days."""

    MADE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        directory = tmp_path / "dated"
        certs.init(directory, "lab", days=365, clock=lambda: self.MADE)
        made = certs.issue(directory, "a", days=90, clock=lambda: self.MADE)
        mine = cluster_pki().node("a")
        return write_config(
            tmp_path,
            {
                str(mine.ca): str(made.ca),
                str(mine.certificate): str(made.certificate),
                str(mine.key): str(made.key),
            },
        )

    def said(self, path: Path, when: timedelta) -> tuple[int, list[str]]:
        """The exit code of --check at that time, and its lines but for the summary."""
        code, lines = check(path, clock=lambda: self.MADE + when)
        said = [line.split(":", 2)[2].strip() for line in lines if "good for node" not in line]
        return code, said

    @pytest.mark.parametrize("days", [0, 1, 59])
    def test_a_valid_certificate_is_nothing_to_talk_about(self, path: Path, days: int) -> None:
        assert self.said(path, timedelta(days=days)) == (0, [])

    def test_a_month_before_the_end_there_is_a_warning(self, path: Path) -> None:
        code, (warning,) = self.said(path, timedelta(days=80, hours=1))
        assert code == 0
        assert warning.endswith(
            "a.pem ends on 2026-05-30 12:00 UTC, in less than 10 days:"
            " 'staqctl certs issue a --force' makes a new one"
        )

    def test_at_the_end_it_is_wrong(self, path: Path) -> None:
        code, (problem,) = self.said(path, timedelta(days=90))
        assert code == 2
        assert problem.startswith("tls.certificate: ")
        assert "a.pem ended on 2026-05-30 12:00 UTC: 'staqctl certs issue a --force'" in problem

    def test_before_its_time_it_is_wrong_or_the_clock_is(self, path: Path) -> None:
        code, (problem, other) = self.said(path, timedelta(hours=-2))
        assert code == 2
        assert (
            "is not valid before 2026-03-01 11:00 UTC, and here it is 2026-03-01 10:00" in problem
        )
        assert "set the clock right" in problem
        assert problem.startswith("tls.ca: ")
        assert other.startswith("tls.certificate: ")

    def test_the_authority_ends_too(self, path: Path) -> None:
        code, (problem, _) = self.said(path, timedelta(days=365))
        assert code == 2
        assert problem.startswith("tls.ca: ")
        assert "ca.pem ended on 2027-03-01 12:00 UTC: every node needs a new authority" in problem

    def test_a_wrong_clock_does_not_keep_the_daemon_from_starting(self, path: Path) -> None:
        """systemd does not try again after a wrong configuration; a clock is set a moment later."""
        for when in (timedelta(days=-9999), timedelta(days=91)):
            loaded = read(path, clock=lambda when=when: self.MADE + when)  # type: ignore[misc]
            assert loaded.warnings
