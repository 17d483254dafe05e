"""Asks the network who has an address, before it is used and now and then.

IPv4 by ARP probes (RFC 5227: from nobody, so that no neighbour's table changes), IPv6 by neighbour
solicitations for duplicate address detection (RFC 4861, 4862). Packet sockets see the answers
before any packet filter does, the gate included, and this host does not answer itself. Whoever
answers has the address or a stale idea of having it; who it is, is for others to judge.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from staqraft.actions.announce import (
    ARP_REQUEST,
    ETHERNET_BROADCAST,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    MAC_BYTES,
    TARGET_LINK_LAYER_ADDRESS,
    checksum,
    mac_of,
)
from staqraft.config.schema import Vip

Address = IPv4Address | IPv6Address

TIMES: Final = 3  # a frame may be lost
_ICMPV6_SOLICITATION, _ICMPV6_ADVERTISEMENT = 135, 136
_ICMPV6_AT: Final = 54  # behind the headers of Ethernet and IPv6
_NOBODY: Final = IPv6Address("::")
_SO_ATTACH_FILTER: Final = 26


def question(address: Address, mac: bytes) -> bytes:
    """The Ethernet frame that asks who has `address`."""
    if isinstance(address, IPv4Address):
        ethernet = ETHERNET_BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP)
        header = struct.pack("!HHBBH", 1, ETHERTYPE_IPV4, MAC_BYTES, 4, ARP_REQUEST)
        return ethernet + header + mac + bytes(4) + bytes(MAC_BYTES) + address.packed
    last = address.packed[-3:]
    group = IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:-3] + last)
    body = bytes(4) + address.packed
    length = 4 + len(body)
    pseudo = _NOBODY.packed + group.packed + struct.pack("!II", length, socket.IPPROTO_ICMPV6)
    unsummed = struct.pack("!BBH", _ICMPV6_SOLICITATION, 0, 0) + body
    icmp = unsummed[:2] + struct.pack("!H", checksum(pseudo + unsummed)) + unsummed[4:]
    header = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_ICMPV6, 255)
    ethernet = b"\x33\x33\xff" + last + mac + struct.pack("!H", ETHERTYPE_IPV6)
    return ethernet + header + _NOBODY.packed + group.packed + icmp


def answered(frame: bytes) -> tuple[Address, bytes] | None:
    """The address that somebody claims in this frame, and the MAC where it is; None: it does not.

    ARP of either kind counts, since a request claims its sender's address, too.
    """
    (kind,) = struct.unpack_from("!H", frame, 12) if len(frame) >= _ICMPV6_AT else (0,)
    if kind == ETHERTYPE_ARP or (len(frame) >= 42 and frame[12:14] == b"\x08\x06"):  # noqa: PLR2004
        sender = IPv4Address(frame[28:32])
        return None if int(sender) == 0 else (sender, frame[22:28])
    advertises = (
        kind == ETHERTYPE_IPV6
        and len(frame) >= _ICMPV6_AT + 24
        and frame[20] == socket.IPPROTO_ICMPV6
        and frame[_ICMPV6_AT] == _ICMPV6_ADVERTISEMENT
    )
    if not advertises:
        return None
    target = IPv6Address(frame[_ICMPV6_AT + 8 : _ICMPV6_AT + 24])
    option = frame[_ICMPV6_AT + 24 : _ICMPV6_AT + 32]
    if len(option) == 8 and option[0] == TARGET_LINK_LAYER_ADDRESS:  # noqa: PLR2004
        return target, option[2:8]
    return target, frame[6:12]


def text_of(mac: bytes) -> str:
    """As people write it."""
    return mac.hex(":")


def who_has(vips: Sequence[Vip], wait_ms: int) -> dict[Vip, frozenset[str]]:
    """The MACs that claimed each address within `wait_ms`. Blocks for as long, and for its end.

    An interface that is gone or down, or no Ethernet, has nobody to ask. OSError as the kernel
    says it: EPERM without CAP_NET_RAW.
    """
    found: dict[Vip, set[str]] = {vip: set() for vip in vips}
    with ExitStack() as stack:
        wires: dict[socket.socket, list[Vip]] = {}
        own: set[bytes] = set()
        for (interface, version), some in _by_wire(vips).items():
            try:
                wire = stack.enter_context(_listen(interface, version))
                own.add(mac_of(wire, interface))
            except OSError as error:
                if error.errno in {errno.ENODEV, errno.ENETDOWN, errno.EAFNOSUPPORT, errno.ENXIO}:
                    continue
                raise
            wires[wire] = some
        _ask(wires, found, own, wait_ms / 1000)
    return {vip: frozenset(macs) for vip, macs in found.items()}


def _by_wire(vips: Iterable[Vip]) -> dict[tuple[str, int], list[Vip]]:
    wires: dict[tuple[str, int], list[Vip]] = {}
    for vip in vips:
        wires.setdefault((vip.interface, vip.address.version), []).append(vip)
    return wires


def _ask(
    wires: Mapping[socket.socket, Sequence[Vip]],
    found: Mapping[Vip, set[str]],
    own: set[bytes],
    wait_s: float,
) -> None:
    begun = time.monotonic()
    asked = 0
    while (left_s := begun + wait_s - time.monotonic()) > 0 and wires:
        if asked < TIMES and time.monotonic() - begun >= asked * wait_s / (TIMES + 1):
            asked += 1
            for wire, some in wires.items():
                _send(wire, some)
        pause_s = min(left_s, wait_s / (TIMES + 1))
        for wire in select.select(list(wires), [], [], pause_s)[0]:
            _take(wire, wires[wire], found, own)


def _send(wire: socket.socket, vips: Sequence[Vip]) -> None:
    for vip in vips:
        try:
            wire.send(question(vip.address.ip, mac_of(wire, vip.interface)))
        except OSError as error:
            if error.errno not in {errno.ENETDOWN, errno.ENXIO, errno.ENODEV, errno.ENOBUFS}:
                raise


def _take(
    wire: socket.socket, vips: Sequence[Vip], found: Mapping[Vip, set[str]], own: set[bytes]
) -> None:
    try:
        claim = answered(wire.recv(2048))
    except OSError:  # the interface went down: nobody answers on it
        return
    if claim is None or claim[1] in own:
        return
    for vip in vips:
        if vip.address.ip == claim[0]:
            found[vip].add(text_of(claim[1]))


class _Filter(ctypes.Structure):
    """It is `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


# Classic BPF: ICMPv6 neighbour advertisements only; all of IPv6 would be all of the traffic.
_ADVERTISEMENTS: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 20),  # the next header
        (0x15, 0, 3, socket.IPPROTO_ICMPV6),
        (0x30, 0, 0, _ICMPV6_AT),  # the type
        (0x15, 0, 1, _ICMPV6_ADVERTISEMENT),
        (0x06, 0, 0, 2048),  # take it
        (0x06, 0, 0, 0),  # leave it
    )
)


def _listen(interface: str, version: int) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        kind = ETHERTYPE_ARP
        if version == 6:  # noqa: PLR2004
            kind = ETHERTYPE_IPV6
            program = ctypes.create_string_buffer(_ADVERTISEMENTS, len(_ADVERTISEMENTS))
            attached = _Filter(len(_ADVERTISEMENTS) // 8, ctypes.addressof(program))
            wire.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(attached))
        # Listening begins here, behind the filter.
        wire.bind((interface, kind))
    except OSError:
        wire.close()
        raise
    return wire


def reason(error: OSError) -> str:
    """Why nobody could be asked, for people."""
    return os.strerror(error.errno or 0)
