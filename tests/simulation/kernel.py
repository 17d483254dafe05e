"""A kernel's idea of addresses and of the gate before them.

Both end by themselves, late by as much as a kernel may be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Interface

from simulation.machine import Clock
from simulation.schedule import MS, Schedule
from staqraft.actions.gate import LATE_MS, SHORTEST_MS
from staqraft.actions.netlink import OWN_MARK, KernelAddress
from staqraft.config.schema import Vip
from staqraft.errors import ActionError
from staqraft.lifetimes import ends_within_ms
from staqraft.model import Admission

_CLOSED = Admission.CLOSED
VIP = Vip(address=IPv4Interface("192.0.2.10/24"), interface="sim0")


class Note:
    """The instant that a file in /run keeps: it outlives the daemon, not the power."""

    def __init__(self) -> None:
        self.until_ms: int | None = None

    def write(self, until_ms: int) -> None:
        self.until_ms = until_ms

    def read(self) -> int | None:
        return self.until_ms

    def close(self) -> None:
        pass


class FakeKernel:
    """One machine's addresses; there is one VIP. `StillHeld` and the like are the holder's."""

    marks = True

    def __init__(
        self,
        schedule: Schedule,
        clock: Clock,
        rng: random.Random,
        taken: Callable[[], None],
        *,
        gated: bool = False,
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._rng = rng
        self._taken = taken
        self.gated = gated
        self.admits = Admission.CLOSED
        self._gate_until_us = 0
        self.until_us = 0
        self.note = Note()
        self.broken = False
        self.stuck = False  # somebody made the address permanent, and it cannot be removed
        self.held_up_us = 0  # the next call takes so long
        self.late_us = 0  # how long the calls since `begin` took

    def begin(self) -> None:
        self.late_us = 0

    def clock_ms(self) -> int:
        """What the holder's clock shows, with the time that its calls took."""
        return self._clock.boot_ms(later_us=self.late_us)

    @property
    def present(self) -> bool:
        return self.stuck or self.until_us > self._schedule.now

    @property
    def answers_until_us(self) -> int:
        """Until when it answers for the address, packets and ARP, if nothing more is said."""
        if not self.gated:
            return self.until_us
        return min(self.until_us, self._gate_until_us) if self.admits is not _CLOSED else 0

    @property
    def answers(self) -> bool:
        return self.answers_until_us > self._schedule.now or (self.stuck and not self.gated)

    def addresses(self) -> Sequence[KernelAddress]:
        if not self.present:
            return ()
        left_s = max(0, self.until_us - self._schedule.now) // (1000 * MS)
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
        self._call()
        late_ms = self._rng.random() * (ends_within_ms(lifetime_s) - lifetime_s * 1000)
        lasting = self._clock.true_us(lifetime_s * 1000 + late_ms)
        self.until_us = self._schedule.now + self.late_us + lasting
        self._tell()

    def admit(self, admission: Admission, duration_ms: int) -> None:
        """The gate's: see `Gate.admit`."""
        self._call()
        assert admission is _CLOSED or duration_ms >= SHORTEST_MS
        lasting = self._clock.true_us(duration_ms + self._rng.random() * LATE_MS)
        self.admits = admission
        self._gate_until_us = self._schedule.now + self.late_us + lasting
        self._tell()

    def admission(self) -> Admission:
        """The gate's: see `Gate.admission`."""
        return self.admits if self._gate_until_us > self._schedule.now else _CLOSED

    def _call(self) -> None:
        if self.broken:
            raise ActionError("the kernel refuses (simulated)")
        self.late_us += self.held_up_us
        self.held_up_us = 0

    def _tell(self) -> None:
        if self.answers:
            self._taken()

    def power_off(self) -> None:
        self.until_us = 0
        self.note.until_ms = None
        self.stuck = False
        self.admits = _CLOSED

    def remove(self, address: KernelAddress) -> None:
        if self.broken or self.stuck:
            raise ActionError("the kernel refuses (simulated)")
        self.until_us = 0

    def close(self) -> None:
        pass

    def slept(self, duration_us: int) -> None:
        """Its timers stood still while the machine slept."""
        if self.until_us:
            self.until_us += duration_us
        self._gate_until_us += duration_us
