"""A kernel's idea of addresses: they end by themselves, late by as much as a kernel may be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Interface

from simulation.machine import Clock
from simulation.schedule import MS, Schedule
from staqraft.actions.netlink import OWN_MARK, KernelAddress
from staqraft.config.schema import Vip
from staqraft.errors import ActionError

VIP = Vip(address=IPv4Interface("192.0.2.10/24"), interface="sim0")


class FakeKernel:
    """One machine's addresses; there is one VIP. `StillHeld` and the like are the holder's."""

    marks = True

    def __init__(
        self, schedule: Schedule, clock: Clock, rng: random.Random, taken: Callable[[], None]
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._rng = rng
        self._taken = taken
        self.until_us = 0
        self.broken = False
        self.held_up_us = 0  # the next call takes so long
        self.late_us = 0  # how long the calls since `begin` took

    def begin(self) -> None:
        self.late_us = 0

    def clock_ms(self) -> int:
        """What the holder's clock shows, with the time that its calls took."""
        return self._clock.boot_ms() + self.late_us // MS

    @property
    def present(self) -> bool:
        return self.until_us > self._schedule.now

    def addresses(self) -> Sequence[KernelAddress]:
        if not self.present:
            return ()
        left_s = (self.until_us - self._schedule.now) // (1000 * MS)
        return (
            KernelAddress(
                interface=VIP.interface,
                address=VIP.address.ip,
                prefix_length=24,
                lifetime_s=left_s,
                mark=OWN_MARK,
            ),
        )

    def put(self, vip: Vip, lifetime_s: int, *, prefix_route: bool) -> None:
        if self.broken:
            raise ActionError("the kernel refuses (simulated)")
        self.late_us += self.held_up_us
        self.held_up_us = 0
        late_ms = self._rng.random() * (250 + 125 * lifetime_s)
        lasting = self._clock.true_us(lifetime_s * 1000 + late_ms)
        self.until_us = self._schedule.now + self.late_us + lasting
        self._taken()

    def remove(self, address: KernelAddress) -> None:
        if self.broken:
            raise ActionError("the kernel refuses (simulated)")
        self.until_us = 0

    def close(self) -> None:
        pass

    def slept(self, duration_us: int) -> None:
        """Its timers stood still while the machine slept."""
        if self.until_us:
            self.until_us += duration_us
