"""The far end of the private network's cable: a client made of raw frames.

Each question is asked of an address and, right behind it, of the host itself, which always answers.
The cable keeps the order, so an answer that has not come before the host's will not come: silence
is found out without waiting for it.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from fakes.patience import PATIENCE_S
from fakes.private_network import INSIDE, OUTSIDE, ip

Address = IPv4Address | IPv6Address

HOST4, HOST6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")  # the host's own
CLIENT4, CLIENT6 = ip_address("192.0.2.99"), ip_address("2001:db8::99")
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
TCP, ICMPV6 = 6, 58
SYN, ACK, PUSH = 0x02, 0x10, 0x08
PORT, CLIENT_PORT = 8080, 40_000
ALL_PROTOCOLS = 0x0003


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A TCP segment that came back."""

    flags: int
    sequence: int
    acknowledges: int


class Wire:
    """A client at `OUTSIDE` of a host at `INSIDE`, with addresses of both in both versions."""

    def __init__(self) -> None:
        # Two CPUs have two queues between which the order is lost.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self._mac = _mac(OUTSIDE)
        self._host_mac = _mac(INSIDE)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self._socket.bind((OUTSIDE, 0))
        self._socket.settimeout(PATIENCE_S)
        self._number = 0
        ip("address", "add", f"{HOST4}/24", "dev", INSIDE)
        ip("address", "add", f"{HOST6}/64", "dev", INSIDE, "nodad")
        for client in (CLIENT4, CLIENT6):
            ip("neighbour", "add", str(client), "lladdr", _text(self._mac), "dev", INSIDE)
        for host in (HOST4, HOST6):
            self._wait_for(host)

    def _wait_for(self, host: Address) -> None:
        """A cable that was just plugged in loses frames until the kernel has noticed."""
        self._socket.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(TimeoutError):
                self.pinged(host)
                break
            assert time.monotonic() < deadline, f"{host} does not answer"
        self._socket.settimeout(PATIENCE_S)
        # Late answers to the first questions are before the one to this.
        self._send(self._echo4(host) if isinstance(host, IPv4Address) else self._echo6(host))
        while _number_echoed(self._receive()) != self._number & 0xFFFF:
            pass

    def close(self) -> None:
        self._socket.close()

    # --- questions --------------------------------------------------------------------------------

    def pinged(self, address: Address) -> bool:
        """Whether an echo request to it is answered."""
        make = self._echo4 if isinstance(address, IPv4Address) else self._echo6
        return self._asked(address, make, _echoed)

    def found(self, address: Address) -> bool:
        """Whether its hardware address is told, by ARP or neighbour discovery."""
        if isinstance(address, IPv4Address):
            return self._asked(address, self._who_has, _arp_answer)
        return self._asked(address, self._solicit, _advertised)

    def connecting(self, address: Address) -> bool:
        """Whether a new TCP connection to `PORT` gets any answer."""
        self._number += 1
        port = CLIENT_PORT + self._number
        return self._asked(
            address, lambda to: self._tcp(to, SYN, 1, 0, port=port), lambda f: _tcp_from(f, port)
        )

    def connect(self, address: Address) -> Segment:
        """Opens a TCP connection by hand; what the host said."""
        self._send(self._tcp(address, SYN, 1, 0))
        opened = self._next_segment()
        self._send(self._tcp(address, ACK, 2, opened.sequence + 1))
        return opened

    def say(self, address: Address, opened: Segment, text: bytes) -> Segment:
        """Sends the first bytes of an open connection; what the host says to that."""
        self._send(self._tcp(address, ACK | PUSH, 2, opened.sequence + 1, text))
        return self._next_segment()

    def announces(self, address: IPv4Address, mac: bytes) -> None:
        """A gratuitous ARP request: the address is somewhere else now."""
        body = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + mac + address.packed
        self._send(b"\xff" * 6 + mac + struct.pack("!H", ARP) + body + b"\0" * 6 + address.packed)

    # --- frames -----------------------------------------------------------------------------------

    def _asked(
        self,
        address: Address,
        make: Callable[[Address], bytes],
        answered_by: Callable[[bytes], Address | None],
    ) -> bool:
        host = HOST4 if isinstance(address, IPv4Address) else HOST6
        self._send(make(address))
        self._send(make(host))
        answered = False
        while True:
            who = answered_by(self._receive())
            if who == host:
                return answered
            answered = answered or who == address

    def _send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def _receive(self) -> bytes:
        """The next frame that came from the host."""
        while True:
            frame, (_, _, kind, *_) = self._socket.recvfrom(65_536)
            if kind != socket.PACKET_OUTGOING:
                return bytes(frame)

    def _next_segment(self) -> Segment:
        while True:
            frame = self._receive()
            if _tcp_from(frame, CLIENT_PORT) is not None:
                header = frame[14 + (frame[14] & 0x0F) * 4 :] if _is(frame, IPV4) else frame[54:]
                sequence, acknowledges = struct.unpack("!II", header[4:12])
                return Segment(flags=header[13], sequence=sequence, acknowledges=acknowledges)

    def _who_has(self, address: Address) -> bytes:
        body = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + self._mac + CLIENT4.packed
        return self._frame(ARP, body + b"\0" * 6 + address.packed, to=b"\xff" * 6)

    def _solicit(self, address: Address) -> bytes:
        group = IPv6Address(b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + address.packed[-3:])
        body = struct.pack("!BBHI", 135, 0, 0, 0) + address.packed + b"\x01\x01" + self._mac
        return self._ipv6(group, ICMPV6, body, to=b"\x33\x33" + group.packed[-4:])

    def _echo4(self, address: Address) -> bytes:
        self._number += 1
        body = struct.pack("!BBHHH", 8, 0, 0, 1, self._number & 0xFFFF)
        return self._ipv4(address, 1, _with_checksum(body, 2))

    def _echo6(self, address: Address) -> bytes:
        self._number += 1
        return self._ipv6(
            address, ICMPV6, struct.pack("!BBHHH", 128, 0, 0, 1, self._number & 0xFFFF)
        )

    def _tcp(
        self,
        address: Address,
        flags: int,
        sequence: int,
        acknowledges: int,
        text: bytes = b"",
        *,
        port: int = CLIENT_PORT,
    ) -> bytes:
        body = struct.pack(
            "!HHIIBBHHH", port, PORT, sequence, acknowledges, 5 << 4, flags, 8192, 0, 0
        )
        if isinstance(address, IPv4Address):
            pseudo = CLIENT4.packed + address.packed + struct.pack("!HH", TCP, len(body + text))
            return self._ipv4(address, TCP, _with_checksum(body + text, 16, pseudo))
        return self._ipv6(address, TCP, body + text)

    def _ipv4(self, address: Address, protocol: int, body: bytes) -> bytes:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
        header = _with_checksum(header + CLIENT4.packed + address.packed, 10)
        return self._frame(IPV4, header + body)

    def _ipv6(
        self, address: Address, protocol: int, body: bytes, *, to: bytes | None = None
    ) -> bytes:
        pseudo = CLIENT6.packed + address.packed + struct.pack("!II", len(body), protocol)
        body = _with_checksum(body, 2 if protocol == ICMPV6 else 16, pseudo)
        header = struct.pack("!IHBB", 6 << 28, len(body), protocol, 255)
        return self._frame(IPV6, header + CLIENT6.packed + address.packed + body, to=to)

    def _frame(self, protocol: int, packet: bytes, *, to: bytes | None = None) -> bytes:
        return (to or self._host_mac) + self._mac + struct.pack("!H", protocol) + packet


