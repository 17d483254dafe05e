"""A file is read strictly, and everything that is wrong with it is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.configs import write_config
from fakes.pki import cluster_pki
from staqraft.config.loader import check, fingerprint, load, read
from staqraft.config.schema import RemovalLimit
from staqraft.config.services import CommandCheck, Timing
from staqraft.errors import ConfigError
from staqraft.model import GroupId, NodeId, NodeRole

REPOSITORY = Path(__file__).parents[2]
DEFAULT = GroupId("default")
NO_LIST = "is to be a list, in [brackets] or with a '- ' before each item"


def problems_of(path: Path) -> list[str]:
    """The problems in the file, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_right_file_becomes_a_config(tmp_path: Path) -> None:
    loaded = read(write_config(tmp_path))
    config = loaded.config
    assert loaded.warnings == ()
    assert config.cluster == "lab"
    assert config.me.id == "a"
    assert config.nodes[NodeId("w")].role is NodeRole.WITNESS
    assert [ring.name for ring in config.me.rings] == ["service", "sync"]
    assert config.lease.ttl_ms == 3000
    group = config.groups[DEFAULT]
    assert [tree.name for tree in group.trees] == ["web", "mail"]
    assert str(group.vips[0].address) == "10.0.0.10/24"
    assert group.services[0].unit == "nginx.service"


def test_the_commented_example_is_right(tmp_path: Path) -> None:
    pki = cluster_pki("example")
    text = (REPOSITORY / "deploy/staqraft.yaml").read_text()
    text = text.replace("/etc/staqraft/tls", str(pki.directory))
    path = tmp_path / "staqraft.yaml"
    path.write_text(text)
    config = read(path).config
    assert config.replicas == ("a", "b")


def test_the_defaults_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    """Every commented-out setting of the example, taken in, changes nothing."""
    pki = cluster_pki("example")
    text = (REPOSITORY / "deploy/staqraft.yaml").read_text()
    text = text.replace("/etc/staqraft/tls", str(pki.directory))
    plain, full = tmp_path / "plain.yaml", tmp_path / "full.yaml"
    plain.write_text(text)
    settings = (
        "barrier_syncfs", "journal", "segment", "max", "max_age", "replication", "compression",
        "window", "dead_peer", "in_sync_timeout", "prefer_rings", "ports", "control", "data",
        "metrics", "lease", "ttl", "renew", "margin", "drift_ppm", "consensus", "election_min",
        "election_max", "heartbeat", "tick", "propose_timeout", "state_dir", "run_dir",
        "admin_socket", "log_level", "flapping",
    )  # fmt: skip
    lines = []
    taken = set()
    for line in text.splitlines():
        bare = line.replace("# ", "", 1)
        name = bare.strip().split(":", 1)[0]
        commented = line.lstrip().startswith("# ")
        if commented and name in settings and name not in taken:
            taken.add(name)
            line = bare  # noqa: PLW2901 - the line as it would be without its mark
        lines.append(line)
    full.write_text("\n".join(lines))
    assert taken == set(settings)
    assert fingerprint(load(full)) == fingerprint(load(plain))
    assert load(full).state_dir == load(plain).state_dir


@pytest.mark.parametrize(
    ("beside", "setting"),
    [
        ("    vips:", "    announce_every: 999ms"),
        ("cluster: lab", "health: {disk: {interval: 99ms}}"),
        ("cluster: lab", "health: {ping: {interval: 99ms}}"),
    ],
)
def test_nothing_is_done_all_the_time(tmp_path: Path, beside: str, setting: str) -> None:
    (problem,) = problems_of(write_config(tmp_path, {beside: f"{setting}\n{beside}"}))
    assert "nothing is gained by doing it so often" in problem


