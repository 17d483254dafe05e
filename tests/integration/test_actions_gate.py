"""The gate on a real kernel: who hears the virtual addresses, and until when."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_interface

import pytest

from fakes.patience import LONG_MS, PATIENCE_S, growing
from fakes.private_network import INSIDE, in_private_network, ip
from fakes.wire import PORT, Wire
from staqraft.actions.gate import LATE_MS, Gate, remove_stale, table_name, timeout_ms
from staqraft.actions.nft import Nft, NftRefused
from staqraft.actions.vip import VipHolder, boottime_ms
from staqraft.config.schema import Vip
from staqraft.model import Admission, GroupId

WEB = Vip(address=ip_interface("192.0.2.10/24"), interface=INSIDE)
MAIL = Vip(address=ip_interface("2001:db8::10/64"), interface=INSIDE)
VIPS = (WEB, MAIL)
CLUSTER, GROUP = "example", GroupId("default")
TABLE = table_name(CLUSTER, GROUP)
OTHER_MAC = bytes.fromhex("025a00000063")
FOREIGN = """
add table ip firewall
add chain ip firewall input { type filter hook input priority 0; }
add rule ip firewall input tcp dport 22 counter accept
add table inet staqraft.example2.default
"""


def nft(*words: str) -> str:
    """Runs `nft` as an administrator would."""
    return subprocess.run(["nft", *words], check=True, capture_output=True, text=True).stdout


def wait_usable(vip: Vip) -> None:
    """The kernel begins to answer for an IPv6 address a moment after it was added."""
    version = f"-{vip.address.version}"
    deadline_ms = boottime_ms() + LONG_MS
    while not ip(version, "route", "show", "table", "local", str(vip.address.ip)):
        assert boottime_ms() < deadline_ms, f"{vip.address} does not become usable"


@contextmanager
def gate(*vips: Vip, group: GroupId = GROUP) -> Iterator[Gate]:
    """A gate whose tables are there, and whose addresses are on this host for ever."""
    made = Gate(CLUSTER, group, vips)
    for vip in vips:
        ip("address", "replace", str(vip.address), "dev", vip.interface, "nodad")
        wait_usable(vip)
    try:
        made.prepare()
        yield made
    finally:
        made.close()


@contextmanager
def client() -> Iterator[Wire]:
    wire = Wire()
    try:
        yield wire
    finally:
        wire.close()


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A service on every address, that takes connections and says nothing."""
    with socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        yield server


def reached(wire: Wire) -> set[str]:
    """What of the two addresses a client can do."""
    found = set()
    for vip in VIPS:
        address = vip.address.ip
        if wire.found(address):
            found.add(f"finds {address}")
        if wire.pinged(address):
            found.add(f"reaches {address}")
    return found


EVERYTHING = {f"{verb} {vip.address.ip}" for verb in ("finds", "reaches") for vip in VIPS}


@in_private_network
async def test_clients_reach_an_address_behind_an_open_gate_only() -> None:
    with client() as wire, gate(*VIPS) as made:
        assert reached(wire) == set()
        made.admit(Admission.OPEN, LONG_MS)
        assert reached(wire) == EVERYTHING
        made.admit(Admission.CLOSED, 0)
        assert reached(wire) == set()


@in_private_network
async def test_without_a_gate_they_would_be_reached() -> None:
    with client() as wire, gate(*VIPS):
        nft("flush", "ruleset")
        assert reached(wire) == EVERYTHING


@pytest.mark.parametrize("spared", ["before_nat", "in", "out"])
@in_private_network
async def test_each_way_is_closed_by_itself(spared: str) -> None:
    with client() as wire, gate(*VIPS):
        for family, chains in (("inet", ("before_nat", "in", "out")), ("arp", ("in", "out"))):
            for chain in chains:
                if chain != spared and (family, spared) != ("arp", "before_nat"):
                    nft("flush", "chain", family, TABLE, chain)
        assert reached(wire) & {f"reaches {vip.address.ip}" for vip in VIPS} == set()
        assert f"finds {WEB.address.ip}" not in reached(wire)


@in_private_network
async def test_no_neighbour_is_told_where_the_address_is() -> None:
    """Answers are kept back too: a question that came in some other way gets none."""
    with client() as wire, gate(*VIPS):
        for family, chain in (("inet", "before_nat"), ("inet", "in"), ("arp", "in")):
            nft("flush", "chain", family, TABLE, chain)
        assert not wire.found(WEB.address.ip)
        assert not wire.found(MAIL.address.ip)


@in_private_network
async def test_a_destination_nat_does_not_lead_around_the_gate() -> None:
    with client() as wire, gate(*VIPS) as made:
        nft("add table ip nat")
        nft("add chain ip nat pre { type nat hook prerouting priority dstnat; }")
        nft("add rule ip nat pre ip daddr 192.0.2.10 dnat to 192.0.2.1")
        assert not wire.pinged(WEB.address.ip)
        made.admit(Admission.OPEN, LONG_MS)
        assert wire.pinged(WEB.address.ip)


