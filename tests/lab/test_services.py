"""Real nginx, bind9, dovecot and postfix under StaqRaft: checked, restarted, failed over, fenced.

Each test stands on the one before it, as in `test_story`.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lab import servers
from lab.cluster import Cluster, Status
from lab.lab import Lab
from lab.layout import VIP
from lab.processes import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]

LONG_S = 60.0
PID_FILES = {
    "nginx": "/run/nginx.pid",
    "named": "/run/named.pid",
    "dovecot": "/run/dovecot/master.pid",
    "postfix": "/run/postfix-queue/pid/master.pid",
}


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Cluster:
    """a is active, all services run there, and b is in sync."""
    if missing := servers.missing():
        pytest.skip(missing)
    made = Cluster(lab)
    made.install()
    servers.install(made)
    made.start()
    made.wait_protected("a", LONG_S)
    made.wait_group("a", all_run, LONG_S, "all services run on a")
    return made


def all_run(group: Status) -> bool:
    return [service["state"] for service in group.get("services", [])] == ["running"] * 4


def service_of(group: Status, name: str) -> Status:
    (found,) = [service for service in group["services"] if service["name"] == name]
    return dict(found)


def customer(cluster: Cluster, *words: str) -> list[str]:
    """What the client gets from the VIP, once it gets it."""
    lab = cluster.lab
    said: list[str] = []

    def done() -> bool:
        ended = lab.run("client", lab.module("letters", words[0], VIP, *words[1:]), check=False)
        said[:] = [ended.stdout, ended.stderr]
        return ended.returncode == 0

    wait_until(done, LONG_S, f"the client does {words}", every_s=0.5)
    return said[0].splitlines()


def kill(cluster: Cluster, node: str, service: str) -> int:
    """kill -9 of all its processes; the pid of the main one, in the host."""
    text = cluster.lab.run(node, ["cat", PID_FILES[service]]).stdout
    pid = int(text.split()[0])
    cluster.lab.run(node, ["kill", f"-{signal.SIGKILL.value}", "--", f"-{pid}"])
    return pid


def runs_anew(cluster: Cluster, node: str, service: str, old: int) -> bool:
    done = cluster.lab.run(node, ["cat", PID_FILES[service]], check=False)
    words = done.stdout.split()
    return bool(words) and words[0].isdigit() and int(words[0]) != old


def test_the_active_runs_them_and_the_standby_does_not(cluster: Cluster) -> None:
    states = [service["state"] for service in cluster.group("b")["services"]]
    assert states == ["stopped"] * 4
    assert customer(cluster, "send", "first") == ["sent"]
    wait_until(lambda: customer(cluster, "read") == ["first"], LONG_S, "the mail is delivered")
    assert customer(cluster, "resolve", servers.NAME) == [VIP]


@pytest.mark.parametrize("name", list(PID_FILES))
def test_what_is_killed_is_restarted_where_it_is(cluster: Cluster, name: str) -> None:
    old = kill(cluster, "a", name)
    group = cluster.wait_group(
        "a",
        lambda g: int(service_of(g, name).get("restarts_used", 0)) == 1 and all_run(g),
        LONG_S,
        f"{name} is restarted on a",
    )
    assert runs_anew(cluster, "a", name, old)
    assert service_of(group, name)["last_failure"].partition(":")[0] in {
        "http on 127.0.0.1", "dns on 127.0.0.1", f"dns on {VIP}", "imap on 127.0.0.1",
        "lmtp on /run/dovecot/lmtp", "smtp on 127.0.0.1", f"process {PID_FILES['postfix']}",
    }  # fmt: skip
    assert group["active"] == "a"
    assert any(event["kind"] == "service-restart" for event in cluster.events("a"))


def test_what_cannot_be_restarted_fails_over_with_all_mail(cluster: Cluster) -> None:
    servers.break_named(cluster.lab, "a")
    kill(cluster, "a", "named")
    cluster.wait_active("b", LONG_S)
    group = cluster.wait_group("b", all_run, LONG_S, "all services run on b")
    assert int(group["service_moves"]) == 1
    assert group["last_fence"] == "released"
    assert customer(cluster, "resolve", servers.NAME) == [VIP]
    wait_until(lambda: customer(cluster, "read") == ["first"], LONG_S, "the mail is still there")
    assert customer(cluster, "send", "second") == ["sent"]
    wait_until(
        lambda: customer(cluster, "read") == ["first", "second"], LONG_S, "mail goes on arriving"
    )
    servers.mend_named(cluster.lab, "a")


def test_what_cannot_be_stopped_is_fenced(cluster: Cluster) -> None:
    cluster.wait_protected("b", LONG_S)
    servers.make_named_unstoppable(cluster.lab, "b")
    kill(cluster, "b", "named")
    cluster.wait_active("a", LONG_S)
    group = cluster.wait_group("a", all_run, LONG_S, "all services run on a")
    assert group["last_fence"] in {"lease", "confirmed"}
    loser = cluster.group("b")
    assert loser["phase"] == "halting"
    assert any("cannot stop its services" in event["text"] for event in cluster.events("a"))
    assert customer(cluster, "read") == ["first", "second"]
    assert customer(cluster, "resolve", servers.NAME) == [VIP]
    # When it can be stopped it lets go, and follows.
    servers.mend_named(cluster.lab, "b")
    cluster.wait_protected("a", LONG_S)


def test_an_operator_forgets_what_was_mended(cluster: Cluster) -> None:
    assert int(cluster.group("a")["service_moves"]) == 2
    cluster.ctl("a", "service", "clear")
    cluster.wait_group(
        "a",
        lambda g: not int(g.get("service_moves", 0)),
        LONG_S,
        "the moves are forgotten",
    )


def test_logs_of_the_programs_are_kept_for_a_look(cluster: Cluster) -> None:
    log = Path(cluster.lab.host_directory("a") / "log" / "postfix.log").read_text()
    assert "status=sent" in log
