"""The kernel's addresses through netlink: read all, set one, remove one. Blocks."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from staqraft.config.schema import Vip
from staqraft.errors import ActionError

Address = IPv4Address | IPv6Address

OWN_MARK = 83  # IFA_PROTO of our addresses ("S"); 1 to 3 are the kernel's
MARKS_SINCE = (5, 18)
FOREVER = 0xFFFFFFFF
NO_DUPLICATE_DETECTION = 0x02  # IFA_F_NODAD: usable at once, and no neighbour can veto it
NO_PREFIX_ROUTE = 0x200  # IFA_F_NOPREFIXROUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAddress:
    """An address that this host has. `lifetime_s` is what is left of it; None: for ever."""

    interface: str
    address: Address
    prefix_length: int
    lifetime_s: int | None
    mark: int = 0

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length} on {self.interface}"


class Kernel(Protocol):
    """What VipHolder needs of the kernel. All calls come from one thread and may block it."""

    marks: bool  # addresses keep the mark that they were set with

    def addresses(self) -> Sequence[KernelAddress]:
        """Every address of this host, on every interface."""

    def put(self, vip: Vip, lifetime_s: int, *, prefix_route: bool) -> None:
        """Adds the address with our mark, or gives it a new lifetime from now."""

    def remove(self, address: KernelAddress) -> None:
        """Removes it; that it is gone already is fine."""

    def close(self) -> None:
        """Gives the socket back."""


class Netlink:
    """The kernel of this network namespace, by pyroute2."""

    def __init__(self) -> None:
        self._route = IPRoute()
        release = os.uname().release.split(".")
        self.marks = (int(release[0]), int(release[1].split("-")[0])) >= MARKS_SINCE

    def addresses(self) -> Sequence[KernelAddress]:
        """Every address of this host, on every interface."""
        try:
            found = list(self._route.get_addr())
        except NetlinkError as error:
            raise _failure("read the addresses of this host", error) from error
        names = dict(socket.if_nameindex())
        return [a for message in found if (a := _parse(message, names)) is not None]

    def put(self, vip: Vip, lifetime_s: int, *, prefix_route: bool) -> None:
        """Adds the address with our mark, or gives it a new lifetime from now."""
        flags = 0 if prefix_route else NO_PREFIX_ROUTE
        preferred_s = lifetime_s
        if isinstance(vip.address.ip, IPv6Address):
            flags |= NO_DUPLICATE_DETECTION
            # "Deprecated": answered as ever, but never the source of what this host begins, which
            # would break when the address moves. An IPv4 VIP is that by being a secondary one.
            preferred_s = 0
        try:
            self._route.addr(
                "replace",
                index=_index(vip.interface),
                address=str(vip.address.ip),
                prefixlen=vip.address.network.prefixlen,
                flags=flags & 0xFF,
                IFA_FLAGS=flags,
                IFA_PROTO=OWN_MARK,
                preferred=preferred_s,
                valid=lifetime_s,
            )
        except NetlinkError as error:
            raise _failure(f"set {vip.address} on {vip.interface}", error) from error

    def remove(self, address: KernelAddress) -> None:
        """Removes it; that it is gone already is fine."""
        try:
            self._route.addr(
                "del",
                index=_index(address.interface),
                address=str(address.address),
                prefixlen=address.prefix_length,
            )
        except NetlinkError as error:
            if error.code not in {errno.EADDRNOTAVAIL, errno.ENODEV}:
                raise _failure(f"remove {address}", error) from error

    def close(self) -> None:
        """Gives the socket back."""
        self._route.close()


def _parse(message: Any, names: dict[int, str]) -> KernelAddress | None:
    attributes = dict(message["attrs"])
    text = attributes.get("IFA_LOCAL") or attributes.get("IFA_ADDRESS")
    interface = names.get(message["index"])
    if text is None or interface is None:  # no address, or its interface went away meanwhile
        return None
    lifetime = attributes.get("IFA_CACHEINFO", {}).get("ifa_valid", FOREVER)
    return KernelAddress(
        interface=interface,
        address=ip_address(text),
        prefix_length=message["prefixlen"],
        lifetime_s=None if lifetime == FOREVER else lifetime,
        mark=attributes.get("IFA_PROTO") or 0,
    )


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise ActionError(
            f"this node has no interface {interface!r} for the virtual address: compare"
            " 'interface' under 'vips' in the configuration with 'ip link'"
        ) from error


def _failure(what: str, error: NetlinkError) -> ActionError:
    reason = os.strerror(error.code)
    advice = ": staqraftd needs root or CAP_NET_ADMIN" if error.code == errno.EPERM else ""
    return ActionError(f"the kernel refused to {what}: {reason}{advice}")
