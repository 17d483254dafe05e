"""Announcements as they arrive at the other end of a cable."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_interface

import pytest

from fakes.patience import PATIENCE_S
from fakes.private_network import INSIDE, OUTSIDE, in_private_network, ip
from staqraft.actions.announce import Announcer, RawSender, frames
from staqraft.actions.vip import VipHolder, boottime_ms
from staqraft.config.schema import Vip
from staqraft.model import GroupId

WEB = Vip(address=ip_interface("192.0.2.10/24"), interface=INSIDE)
MAIL = Vip(address=ip_interface("2001:db8::10/64"), interface=INSIDE)
ALL_PROTOCOLS = 0x0003


def sniffer() -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    raw.bind((OUTSIDE, ALL_PROTOCOLS))
    raw.setblocking(False)
    return raw


async def arriving(raw: socket.socket, wanted: list[bytes]) -> list[bytes]:
    """Reads until every wanted frame was seen; returns those, in order of arrival."""
    seen: list[bytes] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(seen) < len(wanted):
            frame = await asyncio.get_running_loop().sock_recv(raw, 2048)
            if frame in wanted:
                seen.append(frame)
    return seen


@in_private_network
async def test_all_forms_arrive_at_the_other_end() -> None:
    mac = bytes.fromhex(_mac_of(INSIDE).replace(":", ""))
    holder = VipHolder(GroupId("default"), [WEB, MAIL])
    await holder.hold(boottime_ms() + 30_000)
    wanted = frames(WEB.address.ip, mac) + frames(MAIL.address.ip, mac)
    with sniffer() as raw, closing(RawSender()) as sender:
        assert sender.send(WEB)
        assert sender.send(MAIL)
        assert await arriving(raw, wanted) == wanted
    await holder.aclose()


@in_private_network
async def test_the_kernel_at_the_other_end_believes_it() -> None:
    """The checksum and the flags are right: a neighbour entry with another address changes."""
    holder = VipHolder(GroupId("default"), [MAIL])
    await holder.hold(boottime_ms() + 30_000)
    ip("-6", "neighbour", "add", "2001:db8::10", "lladdr", "02:00:00:00:00:99", "dev", OUTSIDE,
       "nud", "stale")  # fmt: skip
    sender = RawSender()
    monitor = await asyncio.create_subprocess_exec(
        "ip", "-6", "-o", "monitor", "neigh", stdout=asyncio.subprocess.PIPE
    )
    assert monitor.stdout is not None
    try:
        line = asyncio.ensure_future(_line_with(monitor.stdout, _mac_of(INSIDE)))
        async with asyncio.timeout(PATIENCE_S):
            while not line.done():
                assert sender.send(MAIL)
                await asyncio.wait([line], timeout=0.1)
    finally:
        sender.close()
        monitor.kill()
        await monitor.wait()
    assert _mac_of(INSIDE) in ip("-6", "neighbour", "show", "2001:db8::10", "dev", OUTSIDE)
    await holder.aclose()


async def _line_with(lines: asyncio.StreamReader, text: str) -> str:
    while text not in (line := (await lines.readline()).decode()):
        assert line, "ip monitor ended"
    return line


@in_private_network
async def test_an_address_that_is_not_here_is_not_announced() -> None:
    with sniffer() as raw, closing(RawSender()) as sender:
        assert not sender.send(WEB)
        assert not sender.send(MAIL)
        assert not [frame for frame in _arrived(raw) if frame[12:14].hex() == "0806"]


@in_private_network
async def test_an_interface_that_is_not_there_is_an_error() -> None:
    ip("address", "add", "192.0.2.10/24", "dev", INSIDE)
    with closing(RawSender()) as sender, pytest.raises(OSError, match="No such device"):
        sender.send(Vip(address=WEB.address, interface="lan7"))


def _arrived(raw: socket.socket) -> Iterator[bytes]:
    """What is there already: on this cable nothing is under way after sender.send() returned."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield raw.recv(2048)


def _mac_of(interface: str) -> str:
    words = ip("-o", "link", "show", interface).split()
    return words[words.index("link/ether") + 1]


@in_private_network
async def test_announcing_does_not_hold_up_the_event_loop() -> None:
    holder = VipHolder(GroupId("default"), [WEB])
    await holder.hold(boottime_ms() + 30_000)
    announcer = Announcer(lambda: True)
    slow = _seconds(_with_a_socket_of_its_own)  # the kernel waits before it lets one go
    # The best of several: whoever is held up by the machine is not held up by the kernel.
    assert min(_seconds(lambda: announcer.announce([WEB])) for _ in range(5)) < slow / 2
    await announcer.stop()
    await holder.aclose()


def _with_a_socket_of_its_own() -> None:
    with closing(RawSender()) as sender:
        sender.send(WEB)


def _seconds(what: Callable[[], None]) -> float:
    """Twenty of them, here and now."""
    started = time.perf_counter()
    for _ in range(20):
        what()
    return time.perf_counter() - started
