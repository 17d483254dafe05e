"""Virtual addresses on a real kernel, in a network of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_interface

import pytest

from fakes.private_network import INSIDE, OUTSIDE, in_private_network, ip
from staqraft.actions.vip import (
    ForeignAddress,
    StillHeld,
    VipHolder,
    boottime_ms,
)
from staqraft.config.schema import Vip
from staqraft.errors import ActionError
from staqraft.model import GroupId

WEB = Vip(address=ip_interface("192.0.2.10/24"), interface=INSIDE)
MAIL = Vip(address=ip_interface("2001:db8::10/64"), interface=INSIDE)
GROUP = GroupId("default")
ATTEMPTS = 8


@asynccontextmanager
async def holder(*vips: Vip) -> AsyncIterator[VipHolder]:
    made = VipHolder(GROUP, vips)
    try:
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def watching_removals() -> AsyncIterator[asyncio.StreamReader]:
    """What the kernel says about addresses, as lines."""
    monitor = await asyncio.create_subprocess_exec(
        "ip", "-o", "monitor", "address", stdout=asyncio.subprocess.PIPE
    )
    assert monitor.stdout is not None
    try:
        # It says nothing when it is ready: make an address until one is seen.
        seen = asyncio.ensure_future(monitor.stdout.readline())
        while not seen.done():
            ip("address", "replace", "198.51.100.1/32", "dev", OUTSIDE)
            await asyncio.wait([seen], timeout=0.05)
        yield monitor.stdout
    finally:
        monitor.kill()
        await monitor.wait()


async def removal_of(vip: Vip, lines: asyncio.StreamReader) -> int:
    """Waits until the kernel removes the address; the time of that."""
    async with asyncio.timeout(60):
        while True:
            line = (await lines.readline()).decode()
            if line.startswith("Deleted") and f" {vip.address.ip}/" in line:
                return boottime_ms()


@in_private_network
async def test_the_kernel_takes_the_addresses_away_before_the_lease_ends() -> None:
    async with holder(WEB, MAIL) as vips, watching_removals() as lines:

        async def attempt(until_ms: int) -> int:
            held = await vips.hold(until_ms)
            assert held.added == (WEB, MAIL)
            assert await vips.held() == {WEB: True, MAIL: True}
            return await all_gone_ms(vips, lines)

        await in_time_at_least_once(attempt, lease_ms=2700)
        assert await vips.held() == {WEB: False, MAIL: False}

        again = await vips.hold(boottime_ms() + 3000)
        assert again.added == (WEB, MAIL)  # to be announced again


@in_private_network
async def test_also_while_somebody_else_adds_addresses() -> None:
    """Each makes the kernel look at all of them, and then not again for a second."""
    async with holder(WEB, MAIL) as vips, watching_removals() as lines:

        async def attempt(until_ms: int) -> int:
            begun_ms = boottime_ms()
            held = await vips.hold(until_ms)
            shortly_before_the_end_ms = begun_ms + held.lifetime_s * 1000 - 100
            await asyncio.sleep((shortly_before_the_end_ms - boottime_ms()) / 1000)  # the subject
            ip("address", "replace", "198.51.100.2/32", "dev", OUTSIDE)
            ip("address", "replace", "2001:db8:1::2/128", "dev", OUTSIDE, "nodad")
            return await all_gone_ms(vips, lines)

        await in_time_at_least_once(attempt, lease_ms=2700)


async def all_gone_ms(vips: VipHolder, lines: asyncio.StreamReader) -> int:
    """Waits until the kernel has taken all away; when that was seen."""
    for vip in vips.vips:
        while (await vips.held())[vip]:
            await removal_of(vip, lines)
    return boottime_ms()


async def in_time_at_least_once(attempt: Callable[[int], Awaitable[int]], *, lease_ms: int) -> None:
    """A machine whose processor is withheld sees late what its kernel did in time."""
    late_ms = []
    for _ in range(ATTEMPTS):
        until_ms = boottime_ms() + lease_ms
        late_ms.append(await attempt(until_ms) - until_ms)
        if late_ms[-1] <= 0:
            return
    pytest.fail(f"the addresses outlived the lease each time, by {late_ms} ms")


@in_private_network
async def test_a_refresh_lets_the_addresses_live_on() -> None:
    async with holder(WEB, MAIL) as vips, watching_removals() as lines:
        started_ms = boottime_ms()
        await vips.hold(started_ms + 4000)
        await asyncio.sleep(1.2)  # real time is the subject: most of the first lifetime
        held = await vips.hold(boottime_ms() + 4000)
        refreshed_ms = boottime_ms()
        assert held.added == ()
        assert await removal_of(WEB, lines) - refreshed_ms >= 1900
        assert boottime_ms() - started_ms > 2500  # the first lifetime's latest end


@in_private_network
async def test_an_ipv6_address_is_usable_at_once() -> None:
    async with holder(MAIL) as vips:
        await vips.hold(boottime_ms() + 4000)
        shown = ip("-6", "-o", "address", "show", "dev", INSIDE, "to", str(MAIL.address.ip))
        assert "nodad" in shown
        assert "tentative" not in shown
        assert "valid_lft 2sec preferred_lft 0sec" in shown, "never a source by the kernel's choice"


@in_private_network
async def test_letting_go_removes_all_and_asks_the_kernel() -> None:
    async with holder(WEB, MAIL) as vips:
        await vips.hold(boottime_ms() + 5000)
        await vips.drop()
        assert await vips.held() == {WEB: False, MAIL: False}
        assert str(WEB.address.ip) not in ip("address", "show")
        await vips.drop()  # again is fine


@in_private_network
async def test_letting_go_fails_while_another_interface_still_answers() -> None:
    async with holder(WEB) as vips:
        await vips.hold(boottime_ms() + 5000)
        ip("address", "add", "192.0.2.10/32", "dev", OUTSIDE)
        with pytest.raises(StillHeld, match=rf"still has 192\.0\.2\.10/32 on {OUTSIDE}.*by hand"):
            await vips.drop()
        assert await vips.held() == {WEB: False}


@in_private_network
async def test_what_an_earlier_life_held_is_removed_at_start() -> None:
    async with holder(WEB, MAIL) as earlier:
        await earlier.hold(boottime_ms() + 60_000)
    async with holder(WEB, MAIL) as vips:
        assert await vips.remove_leftovers() == (WEB, MAIL)
        assert await vips.held() == {WEB: False, MAIL: False}
        assert await vips.remove_leftovers() == ()


@in_private_network
async def test_an_address_configured_by_an_administrator_is_not_touched() -> None:
    ip("address", "add", "192.0.2.10/24", "dev", INSIDE)
    async with holder(WEB) as vips:
        for call in (vips.remove_leftovers(), vips.hold(boottime_ms() + 5000)):
            with pytest.raises(ForeignAddress, match="configured permanently on this node"):
                await call
        with pytest.raises(StillHeld, match="was not set by StaqRaft"):
            await vips.drop()
    assert "192.0.2.10/24" in ip("address", "show", "dev", INSIDE)
    assert "valid_lft forever" in ip("-o", "address", "show", "to", "192.0.2.10")


@in_private_network
async def test_an_interface_that_is_not_there_is_named() -> None:
    async with holder(Vip(address=WEB.address, interface="lan7")) as vips:
        with pytest.raises(ActionError, match="no interface 'lan7'"):
            await vips.hold(boottime_ms() + 5000)
        await vips.drop()


@in_private_network
async def test_the_hosts_own_address_survives_though_the_virtual_one_came_first() -> None:
    async with holder(WEB) as vips:
        await vips.hold(boottime_ms() + 5000)
        ip("address", "add", "192.0.2.1/24", "dev", INSIDE)  # DHCP answered late
        await vips.drop()
    assert "192.0.2.1/24" in ip("address", "show", "dev", INSIDE)


@in_private_network
async def test_the_hosts_own_route_stays_for_ever() -> None:
    ip("address", "add", "2001:db8::1/64", "dev", INSIDE, "nodad")
    async with holder(MAIL) as vips:
        await vips.hold(boottime_ms() + 5000)
        route = ip("-6", "route", "show", "2001:db8::/64")
        await vips.drop()
    assert "expires" not in route
    assert "2001:db8::/64" in ip("-6", "route", "show", "2001:db8::/64")


@in_private_network
async def test_what_this_host_begins_has_its_own_address_as_source() -> None:
    """Also a virtual one that is nearer to the other end, which the kernel would else prefer."""
    ip("address", "add", "192.0.2.1/24", "dev", INSIDE)
    ip("address", "add", "2001:db8::1/64", "dev", INSIDE, "nodad")
    async with holder(WEB, MAIL) as vips:
        before = [_source(to) for to in ("192.0.2.11", "2001:db8::11")]
        await vips.hold(boottime_ms() + 30_000)
        await vips.hold(boottime_ms() + 40_000)
        assert [_source(to) for to in ("192.0.2.11", "2001:db8::11")] == before
        assert before == ["192.0.2.1", "2001:db8::1"]
        assert all((await vips.held()).values())


def _source(to: str) -> str:
    words = ip("route", "get", to).split()
    return words[words.index("src") + 1]
