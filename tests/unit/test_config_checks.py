"""Values that are right one by one and wrong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fakes.config_findings import findings, the_finding, the_problem
from fakes.configs import write_config
from staqraft.config.loader import check, fingerprint, read
from staqraft.model import FenceRung, GroupId, NodeId


class TestLease:
    def test_two_elections_and_two_renewals_fit_into_the_lease(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"election_max: 600ms": "election_max: 1150ms"})
        assert the_finding(path) == (
            "lease.ttl: with 3000 ms a VIP behind its gate lives 2900 ms, but two renewals and two"
            " elections take up to 2900 ms: set ttl to 3001ms or more, or shorten renew or"
            " consensus.election_max"
        )

    def test_one_millisecond_less_is_enough(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {"election_max: 600ms": "election_max: 1149ms"})
        assert findings(path) == []

    def test_without_a_gate_they_fit_into_the_seconds_that_surely_end_in_time(
        self, tmp_path: Path
    ) -> None:
        path = write_config(tmp_path, {"ttl: 3s": "ttl: 3424ms, gate: off"})
        assert the_finding(path) == (
            "lease.ttl: with 3424 ms a VIP without a gate lives 1000 ms, but two renewals and two"
            " elections take up to 1800 ms: set ttl to 3425ms or more, or have a gate (see 'gate'),"
            " or shorten renew or consensus.election_max"
        )
        assert check(path)[0] == 2
        path = write_config(tmp_path, {"ttl: 3s": "ttl: 3425ms, gate: off"})
        assert findings(path) == []

    def test_behind_a_gate_a_vip_lives_to_the_millisecond(self, tmp_path: Path) -> None:
        """The fast profile: two renewals of 100 ms and two elections of 300 ms take 800 ms."""
        fast = {"ttl: 3s": "ttl: 1s, gate: on", "renew: 300ms": "renew: 100ms"}
        fast |= {"election_min: 300ms": "election_min: 150ms", "heartbeat: 95ms": "heartbeat: 49ms"}
        for longest, found in (("300ms", ""), ("350ms", "lease.ttl: with 1000 ms")):
            changes = {**fast, "election_max: 600ms": f"election_max: {longest}"}
            seen = findings(write_config(tmp_path, changes))
            assert [text[: len(found)] for text in seen] == ([found] if found else [])

    def test_a_host_without_the_library_has_no_gate(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = "staqraft.config.lease_checks.GATE_LIBRARY"
        monkeypatch.setattr(library, "libnftables-of-nobody.so.1")
        for setting, exit_code in (("auto", 0), ("on", 2), ("off", 2)):
            path = write_config(tmp_path, {"ttl: 3s": f"ttl: 3s, gate: {setting}"})
            code, lines = check(path)
            assert code == exit_code
            told = [line for line in lines if "install the package libnftables1" in line]
            assert len(told) == (setting != "off")
            told = [line for line in lines if "a VIP without a gate lives 1000 ms" in line]
            assert len(told) == (setting != "on")

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


class TestEverythingAtOnce:
    """A wrong value hides nothing but what follows from it."""

    def test_one_wrong_value_hides_no_relation_of_others(self, tmp_path: Path) -> None:
        path = write_config(
            tmp_path,
            {
                "cluster: lab": "cluster: Lab!",
                "node: a": "node: q",
                "10.1.0.2": "10.1.0.1",
                "10.0.0.3": "w.example.org",
                "tick: 15ms": "tick: 90ms",
                "ttl: 3s": "ttl: 1s, margin: 0s",
                "state_dir:": "ports: {control: 7410, data: 65535, metrics: 7410}\nstate_dir:",
                "initial_active: a": "initial_active: w",
                "profile: web": "profile: webb",
                f"{tmp_path}/host/mail": f"{tmp_path}/host/www/mail",
                "interface: lo}": "interface: a/b}\n      - {address: 10.0.0.1/24, interface: lo}",
                "{unit: nginx.service}\n": "{unit: a b}\n"
                "    journal: {segment: 2KiB, max: 1KiB, max_age: 0d}\n"
                "    replication: {prefer_rings: [service, nix], dead_peer: 9s}\n",
            },
        )
        keys = [finding.split(": ", 1)[0] for finding in findings(path)]
        assert keys == [
            "cluster",
            "node",
            "nodes.b.rings.sync",
            "nodes.w.rings.service",
            "consensus.tick",
            "lease.margin",
            "lease.ttl",
            "ports.data",
            "ports.metrics",
            "groups.default.initial_active",
            "groups.default.trees.web.profile",
            "groups.default.trees.mail.path",
            "groups.default.vips.1.interface",
            "groups.default.vips.2",
            "groups.default.services.nginx.unit",
            "groups.default.journal.max_age",
            "groups.default.journal.segment",
            "groups.default.replication.dead_peer",
            "groups.default.replication.prefer_rings",
        ]

    @pytest.mark.parametrize(
        ("changes", "finding"),
        [
            # A role that cannot be read is neither a third replica nor a missing witness.
            ({"role: witness": "role: judge"}, "nodes.w.role: "),
            ({"a: {role: replica": "a: {role: replika"}, "nodes.a.role: "),
            # An address that cannot be read is still on its ring, and is nobody else's.
            ({"sync: 10.1.0.2": "sync: cable"}, "nodes.b.rings.sync: "),
            # A name that cannot be used may be the one that is named elsewhere.
            ({"node: a": "node: w1_", "  w: {": "  w1_: {"}, "node: 'w1_' is not a usable"),
            ({"sync: 10.1.0.2": "Sync: 10.1.0.2"}, "nodes.b.rings.Sync: "),
            # A default is not what a misspelt name means.
            ({"ttl: 3s": "tttl: 4s", "600ms": "900ms"}, "lease.tttl: "),
            ({"lease:": "leese:", "600ms": "900ms"}, "leese: "),
            # Of two values, either may be the one that is meant.
            ({"ttl: 3s": "ttl: 1s, ttl: 4s"}, "lease: 'ttl' stands twice"),
            # A directory that is not known overlaps nothing.
            ({"path: /": "path: ./"}, "groups.default.trees.web.path: "),
            ({"initial_active: a": "initial_active: A"}, "groups.default.initial_active: 'A' is"),
            ({"address: 10.0.0.10/24": "address: 10.0.0.1"}, "groups.default.vips.1.address: "),
        ],
    )
    def test_what_follows_from_a_wrong_value_is_not_said(
        self, tmp_path: Path, changes: dict[str, str], finding: str
    ) -> None:
        found = findings(write_config(tmp_path, changes))
        assert found[0].startswith(finding)
        assert all("is not a usable" in further for further in found[1:]), found

    def test_a_group_with_a_wrong_name_is_read_all_the_same(self, tmp_path: Path) -> None:
        path = write_config(
            tmp_path, {"  default:": "  Default:", "initial_active: a": "initial_active: w"}
        )
        first, second = findings(path)
        assert first.startswith("groups.Default: 'Default' is not a usable name")
        assert second.startswith("groups.Default.initial_active: 'w' is not a replica")


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
        finding = the_finding(write_config(tmp_path, {line: ""}))
        assert finding.startswith("nodes: has no witness")
        assert "no fence device for a, b" in finding or "no fence device for a and b" in finding

    def test_of_two_without_a_witness_the_standby_waits_longer(self, tmp_path: Path) -> None:
        line = "  w: {role: witness, rings: {service: 10.0.0.3}}\n"
        changes = {line: "", "groups:": "pair: {active_waits: 9s, standby_waits: 9s}\ngroups:"}
        found = findings(write_config(tmp_path, changes))
        assert any("turn each other off" in finding for finding in found)

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

    def test_a_file_does_not_become_a_tree(self, tmp_path: Path) -> None:
        path = write_config(tmp_path)
        (tmp_path / "host/www").rmdir()
        (tmp_path / "host/www").touch()
        assert the_problem(path).endswith("host/www is a file on this host: a tree is a directory")

    def test_a_name_too_long_for_the_system_is_not_there(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {f"{tmp_path}/host/www": f"/srv/{'x' * 300}"})
        assert "is not a directory on this host now" in the_finding(path)

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


DEVICES = """
fencing:
  a: {devices: {ipmi: {agent: fence_ipmilan, options: {ip: 10.9.0.1, password: geheim}}}}
  b: {delay: 3s, devices: {ipmi: {agent: /opt/fence, plug: outlet 2, level: 2, timeout: 5s}}}
