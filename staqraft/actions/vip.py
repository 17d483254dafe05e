"""The virtual addresses of a group, held for as long as the lease lasts and no longer.

Without a gate an address is on this host only while it may be used, so its lifetime is the longest
that surely ends within the lease. Behind a gate, which closes to the millisecond, the lifetime only
clears away what nobody hears any more: it ends after the lease, so that no refresh comes too late.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_network
from pathlib import Path
from typing import Protocol, TypeVar

from staqraft.actions.gate import Gate, ends_in_time, timeout_ms
from staqraft.actions.netlink import OWN_MARK, Kernel, KernelAddress, Netlink
from staqraft.config.schema import Vip
from staqraft.errors import ActionError
from staqraft.lifetimes import lasting_lifetime_s, whole_lifetime_s
from staqraft.model import Admission, GroupId

logger = logging.getLogger(__name__)

T = TypeVar("T")

SYSCTL = Path("/proc/sys/net/ipv4/conf")


class ForeignAddress(ActionError):
    """A virtual address is on this host without being ours: StaqRaft does not touch it."""


class StillHeld(ActionError):
    """A virtual address could not be taken off this node: it must be fenced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What `hold` did. `lifetime_s` 0: too little of the lease is left, so all were removed.

    `added` were not on this node before, by the kernel's word: they are to be announced, unless
    clients are not to reach them: see `admits`.
    """

    lifetime_s: int
    added: tuple[Vip, ...] = ()
    admits: Admission = Admission.OPEN


def boottime_ms() -> int:
    """CLOCK_BOOTTIME in milliseconds: the clock of all deadlines."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Note(Protocol):
    """Until when the addresses may stay, kept for the next life of the daemon (`note`)."""

    def write(self, until_ms: int) -> None:
        """Cannot raise: the kernel's lifetimes stand without it."""

    def read(self) -> int | None:
        """What was written last; None: nothing is known."""

    def close(self) -> None:
        """What was written stays."""


