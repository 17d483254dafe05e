"""The tables of a gate, in nft's language (PURE text). `gate` says what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

OPENED = (  # the sets whose elements open the gate
    ("inet", "live4"),
    ("inet", "live6"),
    ("inet", "draining4"),
    ("inet", "draining6"),
    ("arp", "live4"),
)
_KEPT = (("inet", "vips4"), ("inet", "vips6"), ("arp", "vips4"))

_ASKED = "arp operation request arp saddr ip != @vips4 arp daddr ip @vips4"
_NEW_TCP = "tcp flags & (fin | syn | rst | ack) == syn"
_CHAINS = {
    ("inet", "before_nat"): ("prerouting", -300),
    ("inet", "in"): ("input", -300),
    ("inet", "out"): ("output", -300),
    ("arp", "in"): ("input", 0),
    ("arp", "out"): ("output", 0),
}
_RULES = (
    # What is for another host and only passes through this one is none of our business.
    ("inet", "before_nat", "iif lo accept"),
    ("inet", "before_nat", "fib daddr type local ip daddr @vips4 ip daddr != @live4 drop"),
    ("inet", "before_nat", "fib daddr type local ip6 daddr @vips6 ip6 daddr != @live6 drop"),
    ("inet", "in", "iif lo accept"),
    ("inet", "in", "ip daddr @vips4 ip daddr != @live4 drop"),
    ("inet", "in", "ip6 daddr @vips6 ip6 daddr != @live6 drop"),
    ("inet", "in", f"ip daddr @draining4 {_NEW_TCP} drop"),
    ("inet", "in", f"ip6 daddr @draining6 {_NEW_TCP} drop"),
    ("inet", "out", "oif lo accept"),
    ("inet", "out", "ip saddr @vips4 ip saddr != @live4 drop"),
    ("inet", "out", "ip6 saddr @vips6 ip6 saddr != @live6 drop"),
    # An announcement of the new active is a question of the address itself: that is to be heard.
    ("arp", "in", f"{_ASKED} arp daddr ip != @live4 drop"),
    ("arp", "out", "arp saddr ip @vips4 arp saddr ip != @live4 drop"),
)


def definition(table: str, vips: Mapping[int, Sequence[str]]) -> str:
    """Makes the tables, or makes them as they are to be, and leaves alone what is live.

    `vips` by version (4, 6). One transaction: chains are flushed and filled without a packet
    seeing less than all of their rules.
    """
    return "\n".join(_lines(table, vips))


def _lines(table: str, vips: Mapping[int, Sequence[str]]) -> Iterator[str]:
    for family in ("inet", "arp"):
        yield f"add table {family} {table}"
    for family, name in (*_KEPT, *OPENED):
        kind = "ipv4_addr" if name.endswith("4") else "ipv6_addr"
        flags = " flags timeout;" if (family, name) in OPENED else ""
        yield f"add set {family} {table} {name} {{ type {kind};{flags} }}"
    for family, name in _KEPT:
        yield f"flush set {family} {table} {name}"
        if addresses := vips[int(name[-1])]:
            yield f"add element {family} {table} {name} {{ {', '.join(addresses)} }}"
    for (family, chain), (hook, priority) in _CHAINS.items():
        place = f"type filter hook {hook} priority {priority};"
        yield f"add chain {family} {table} {chain} {{ {place} }}"
        yield f"flush chain {family} {table} {chain}"
    for family, chain, rule in _RULES:
        yield f"add rule {family} {table} {chain} {rule}"


def removal(table: str) -> str:
    """Removes the tables, whether or not they are there."""
    # Added first: what is not there cannot be deleted, and would undo the whole transaction.
    return "\n".join(
        f"{verb} table {family} {table}" for family in ("inet", "arp") for verb in ("add", "delete")
    )