groups:
"""


class TestFencing:
    def test_devices_are_read_and_their_options_not_shown(self, tmp_path: Path) -> None:
        config = read(write_config(tmp_path, {"groups:\n": DEVICES})).config
        (of_a,), (of_b,) = (config.fencing[NodeId(n)].devices for n in "ab")
        assert of_a.agent == Path("/usr/sbin/fence_ipmilan")
        assert (of_a.plug, of_a.level, of_a.timeout_ms) == ("a", 1, 60_000)
        assert of_a.options == (("ip", "10.9.0.1"), ("password", "geheim"))
        assert (of_b.plug, of_b.level, of_b.timeout_ms) == ("outlet 2", 2, 5000)
        assert config.fencing[NodeId("b")].delay_ms == 3000
        assert "geheim" not in repr(config)

    def test_a_secret_cannot_be_guessed_from_the_fingerprint(self, tmp_path: Path) -> None:
        one = read(write_config(tmp_path, {"groups:\n": DEVICES})).config
        other = read(write_config(tmp_path, {"groups:\n": DEVICES.replace("geheim", "x")})).config
        moved = read(write_config(tmp_path, {"groups:\n": DEVICES.replace("10.9", "10.8")})).config
        assert fingerprint(one) == fingerprint(other) != fingerprint(moved)

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("agent: fence_ipmilan", "agent: ipmilan", "is not a fence agent: write the name of"),
            ("agent: fence_ipmilan", "agent: ../fence_x", "is not a fence agent: write the name"),
            ("ip: 10.9.0.1", "action: on", "'action' is not to be set: StaqRaft says 'off',"),
            ("ip: 10.9.0.1", "port: 7", "'port' is to be written as 'plug' of the device, not"),
            ("ip: 10.9.0.1", 'ip: "x\\ny"', "has a line end or control characters"),
            ("ip: 10.9.0.1", 'ip: " x"', "begins or ends with a space, which the agent would"),
            ("ip: 10.9.0.1", "method: cycle", "with 'cycle' the node is on again at once"),
            ("  a: {devices", "  w: {devices", "there is no need to turn w off, a witness is"),
            ("  a: {devices", "  z: {devices", "there is no need to turn z off, it is no node"),
        ],
    )
    def test_what_cannot_be_is_named(self, tmp_path: Path, old: str, new: str, words: str) -> None:
        path = write_config(tmp_path, {"groups:\n": DEVICES.replace(old, new, 1)})
        assert words in the_problem(path)

    def test_without_the_lease_either_replica_needs_a_device(self, tmp_path: Path) -> None:
        only_b = "\n".join(line for line in DEVICES.splitlines() if not line.startswith("  a:"))
        group = "    initial_active: a\n"
        policy = group + "    fenced_by: [confirmed, device]\n"
        path = write_config(tmp_path, {"groups:\n": only_b + "\n", group: policy})
        assert "there is none for a: add it under 'fencing', or add 'lease' here" in (
            the_problem(path)
        )
        path = write_config(tmp_path, {"groups:\n": DEVICES, group: policy})
        assert read(path).config.groups[GroupId("default")].fenced_by == (
            FenceRung.CONFIRMED,
            FenceRung.DEVICE,
        )

    def test_with_neither_only_an_operator_can_help(self, tmp_path: Path) -> None:
        group = "    initial_active: a\n"
        path = write_config(tmp_path, {group: group + "    fenced_by: [confirmed]\n"})
        assert "a replica that is dead is never replaced by itself" in the_finding(path)

    def test_an_empty_list_is_refused(self, tmp_path: Path) -> None:
        group = "    initial_active: a\n"
        path = write_config(tmp_path, {group: group + "    fenced_by: []\n"})
        assert "names nothing" in the_problem(path)


class TestWatchdog:
    LEASE = "lease: {ttl: 3s, renew: 300ms}\n"

    def test_its_time_out_is_half_of_the_lease_in_whole_seconds(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {self.LEASE: "lease: {ttl: 7.9s}\nwatchdog: {}\n"})
        dog = read(path).config.watchdog
        assert dog is not None
        assert (dog.device, dog.timeout_ms) == (Path("/dev/watchdog"), 3000)

    def test_none_is_used_that_is_not_named(self, tmp_path: Path) -> None:
        assert read(write_config(tmp_path)).config.watchdog is None

    def test_a_short_lease_leaves_no_room_for_elections(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, {self.LEASE: self.LEASE + "watchdog: {}\n"})
        assert the_problem(path).endswith(
            "watchdog.timeout: 1000 ms is too short: two renewals, two elections and letting go"
            " take up to 2050 ms, and the watchdog would reset a machine that is well. Devices take"
            " whole seconds, and at most half of lease.ttl: set lease.ttl to 6s or more, or shorten"
            " lease.renew or consensus.election_max"
        )

    @pytest.mark.parametrize(
        ("timeout", "words"),
        [
            ("4s", "4000 ms is to be at most half of lease.ttl (7000 ms), so that the reset comes"),
            ("2.5s", "2500 ms is to be whole seconds, as devices count"),
        ],
    )
    def test_other_time_outs(self, tmp_path: Path, timeout: str, words: str) -> None:
        dog = f"lease: {{ttl: 7s}}\nwatchdog: {{timeout: {timeout}}}\n"
        assert words in the_problem(write_config(tmp_path, {self.LEASE: dog}))

    def test_the_nodes_may_differ_in_it(self, tmp_path: Path) -> None:
        one = read(write_config(tmp_path, {self.LEASE: "lease: {ttl: 7s}\n"})).config
        dog = "lease: {ttl: 7s}\nwatchdog: {}\n"
        other = read(write_config(tmp_path, {self.LEASE: dog})).config
        assert fingerprint(one) == fingerprint(other)
