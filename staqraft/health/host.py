"""What the kernel says of this host: memory, default gateway, interfaces and their links.

All of it by system calls and files in memory; but those of the network may wait for the routing
lock, so they are for a thread and not for the event loop.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFCONF: Final = 0x8912
_IFF_RUNNING: Final = 0x40  # up, and its link works
_IFF_UP: Final = 0x1
_IFREQ: Final = 40
_MOST_INTERFACES: Final = 512
_ROUTE_UP_GATEWAY: Final = 0x3


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface that has one of our addresses. `carrier`: it is up, and its link works."""

    name: str
    carrier: bool


def memory() -> tuple[int, int]:
    """Bytes that are available, and in all."""
    found = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in {"MemAvailable", "MemTotal"}:
            found[name] = int(rest.split()[0]) << 10
    return found.get("MemAvailable", 0), found.get("MemTotal", 0)


def gateways() -> tuple[tuple[str, str], ...]:
    """Where the default routes lead: address and interface, IPv4 first; the best of each."""
    return (*_gateway_v4(), *_gateway_v6())


def _gateway_v4() -> tuple[tuple[str, str], ...]:
    best: tuple[int, str, str] | None = None
    for line in _lines("/proc/self/net/route")[1:]:
        interface, target, gateway, flags, _, _, metric, *_ = line.split()
        if int(target, 16) or int(flags, 16) & _ROUTE_UP_GATEWAY != _ROUTE_UP_GATEWAY:
            continue
        address = socket.inet_ntoa(struct.pack("=I", int(gateway, 16)))
        if best is None or int(metric) < best[0]:
            best = int(metric), address, interface
    return ((best[1], best[2]),) if best else ()


def _gateway_v6() -> tuple[tuple[str, str], ...]:
    best: tuple[int, str, str] | None = None
    for line in _lines("/proc/self/net/ipv6_route"):
        target, length, _, _, gateway, metric, _, _, flags, interface = line.split()
        if int(target, 16) or int(length, 16) or int(flags, 16) & 0x3 != _ROUTE_UP_GATEWAY:
            continue
        address = str(IPv6Address(int(gateway, 16)))
        if ip_address(address).is_link_local:
            address = f"{address}%{interface}"
        if best is None or int(metric, 16) < best[0]:
            best = int(metric, 16), address, interface
    return ((best[1], best[2]),) if best else ()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # a kernel without IPv6
        return []


def interfaces() -> dict[str, Interface]:
    """By each address of this host, the interface that has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ask:
        found = {}
        links: dict[str, bool] = {}
        for address, name in (*_addresses_v4(ask), *_addresses_v6()):
            if name not in links:
                links[name] = _carrier(ask, name)
            found[address] = Interface(name=name, carrier=links[name])
        return found


def links(names: Iterable[str]) -> dict[str, bool | None]:
    """Of each interface whether it is up, and its link works; None: there is none of this name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ask:
        return {name: _link(ask, name) for name in names}


def _carrier(ask: socket.socket, name: str) -> bool:
    return bool(_link(ask, name))


def _link(ask: socket.socket, name: str) -> bool | None:
    request = name.split(":", 1)[0].encode().ljust(_IFREQ, b"\0")  # eth0:1 is a label
    try:
        answer = fcntl.ioctl(ask, _SIOCGIFFLAGS, request)
    except OSError:
        return None  # it is not there, or has gone meanwhile
    flags: int = struct.unpack_from("=H", answer, 16)[0]
    return flags & (_IFF_UP | _IFF_RUNNING) == _IFF_UP | _IFF_RUNNING


def _addresses_v4(ask: socket.socket) -> list[tuple[str, str]]:
    buffer = array.array("B", bytes(_IFREQ * _MOST_INTERFACES))
    where, _ = buffer.buffer_info()
    request = struct.pack("@iP", len(buffer), where)
    size: int = struct.unpack_from("@i", fcntl.ioctl(ask, _SIOCGIFCONF, request))[0]
    raw = buffer.tobytes()
    return [
        (
            socket.inet_ntoa(raw[at + 20 : at + 24]),
            raw[at : at + 16].split(b"\0", 1)[0].decode(errors="replace"),
        )
        for at in range(0, size, _IFREQ)
    ]


def _addresses_v6() -> list[tuple[str, str]]:
    found = []
    for line in _lines("/proc/self/net/if_inet6"):
        address, *_, name = line.split()
        found.append((str(IPv6Address(int(address, 16))), name))
    return found
