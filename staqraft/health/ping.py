"""ICMP echo by sockets of our own: to targets, and both ways between the replicas.

A raw socket that is bound and connected gets from the kernel what comes from that one address, by a
filter only echoes. It also sees the **requests** of the other side, which the kernel answers by
itself: so each daemon's pings, which carry a mark, tell the other that this direction works, and a
one-way fault can be told from a cut. Where a raw socket is not permitted, an ICMP datagram socket
does for replies (net.ipv4.ping_group_range).

Nothing here waits: a packet is sent or it is not, and answers are read by the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

MARK: Final = b"staqraft ping 1\0"
_HEADER: Final = struct.Struct("!BBHHH")
_SOL_RAW: Final = 255  # Python has no name for it
_ICMP_FILTER: Final = 1
_V4_REPLY, _V4_REQUEST = 0, 8
_V6_REQUEST, _V6_REPLY = 128, 129
_NUMBERS: Final = 1 << 16
_READ_AT_ONCE: Final = 16
_KEPT: Final = 32  # requests whose answers are still of use
_MOST_BYTES: Final = 256


class Pinger:
    """Pings one address, from one of ours if that is given. Ages are by `now_ms`.

    `answered_ms` and `heard_ms` are when it last answered, and when a ping of another daemon last
    came from there; None: never. `round_trip_us` is how long its last answer took. `problem` is why
    the last ping could not be sent, "" if it was.
    """

    def __init__(
        self,
        address: str,
        source: str = "",
        *,
        now_ms: Callable[[], int],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`now_ns` is for round trips alone."""
        self.address = address
        self.source = source
        self.answered_ms: int | None = None
        self.heard_ms: int | None = None
        self.round_trip_us: int | None = None
        self.since_ms = now_ms()
        self.problem = ""
        self._now_ms = now_ms
        self._now_ns = now_ns
        self._v6 = ":" in address
        self._raw = False
        self._socket: socket.socket | None = None
        self._identity = int.from_bytes(os.urandom(2), "big")
        self._number = 0
        self._asked: dict[int, int] = {}  # number: when, in nanoseconds

    def ask(self) -> None:
        """Sends a ping; what comes back is noted when it comes."""
        try:
            if self._socket is None:
                self._open()
            assert self._socket is not None, "it was opened"
            self._number = (self._number + 1) % _NUMBERS
            self._asked[self._number] = self._now_ns()
            for old in list(self._asked)[:-_KEPT]:
                del self._asked[old]
            self._socket.send(self._request())
            self.problem = ""
        except OSError as error:
            self.problem = error.strerror or str(error)
            self.close()  # an address or a route that came meanwhile is for a new socket

    def close(self) -> None:
        """Gives the socket back."""
        if self._socket is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _open(self) -> None:
        family = socket.AF_INET6 if self._v6 else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if self._v6 else socket.IPPROTO_ICMP
        try:
            opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
            self._raw = True
        except PermissionError:
            opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol)
            self._raw = False
        try:
            opened.setblocking(False)
            if self._raw:
                self._filter(opened)
            if self.source:
                opened.bind((self.source, 0))
            opened.connect((self.address, 0))
        except OSError:
            opened.close()
            raise
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._read)

    def _filter(self, opened: socket.socket) -> None:
        """Echoes only: whatever else ICMP brings to this host is not for us."""
        if self._v6:
            blocked = bytearray(b"\xff" * 32)
            for kind in (_V6_REQUEST, _V6_REPLY):
                word = struct.unpack_from("=I", blocked, kind // 32 * 4)[0] & ~(1 << kind % 32)
                struct.pack_into("=I", blocked, kind // 32 * 4, word)
            opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP_FILTER, bytes(blocked))
        else:
            passes = 1 << _V4_REPLY | 1 << _V4_REQUEST
            opened.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~passes & 0xFFFFFFFF))

    def _request(self) -> bytes:
        kind = _V6_REQUEST if self._v6 else _V4_REQUEST
        packet = _HEADER.pack(kind, 0, 0, self._identity, self._number) + MARK
        if self._v6 or not self._raw:
            return packet  # the kernel puts in the sum
        return packet[:2] + struct.pack("!H", _sum(packet)) + packet[4:]

    def _read(self) -> None:
        for _ in range(_READ_AT_ONCE):
            if self._socket is None:
                return
            try:
                packet = self._socket.recv(_MOST_BYTES)
            except BlockingIOError:
                return
            except OSError as error:  # what an earlier ping met: no such host
                self.problem = error.strerror or str(error)
                return
            self.take(packet)

    def take(self, packet: bytes) -> None:
        """What came from the address."""
        echo = parse(packet, ip_header=self._raw and not self._v6)
        if echo is None:
            return
        kind, identity, number = echo
        if kind == (_V6_REQUEST if self._v6 else _V4_REQUEST):
            self.heard_ms = self._now_ms()
        elif kind == (_V6_REPLY if self._v6 else _V4_REPLY):
            # Without a raw socket the kernel chose the identity, and lets in nothing else.
            ours = identity == self._identity or not self._raw
            asked_ns = self._asked.pop(number, None) if ours else None
            if asked_ns is not None:
                self.answered_ms = self._now_ms()
                self.round_trip_us = (self._now_ns() - asked_ns) // 1000


def parse(packet: bytes, *, ip_header: bool) -> tuple[int, int, int] | None:
    """Kind, identity and number of an echo with our mark; None: something else."""
    if ip_header and packet:
        packet = packet[(packet[0] & 0x0F) * 4 :]
    if len(packet) < _HEADER.size or not packet.startswith(MARK, _HEADER.size):
        return None
    kind, _, _, identity, number = _HEADER.unpack_from(packet)
    return kind, identity, number


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
