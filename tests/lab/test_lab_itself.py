"""The lab does what it says, before anything of StaqRaft runs in it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import nginx
from lab.arpwatch import Findings
from lab.errors import LabError
from lab.lab import Lab
from lab.layout import HOSTS, SYNC, VIP
from lab.linux import boottime
from lab.observers import Client, probe_http, watch_arp
from lab.prober import Record
from lab.processes import wait_until

pytestmark = pytest.mark.lab

PATIENCE_S = 60.0
# Of something that is seen by looking again and again: a machine that stands still sees nothing.
HOLD_S = (0.2, 1.0, 5.0)
# Programs that run in hosts: they say "ready", then what happened.
SAY = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
    wire.bind((sys.argv[1], 0))
    wire.sendto(b"x", (sys.argv[2], 4000))
"""
HEAR = """
import select, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
    wire.bind((sys.argv[1], 4000))
    print("ready", flush=True)
    select.select([wire, sys.stdin], [], [])  # the end of its input says that all is said
    wire.settimeout(0.1)
    try:
        wire.recv(10)
        print("heard")
    except TimeoutError:
        print("silence")
"""
ACCEPT = """
import socket, sys
listener = socket.create_server((sys.argv[1], 81))
print("ready", flush=True)
listener.accept()[0].recv(1)
"""
CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], 81)) as connection:
    connection.settimeout(1)
    print("ready", flush=True)
    try:
        print("told", connection.recv(1))
    except TimeoutError:
        print("silence")
"""
ANNOUNCE = """
import socket, struct, sys
mac, vip = bytes.fromhex(sys.argv[1].replace(":", "")), socket.inet_aton(sys.argv[2])
ethernet = b"\\xff" * 6 + mac + b"\\x08\\x06"
arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, mac, vip, b"\\0" * 6, vip)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
wire.send(ethernet + arp)
"""
NOTIFY = """
import os, socket, time
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
time.sleep(999)
"""


def begin(lab: Lab, name: str, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts a program in a host; returns when it is ready."""
    process = lab.popen(name, [sys.executable, "-c", script, *arguments])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def arrives(lab: Lab, sender: str, receiver: str, network: str = "service") -> bool:
    """Whether a datagram gets through. The neighbour is made known: ARP would need both ways."""
    source, target = HOSTS[sender], HOSTS[receiver]
    known = ["neigh", "replace", target.address(network), "lladdr", target.mac(network)]
    lab.run(sender, ["ip", *known, "dev", source.interface(network)])
    ear = begin(lab, receiver, HEAR, target.address(network))
    addresses = (source.address(network), target.address(network))
    lab.run(sender, [sys.executable, "-c", SAY, *addresses])
    return "heard" in ear.communicate()[0]


def announce(lab: Lab, name: str) -> None:
    lab.run(name, [sys.executable, "-c", ANNOUNCE, HOSTS[name].mac(), VIP])


@contextmanager
def vip_on(lab: Lab, name: str) -> Iterator[None]:
    lab.run(name, ["ip", "address", "add", f"{VIP}/32", "dev", "eth0"])
    announce(lab, name)
    yield
    lab.run(name, ["ip", "address", "delete", f"{VIP}/32", "dev", "eth0"])


def serve(lab: Lab, name: str) -> None:
    (lab.host_directory(name) / "etc" / "nginx.conf").write_text(nginx.TEXT)
    lab.run(name, ["sh", "-c", "mkdir -p /srv/www && echo here > /srv/www/index.html"])
    lab.run(name, nginx.START)


def test_hosts_have_names_addresses_and_nothing_of_the_machine_but_its_files(lab: Lab) -> None:
    interfaces = lab.run("a", ["ip", "-br", "address"]).stdout
    assert lab.run("a", ["hostname"]).stdout == "a\n"
    assert "10.77.0.11/24" in interfaces
    assert "10.77.1.11/24" in interfaces
    assert len(interfaces.splitlines()) == 3
    assert lab.run("a", ["sh", "-c", "echo $$"]).stdout.strip().isdigit()
    assert len(lab.run("a", ["ps", "-e", "-o", "pid="]).stdout.split()) <= 3


def test_replicas_write_to_the_same_paths_without_seeing_each_other(lab: Lab) -> None:
    for name in ("a", "b"):
        lab.run(
            name, ["sh", "-c", f"mkdir -p /srv/www; echo {name} > /srv/www/who; touch /etc/{name}"]
        )
    assert (lab.root("a") / "srv/www/who").read_text() == "a\n"
    assert (lab.root("b") / "srv/www/who").read_text() == "b\n"
    assert not Path("/srv/www/who").exists()
    assert not Path("/etc/a").exists()


def test_data_and_state_are_different_filesystems(lab: Lab) -> None:
    devices = lab.run(
        "a", ["stat", "-c", "%d", "/srv", "/var/mail", "/var/lib/staqraft"]
    ).stdout.split()
    assert devices[0] == devices[1] != devices[2]


