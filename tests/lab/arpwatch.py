"""Asks the bridge fifty times a second who has the VIP, and counts the questions that two hosts
answered.

Runs in the switch: `python -m lab.arpwatch [--interval-ms 20]`; ends when its standard input is
closed and then prints a `Findings` as JSON. The questions come from the bridge itself, so they
reach every plugged-in port, also those whose forwarding is cut: what is asked is who *would*
answer, not who can be heard. Each question has one of eight sender addresses in turn, and an ARP
answer repeats its question's sender as target, so an answer that comes late is still counted for
its own question. Two MACs for one question are two holders at one instant.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
from dataclasses import asdict, dataclass, field

from lab.layout import PROBE_SENDERS, SERVICE, VIP, host_of_mac
from lab.linux import boottime

ETH_P_ARP = 0x0806
BROADCAST = b"\xff" * 6
OUR_MAC = bytes.fromhex("025a000000f0")
HEADER = struct.Struct("!6s6sH HHBBH 6s4s6s4s")  # Ethernet, then ARP for Ethernet and IPv4
REQUEST, REPLY = 1, 2
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1


@dataclass(slots=True, kw_only=True)
class Findings:
    """What was seen. Instants are seconds on CLOCK_BOOTTIME."""

    questions: int = 0
    answered: int = 0
    doubles: list[tuple[float, list[str]]] = field(default_factory=list)  # when asked, who answered
    holders: list[tuple[float, str]] = field(
        default_factory=list
    )  # from when on, who; "" is nobody
    until: list[float] = field(default_factory=list)  # of each holder: asked last, and answered
    announcements: list[tuple[float, str]] = field(
        default_factory=list
    )  # gratuitous ARP: when, who

    def last_answered(self, loser: str, winner: str, *, after: float) -> float:
        """When the last question was asked that `loser` answered before `winner` did."""
        spells = list(zip(self.holders, self.until, strict=True))
        taken = next(at for (at, who), _ in spells if at > after and who == winner)
        return max(end for (at, who), end in spells if who == loser and at < taken)

    @classmethod
    def from_json(cls, text: str) -> Findings:
        raw = json.loads(text)
        for name in ("doubles", "holders", "announcements"):
            raw[name] = [(instant, who) for instant, who in raw[name]]
        return cls(**raw)


@dataclass(slots=True, kw_only=True)
class _Question:
    asked: float
    macs: set[bytes] = field(default_factory=set)


def _mac(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)


class Watcher:
    """Pure bookkeeping: frames and instants in, findings out."""

    def __init__(self, vip: str) -> None:
        self._vip = socket.inet_aton(vip)
        self._senders = [socket.inet_aton(address) for address in PROBE_SENDERS]
        self._open: dict[bytes, _Question] = {}
        self._next = 0
        self.findings = Findings()

    def ask(self, now: float) -> bytes:
        """The next question as a frame; closes the one that had its sender address before."""
        sender = self._senders[self._next]
        self._next = (self._next + 1) % len(self._senders)
        if sender in self._open:
            self._close(self._open[sender])
        self._open[sender] = _Question(asked=now)
        self.findings.questions += 1
        return HEADER.pack(
            BROADCAST,
            OUR_MAC,
            ETH_P_ARP,
            1,
            0x0800,
            6,
            4,
            REQUEST,
            OUR_MAC,
            sender,
            b"\0" * 6,
            self._vip,
        )

    def receive(self, frame: bytes, now: float) -> None:
        """Any ARP frame on the LAN."""
        if len(frame) < HEADER.size:
            return
        _, source, _, _, _, _, _, operation, claimed, about, _, target = HEADER.unpack_from(frame)
        if about != self._vip or source == OUR_MAC:
            return
        if target == self._vip:  # request or reply: it speaks of itself to everybody
            self.findings.announcements.append((now, host_of_mac(_mac(claimed))))
        elif operation == REPLY and target in self._open:
            question = self._open[target]
            if not question.macs:
                self.findings.answered += 1
            question.macs.add(claimed)

    def finish(self) -> Findings:
        """Closes what is open, oldest first."""
        for question in sorted(self._open.values(), key=lambda q: q.asked):
            self._close(question)
        self._open.clear()
        return self.findings

    def _close(self, question: _Question) -> None:
        names = sorted(host_of_mac(_mac(mac)) for mac in question.macs)
        if len(names) > 1:
            self.findings.doubles.append((question.asked, names))
        who = "+".join(names)
        if not self.findings.holders or self.findings.holders[-1][1] != who:
            self.findings.holders.append((question.asked, who))
            self.findings.until.append(question.asked)
        else:
            self.findings.until[-1] = question.asked


def main() -> None:
    """Until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--interval-ms", type=int, default=20)
    parser.add_argument("--vip", default=VIP)
    options = parser.parse_args()
    interval = options.interval_ms / 1000
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
    wire.bind((SERVICE, 0))
    # Promiscuous, as answers go to a MAC that is not the bridge's own.
    membership = struct.pack("iHH8s", socket.if_nametoindex(SERVICE), PACKET_MR_PROMISC, 0, b"")
    wire.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
    wire.setblocking(False)
    watcher = Watcher(options.vip)
    print("ready", flush=True)
    next_at = boottime()
    while True:
        now = boottime()
        if now >= next_at:
            wire.send(watcher.ask(now))
            next_at = max(next_at + interval, now)
        readable, _, _ = select.select([wire, sys.stdin], [], [], max(0.0, next_at - now))
        if wire in readable:
            try:
                while True:
                    watcher.receive(wire.recv(2048), boottime())
            except BlockingIOError:
                pass  # drained
        if sys.stdin in readable and not sys.stdin.read(1):
            break
    print(json.dumps(asdict(watcher.finish())))


if __name__ == "__main__":
    main()
