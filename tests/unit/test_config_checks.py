"""Values that are right one by one and wrong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fakes.configs import write_config
from fakes.pki import cluster_pki, new_pki
from staqraft.config.loader import read
from staqraft.errors import ConfigError


def findings(path: Path) -> list[str]:
    """Problems, or else warnings, without the file and the line."""
    try:
        found = list(read(path).warnings)
    except ConfigError as error:
        found = error.problems
    return [finding.split(":", 2)[2].strip() for finding in found]


def the_finding(path: Path) -> str:
    (finding,) = findings(path)
    return finding


class TestLease:
    def test_two_elections_and_two_renewals_fit_into_the_vips_lifetime(
        self, tmp_path: Path
    ) -> None:
        path = write_config(tmp_path, {"renew: 300ms": "renew: 400ms"})
        assert the_finding(path) == (
            "lease.ttl: with 3000 ms a VIP lives 2000 ms, but two renewals and two elections take"
            " up to 2000 ms: set ttl to 4s or more, or shorten renew or consensus.election_max"
        )

    def test_one_millisecond_less_is_enough(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"renew: 300ms": "renew: 399ms"})
        assert findings(path) == []

    def test_a_vip_lives_whole_seconds_only(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"ttl: 3s": "ttl: 2.999s"})
        assert "with 2999 ms a VIP lives 1000 ms" in the_finding(path)

    def test_without_vips_the_whole_lease_counts(self, tmp_path: Path) -> None:
        vips = "    vips:\n      - {address: 10.0.0.10/24, interface: lo}\n"
        path = write_config(tmp_path, {vips: "", "ttl: 3s": "ttl: 1801ms"})
        assert findings(path) == []
        path = write_config(tmp_path, {vips: "", "ttl: 3s": "ttl: 1800ms"})
        assert "set ttl to 1801ms or more" in the_finding(path)

    def test_margin_and_drift_do_not_eat_the_lease(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"renew: 300ms": "renew: 300ms, margin: 1500ms"})
        assert the_finding(path).startswith("lease.margin: margin and clock drift together")

    def test_a_wrong_value_is_reported_once_and_not_by_what_follows_from_it(
        self, tmp_path: Path
    ) -> None:
        path = write_config(tmp_path, {"renew: 300ms": "renew: soon", "600ms": "700ms"})
        assert the_finding(path).startswith("lease.renew: 'soon' is not a duration")


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("heartbeat: 95ms", "heartbeat: 100ms", "consensus.heartbeat: 100 ms is to be less than"),
        ("tick: 15ms", "tick: 48ms", "consensus.tick: 48 ms is to be at most half of heartbeat"),
        ("election_max: 600ms", "election_max: 300ms", "consensus.election_max: 300 ms is to be"),
    ],
)
def test_raft_times_are_apart(tmp_path: Path, old: str, new: str, finding: str) -> None:
    assert the_finding(write_config(tmp_path, {old: new})).startswith(finding)


class TestMembers:
    def test_two_replicas_without_a_witness_are_allowed_with_a_warning(
        self, tmp_path: Path
    ) -> None:
        line = "  w: {role: witness, rings: {service: 10.0.0.3}}\n"
        assert the_finding(write_config(tmp_path, {line: ""})).startswith("nodes: has no witness")

    def test_three_replicas_are_not(self, tmp_path: Path) -> None:
        found = findings(write_config(tmp_path, {"role: witness": "role: replica"}))
        assert "nodes: has 3 replicas: a cluster has exactly 2" in found

    def test_two_witnesses_are_not(self, tmp_path: Path) -> None:
        line = "tls:"
        extra = "  x: {role: witness, rings: {service: 10.0.0.4}}\ntls:"
        assert "nodes: has 2 witnesses" in the_finding(write_config(tmp_path, {line: extra}))

    def test_replicas_are_on_the_same_rings(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"sync: 10.1.0.2": "cable: 10.1.0.2"})
        assert the_finding(path) == (
            "nodes.b.rings: replica b is on cable, service and a on service, sync:"
            " both replicas are to have the same rings"
        )

    def test_the_witness_is_on_a_ring_of_the_replicas(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"service: 10.0.0.3": "office: 10.0.0.3"})
        assert the_finding(path).startswith("nodes.w.rings: no replica is on office")

    def test_no_address_is_used_twice(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"10.1.0.2": "10.0.0.1"})
        assert the_finding(path) == ("nodes.b.rings.sync: 10.0.0.1 is the address of a already")

    def test_a_vip_is_no_nodes_own_address(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"10.0.0.10/24": "10.0.0.1/24"})
        assert the_finding(path).startswith("groups.default.vips.1: 10.0.0.1 is node a's own")


class TestTrees:
    @pytest.mark.parametrize("inside", ["www", "www/deep/er", ""])
    def test_trees_do_not_overlap(self, tmp_path: Path, inside: str) -> None:
        base = tmp_path / "host"
        (base / "www/deep/er").mkdir(parents=True)
        path = write_config(
            tmp_path,
            {
                f"{base}/mail": f"{base}/{inside}",
                f"{base}/state": f"{tmp_path}/state",
                f"{base}/run": f"{tmp_path}/run",
            },
        )
        assert f"overlaps tree default.web ({base}/www): separate them" in the_finding(path)

    def test_a_tree_does_not_hold_the_journal_and_the_quarantine(self, tmp_path: Path) -> None:
        base = tmp_path / "host"
        path = write_config(tmp_path, {f"{base}/state": f"{base}/www/state"})
        assert f"{base}/www overlaps state_dir" in the_finding(path)

    def test_a_symbolic_link_hides_no_overlap(self, tmp_path: Path) -> None:
        base = tmp_path / "host"
        (base / "www").mkdir(parents=True)
        (base / "link").symlink_to(base / "www")
        path = write_config(tmp_path, {f"{base}/mail": f"{base}/link"})
        assert "overlaps tree default.web" in the_finding(path)

    def test_similar_names_are_no_overlap(self, tmp_path: Path) -> None:
        base = tmp_path / "host"
        (base / "www2").mkdir(parents=True)
        assert findings(write_config(tmp_path, {f"{base}/mail": f"{base}/www2"})) == []

    def test_the_system_itself_is_no_tree(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {f"{tmp_path}/host/mail": "/"})
        assert "the root of the system cannot be replicated" in the_finding(path)

    def test_a_tree_that_is_not_there_yet_is_a_warning(self, tmp_path: Path) -> None:
        path = write_config(tmp_path)
        shutil.rmtree(tmp_path / "host/www")
        assert "is not a directory on this host now" in the_finding(path)


def test_a_socket_path_fits_into_the_kernels_limit(tmp_path: Path) -> None:
    deep = "/run/" + "d" * 100
    path = write_config(tmp_path, {f"{tmp_path}/host/run\n": f"{deep}\n"})
    assert the_finding(path).startswith(f"run_dir: {deep}/default.stream.sock is longer than 107")


def test_ports_have_one_use_each(tmp_path: Path) -> None:
    ports = "ports: {control: 7411, data: 7410, metrics: 7411}\nlease:"
    found = findings(write_config(tmp_path, {"lease:": ports}))
    assert found == [
        "ports.control: 7411 is among the data ports 7410 to 7411 (two a group)",
        "ports.metrics: 7411 is among the data ports 7410 to 7411 (two a group)",
        "ports.metrics: is the same port as control",
    ]


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

    def test_what_is_no_certificate_is_named(self, tmp_path: Path) -> None:
        garbage = tmp_path / "ca.pem"
        garbage.write_text("garbage")
        path = write_config(tmp_path, {str(cluster_pki().node("a").ca): str(garbage)})
        assert the_finding(path) == f"tls.ca: {garbage} is not a PEM certificate"