def _is(frame: bytes, protocol: int) -> bool:
    return frame[12:14] == struct.pack("!H", protocol)


def _arp_answer(frame: bytes) -> Address | None:
    if _is(frame, ARP) and frame[20:22] == b"\0\2":
        return IPv4Address(frame[28:32])
    return None


def _advertised(frame: bytes) -> Address | None:
    if _is(frame, IPV6) and frame[20] == ICMPV6 and frame[54] == 136:
        return IPv6Address(frame[62:78])
    return None


def _echoed(frame: bytes) -> Address | None:
    if _is(frame, IPV4) and frame[23] == 1 and frame[34] == 0:
        return IPv4Address(frame[26:30])
    if _is(frame, IPV6) and frame[20] == ICMPV6 and frame[54] == 129:
        return IPv6Address(frame[22:38])
    return None


def _number_echoed(frame: bytes) -> int | None:
    """Of the request that this answers."""
    if _echoed(frame) is None:
        return None
    at = 40 if _is(frame, IPV4) else 60
    return int.from_bytes(frame[at : at + 2])


def _tcp_from(frame: bytes, port: int) -> Address | None:
    if _is(frame, IPV4) and frame[23] == TCP and frame[36:38] == struct.pack("!H", port):
        return IPv4Address(frame[26:30])
    if _is(frame, IPV6) and frame[20] == TCP and frame[56:58] == struct.pack("!H", port):
        return IPv6Address(frame[22:38])
    return None


def _with_checksum(packet: bytes, at: int, pseudo: bytes = b"") -> bytes:
    data = pseudo + packet + b"\0" * (len(packet) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[:at] + struct.pack("!H", ~total & 0xFFFF) + packet[at + 2 :]


def _mac(interface: str) -> bytes:
    text: str = json.loads(ip("-j", "link", "show", "dev", interface))[0]["address"]
    return bytes.fromhex(text.replace(":", ""))


def _text(mac: bytes) -> str:
    return mac.hex(":")