@in_private_network
async def test_the_host_itself_reaches_its_services_behind_the_gate() -> None:
    with gate(*VIPS), listening():
        for vip in VIPS:
            socket.create_connection((str(vip.address.ip), PORT), timeout=PATIENCE_S).close()


@in_private_network
async def test_the_kernel_closes_it_within_the_lease_and_not_much_earlier() -> None:
    with client() as wire, gate(*VIPS) as made:
        for lease_ms in (150, 400, 1000):
            given_ms = timeout_ms(lease_ms)
            before_ms = boottime_ms()
            made.admit(Admission.OPEN, given_ms)
            begun_ms = boottime_ms()
            last_ms = 0
            while True:
                asked_ms = boottime_ms()
                if not wire.pinged(WEB.address.ip):
                    break
                last_ms = asked_ms
            closed_ms = boottime_ms()
            assert not wire.pinged(MAIL.address.ip)
            assert reached(wire) == set()
            assert last_ms <= begun_ms + given_ms + LATE_MS
            # It was open as long as it was given, less the kernel's tick of 10 ms at most.
            assert closed_ms >= before_ms + given_ms - 20


@in_private_network
async def test_a_refresh_lets_nobody_wait() -> None:
    """Old and new elements change places between two packets."""
    with client() as wire, gate(*VIPS) as made:
        made.admit(Admission.OPEN, LONG_MS)
        done = threading.Event()
        refreshed = 0

        def refresh() -> None:
            nonlocal refreshed
            while not done.is_set():
                made.admit(Admission.OPEN, LONG_MS)
                refreshed += 1

        thread = threading.Thread(target=refresh)
        thread.start()
        try:
            while refreshed < 1000:
                assert wire.pinged(WEB.address.ip)
                assert wire.pinged(MAIL.address.ip)
                assert wire.found(WEB.address.ip)
        finally:
            done.set()
            thread.join()


@in_private_network
async def test_an_element_that_ended_is_opened_again() -> None:
    """Also between its end and the kernel's collecting it."""
    with client() as wire, gate(*VIPS) as made:
        for _ in range(20):
            made.admit(Admission.OPEN, 10)
            while wire.pinged(WEB.address.ip):
                pass
            made.admit(Admission.OPEN, LONG_MS)
            assert wire.pinged(WEB.address.ip)


@in_private_network
async def test_a_draining_gate_lets_no_new_connection_in_and_refuses_none() -> None:
    with client() as wire, gate(*VIPS) as made, listening() as service:
        made.admit(Admission.OPEN, LONG_MS)
        for vip in VIPS:
            address = vip.address.ip
            made.admit(Admission.OPEN, LONG_MS)
            opened = wire.connect(address)
            made.admit(Admission.DRAINING, LONG_MS)
            assert not wire.connecting(address)
            assert wire.say(address, opened, b"hello").acknowledges == 2 + len(b"hello")
            assert made.admission() is Admission.DRAINING
        made.admit(Admission.DRAINING, LONG_MS)
        service.close()
        assert not any(wire.connecting(vip.address.ip) for vip in VIPS)
        made.admit(Admission.OPEN, LONG_MS)
        assert wire.connecting(WEB.address.ip)  # refused, now that nobody listens


@in_private_network
async def test_it_says_how_it_stands_by_the_kernels_word() -> None:
    with gate(*VIPS) as made:
        assert made.admission() is Admission.CLOSED
        made.admit(Admission.OPEN, LONG_MS)
        assert made.admission() is Admission.OPEN
        made.admit(Admission.OPEN, 10)
        while made.admission() is Admission.OPEN:
            pass
        assert made.admission() is Admission.CLOSED


@in_private_network
async def test_a_daemon_that_comes_back_finds_it_open() -> None:
    with client() as wire:
        with gate(*VIPS) as earlier:
            earlier.admit(Admission.OPEN, LONG_MS)
        assert reached(wire) == EVERYTHING
        with gate(*VIPS) as later:
            assert reached(wire) == EVERYTHING
            assert later.admission() is Admission.OPEN
            rules = nft("list", "ruleset")
            later.prepare()
            assert len(nft("list", "ruleset").splitlines()) == len(rules.splitlines())


@in_private_network
async def test_a_daemon_that_is_killed_leaves_it_closed() -> None:
    with client() as wire:
        with gate(*VIPS) as earlier:
            earlier.admit(Admission.OPEN, 50)
        while wire.pinged(WEB.address.ip):
            pass
        assert reached(wire) == set()
        assert f"table inet {TABLE}" in nft("list", "tables")