class VipHolder:
    """Holds a group's addresses on this node. Its calls are carried out one after the other."""

    def __init__(
        self,
        group: GroupId,
        vips: Sequence[Vip],
        *,
        gate: Gate | None = None,
        note: Note | None = None,
        clock: Callable[[], int] = boottime_ms,
        kernel: Callable[[], Kernel] = Netlink,
    ) -> None:
        """`clock` is CLOCK_BOOTTIME in ms; `kernel` is called once, in the thread that uses it.

        A `gate` is prepared already.
        """
        self._group = group
        self._vips = tuple(vips)
        self._gate = gate
        self._note = note
        self._admits: Admission | None = None  # what the gate was to admit; None: ask the kernel
        self._clock = clock
        self._make_kernel = kernel
        self._kernel: Kernel | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"vip-{group}")

    @property
    def vips(self) -> tuple[Vip, ...]:
        """The configured addresses."""
        return self._vips

    @property
    def gated(self) -> bool:
        """There is a gate before the addresses."""
        return self._gate is not None

    async def hold(self, until_ms: int, admit: Admission | None = None) -> Held:
        """Adds or refreshes every address so that the kernel silences it before `until_ms`.

        A gate admits so much from then on; None: as much as it did. Without a gate, all pass.
        ForeignAddress when an address is on this host without being ours; ActionError when the
        kernel refuses. Both may leave some addresses held: `drop` then.
        """
        return await self._run(lambda: self._hold(until_ms, admit))

    async def drop(self) -> None:
        """Closes the gate, removes every address, makes sure that none is left on any interface.

        StillHeld when one is: this node must not be counted as having let go.
        """
        await self._run(self._let_go)

    async def held(self) -> dict[Vip, bool]:
        """Which addresses are on this node now, by the kernel's word."""
        return await self._run(self._held)

    async def admission(self) -> Admission | None:
        """How the gate stands, by the kernel's word; None: there is none."""
        gate = self._gate
        return None if gate is None else await self._run(gate.admission)

    async def end_what_is_over(self) -> tuple[Vip, ...]:
        """Removes addresses whose lease is over by the note; returns which those were.

        The kernel's timers stand still while the machine sleeps. StillHeld as of `drop`.
        """
        return await self._run(self._end_what_is_over)

    async def remove_leftovers(self) -> tuple[Vip, ...]:
        """At start: removes what an earlier life of this daemon still held; returns what that was.

        ForeignAddress when an address is configured here by somebody else.
        """
        return await self._run(self._remove_leftovers)

    async def aclose(self) -> None:
        """Gives thread and socket back. Addresses stay until the kernel ends them: `drop` first."""
        if self._gate is not None:
            await self._run(self._gate.close)
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # --- in the thread --------------------------------------------------------------------------

    def _open(self) -> Kernel:
        if self._kernel is None:
            self._kernel = self._make_kernel()
        return self._kernel

    def _close(self) -> None:
        if self._note is not None:
            self._note.close()
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def _hold(self, until_ms: int, admit: Admission | None = None) -> Held:
        kernel = self._open()
        present = kernel.addresses()
        if self._lifetime(until_ms) == 0:
            self._drop()
            return Held(lifetime_s=0)
        self._refuse_foreign(kernel, present)
        if self._note is not None:
            self._note.write(until_ms)
        # The gate before the addresses: what it does not admit is never reached, not even at first.
        if self._gate is not None and not self._admit(self._gate, until_ms, admit):
            self._drop()
            return Held(lifetime_s=0)
        others = [a for a in present if a.mark != OWN_MARK and not self._wanted(a)]
        added: list[Vip] = []
        shortest: int | None = None
        for vip in self._vips:
            # 0 s left: the kernel may end it before it reads our refresh, which then adds it anew.
            if not any(_is(a, vip) and a.lifetime_s != 0 for a in present):
                added.append(vip)
                _keep_neighbours(vip)
            lifetime_s = self._put(kernel, vip, until_ms, prefix_route=not _covered(vip, others))
            if lifetime_s == 0:
                self._drop()
                return Held(lifetime_s=0)
            shortest = lifetime_s if shortest is None else min(shortest, lifetime_s)
        return Held(
            lifetime_s=self._lifetime(until_ms) if shortest is None else shortest,
            added=tuple(added),
            admits=Admission.OPEN if self._gate is None else self._admits or Admission.OPEN,
        )

    def _admit(self, gate: Gate, until_ms: int, admit: Admission | None) -> bool:
        """Tells the gate; False when the lease is too far gone by now."""
        if admit is None:
            admit = self._admits or gate.admission()
        while (duration_ms := timeout_ms(until_ms - self._clock())) > 0:
            gate.admit(admit, duration_ms)
            self._admits = admit
            if ends_in_time(duration_ms, until_ms - self._clock()):
                return True
            # The call was held up, as `_put` may be: once more with what is left.
        return False

    def _put(self, kernel: Kernel, vip: Vip, until_ms: int, *, prefix_route: bool) -> int:
        """Sets the address; returns its lifetime, 0 when the lease is too far gone by now."""
        while (lifetime_s := self._lifetime(until_ms)) > 0:
            kernel.put(vip, lifetime_s, prefix_route=prefix_route)
            if self._lifetime(until_ms) >= lifetime_s:
                return lifetime_s
            # The call was held up (a busy kernel, a stopped process): the address would outlive
            # the lease. Once more with what is left.
        return 0

    def _lifetime(self, until_ms: int) -> int:
        lifetime_s = whole_lifetime_s if self._gate is None else lasting_lifetime_s
        return lifetime_s(until_ms - self._clock())

    def _shut(self) -> list[str]:
        """Closes the gate if there is one; returns why it could not."""
        if self._gate is None:
            return []
        try:
            self._gate.admit(Admission.CLOSED, 0)
        except ActionError as error:  # it closes by itself, and the addresses go anyway
            return [str(error)]
        return []

    def _let_go(self) -> None:
        self._admits = Admission.CLOSED
        self._drop()

    def _drop(self) -> None:
        """Nothing is reached any more; a refresh that was only too late may open the gate again."""
        failures = self._shut()
        kernel = self._open()
        for address in kernel.addresses():
            if self._wanted(address) and _own(kernel, address):
                try:
                    kernel.remove(address)
                except ActionError as error:  # the others must go all the same
                    failures.append(str(error))
        left = [a for a in kernel.addresses() if self._wanted(a)]
        if left:
            names = ", ".join(str(a) for a in left)
            reasons = "; ".join(failures) or "it was not set by StaqRaft, which leaves it alone"
            raise StillHeld(
                f"this node still has {names} after letting go ({reasons})."
                f" Remove it by hand: ip address del {left[0].address}/{left[0].prefix_length}"
                f" dev {left[0].interface}"
            )
        for failure in failures:
            logger.warning("group %s: the addresses are gone, but: %s", self._group, failure)

    def _held(self) -> dict[Vip, bool]:
        present = self._open().addresses()
        return {vip: any(_is(a, vip) for a in present) for vip in self._vips}

    def _end_what_is_over(self) -> tuple[Vip, ...]:
        until_ms = self._note.read() if self._note is not None else None
        if until_ms is None or self._clock() < until_ms:
            return ()
        kernel = self._open()
        mine = [a for a in kernel.addresses() if _own(kernel, a)]
        left = tuple(vip for vip in self._vips if any(_is(a, vip) for a in mine))
        if left:
            self._drop()
        return left

    def _remove_leftovers(self) -> tuple[Vip, ...]:
        kernel = self._open()
        present = kernel.addresses()
        self._refuse_foreign(kernel, present)
        left = tuple(vip for vip in self._vips if any(a.address == vip.address.ip for a in present))
        if left:
            self._let_go()
        return left

    def _wanted(self, address: KernelAddress) -> bool:
        return any(address.address == vip.address.ip for vip in self._vips)

    def _refuse_foreign(self, kernel: Kernel, present: Sequence[KernelAddress]) -> None:
        for address in present:
            if self._wanted(address) and not _own(kernel, address):
                how = "permanently" if address.lifetime_s is None else "by another program"
                raise ForeignAddress(
                    f"group {self._group}: the virtual address {address} is configured {how} on"
                    " this node. It must be on the active only, and StaqRaft sets it itself: take"
                    " it out of the network configuration, then 'ip address del"
                    f" {address.address}/{address.prefix_length} dev {address.interface}'"
                )