def test_a_power_cut_keeps_what_was_fsynced_and_forgets_the_rest(lab: Lab) -> None:
    script = (
        "mkdir -p /srv/t; echo kept > /srv/t/kept; sync; echo lost > /srv/t/lost; echo run > /run/x"
    )
    lab.run("a", ["sh", "-c", script])
    before = lab.run("a", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    lab.power_off("a")
    lab.power_on("a")
    assert (lab.root("a") / "srv/t/kept").read_text() == "kept\n"
    if lab.forgets_at_power_cut:
        assert not (lab.root("a") / "srv/t/lost").exists()
    assert not (lab.root("a") / "run/x").exists()
    assert lab.run("a", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout != before


def test_a_power_cut_kills_everything_in_the_host_at_once_and_says_no_goodbye(lab: Lab) -> None:
    processes = [lab.popen("b", ["sleep", "1000"]) for _ in range(3)]
    processes.append(begin(lab, "b", ACCEPT, HOSTS["b"].address()))
    client = begin(lab, "client", CONNECT, HOSTS["b"].address())
    lab.power_off("b")
    for process in processes:
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode != 0
    assert client.communicate()[0] == "silence\n"
    with pytest.raises(LabError, match="has no power"):
        lab.run("b", ["true"])
    lab.power_on("b")


def test_a_cut_path_is_cut_both_ways_and_no_other(lab: Lab) -> None:
    lab.cut("a-b:service")
    assert not arrives(lab, "a", "b")
    assert not arrives(lab, "b", "a")
    assert arrives(lab, "a", "w")
    assert arrives(lab, "a", "b", SYNC)
    lab.heal("a-b:service")
    assert arrives(lab, "a", "b")


def test_a_one_way_cut_loses_only_what_the_sender_says(lab: Lab) -> None:
    lab.cut("a-b", "a")
    assert not arrives(lab, "a", "b")
    assert not arrives(lab, "a", "b", SYNC)
    assert arrives(lab, "b", "a")
    assert arrives(lab, "b", "a", SYNC)
    lab.heal("a-b", "a")
    assert arrives(lab, "a", "b")


def test_a_mute_host_hears_and_is_not_heard(lab: Lab) -> None:
    lab.cut("w:service", "w")
    assert not arrives(lab, "w", "a")
    assert arrives(lab, "a", "w")
    lab.heal("w:service", "w")
    assert arrives(lab, "w", "a")


def test_a_cut_port_takes_nothing_else_with_it(lab: Lab) -> None:
    server = begin(lab, "b", ACCEPT, HOSTS["b"].address())
    connect = [sys.executable, "-c", CONNECT, HOSTS["b"].address()]
    lab.cut("a-b", port=81)
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run("a", connect, timeout_s=0.5)
    assert arrives(lab, "a", "b")
    lab.heal("a-b", port=81)
    assert lab.status()["dropped"] == []
    lab.run("b", ["kill", *lab.run("b", ["pgrep", "-f", "create_server"]).stdout.split()])
    server.communicate()


def test_a_pulled_cable_takes_the_carrier_away(lab: Lab) -> None:
    lab.cut("sync")
    for name in ("a", "b"):
        assert "NO-CARRIER" in lab.run(name, ["ip", "link", "show", "eth1"]).stdout
        assert "NO-CARRIER" not in lab.run(name, ["ip", "link", "show", "eth0"]).stdout
    lab.heal("sync")
    assert "NO-CARRIER" not in lab.run("a", ["ip", "link", "show", "eth1"]).stdout


@pytest.mark.parametrize("link", ["a-x", "nowhere", "a", "client:sync", "a-b-w"])
def test_an_unknown_link_is_refused_with_the_names_that_there_are(lab: Lab, link: str) -> None:
    with pytest.raises(LabError, match="links are, for instance: sync"):
        lab.cut(link)


@dataclass(frozen=True, kw_only=True)
class Handover:
    """What the watcher saw of a, then b, then both; `clean`: until then there was one at a time."""

    findings: Findings
    clean: float

    @property
    def holders(self) -> list[str]:
        return [who for _, who in self.findings.holders if who]

    def seen(self) -> bool:
        return self.holders[:2] == ["a", "b"] and len(self.findings.doubles) >= 5


def a_handover(lab: Lab, hold_s: float) -> Handover:
    with watch_arp(lab) as watcher:
        with vip_on(lab, "a"):
            time.sleep(hold_s)
        with vip_on(lab, "b"):
            time.sleep(hold_s)
        clean = boottime()
        with vip_on(lab, "a"), vip_on(lab, "b"):
            time.sleep(hold_s)
        return Handover(findings=watcher.finish(), clean=clean)


def test_the_watcher_names_the_holder_and_counts_two_at_once(lab: Lab) -> None:
    done = a_handover(lab, HOLD_S[0])
    for hold_s in HOLD_S[1:]:
        done = done if done.seen() else a_handover(lab, hold_s)
    assert done.holders[:2] == ["a", "b"]
    assert "a+b" in done.holders
    assert [who for _, who in done.findings.announcements] == ["a", "b", "a", "b"]
    doubles = done.findings.doubles
    assert len(doubles) >= 5
    assert all(asked > done.clean - 0.1 and who == ["a", "b"] for asked, who in doubles)


def test_the_watcher_sees_a_second_holder_behind_a_cut(lab: Lab) -> None:
    lab.cut("a:service", "a")
    lab.cut("a:service", "b")
    doubles: list[object] = []
    for hold_s in HOLD_S:
        with watch_arp(lab) as watcher, vip_on(lab, "a"), vip_on(lab, "b"):
            time.sleep(0 if doubles else hold_s)
            doubles += watcher.finish().doubles
    lab.heal("a:service")
    assert doubles


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What the prober saw; nobody served from some time in `down` to some time in `up`."""

    record: Record
    down: tuple[float, float]
    up: tuple[float, float]

    def measured(self) -> bool:
        """To the prober's interval and its patience with one request."""
        (last, gone), (coming, there) = self.down, self.up
        outage = self.record.worst(since=last - 0.3, until=there + 0.3).seconds
        exact = coming - gone <= outage <= there - last + 0.35
        return exact and self.record.worst(since=there + 0.4).seconds < 0.2


def a_gap(lab: Lab) -> Gap:
    with probe_http(lab) as prober:
        client = Client(prober)
        with vip_on(lab, "a"):
            client.wait_served(client.wait_served(0.0) + 0.5)
            last = boottime()
        gone = boottime()
        time.sleep(0.6)  # nobody serves a while
        coming = boottime()
        with vip_on(lab, "b"):
            there = boottime()
            client.wait_served(there + 0.5)
            return Gap(record=client.finish(), down=(last, gone), up=(coming, there))


def test_the_prober_measures_an_outage_to_its_interval(lab: Lab) -> None:
    for name in ("a", "b"):
        serve(lab, name)
    gaps: list[Gap] = []
    while not gaps or not gaps[-1].measured():
        assert len(gaps) < 5, gaps[-1]  # who is held up each time holds himself up
        gaps.append(a_gap(lab))
    for name in ("a", "b"):
        lab.run(name, nginx.STOP)


def test_units_are_restarted_when_they_end_and_start_at_boot(lab: Lab) -> None:
    lab.enable("w", "sleeper", [sys.executable, "-c", NOTIFY])
    wait_until(
        lambda: lab.ask_init("w", op="status")["sleeper"]["state"] == "active", PATIENCE_S, "ready"
    )
    lab.signal_unit("w", "sleeper", signal.SIGKILL)
    wait_until(
        lambda: lab.ask_init("w", op="status")["sleeper"]["starts"] == 2,
        PATIENCE_S,
        "started again",
    )
    assert lab.ask_init("w", op="status")["sleeper"]["exits"] == [-9]
    lab.power_off("w")
    lab.power_on("w")
    wait_until(
        lambda: lab.ask_init("w", op="status")["sleeper"]["state"] == "active", PATIENCE_S, "ready"
    )
    lab.ask_init("w", op="stop", unit="sleeper")
    wait_until(
        lambda: lab.ask_init("w", op="status")["sleeper"]["state"] == "stopped", PATIENCE_S, "stop"
    )


def test_all_processes_of_a_unit_are_found_by_descent(lab: Lab) -> None:
    lab.enable("w", "family", ["sh", "-c", "sleep 99 & sleep 99 & wait"], notify=False)
    wait_until(
        lambda: len(lab.unit_processes("w", "family")) == 3, PATIENCE_S, "a parent and two children"
    )
    lab.ask_init("w", op="stop", unit="family")


def test_two_labs_live_side_by_side_and_down_ends_only_its_own(lab: Lab, tmp_path: Path) -> None:
    second = Lab.create(tmp_path / "second")
    try:
        assert second.run("a", ["hostname"]).stdout == "a\n"
        assert Lab.open(tmp_path / "second").init("a") == second.init("a")
        with pytest.raises(LabError, match="is up already"):
            Lab.create(tmp_path / "second")
    finally:
        inits = [second.init(name).pid for name in HOSTS]
        second.down()
    assert not any(Path(f"/proc/{pid}/root/proc").exists() for pid in inits)
    assert not (tmp_path / "second").exists()
    assert lab.run("a", ["hostname"]).stdout == "a\n"


def test_the_lab_leaves_no_network_on_the_machine(lab: Lab) -> None:
    names = {name for _, name in socket.if_nameindex()}
    assert not names & {"service", "sync", "a-service", "a-sync"}
