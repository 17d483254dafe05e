"""The gate before the virtual addresses: the kernel lets clients through until the lease ends.

A group has two tables, `table inet` and `table arp`, named after cluster and group, so that no two
groups or clusters on a host disturb each other, and nobody else's rules are touched. They hold

* `vips4`, `vips6`: the configured addresses. Anything that is not to or from one of these passes;
* `live4`, `live6`: those that clients may reach now. An element has a time-out in milliseconds;
* `draining4`, `draining6`: those that are live, but get no new TCP connections.

What is to a VIP that is not live is dropped, before a destination NAT could send it elsewhere; what
is from one is dropped too, which for IPv6 includes neighbour advertisements (the kernel sends them
from the address that was asked for). ARP answers from it and questions for it are dropped. This
host itself reaches the address through `lo`, so that checks of services work behind the gate.

The elements end by themselves (`LATE_MS`), whatever happens to this process, and the tables stay:
a daemon that was killed leaves its gate closed behind it, and one that comes back within its lease
finds it open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from staqraft.actions import gate_rules as rules
from staqraft.actions.nft import Filter, Nft, NftRefused
from staqraft.config.schema import Vip
from staqraft.model import Admission, GroupId

OWN = "staqraft"  # how the names of all tables of ours begin

# The kernel compares with its tick counter at each packet, whether or not the element has been
# collected yet: never seen late at 250 Hz (6.18). Two ticks of the slowest kernel, 100 Hz, and 5.
LATE_MS = 25
CALL_MS = 10  # how long a transaction may take until it has to be done again
SHORTEST_MS = 10  # a time-out that is rounded to no tick at all would mean: never


def timeout_ms(remaining_ms: int) -> int:
    """The longest time-out that the kernel is sure to end within `remaining_ms`; 0: too short.

    Sure if the transaction is done within `CALL_MS`: see `ends_in_time`.
    """
    left_ms = remaining_ms - LATE_MS - CALL_MS
    return left_ms if left_ms >= SHORTEST_MS else 0


def ends_in_time(duration_ms: int, remaining_ms: int) -> bool:
    """Whether a time-out that began at some time before now surely ends within `remaining_ms`."""
    return duration_ms + LATE_MS <= remaining_ms


def table_name(cluster: str, group: str) -> str:
    """The name of a group's tables. Names have no dots, so no two are alike."""
    return f"{OWN}.{cluster}.{group}"


class Gate:
    """A group's gate in the kernel. All calls block; they come from one thread at a time."""

    def __init__(
        self,
        cluster: str,
        group: GroupId,
        vips: Sequence[Vip],
        *,
        open_filter: Callable[[], Filter] = Nft,
    ) -> None:
        """ActionError when this host has no libnftables."""
        self._table = table_name(cluster, group)
        self._addresses = {
            version: tuple(str(v.address.ip) for v in vips if v.address.version == version)
            for version in (4, 6)
        }
        self._filter = open_filter()

    def prepare(self) -> None:
        """Makes the tables as they are to be. What is live stays live, without a gap.

        NftRefused when the kernel cannot.
        """
        try:
            self._filter.run(self._definition())
        except NftRefused:
            # Tables of another version of this program may have other hooks, which cannot be
            # changed in place. Closed until the next renewal, then.
            self._filter.run(f"{rules.removal(self._table)}\n{self._definition()}")

    def admit(self, admission: Admission, duration_ms: int) -> None:
        """Opens the gate for so long from now, or closes it, in one transaction.

        What was there before is replaced. NftRefused when the kernel cannot; nothing has changed.
        """
        change = self._change(admission, duration_ms)
        try:
            self._filter.run(change)
        except NftRefused:  # somebody flushed the whole ruleset: once more, with tables
            self._filter.run(f"{self._definition()}\n{change}")

    def admission(self) -> Admission:
        """How the gate stands, by the kernel's word."""
        if not self._all_in("live"):
            return Admission.CLOSED
        return Admission.DRAINING if self._all_in("draining") else Admission.OPEN

    def close(self) -> None:
        """Gives library and socket back. The tables stay as they are."""
        self._filter.close()

    def _all_in(self, name: str) -> bool:
        questions = [
            f"get element inet {self._table} {name}{version} {{ {', '.join(addresses)} }}"
            for version, addresses in self._addresses.items()
            if addresses
        ]
        try:
            self._filter.run("\n".join(questions))
        except NftRefused:
            return False
        return True

    def _change(self, admission: Admission, duration_ms: int) -> str:
        lines = [f"flush set {family} {self._table} {name}" for family, name in rules.OPENED]
        if admission is not Admission.CLOSED:
            assert duration_ms >= SHORTEST_MS, f"a time-out of {duration_ms} ms"
            lines += self._additions("inet", "live", duration_ms)
            lines += self._additions("arp", "live", duration_ms)
        if admission is Admission.DRAINING:
            lines += self._additions("inet", "draining", duration_ms)
        return "\n".join(lines)

    def _additions(self, family: str, name: str, duration_ms: int) -> list[str]:
        return [
            f"add element {family} {self._table} {name}{version} {{ "
            + ", ".join(f"{address} timeout {duration_ms}ms" for address in addresses)
            + " }"
            for version, addresses in self._addresses.items()
            if addresses and (family, version) != ("arp", 6)
        ]

    def _definition(self) -> str:
        return rules.definition(self._table, self._addresses)


def remove_stale(cluster: str, groups: Collection[GroupId], packet_filter: Filter) -> list[str]:
    """Removes this cluster's tables of all groups but `groups`; returns the groups they were of.

    NftRefused when the kernel refuses.
    """
    wanted = {table_name(cluster, group) for group in groups}
    prefix = table_name(cluster, "")
    lines = packet_filter.run("list tables").splitlines()  # table inet NAME
    names = {line.rpartition(" ")[2] for line in lines}
    stale = sorted(name for name in names - wanted if name.startswith(prefix))
    if stale:
        packet_filter.run("\n".join(rules.removal(name) for name in stale))
    return [name.removeprefix(prefix) for name in stale]