def test_all_problems_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        {
            "cluster: lab": "cluster: Lab!",
            "10.0.0.2": "b.example.org",
            "ttl: 3s": "ttl: 3",
            "profile: web": "profil: web",
            "interface: lo": "interface: a/b",
        },
    )
    assert [problem.split(": ", 2)[:2] for problem in problems_of(path)] == [
        ["1", "cluster"],
        ["5", "nodes.b.rings.service"],
        ["12", "lease.ttl"],
        ["20", "groups.default.trees.web.profil"],
        ["23", "groups.default.vips.1.interface"],
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("lease:", "leese:", "12: leese: is not a known name: did you mean 'lease'?"),
        ("ttl: 3s", "ttl: 3s, tttl: 3s", "12: lease.tttl: is not a known name: did you mean 'ttl'"),
        ("renew: 300ms", "ttl: 4s", "12: lease: 'ttl' stands twice, first on line 12"),
        ("ttl: 3s", "ttl:", "12: lease.ttl: has no value"),
        ("ttl: 3s", "ttl: [3s]", "12: lease.ttl: is a list, and is to be a single value"),
        ("ttl: 3s", "ttl: 3 sec", "12: lease.ttl: '3 sec' is not a duration: write for instance"),
        ("role: witness", "role: judge", "6: nodes.w.role: 'judge' is not one of replica, witness"),
        ("w: {role: witness,", "w: {", "6: nodes.w.role: is missing"),
        ("{unit: nginx.service}", "{}", "25: groups.default.services.nginx.start: is missing"),
        ("unit: nginx.service", "start: /bin/x", "start: is to be a list, in [brackets]"),
        ("initial_active: a", "initial_active: w", "initial_active: 'w' is not a replica"),
        (
            "initial_active: a",
            "initial_active: a\n    failback: {prefer: w}",
            "failback.prefer: 'w' is not a replica: write one of a, b",
        ),
        (
            "initial_active: a",
            "initial_active: a\n    failback: {after: 5m}",
            "failback.prefer: is missing: name the replica that is to be active again",
        ),
        ("node: a", "node: c", "2: node: 'c' is not one of the nodes (a, b, w)"),
        ("  w: {role", "  ca: {role", "6: nodes.ca: 'ca' is not a usable node name"),
        ("cluster: lab", "? [a]\n: b\ncluster: lab", "1: a name is to be a single word"),
        ("groups:", "<<: {}\ngroups:", "<<: is not a known name"),
        ("profile: web", "profile: wbe", "trees.web.profile: 'wbe' is not one of plain, web, mail"),
        (
            "profile: web",
            'profile: web, exclude: [ok, "[x"]',
            "20: groups.default.trees.web.exclude.2: '[x' has a '[' without its ']'",
        ),
        ("profile: web", 'include: ["!x"]', "trees.web.include.1: '!x' begins with '!'"),
    ],
)
def test_a_mistake_is_named_with_advice(tmp_path: Path, old: str, new: str, problem: str) -> None:
    found = problems_of(write_config(tmp_path, {old: new}))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "1: the file is empty"),
        (b"# nothing\n", "1: the file is empty"),
        (b"a: b\n\xff\n", "2: the file is not UTF-8 text"),
        (b"a: b\nc: [\n", "3: the file is not YAML"),
        (b"a: b\n---\nc: d\n", "2: the file is not YAML"),
        (b"a: \x07\n", "1: the file is not YAML"),
        (b'a: "\\UFFFFFFFF"\n', "1: the file is not YAML"),
        (b"[" * 100_000, "1: the file is nested too deeply"),
        (b"#" * 300_000, "1: the file is larger than 262144 bytes"),
        (b"~\n", "1: the file is empty"),
        (b"&a a: *a\n", "1: a: is not a known name"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "staqraft.yaml"
    path.write_bytes(content)
    assert any(line.startswith(problem) for line in problems_of(path)), problems_of(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [("- a\n", "a list"), ("[]\n", "a list"), ("# x\n\nword\n", "a single value")],
)
def test_a_file_that_has_no_names_has_one_problem(tmp_path: Path, content: str, kind: str) -> None:
    path = tmp_path / "staqraft.yaml"
    path.write_text(content)
    (problem,) = problems_of(path)
    assert problem.endswith(f": the file is {kind}, and is to be 'name: value' lines")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  b: {role: replica, rings: {service: 10.0.0.2, sync: 10.1.0.2}}", "  b: 5",
         "5: nodes.b: is to be a section of 'name: value' lines"),
        ("{unit: nginx.service}", "{start: x, stop: [x]}",
         f"25: groups.default.services.nginx.start: {NO_LIST}"),
        ("{service: 10.0.0.3}", "[]",
         "6: nodes.w.rings: is to be a section of 'name: value' lines"),
        ("{address: 10.0.0.10/24, interface: lo}", "lo",
         "23: groups.default.vips.1: is to be a section of 'name: value' lines"),
    ],
)  # fmt: skip
def test_what_follows_from_a_mistake_is_not_said(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert problems_of(write_config(tmp_path, {old: new})) == [problem]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("ttl: 3s", "ttl: 999999h", "12: lease.ttl: '999999h' is more than 10m"),
        ("ttl: 3s", "ttl: 0s", "12: lease.ttl: '0s' is to be more than 0"),
        ("tick: 15ms", "tick: 2m", "11: consensus.tick: '2m' is more than 1m"),
        ("nginx.service}", "nginx.service, stop_timeout: 2h}",
         "stop_timeout: '2h' is more than 1h"),
        ("initial_active: a", "initial_active: a\n    journal: {max_age: 99999d}",
         "max_age: '99999d' is more than 3650d"),
        ("nginx.service}", "nginx.service, start: [x]}",
         "25: groups.default.services.nginx.unit: stands beside 'start': leave one of them out"),
    ],
)  # fmt: skip
def test_a_value_has_bounds(tmp_path: Path, old: str, new: str, problem: str) -> None:
    (found,) = problems_of(write_config(tmp_path, {old: new}))
    assert problem in found