def _is(address: KernelAddress, vip: Vip) -> bool:
    return address.address == vip.address.ip and address.interface == vip.interface


def _own(kernel: Kernel, address: KernelAddress) -> bool:
    """Ours always have a lifetime, and our mark where the kernel knows marks."""
    return address.lifetime_s is not None and (address.mark == OWN_MARK or not kernel.marks)


def _covered(vip: Vip, others: Sequence[KernelAddress]) -> bool:
    """Whether an address of the host's own already makes the VIP's network reachable.

    Then the VIP brings no route of its own: the kernel would tie the host's route to the
    VIP's lifetime (IPv6) or prefer the narrower one (IPv4).
    """
    return any(
        a.interface == vip.interface
        and a.address.version == vip.address.version
        and vip.address.ip in ip_network(f"{a.address}/{a.prefix_length}", strict=False)
        for a in others
    )


def _keep_neighbours(vip: Vip) -> None:
    """Sees to it that an IPv4 VIP never takes other addresses of the host with it.

    When the first address of a network goes, the kernel removes all others of that network too,
    unless promote_secondaries is set. The VIP can be the first: at boot, before DHCP answered.
    """
    if not isinstance(vip.address, IPv4Interface):
        return
    switch = SYSCTL / vip.interface / "promote_secondaries"
    try:
        if switch.read_text().strip() == "0":
            switch.write_text("1")
    except FileNotFoundError:
        return  # no such interface: setting the address says so properly
    except OSError as error:
        logger.warning(
            "cannot set promote_secondaries: when the virtual address goes, the kernel may remove"
            " other addresses of its network; set it in /etc/sysctl.d",
            extra={"path": switch, "reason": error.strerror},
        )
