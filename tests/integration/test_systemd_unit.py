"""deploy/staqraftd.service as it is shipped, under Debian's own systemd, with services beside it.

A replica and a witness on one host; each test stands on the one before it. The limits of the unit,
its reports to systemd and what a restart leaves alone are tried nowhere else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from fakes.booted import Booted, booted_or_skipped
from fakes.pki import cluster_pki

pytestmark = [pytest.mark.slow, pytest.mark.long]

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
STAQCTL: Final = str(PROGRAMS / "staqctl")
SHIPPED = (REPOSITORY / "deploy/staqraftd.service").read_text()
DAEMON = SHIPPED.replace("/opt/staqraft/bin", str(PROGRAMS))
UNITS = {
    "staqraftd.service": DAEMON,
    "witness.service": DAEMON.replace("staqraft.yaml", "w.yaml").replace("=staqraft\n", "=w\n"),
    "web.service": "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep infinity\n",
}
PID_FILE = "/run/own.pid"
CONTROL = ["start-stop-daemon", "--oknodo", "--pidfile", PID_FILE]
OWN = {
    "start": [*CONTROL, "--start", "--background", "--make-pidfile", "--exec", "/bin/sleep", "--",
              "infinity"],
    "stop": [*CONTROL, "--stop", "--retry", "5"],
}  # fmt: skip
OF_WITNESS = {
    "state_dir": "/var/lib/w", "run_dir": "/run/w", "admin_socket": "/run/w/admin.sock"
}  # fmt: skip
# What dovecot and postfix need of the kernel to confine their own processes.
CHROOT = 1 << 18


def configuration(node: str) -> dict[str, Any]:
    rings = {name: {"service": f"192.0.2.{place}"} for place, name in enumerate("abw", start=1)}
    tls = "/etc/staqraft/tls"
    return {
        "cluster": "lab",
        "node": node,
        "nodes": {
            name: {"role": "witness" if name == "w" else "replica", "rings": rings[name]}
            for name in rings
        },
        "tls": {
            "ca": f"{tls}/ca.pem", "certificate": f"{tls}/{node}.pem", "key": f"{tls}/{node}.key"
        },
        "groups": {
            "default": {
                "initial_active": "a",
                "trees": {"web": {"path": "/srv/www"}},
                "vips": [{"address": "192.0.2.10/24", "interface": "eth0"}],
                "services": {"web": {"unit": "web.service"}, "own": OWN},
            }
        },
        "health": {"ping": {"targets": []}},
    }  # fmt: skip


class Host:
    """A booted host with the daemon on it."""

    def __init__(self, systemd: Booted) -> None:
        self.systemd = systemd

    def install(self) -> None:
        """Network, certificates, configurations and a tree."""
        ip = ["nsenter", f"--target={self.systemd.pid}", "--net", "ip"]
        for words in (
            "link add eth0 type veth peer name plug",
            "link set lo up",
            "link set eth0 up",
            "link set plug up arp off",  # the other end of the cable answers for nobody
            "address add 192.0.2.1/24 dev eth0",
            "address add 192.0.2.3/24 dev eth0",
        ):
            subprocess.run([*ip, *words.split()], check=True)
        etc = self.systemd.root / "etc/staqraft"
        shutil.copytree(cluster_pki("lab").directory, etc / "tls")
        for node, name in (("a", "staqraft.yaml"), ("w", "w.yaml")):
            own = {} if node == "a" else OF_WITNESS
            (etc / name).write_text(json.dumps({**configuration(node), **own}))
        (self.systemd.root / "srv/www").mkdir()

    def group(self) -> dict[str, Any]:
        """As the daemon of a says it; nothing while that does not answer."""
        said = self.systemd.run(STAQCTL, "status", "--json")
        groups: list[dict[str, Any]] = json.loads(said).get("groups", []) if said else []
        return groups[0] if groups else {}

    def serves(self) -> bool:
        group = self.group()
        states = [service["state"] for service in group.get("services", [])]
        return group.get("phase") == "active" and states == ["running"] * 2

    def shown(self, unit: str, name: str) -> str:
        return self.systemd.run("systemctl", "show", "--value", "-p", name, unit)

    def own_pid(self) -> int:
        return int(self.systemd.run("cat", PID_FILE))

    def addresses(self) -> str:
        return self.systemd.run("ip", "-brief", "address", "show", "dev", "eth0")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with booted_or_skipped(tmp_path_factory, UNITS) as running:
        made = Host(running)
        made.install()
        running.run("systemctl", "start", "witness", "staqraftd")
        yield made


def test_the_daemon_serves_within_the_limits_of_its_unit(host: Host) -> None:
    host.systemd.wait_for(host.serves, "a serves")
    assert "192.0.2.10/24" in host.addresses()
    assert host.group()["gate"] == "open"
    assert host.shown("staqraftd", "ActiveState") == "active"
    assert "a is active" in host.shown("staqraftd", "StatusText")
    assert host.shown("web", "ActiveState") == "active"


def test_what_a_command_started_has_what_a_server_needs(host: Host) -> None:
    process = host.systemd.root / "proc" / str(host.own_pid())
    status = dict(
        line.split(":\t", 1)
        for line in (process / "status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["Umask"] == "0022"
    assert status["NoNewPrivs"] == "0", "its set-uid programs work"
    assert int(status["CapEff"], 16) & CHROOT
    assert "NOTIFY_SOCKET" not in (process / "environ").read_text()
    assert (process / "oom_score_adj").read_text().strip() == "0"


@pytest.mark.parametrize("words", ["restart staqraftd", "kill --kill-whom=main -s KILL staqraftd"])
def test_a_restart_touches_neither_services_nor_the_epoch(host: Host, words: str) -> None:
    host.systemd.wait_for(host.serves, "a serves")
    before = host.shown("web", "MainPID"), host.own_pid(), host.group()["epoch"]
    daemon = host.shown("staqraftd", "MainPID")
    host.systemd.run("systemctl", *words.split())
    host.systemd.wait_for(
        lambda: host.shown("staqraftd", "MainPID") not in {"0", daemon}, "it is another daemon"
    )
    host.systemd.wait_for(host.serves, "a serves again")
    assert (host.shown("web", "MainPID"), host.own_pid(), host.group()["epoch"]) == before
    assert "192.0.2.10/24" in host.addresses()


def test_a_unit_that_fails_is_started_again(host: Host) -> None:
    before = host.shown("web", "MainPID")
    host.systemd.run("systemctl", "kill", "-s", "KILL", "web")

    def runs_anew() -> bool:
        return host.shown("web", "MainPID") not in {"0", before} and host.serves()

    host.systemd.wait_for(runs_anew, "web runs again")
    assert host.group()["services"][0]["restarts_used"] == 1


def test_a_stop_without_anybody_to_hand_over_to_leaves_the_addresses_to_the_lease(
    host: Host,
) -> None:
    """Who is back within the lease goes on; the kernel takes them away when it is over."""
    host.systemd.run("systemctl", "stop", "staqraftd")
    assert host.shown("staqraftd", "Result") == "success"
    host.systemd.wait_for(lambda: "192.0.2.10/24" not in host.addresses(), "the lease is over")
    assert host.shown("web", "ActiveState") == "active"
