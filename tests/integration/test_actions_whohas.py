"""Who has an address, asked of the kernel at the other end of a cable."""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import Self

from hypothesis import given
from hypothesis import strategies as st

from fakes.private_network import INSIDE, OUTSIDE, in_private_network, ip
from staqraft.actions.whohas import answered, question, who_has
from staqraft.config.schema import Vip

WEB = Vip(address=ip_interface("192.0.2.10/24"), interface=INSIDE)
MAIL = Vip(address=ip_interface("2001:db8::10/64"), interface=INSIDE)
NEIGHBOUR = "02:00:00:00:00:99"


class Neighbour:
    """A host at the other end, in a network namespace of its own, with addresses."""

    def __init__(self, *addresses: str) -> None:
        self._process = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        deadline = time.monotonic() + 30
        while self._namespace() == subprocess.check_output(["readlink", "/proc/self/ns/net"]):
            assert time.monotonic() < deadline
        ip("link", "set", OUTSIDE, "netns", str(self._process.pid))
        self.run("link", "set", OUTSIDE, "address", NEIGHBOUR)
        self.run("link", "set", OUTSIDE, "up")
        for address in addresses:
            self.run("address", "add", address, "dev", OUTSIDE, *["nodad"] * (":" in address))

    def _namespace(self) -> bytes:
        path = f"/proc/{self._process.pid}/ns/net"
        return subprocess.check_output(["readlink", path])

    def run(self, *words: str) -> None:
        enter = ["nsenter", f"--target={self._process.pid}", "--net", "--"]
        subprocess.run([*enter, "ip", *words], check=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


@in_private_network
async def test_a_host_that_has_the_address_says_so() -> None:
    with Neighbour("192.0.2.10/24", "2001:db8::10/64"):
        found = await asyncio.to_thread(_until_both)
    assert found == {WEB: {NEIGHBOUR}, MAIL: {NEIGHBOUR}}


def _until_both() -> dict[Vip, frozenset[str]]:
    """The cable's IPv6 takes a moment to come up."""
    deadline = time.monotonic() + 30
    while True:
        found = who_has([WEB, MAIL], 300)
        if all(found.values()) or time.monotonic() > deadline:
            return found


@in_private_network
async def test_nobody_else_is_taken_for_it_and_this_host_does_not_answer_itself() -> None:
    with Neighbour("192.0.2.11/24"):
        ip("address", "add", "192.0.2.10/24", "dev", INSIDE)
        begun = time.monotonic()
        assert await asyncio.to_thread(who_has, [WEB], 40) == {WEB: frozenset()}
        assert time.monotonic() - begun >= 0.04


@in_private_network
async def test_an_interface_that_is_gone_or_down_has_nobody_to_ask() -> None:
    gone = replace(WEB, interface="gone0")
    ip("link", "set", INSIDE, "down")
    assert await asyncio.to_thread(who_has, [WEB, gone], 20) == {
        WEB: frozenset(),
        gone: frozenset(),
    }


def test_a_question_is_no_claim() -> None:
    mac = bytes.fromhex("020000000001")
    for address in ("192.0.2.10", "2001:db8::10"):
        assert answered(question(ip_address(address), mac)) is None


@given(st.binary(max_size=120))
def test_no_frame_breaks_it(frame: bytes) -> None:
    for ethertype in (b"\x08\x06", b"\x86\xdd"):
        claim = answered(frame[:12] + ethertype + frame[14:])
        assert claim is None or len(claim[1]) <= 6