@pytest.mark.parametrize(
    ("removals", "problem"),
    [
        ("{ask_above: 0%}", "ask_above: '0%' is not a share from 1% to 99%"),
        ("{ask_above: 100}", "ask_above: '100' is not a share from 1% to 99%"),
        ("{ask_above: 30%, within: 8d}", "within: '8d' is more than 7d"),
        ("{within: 5m}", "ask_above: is missing"),
    ],
)
def test_how_much_may_vanish_has_bounds(tmp_path: Path, removals: str, problem: str) -> None:
    changes = {"profile: web}": f"profile: web, removals: {removals}}}"}
    (found,) = problems_of(write_config(tmp_path, changes))
    assert problem in found


def test_how_much_may_vanish_is_read(tmp_path: Path) -> None:
    changes = {"profile: web}": "profile: web, removals: {ask_above: 30%, within: 5m}}"}
    web, mail = load(write_config(tmp_path, changes)).groups[DEFAULT].trees
    assert web.removals == RemovalLimit(percent=30, within_ms=300_000)
    assert mail.removals.percent == 0


def test_a_unit_may_have_a_check_of_its_own(tmp_path: Path) -> None:
    path = write_config(tmp_path, {"nginx.service}": "nginx.service, check: [curl, localhost]}"})
    (service,) = load(path).groups[DEFAULT].services
    assert service.unit == "nginx.service"
    assert [type(check).__name__ for check in service.checks] == ["UnitCheck", "CommandCheck"]
    assert service.checks[1] == CommandCheck(
        argv=("curl", "localhost"), timing=Timing(timeout_ms=10_000)
    )


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "none.yaml") == [
        "1: the file cannot be read: No such file or directory"
    ]


def test_a_directory_is_a_config_error(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == ["1: the file cannot be read: Is a directory"]


def test_the_node_of_the_command_line_wins(tmp_path: Path) -> None:
    tls = cluster_pki().node("b")
    path = write_config(
        tmp_path,
        {
            str(cluster_pki().node("a").certificate): str(tls.certificate),
            str(cluster_pki().node("a").key): str(tls.key),
        },
    )
    assert load(path, NodeId("b")).me.id == "b"


def test_without_a_node_the_file_says_nothing_about_this_host(tmp_path: Path) -> None:
    path = write_config(tmp_path, {"node: a\n": ""})
    assert problems_of(path) == [
        "1: node: is missing: say which of the nodes this host is, here or with --node"
    ]


def test_the_fingerprint_is_over_what_must_be_equal(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    original = fingerprint(load(path))
    (tmp_path / "elsewhere").mkdir()
    text = path.read_text()
    path.write_text(text.replace("state_dir", "log_level: debug\nstate_dir") + "# a comment\n")
    assert fingerprint(load(path)) == original
    path.write_text(text.replace("renew: 300ms", "renew: 250ms"))
    assert fingerprint(load(path)) != original


def test_check_prints_problems_and_ends_with_2(tmp_path: Path) -> None:
    path = write_config(tmp_path, {"ttl: 3s": "ttl: 3"})
    code, lines = check(path)
    assert code == 2
    assert lines[0].startswith(f"{path}:12: lease.ttl: ")


def test_check_says_what_a_right_file_is_for(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    code, lines = check(path)
    assert code == 0
    (line,) = lines
    assert line == (
        f"{path}: good for node a of cluster lab"
        f" (fingerprint {fingerprint(load(path))}, to be the same on every node)"
    )


def test_a_name_cannot_forge_a_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, {"cluster: lab": '"x\\nforged: 1": 1\ncluster: lab'})
    assert all("\n" not in line for line in problems_of(path))
