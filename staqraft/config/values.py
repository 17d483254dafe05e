"""Single values of the configuration from their text: what is accepted, and what to write instead.

Each function returns the value or raises ValueError with a sentence that begins where the value's
name and text end: "is not a duration: write ...".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path, PurePosixPath

from staqraft.names import NAME_RULE, is_name, is_node_name

MAX_PORT = 65_535
MAX_INTERFACE = 15  # IFNAMSIZ - 1
FENCE_AGENTS = Path("/usr/sbin")

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_QUANTITY = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))? ?([A-Za-z]+)", re.ASCII)
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]{0,254}", re.ASCII)
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_AGENT = re.compile(r"fence_[A-Za-z0-9_-]{1,64}", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,9}", re.ASCII)


def duration_ms(text: str) -> int:
    """`300ms`, `3s`, `1.5s`, `2m`, `1h`, `7d`: milliseconds, at least one."""
    value = _quantity(text, _MILLISECONDS)
    if value is None:
        raise ValueError("is not a duration: write for instance 300ms, 3s, 2m, 1h or 7d")
    return value


def duration_to(longest: str) -> Callable[[str], int]:
    """A duration up to `longest`, in milliseconds."""
    return _up_to(longest, duration_ms)


def duration_between(shortest: str, longest: str) -> Callable[[str], int]:
    """A duration from `shortest` to `longest`, in milliseconds: what is done again and again."""
    least, parse = duration_ms(shortest), duration_to(longest)

    def parse_limited(text: str) -> int:
        value = parse(text)
        if value < least:
            raise ValueError(f"is less than {shortest}: nothing is gained by doing it so often")
        return value

    return parse_limited


def size_bytes(text: str) -> int:
    """`4096B`, `64KiB`, `64MiB`, `4GiB`: bytes, at least one."""
    value = _quantity(text, _BYTES)
    if value is None:
        raise ValueError("is not a size: write for instance 512KiB, 64MiB or 4GiB")
    return value


def size_to(largest: str) -> Callable[[str], int]:
    """A size up to `largest`, in bytes."""
    return _up_to(largest, size_bytes)


def _up_to(most: str, parse: Callable[[str], int]) -> Callable[[str], int]:
    limit = parse(most)

    def parse_limited(text: str) -> int:
        value = parse(text)
        if value > limit:
            raise ValueError(f"is more than {most}, the most that is of use here")
        return value

    return parse_limited


def _quantity(text: str, units: dict[str, int]) -> int | None:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[3] not in units:
        return None
    thousandths = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0"))
    value, rest = divmod(thousandths * units[match[3]], 1000)
    if thousandths == 0:
        raise ValueError("is to be more than 0")
    return value if rest == 0 else None


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(text)

    return parse


port = integer(1, MAX_PORT)


def percent(text: str) -> int:
    """`1` to `99`, with or without the sign."""
    try:
        return integer(1, 99)(text.removesuffix("%").rstrip())
    except ValueError:
        raise ValueError("is not a share from 1% to 99%: write for instance 30%") from None


def boolean(text: str) -> bool:
    """`true` or `false`."""
    match text:
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError("is neither true nor false")


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return text

    return parse


def name(text: str) -> str:
    """A name; see `staqraft.names`."""
    if not is_name(text):
        raise ValueError(f"is not a usable name: it is to be {NAME_RULE}")
    return text


def node_name(text: str) -> str:
    """A node's name; see `staqraft.names`."""
    if not is_node_name(text):
        raise ValueError(f"is not a usable node name: it is to be {NAME_RULE}, not 'ca' or 'admin'")
    return text


def absolute_path(text: str) -> Path:
    """An absolute path without `.` and `..`."""
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or not text.isprintable():
        raise ValueError("is not an absolute path without '..': write for instance /srv/www")
    return Path(*path.parts)


def own_directory(text: str) -> Path:
    """A directory that the daemon fills by itself."""
    path = absolute_path(text)
    if path == Path("/"):
        raise ValueError("is the root of the system: name a directory for StaqRaft alone")
    return path


def address(text: str) -> str:
    """An IP address that a host can have."""
    try:
        ip = ip_address(text)
    except ValueError:
        raise ValueError(
            "is not an IP address (names are not used, so that DNS cannot stop the cluster)"
        ) from None
    if ip.is_unspecified or ip.is_multicast:
        raise ValueError("is not an address of one host")
    return str(ip)


def vip_address(text: str) -> IPv4Interface | IPv6Interface:
    """An address with the prefix length of its network."""
    try:
        interface = ip_interface(text)
    except ValueError:
        raise ValueError(
            "is not an address with a prefix: write for instance 192.0.2.10/24"
        ) from None
    if "/" not in text:
        raise ValueError("has no prefix length: write for instance 192.0.2.10/24")
    if interface.ip.is_unspecified or interface.ip.is_multicast:
        raise ValueError("is not an address of one host")
    if interface.ip.is_loopback:
        raise ValueError("is an address that no other host can reach")
    return interface


def network_interface(text: str) -> str:
    """The name of a network interface."""
    if not 0 < len(text) <= MAX_INTERFACE or "/" in text or not text.isprintable() or " " in text:
        raise ValueError("is not the name of a network interface: 'ip link' shows them")
    return text


def unit_name(text: str) -> str:
    """The name of a systemd unit."""
    if not _UNIT.fullmatch(text):
        raise ValueError("is not the name of a systemd unit: write for instance nginx.service")
    return text


def fence_agent(text: str) -> Path:
    """The program of a fence agent: its name in /usr/sbin, or an absolute path."""
    if _AGENT.fullmatch(text):
        return FENCE_AGENTS / text
    if not text.startswith("/"):
        raise ValueError(
            "is not a fence agent: write the name of one in /usr/sbin, for instance fence_ipmilan"
            " (Debian: apt-get install fence-agents), or an absolute path"
        )
    return absolute_path(text)


def fence_option(text: str) -> str:
    """The name of a fence agent's option, as its metadata has it."""
    if not _OPTION.fullmatch(text):
        raise ValueError("is not the name of an option: 'AGENT -o metadata' shows them")
    if text in _NOT_OPTIONS:
        raise ValueError(_NOT_OPTIONS[text])
    return text


def fence_value(text: str) -> str:
    """The value of a fence agent's option: the agent reads lines of name=value."""
    if not text.isprintable():
        raise ValueError("has a line end or control characters, which an agent cannot be told")
    if text != text.strip():
        raise ValueError("begins or ends with a space, which the agent would drop")
    return text


_NOT_OPTIONS = {
    "action": "is not to be set: StaqRaft says 'off', 'status', 'on' or 'monitor' as it needs",
    "nodename": "is not to be set: StaqRaft fills in the node's name",
    "port": "is to be written as 'plug' of the device, not among its options",
    "plug": "is to be written as 'plug' of the device, not among its options",
}


def word(text: str) -> str:
    """Any text that is not empty and has no control characters."""
    if not text or not text.isprintable():
        raise ValueError("is empty or has control characters")
    return text
