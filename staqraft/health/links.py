"""What is known of each ring between this node and another replica, in plain words (PURE).

A ring is one network, with one address of each node. What is looked at, from the nearest cause to
the farthest: whether this node has its address and its interface a link; the same at the other end,
by its own word over whatever way is left; whether pings go both ways, and if not, which of the two
arrive; and whether the daemon answers where pings do. The first that explains what is seen is what
is said, so that nobody is sent to the wrong cable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from staqraft.health.findings import Finding, Severity
from staqraft.model import NodeId

DAEMON_STARTS_MS: Final = 10_000  # a daemon that was just started has not been called yet


class Way(Enum):
    """What passes on a ring."""

    BOTH = "both ways"
    NOTHING = "nothing"
    ONLY_OUT = "only to it"
    ONLY_IN = "only from it"
    UNKNOWN = "not known yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a ring. `interface` is "" where no interface has the address."""

    address: str
    interface: str = ""
    carrier: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLook:
    """A ring as this node sees it. `*_ms` are ages; None: never.

    `peer_end` and `peer_heard_ms` are the other node's word; None while it cannot be heard.
    `problem`: why nothing can be sent from here, by the kernel.
    """

    ring: str
    mine: End
    peer_address: str
    answered_ms: int | None = None  # a ping came back
    heard_ms: int | None = None  # a ping of the other node's daemon arrived
    called_ms: int | None = None  # its daemon answered, or called
    peer_end: End | None = None
    peer_heard_ms: int | None = None
    problem: str = ""
    asked_for_ms: int = 0  # since when it has been looked at
    round_trip_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RingState:
    """The verdict: what passes, and a finding if something is wrong."""

    look: RingLook
    way: Way
    finding: Finding | None = None


def judge(
    looks: Sequence[RingLook], lost_ms: int, node: NodeId, peer: NodeId, *, daemon: bool
) -> Iterator[RingState]:
    """The rings between `node` and `peer`, which has been silent when it was for `lost_ms`.

    `daemon`: Raft is in touch with the peer's.
    """
    ways = {look.ring: _way(look, lost_ms) for look in looks}
    alive = [ring for ring, way in ways.items() if way is Way.BOTH]
    called = any(_recent(look.called_ms, lost_ms) for look in looks)
    whole = _whole(looks, ways, node, peer, silent=not (called or daemon))
    for place, look in enumerate(looks):
        way = ways[look.ring]
        if whole is not None:  # one cause, said once
            finding = whole if place == 0 else None
        else:
            finding = _finding(look, way, alive, node, peer, lost_ms)
        yield RingState(look=look, way=way, finding=finding)


def _whole(
    looks: Sequence[RingLook], ways: Mapping[str, Way], node: NodeId, peer: NodeId, *, silent: bool
) -> Finding | None:
    """What is the same on all rings: not a matter of links."""
    if not looks or not silent or Way.UNKNOWN in ways.values():
        return None
    if all(way is Way.NOTHING for way in ways.values()):
        mine = all(look.mine.interface and look.mine.carrier for look in looks)
        where = ", ".join(f"{look.ring} {look.peer_address}" for look in looks)
        if mine:
            return _of(
                looks[0],
                peer,
                "peer-silent",
                f"{peer} does not answer on any ring ({where}), though every interface of {node}"
                " has a link: its host is down, or the network between them is",
                f"see whether {peer} has power; if it runs, look at the switches between them",
            )
    answers = [look for look in looks if ways[look.ring] is Way.BOTH]
    if answers and all(look.asked_for_ms > DAEMON_STARTS_MS for look in looks):
        return _of(
            looks[0],
            peer,
            "daemon-silent",
            f"the host of {peer} answers pings ({answers[0].peer_address}), but its daemon does not"
            " answer on any ring",
            f"'systemctl status staqraftd' on {peer} says why; if it runs, let the firewalls pass"
            " the control port (ports.control)",
        )
    return None


def _recent(age_ms: int | None, lost_ms: int) -> bool:
    return age_ms is not None and age_ms < lost_ms


def _way(look: RingLook, lost_ms: int) -> Way:
    if _recent(look.answered_ms, lost_ms) or _recent(look.called_ms, lost_ms):
        return Way.BOTH
    if look.asked_for_ms < lost_ms:
        return Way.UNKNOWN
    if _recent(look.heard_ms, lost_ms):
        return Way.ONLY_IN
    if _recent(look.peer_heard_ms, lost_ms):
        return Way.ONLY_OUT
    return Way.NOTHING


def _finding(
    look: RingLook, way: Way, alive: Sequence[str], node: NodeId, peer: NodeId, lost_ms: int
) -> Finding | None:
    if way is Way.UNKNOWN:
        return None
    pair = f"ring {look.ring} ({look.mine.address} to {look.peer_address})"
    if way is Way.BOTH:
        if _recent(look.called_ms, lost_ms) or look.asked_for_ms < DAEMON_STARTS_MS:
            return None
        return _of(
            look,
            peer,
            "link-port",
            f"{peer} answers pings on {pair}, but its daemon is not reached there",
            f"let the firewalls of {node} and {peer} pass the control port (ports.control)",
        )
    still = ""
    if alive:
        still = (
            f"; {node} and {peer} are connected by ring {alive[0]}, and nothing is failed over for"
            " a ring"
        )
    code, text, remedy = _cause(look, way, pair, node, peer)
    return _of(look, peer, code, f"{text}{still}", remedy)


def _cause(look: RingLook, way: Way, pair: str, node: NodeId, peer: NodeId) -> tuple[str, str, str]:
    mine, theirs = look.mine, look.peer_end
    if not mine.interface:
        return (
            "link-address",
            f"{node} does not have its address {mine.address} of ring {look.ring}",
            f"see 'ip address' on {node}, and its network configuration",
        )
    if not mine.carrier:
        return (
            "link-cable",
            f"{mine.interface} of {node} (ring {look.ring}, {mine.address}) has no link",
            f"look at the cable of {mine.interface} on {node}, and at what it is plugged into",
        )
    if theirs is not None and not theirs.interface:
        return (
            "link-address",
            f"{peer} does not have its address {theirs.address} of ring {look.ring}",
            f"see 'ip address' on {peer}, and its network configuration",
        )
    if theirs is not None and not theirs.carrier:
        return (
            "link-cable",
            (
                f"{theirs.interface} of {peer} (ring {look.ring}, {theirs.address}) has no link,"
                f" while {mine.interface} of {node} has"
            ),
            f"look at the cable of {theirs.interface} on {peer}, and at what it is plugged into",
        )
    if way is not Way.NOTHING:
        deaf, heard = (peer, node) if way is Way.ONLY_IN else (node, peer)
        return (
            "link-one-way",
            (
                f"{heard} hears {deaf} on {pair}, but {deaf} does not hear {heard}: packets from"
                f" {heard} to {deaf} are lost on the way"
            ),
            (
                f"look at firewalls ('nft list ruleset' on {deaf}) and at the switch between them;"
                " the cables are in"
            ),
        )
    why = f" ({look.problem})" if look.problem else ""
    return (
        "link-cut",
        (
            f"nothing passes on {pair} in either direction{why}, though {mine.interface} of {node}"
            " has a link"
        ),
        f"look at the switch between them, and at the firewalls and netmasks of {node} and {peer}",
    )


def _of(look: RingLook, peer: NodeId, code: str, text: str, remedy: str) -> Finding:
    return Finding(
        code=code,
        subject=f"{peer} {look.ring}",
        severity=Severity.WARNING,
        text=text,
        remedy=remedy,
    )
