"""What an announcement looks like and when it is sent."""

from __future__ import annotations

import asyncio
import logging
from ipaddress import IPv4Address, IPv6Address, ip_interface

import pytest

from staqraft.actions.announce import Announcer, frames
from staqraft.config.schema import Vip

MAC = bytes.fromhex("020000000001")
WEB = Vip(address=ip_interface("192.0.2.10/24"), interface="lan0")


class VirtualTime:
    """Sleepers that wake when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.now_s + seconds, woken))
        await woken.wait()

    async def advance_to(self, until_s: float) -> None:
        await settle()
        while due := [s for s in self._sleepers if s[0] <= until_s]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self.now_s = first[0]
            first[1].set()
            await settle()
        self.now_s = until_s


class Wire:
    """Notes when something is sent, and fails if so told."""

    def __init__(self, time: VirtualTime, failure: OSError | None = None) -> None:
        self.sent_at: list[float] = []
        self._time = time
        self._failure = failure

    def send(self, vip: Vip) -> bool:
        self.sent_at.append(self._time.now_s)
        if self._failure is not None:
            raise self._failure
        return True

    def close(self) -> None:
        pass


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_ipv4_is_announced_as_an_arp_request_and_as_a_reply() -> None:
    request, reply = frames(IPv4Address("192.0.2.10"), MAC)
    ethernet = "ffffffffffff0200000000010806"
    assert request.hex() == ethernet + ("0001080006040001020000000001c000020a000000000000c000020a")
    assert reply.hex() == ethernet + ("0001080006040002020000000001c000020affffffffffffc000020a")


def test_ipv6_is_announced_as_an_advertisement_that_overrides() -> None:
    (frame,) = frames(IPv6Address("2001:db8::10"), MAC)
    assert frame[:14].hex() == "33330000000102000000000186dd"
    header, icmp = frame[14:54], frame[54:]
    assert header[:8].hex() == "6000000000203aff"
    assert header[8:24] == IPv6Address("2001:db8::10").packed
    assert header[24:40] == IPv6Address("ff02::1").packed
    assert icmp[:2].hex() == "8800"
    assert icmp[4:8].hex() == "20000000"
    assert icmp[8:24] == IPv6Address("2001:db8::10").packed
    assert icmp[24:].hex() == "0201020000000001"


async def test_at_once_then_five_times_in_two_seconds_then_every_minute() -> None:
    time = VirtualTime()
    wire = Wire(time)
    announcer = Announcer(lambda: True, sender=wire, sleep=time.sleep)
    announcer.announce([WEB])
    assert wire.sent_at == [0]
    await time.advance_to(130)
    assert wire.sent_at == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0, 62, 122])
    await announcer.stop()
    await time.advance_to(1000)
    assert len(wire.sent_at) == 8


async def test_nothing_is_announced_once_the_lease_is_over() -> None:
    time, lease = VirtualTime(), [True]
    wire = Wire(time)
    announcer = Announcer(lambda: lease[0], sender=wire, sleep=time.sleep)
    announcer.announce([WEB])
    lease[0] = False
    await time.advance_to(100)
    assert wire.sent_at == [0]
    await announcer.stop()


async def test_announcing_again_begins_anew() -> None:
    time = VirtualTime()
    wire = Wire(time)
    announcer = Announcer(lambda: True, sender=wire, sleep=time.sleep)
    announcer.announce([WEB])
    await time.advance_to(1.0)
    announcer.announce([WEB])
    await time.advance_to(4.0)
    assert wire.sent_at == pytest.approx([0, 0.4, 0.8, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0])
    await announcer.stop()


async def test_what_cannot_be_sent_is_said_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    time = VirtualTime()
    wire = Wire(time, OSError(100, "Network is down"))
    announcer = Announcer(lambda: True, sender=wire, sleep=time.sleep)
    with caplog.at_level(logging.WARNING):
        announcer.announce([WEB])
        await time.advance_to(2.0)
    await announcer.stop()
    assert len(wire.sent_at) == 6
    assert [r.getMessage()[:40] for r in caplog.records] == [
        "cannot announce a virtual address: clien"
    ]
