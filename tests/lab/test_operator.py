"""What an administrator does with the data, by `staqctl`, on real daemons."""

from __future__ import annotations

import json

import pytest

from lab.cluster import CONFIGURATION, STAQCTL, Cluster
from lab.lab import Lab
from lab.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    """a is active, b in sync, and there is a file in a tree."""
    made = Cluster(lab)
    made.install()
    made.start()
    made.wait_protected("a", 60)
    sh(made, "a", "mkdir /srv/www/shop; for i in 1 2 3; do echo $i > /srv/www/shop/$i; done")
    made.wait_applied("b", made.barrier("a").seq)
    return made


def sh(cluster: Cluster, node: str, command: str) -> str:
    return cluster.lab.run(node, ["sh", "-ec", command]).stdout


def tried(cluster: Cluster, node: str, *words: str) -> tuple[int, str]:
    """Exit code, and all that staqctl said."""
    argv = [*STAQCTL, "--config", CONFIGURATION, *words]
    done = cluster.lab.run(node, argv, check=False, timeout_s=90)
    return done.returncode, done.stdout + done.stderr


def kinds(cluster: Cluster) -> list[str]:
    return [event["kind"] for event in cluster.events("a")]


def test_the_journal_is_shown_on_either_replica(cluster: Cluster) -> None:
    lines = [
        cluster.ctl(node, "journal", "tail", "-n", "5", "--json", "--path", "shop/2")
        for node in ("a", "b")
    ]
    for text in lines:
        records = [json.loads(line) for line in text.splitlines()]
        assert {record["path"] for record in records} == {"shop/2"}
    code, said = tried(cluster, "w", "journal", "tail")
    assert code == 4
    assert "a witness has none" in said


def test_verify_finds_drift_from_any_node_and_repairs_it(cluster: Cluster) -> None:
    code, said = tried(cluster, "a", "verify", "--deep")
    assert (code, said.split(":")[0]) == (0, "Equal on both replicas")
    sh(cluster, "b", "echo other > /srv/www/shop/1; rm /srv/www/shop/2; chmod 600 /srv/www/shop/3")
    code, said = tried(cluster, "w", "verify", "--tree", "web")
    assert code == 1
    assert "web:shop/1  differs in content, mtime" in said
    assert "web:shop/2  missing on b" in said
    assert "web:shop/3  differs in mode" in said
    code, said = tried(cluster, "a", "verify", "--repair")
    assert code == 0, said
    assert tried(cluster, "b", "verify")[0] == 0
    assert "verify" in kinds(cluster)


def test_a_standby_is_resynced_outside_of_the_in_sync_set(cluster: Cluster) -> None:
    code, said = tried(cluster, "w", "resync", "a")
    assert code == 2
    assert "a is the active of group default" in said
    sh(cluster, "b", "echo other > /srv/www/shop/3")
    code, said = tried(cluster, "b", "resync", "b", "--from-scratch")
    assert code == 0, said
    assert "has left the in-sync set" in said
    cluster.wait_protected("a", 60)
    assert sh(cluster, "b", "cat /srv/www/shop/3") == "3\n"
    story = kinds(cluster)
    assert story[story.index("resync") - 1 :].count("in-sync") == 2, "it left, and came back once"


def test_what_is_in_quarantine_comes_back_on_the_active_only(cluster: Cluster) -> None:
    kept = json.loads(cluster.ctl("b", "quarantine", "--json"))["entries"]
    assert {entry["size"] for entry in kept} == {"6"}
    code, said = tried(cluster, "b", "quarantine", "restore", "--all")
    assert code == 8
    assert "'staqctl switchover --to b'" in said
    first = kept[0]["id"]
    assert tried(cluster, "b", "quarantine", "restore", first, "--to", "/srv/rescued")[0] == 0
    assert sh(cluster, "b", "cat /srv/rescued") == "other\n"

    cluster.ctl("a", "switchover")
    cluster.wait_protected("b", 60)
    code, said = tried(cluster, "b", "quarantine", "restore", "--all")
    assert code == 6
    assert "is there, older than the one in quarantine" in said
    code, said = tried(cluster, "b", "quarantine", "restore", "--all", "--force")
    assert code == 0, said
    wait_until(lambda: sh(cluster, "a", "cat /srv/www/shop/3") == "other\n", 30, "it is replicated")
    assert tried(cluster, "b", "quarantine", "drop", "--all")[0] == 0
    assert tried(cluster, "b", "quarantine")[1].startswith("Nothing is in quarantine")
