"""DNS: one question, over UDP (or TCP, also when the answer did not fit), and its answers.

A small encoder and a bounded, strict reader of what comes back (RFC 1035 section 4).
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct
from collections.abc import Iterator

from staqraft.actions.checks.lines import CheckFailed, conversation, quoted
from staqraft.config.services import DnsCheck

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
CODES = {
    1: "it could not read the question (FORMERR)",
    2: "it failed (SERVFAIL)",
    3: "it says that there is no such name (NXDOMAIN)",
    4: "it does not do that (NOTIMP)",
    5: "it refuses to answer us (REFUSED)",
}
_HEAD = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_IN = 1
_RESPONSE, _TRUNCATED, _RECURSION = 0x8000, 0x0200, 0x0100
_POINTER, _JUMPS_MOST = 0xC0, 32
_UDP_MOST = 4096
_ASK_AGAIN_S = 1.0


class _Malformed(Exception):
    """What came back is no answer."""


async def resolve(check: DnsCheck) -> None:
    """CheckFailed unless the server answers, and with what is expected."""
    number = secrets.randbits(16)
    asked = question(number, check.name, TYPES[check.type])
    # Not to be mended by asking differently: each of these is an answer of its own.
    if check.over_tcp:
        reply = await _over_tcp(check, asked)
    else:
        reply = await _over_udp(check, asked)
        if len(reply) >= _HEAD.size and _HEAD.unpack_from(reply)[1] & _TRUNCATED:
            reply = await _over_tcp(check, asked)
    try:
        found = answers(reply, asked, TYPES[check.type])
    except _Malformed as error:
        raise CheckFailed(f"its answer for {check.name} cannot be read: {error}") from None
    what = f"{check.type} of {check.name}"
    if not found:
        raise CheckFailed(f"it has no {what}")
    if check.expect and _plain(check.expect) not in map(_plain, found):
        shown = ", ".join(found[:4])
        raise CheckFailed(f"the {what} is {quoted(shown)}, and {check.expect} is not among that")


def _plain(answer: str) -> str:
    return answer.lower().rstrip(".")


def question(number: int, name: str, kind: int) -> bytes:
    """A query. ValueError for a name that cannot be asked for."""
    parts = [] if name == "." else name.rstrip(".").encode("idna").split(b".")
    labels = b"".join(bytes([len(label)]) + label for label in parts)
    head = _HEAD.pack(number, _RECURSION, 1, 0, 0, 0)
    return head + labels + b"\0" + struct.pack("!HH", kind, _IN)


def answers(reply: bytes, asked: bytes, kind: int) -> list[str]:
    """The records of this kind. CheckFailed for the server's own refusal; `_Malformed`."""
    if len(reply) < _HEAD.size:
        raise _Malformed("it is too short")
    number, flags, questions, count, _, _ = _HEAD.unpack_from(reply)
    if number != _HEAD.unpack_from(asked)[0] or not flags & _RESPONSE:
        raise _Malformed("it is not for our question")
    if code := flags & 15:
        raise CheckFailed(CODES.get(code, f"it answered with code {code}"))
    at = _HEAD.size
    for _ in range(questions):
        _, at = _name(reply, at)
        at += 4
    found = []
    for _ in range(count):
        _, at = _name(reply, at)
        if at + _RECORD.size > len(reply):
            raise _Malformed("it ends within a record")
        type_, _, _, size = _RECORD.unpack_from(reply, at)
        at += _RECORD.size
        if at + size > len(reply):
            raise _Malformed("it ends within a record")
        if type_ == kind:
            found.append(_data(reply, at, size, kind))
        at += size
    return found


def _data(reply: bytes, at: int, size: int, kind: int) -> str:
    data = reply[at : at + size]
    try:
        match kind:
            case 1:
                return str(ipaddress.IPv4Address(data))
            case 28:
                return str(ipaddress.IPv6Address(data))
            case 2 | 5 | 6 | 12:
                return _name(reply, at)[0]
            case 15:
                return _name(reply, at + 2)[0]
            case _:
                return b"".join(_strings(data)).decode(errors="backslashreplace")
    except ValueError:
        raise _Malformed("a record's data has the wrong size") from None


def _strings(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


def _name(reply: bytes, at: int) -> tuple[str, int]:
    """The name at this place, and where what follows it begins."""
    labels: list[str] = []
    end = None
    for _ in range(_JUMPS_MOST + 128):
        if at >= len(reply):
            raise _Malformed("it ends within a name")
        length = reply[at]
        if length & _POINTER == _POINTER:
            if at + 1 >= len(reply):
                raise _Malformed("it ends within a name")
            end = at + 2 if end is None else end
            at = (length & ~_POINTER) << 8 | reply[at + 1]
            continue
        at += 1
        if not length:
            return ".".join(labels) or ".", end if end is not None else at
        labels.append(reply[at : at + length].decode("ascii", errors="backslashreplace"))
        at += length
    raise _Malformed("a name in it does not end")


async def _over_tcp(check: DnsCheck, asked: bytes) -> bytes:
    async with conversation(
        check.endpoint, source=check.source, timeout_ms=check.timing.timeout_ms
    ) as server:
        await server.say(struct.pack("!H", len(asked)) + asked)
        (size,) = struct.unpack("!H", await server.exactly(2, "answer"))
        return await server.exactly(size, "answer")


async def _over_udp(check: DnsCheck, asked: bytes) -> bytes:
    endpoint, limit_ms = check.endpoint, check.timing.timeout_ms
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            if check.source:
                sock.bind((check.source, 0))
            # Connected: the kernel drops what others send, and tells when nobody listens.
            sock.connect((endpoint.address, endpoint.port))
            async with asyncio.timeout(limit_ms / 1000):
                while True:
                    await loop.sock_sendall(sock, asked)
                    try:
                        async with asyncio.timeout(_ASK_AGAIN_S):
                            return await _ours(loop, sock, asked)
                    except TimeoutError:
                        continue  # a datagram may be lost
        except TimeoutError:
            raise CheckFailed(f"no answer within {limit_ms / 1000:g} s") from None
        except ConnectionRefusedError:
            raise CheckFailed("nobody listens there (connection refused)") from None
        except OSError as error:
            raise CheckFailed(f"it cannot be asked ({error.strerror or error})") from None


async def _ours(loop: asyncio.AbstractEventLoop, sock: socket.socket, asked: bytes) -> bytes:
    """The first datagram that is for our question; late answers to others are not."""
    while True:
        reply = await loop.sock_recv(sock, _UDP_MOST)
        if reply[:2] == asked[:2]:
            return reply