@in_private_network
async def test_an_address_that_is_no_longer_configured_is_nobodys_business() -> None:
    with client() as wire:
        with gate(*VIPS):
            assert reached(wire) == set()
        with gate(MAIL) as later:
            assert wire.pinged(WEB.address.ip)
            assert not wire.pinged(MAIL.address.ip)
            later.admit(Admission.OPEN, LONG_MS)
            assert later.admission() is Admission.OPEN


@in_private_network
async def test_tables_of_another_shape_are_made_anew() -> None:
    nft(f"add table inet {TABLE}")
    nft(f"add chain inet {TABLE} in {{ type filter hook forward priority 5; }}")
    nft(f"add set inet {TABLE} live4 {{ type ipv6_addr; }}")
    with client() as wire, gate(*VIPS) as made:
        assert reached(wire) == set()
        made.admit(Admission.OPEN, LONG_MS)
        assert reached(wire) == EVERYTHING


@in_private_network
async def test_groups_clusters_and_other_peoples_rules_are_left_alone() -> None:
    for line in FOREIGN.strip().splitlines():
        nft(line)
    foreign = nft("list", "table", "ip", "firewall")
    other = Vip(address=ip_interface("192.0.2.11/24"), interface=INSIDE)
    with client() as wire, gate(WEB) as made, gate(other, group=GroupId("second")) as second:
        second.admit(Admission.OPEN, LONG_MS)
        made.admit(Admission.OPEN, LONG_MS)
        made.admit(Admission.CLOSED, 0)
        assert wire.pinged(other.address.ip)
        assert not wire.pinged(WEB.address.ip)

        packet_filter = Nft()
        assert remove_stale(CLUSTER, [GROUP], packet_filter) == ["second"]
        assert remove_stale(CLUSTER, [GROUP], packet_filter) == []
        packet_filter.close()
        tables = nft("list", "tables")
        assert f"inet {TABLE}\n" in tables
        assert "second" not in tables
        assert "inet staqraft.example2.default" in tables
    assert nft("list", "table", "ip", "firewall") == foreign


@in_private_network
async def test_a_holder_is_silent_when_its_lease_ends_though_the_address_stays() -> None:
    made = Gate(CLUSTER, GROUP, VIPS)
    made.prepare()
    holder = VipHolder(GROUP, VIPS, gate=made)
    with client() as wire:
        await holder.hold(boottime_ms() + LONG_MS)
        wait_usable(WEB)
        wait_usable(MAIL)
        assert reached(wire) == set()  # services start now, and nobody is refused
        limits = growing(400)
        until_ms = held_s = 0
        while not held_s:  # a machine that stands still meanwhile lets nothing be held
            until_ms = boottime_ms() + next(limits)
            held_s = (await holder.hold(until_ms, Admission.OPEN)).lifetime_s
        last_ms = 0
        while True:  # nobody refreshes it: the process might as well be stopped
            asked_ms = boottime_ms()
            if not wire.pinged(WEB.address.ip):
                break
            last_ms = asked_ms
        assert last_ms <= until_ms
        assert all((await holder.held()).values())
        assert reached(wire) == set()
        await holder.hold(boottime_ms() + LONG_MS)
        assert reached(wire) == EVERYTHING
        await holder.drop()
        assert not any((await holder.held()).values())
        assert await holder.admission() is Admission.CLOSED
        await holder.aclose()


@in_private_network
async def test_a_flushed_ruleset_is_closed_again_at_the_next_word() -> None:
    with client() as wire, gate(*VIPS) as made:
        for admission, expected in ((Admission.CLOSED, set()), (Admission.OPEN, EVERYTHING)):
            nft("flush", "ruleset")
            made.admit(admission, LONG_MS)
            assert f"table arp {TABLE}" in nft("list", "tables")
            assert reached(wire) == expected
        made.admit(Admission.CLOSED, 0)
        assert reached(wire) == set()


@in_private_network
async def test_a_standby_still_hears_where_the_address_is() -> None:
    """The host itself is a client of the address while another has it."""
    web = WEB.address.ip
    assert isinstance(web, IPv4Address)
    with client() as wire, gate(WEB):
        ip("address", "del", str(WEB.address), "dev", INSIDE)
        ip("neighbour", "replace", str(web), "lladdr", "02:5a:00:00:00:01", "dev", INSIDE)
        ip("neighbour", "change", str(web), "dev", INSIDE, "nud", "stale")
        wire.announces(web, OTHER_MAC)
        assert not wire.pinged(web)  # what was sent before is taken in
        assert OTHER_MAC.hex(":") in ip("neighbour", "show", str(web))


@in_private_network
async def test_a_refused_transaction_names_the_reason() -> None:
    packet_filter = Nft()
    with pytest.raises(NftRefused, match="the packet filter refused: No such file or directory"):
        packet_filter.run("flush set inet nowhere live4")
    packet_filter.close()
