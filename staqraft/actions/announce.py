"""Tells the network where a virtual address is now, by gratuitous ARP and neighbour advertisements.

Each announcement is sent in every form that some switch or host insists on: the ARP request
(RFC 5227) and the ARP reply, or an ICMPv6 neighbour advertisement with the override flag (RFC 4861,
7.2.6). At once, five times over the next two seconds, and every minute (`announce_every`) for
switches that missed those.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from staqraft.config.schema import Vip
from staqraft.logs import Once, log_once

logger = logging.getLogger(__name__)

AT_ONCE_MORE = 5
SPACING_S = 0.4

ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
ETHERNET_BROADCAST = b"\xff" * 6
ALL_NODES = IPv6Address("ff02::1")
ALL_NODES_MAC = bytes.fromhex("333300000001")
ARP_REQUEST, ARP_REPLY = 1, 2
ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136
OVERRIDE = 0x20000000
TARGET_LINK_LAYER_ADDRESS = 2
MAC_BYTES = 6
SIOCGIFHWADDR = 0x8927
ARPHRD_ETHER = 1


def frames(address: IPv4Address | IPv6Address, mac: bytes) -> list[bytes]:
    """The Ethernet frames that announce `address` at `mac`."""
    if isinstance(address, IPv4Address):
        return [_arp(address, mac, ARP_REQUEST), _arp(address, mac, ARP_REPLY)]
    return [_advertisement(address, mac)]


def _arp(address: IPv4Address, mac: bytes, operation: int) -> bytes:
    ethernet = ETHERNET_BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP)
    # In the request nobody's hardware address is asked for; the reply is for everybody.
    target = b"\0" * MAC_BYTES if operation == ARP_REQUEST else ETHERNET_BROADCAST
    header = struct.pack("!HHBBH", 1, ETHERTYPE_IPV4, MAC_BYTES, 4, operation)
    return ethernet + header + mac + address.packed + target + address.packed


def _advertisement(address: IPv6Address, mac: bytes) -> bytes:
    option = struct.pack("!BB", TARGET_LINK_LAYER_ADDRESS, 1) + mac
    body = struct.pack("!I", OVERRIDE) + address.packed + option
    length = 4 + len(body)
    pseudo = address.packed + ALL_NODES.packed + struct.pack("!II", length, socket.IPPROTO_ICMPV6)
    unsummed = struct.pack("!BBH", ICMPV6_NEIGHBOUR_ADVERTISEMENT, 0, 0) + body
    icmp = unsummed[:2] + struct.pack("!H", checksum(pseudo + unsummed)) + unsummed[4:]
    # Hop limit 255: receivers drop anything that a router could have passed on.
    header = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_ICMPV6, 255)
    ethernet = ALL_NODES_MAC + mac + struct.pack("!H", ETHERTYPE_IPV6)
    return ethernet + header + address.packed + ALL_NODES.packed + icmp


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def on_this_host(address: IPv4Address | IPv6Address) -> bool:
    """Whether the kernel lets us use the address as our own. Does not block.

    Always true where net.ipv4.ip_nonlocal_bind is set: the lease is looked at as well.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            raise
    return True


class Sender(Protocol):
    """Puts announcements on the wire."""

    def send(self, vip: Vip) -> bool:
        """Announces the address once if it is on this host; False if not: nothing was sent.

        OSError when the interface is gone or down. Does not block.
        """

    def close(self) -> None:
        """Gives the socket back; may block. `send` opens another."""


class RawSender:
    """Sends Ethernet frames by a packet socket, which stays open between announcements.

    To close a packet socket the kernel waits until no processor looks at it, 8 to 27 ms: that is
    not for the event loop.
    """

    def __init__(self) -> None:
        self._raw: socket.socket | None = None

    def send(self, vip: Vip) -> bool:
        """Announces the address once if it is on this host; False if not: nothing was sent."""
        address = vip.address.ip
        if not on_this_host(address):
            return False
        if self._raw is None:
            flags = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            self._raw = socket.socket(socket.AF_PACKET, flags, 0)  # protocol 0: receives nothing
        mac = mac_of(self._raw, vip.interface)
        for frame in frames(address, mac):
            self._raw.sendto(frame, (vip.interface, 0))
        return True

    def close(self) -> None:
        """Gives the socket back; blocks for some milliseconds."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None


def mac_of(any_socket: socket.socket, interface: str) -> bytes:
    """Of an Ethernet interface; OSError, EAFNOSUPPORT for another."""
    request = struct.pack("16sH22x", interface.encode(), 0)
    answer: bytes = fcntl.ioctl(any_socket, SIOCGIFHWADDR, request)
    (kind,) = struct.unpack_from("H", answer, 16)
    if kind != ARPHRD_ETHER:
        raise OSError(errno.EAFNOSUPPORT, f"{interface} is not an Ethernet interface")
    return answer[18 : 18 + MAC_BYTES]


class Announcer:
    """Announces a group's addresses, again and again, for as long as this node may.

    `may_announce` says whether the lease still runs; it is asked right before each announcement,
    because a process that was stopped wakes up in the middle of a wait, with the address elsewhere.
    """

    def __init__(
        self,
        may_announce: Callable[[], bool],
        *,
        refresh_s: float = 60.0,
        sender: Sender | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._may_announce = may_announce
        self._sender = RawSender() if sender is None else sender
        self._sleep = sleep
        self._refresh_s = refresh_s
        self._tasks: dict[Vip, asyncio.Task[None]] = {}
        self._failures = Once()

    def announce(self, vips: Sequence[Vip]) -> None:
        """Announces the addresses now, and repeats it in the background until `stop`.

        Never fails: an announcement that cannot be sent is logged and tried again in time.
        """
        for vip in vips:
            self._cancel(vip)
            self._once(vip)
            self._tasks[vip] = asyncio.create_task(
                self._repeat(vip), name=f"announce {vip.address}"
            )

    async def stop(self) -> None:
        """Ends all repeating; when it returns, nothing more is sent."""
        tasks = list(self._tasks.values())
        for vip in list(self._tasks):
            self._cancel(vip)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._sender.close)

    def _cancel(self, vip: Vip) -> None:
        if (task := self._tasks.pop(vip, None)) is not None:
            task.cancel()

    async def _repeat(self, vip: Vip) -> None:
        for _ in range(AT_ONCE_MORE):
            await self._sleep(SPACING_S)
            self._once(vip)
        while True:
            await self._sleep(self._refresh_s)
            self._once(vip)

    def _once(self, vip: Vip) -> None:
        if not self._may_announce():
            return
        key = str(vip.address)
        try:
            self._sender.send(vip)
        except OSError as error:
            log_once(
                self._failures,
                key,
                logger,
                logging.WARNING,
                "cannot announce a virtual address: clients may not find it for minutes;"
                " check the interface with 'ip link'",
                vip=vip.address,
                interface=vip.interface,
                reason=error.strerror or str(error),
            )
        else:
            self._failures.forget(key)
