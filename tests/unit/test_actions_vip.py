"""The lifetime that an address gets, on a kernel that answers late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staqraft.actions.gate import LATE_MS, Gate, timeout_ms
from staqraft.actions.netlink import OWN_MARK, KernelAddress
from staqraft.actions.note import LeaseNote
from staqraft.actions.vip import (
    ForeignAddress,
    StillHeld,
    VipHolder,
)
from staqraft.config.schema import Vip
from staqraft.errors import ActionError
from staqraft.lifetimes import ends_within_ms, lasting_lifetime_s, whole_lifetime_s
from staqraft.model import Admission, GroupId

WEB = Vip(address=ip_interface("192.0.2.10/24"), interface="lan0")
MAIL = Vip(address=ip_interface("2001:db8::10/64"), interface="lan0")
GROUP = GroupId("default")


@dataclass
class FakeKernel:
    """Addresses in a list; each `put` takes `delays_ms` of the clock, one after the other."""

    marks: bool = True
    now_ms: int = 0
    present: list[KernelAddress] = field(default_factory=list)
    delays_ms: list[int] = field(default_factory=list)
    refuses_removal: bool = False
    with_route: list[bool] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # what was done to gate and addresses, in order
    gate_delays_ms: list[int] = field(default_factory=list)
    gate_until_ms: int = 0
    admits: Admission = Admission.CLOSED
    gate_broken: bool = False

    def addresses(self) -> Sequence[KernelAddress]:
        return list(self.present)

    def put(self, vip: Vip, lifetime_s: int, *, prefix_route: bool) -> None:
        self.now_ms += self.delays_ms.pop(0) if self.delays_ms else 0
        self.told.append(f"put {vip.address.ip}")
        self.present = [a for a in self.present if a.address != vip.address.ip]
        self.present.append(_address(vip, lifetime_s))
        self.with_route.append(prefix_route)

    def remove(self, address: KernelAddress) -> None:
        if self.refuses_removal:
            raise ActionError("the kernel refused to remove it: Operation not permitted")
        self.told.append(f"remove {address.address}")
        self.present.remove(address)

    def admit(self, admission: Admission, duration_ms: int) -> None:
        if self.gate_broken:
            raise ActionError("the packet filter refused: No buffer space available")
        self.now_ms += self.gate_delays_ms.pop(0) if self.gate_delays_ms else 0
        self.told.append(f"gate {admission.value}")
        self.admits = admission
        self.gate_until_ms = self.now_ms + duration_ms + LATE_MS

    def admission(self) -> Admission:
        return self.admits if self.gate_until_ms > self.now_ms else Admission.CLOSED

    def close(self) -> None:
        pass

    def lifetime_of(self, vip: Vip) -> int | None:
        return next(a.lifetime_s for a in self.present if a.address == vip.address.ip)


def _address(vip: Vip, lifetime_s: int | None, mark: int = OWN_MARK) -> KernelAddress:
    return KernelAddress(
        interface=vip.interface,
        address=vip.address.ip,
        prefix_length=vip.address.network.prefixlen,
        lifetime_s=lifetime_s,
        mark=mark,
    )


def holder_on(kernel: FakeKernel, *vips: Vip) -> VipHolder:
    return VipHolder(GROUP, vips or (WEB,), clock=lambda: kernel.now_ms, kernel=lambda: kernel)


def gated_on(kernel: FakeKernel, *vips: Vip) -> VipHolder:
    """A holder with a gate before its addresses: the kernel's, which is late by all of LATE_MS."""
    gate = cast("Gate", kernel)
    return VipHolder(
        GROUP, vips or (WEB,), gate=gate, clock=lambda: kernel.now_ms, kernel=lambda: kernel
    )


@given(st.integers(min_value=-10_000, max_value=3_600_000))
def test_a_lifetime_ends_within_the_lease_however_late_the_kernel_is(remaining_ms: int) -> None:
    lifetime_s = whole_lifetime_s(remaining_ms)
    assert lifetime_s >= 0
    if lifetime_s:
        # By itself late by a quarter of a second and an eighth; put off by a whole one, once.
        assert lifetime_s * 1125 + 250 <= remaining_ms
        assert lifetime_s * 1000 + 1125 <= remaining_ms
    assert ends_within_ms(lifetime_s + 1) > remaining_ms


@pytest.mark.parametrize(
    ("remaining_ms", "lifetime_s"),
    [(20_000, 17), (3990, 2), (2990, 1), (2125, 1), (2124, 0), (0, 0), (-5, 0)],
)
def test_a_lifetime_is_never_rounded_up(remaining_ms: int, lifetime_s: int) -> None:
    assert whole_lifetime_s(remaining_ms) == lifetime_s


async def test_new_addresses_are_told_once_and_refreshed_after_that() -> None:
    kernel = FakeKernel()
    holder = holder_on(kernel, WEB, MAIL)
    first = await holder.hold(until_ms=3990)
    second = await holder.hold(until_ms=3990)
    assert (first.added, first.lifetime_s) == ((WEB, MAIL), 2)
    assert (second.added, second.lifetime_s) == ((), 2)


async def test_without_a_gate_an_address_is_reached_at_once_also_after_it_was_let_go() -> None:
    """Whoever takes over announces it then: clients would else ask the former active's MAC."""
    holder = holder_on(FakeKernel())
    await holder.drop()
    assert (await holder.hold(until_ms=3990)).admits is Admission.OPEN


async def test_an_address_about_to_expire_counts_as_new() -> None:
    kernel = FakeKernel(present=[_address(WEB, 0)])
    assert (await holder_on(kernel).hold(until_ms=2990)).added == (WEB,)


async def test_a_call_that_was_held_up_does_not_outlive_the_lease() -> None:
    kernel = FakeKernel(delays_ms=[900])
    held = await holder_on(kernel).hold(until_ms=4990)
    assert held.lifetime_s == kernel.lifetime_of(WEB) == whole_lifetime_s(4990 - 900) == 2


async def test_a_process_that_was_stopped_within_the_call_takes_the_address_back() -> None:
    kernel = FakeKernel(delays_ms=[60_000])
    held = await holder_on(kernel, WEB, MAIL).hold(until_ms=2990)
    assert (held.lifetime_s, held.added, kernel.present) == (0, (), [])


async def test_with_too_little_lease_left_all_addresses_are_removed() -> None:
    kernel = FakeKernel(present=[_address(WEB, 1), _address(MAIL, 1)])
    held = await holder_on(kernel, WEB, MAIL).hold(until_ms=999)
    assert (held.lifetime_s, kernel.present) == (0, [])


async def test_a_network_that_the_host_reaches_already_gets_no_second_route() -> None:
    host = KernelAddress(
        interface="lan0", address=ip_interface("192.0.2.1").ip, prefix_length=24, lifetime_s=None
    )
    kernel = FakeKernel(present=[host])
    await holder_on(kernel, WEB, MAIL).hold(until_ms=2990)
    assert kernel.with_route == [False, True]


async def test_an_address_that_the_kernel_does_not_let_go_is_named_with_the_reason() -> None:
    kernel = FakeKernel(present=[_address(WEB, 2)], refuses_removal=True)
    with pytest.raises(StillHeld, match=r"still has 192\.0\.2\.10/24 on lan0.*not permitted"):
        await holder_on(kernel).drop()


async def test_an_address_with_another_mark_is_somebody_elses() -> None:
    kernel = FakeKernel(present=[_address(WEB, 30, mark=0)])
    with pytest.raises(ForeignAddress, match="by another program"):
        await holder_on(kernel).hold(until_ms=2990)


async def test_on_a_kernel_without_marks_a_lifetime_is_the_mark() -> None:
    kernel = FakeKernel(marks=False, present=[_address(WEB, 30, mark=0)])
    assert await holder_on(kernel).remove_leftovers() == (WEB,)
    assert kernel.present == []


# --- behind a gate --------------------------------------------------------------------------------


@given(st.integers(min_value=-10_000, max_value=3_600_000))
def test_a_gate_closes_within_the_lease_however_late_the_kernel_is(remaining_ms: int) -> None:
    duration_ms = timeout_ms(remaining_ms)
    assert duration_ms == 0 or 10 <= duration_ms <= remaining_ms - LATE_MS


@given(st.integers(min_value=1, max_value=3_600_000))
def test_behind_a_gate_the_address_outlives_the_lease_by_little(remaining_ms: int) -> None:
    assert remaining_ms < lasting_lifetime_s(remaining_ms) * 1000 <= remaining_ms + 1250


async def test_the_gate_is_told_before_an_address_is_added_and_before_one_is_removed() -> None:
    kernel = FakeKernel()
    holder = gated_on(kernel)
    await holder.hold(until_ms=1000)
    await holder.hold(1000, Admission.OPEN)
    await holder.drop()
    assert kernel.told == [
        *("gate closed", "put 192.0.2.10"),
        *("gate open", "put 192.0.2.10"),
        *("gate closed", "remove 192.0.2.10"),
    ]


async def test_a_short_lease_is_enough_behind_a_gate() -> None:
    kernel = FakeKernel()
    held = await gated_on(kernel).hold(999, Admission.OPEN)
    assert (held.lifetime_s, held.admits, held.added) == (2, Admission.OPEN, (WEB,))
    assert kernel.gate_until_ms <= 999


async def test_a_refresh_leaves_the_gate_as_it_is() -> None:
    kernel = FakeKernel()
    holder = gated_on(kernel)
    for admission in (Admission.CLOSED, Admission.OPEN, Admission.DRAINING, Admission.OPEN):
        await holder.hold(kernel.now_ms + 1000, admission)
        kernel.now_ms += 5000  # it closed by itself; whoever holds the lease again opens it again
        held = await holder.hold(kernel.now_ms + 1000)
        assert (held.admits, kernel.admits) == (admission, admission)


async def test_a_refresh_that_came_too_late_closes_the_gate_and_the_next_opens_it() -> None:
    kernel = FakeKernel()
    holder = gated_on(kernel)
    await holder.hold(1000, Admission.OPEN)
    kernel.now_ms = 1200
    assert (await holder.hold(1100)).lifetime_s == 0
    assert (kernel.admits, kernel.present) == (Admission.CLOSED, [])
    assert (await holder.hold(2000)).admits is Admission.OPEN
    await holder.drop()
    assert (await holder.hold(2000)).admits is Admission.CLOSED


@pytest.mark.parametrize("admission", [Admission.OPEN, Admission.CLOSED])
async def test_a_daemon_that_was_restarted_asks_the_kernel(admission: Admission) -> None:
    kernel = FakeKernel()
    await gated_on(kernel).hold(1000, admission)
    kernel.now_ms += 100
    assert (await gated_on(kernel).hold(1100)).admits is admission


async def test_a_gate_that_closed_while_the_daemon_was_away_stays_closed() -> None:
    kernel = FakeKernel()
    await gated_on(kernel).hold(1000, Admission.OPEN)
    kernel.now_ms += 1000
    assert (await gated_on(kernel).hold(3000)).admits is Admission.CLOSED


@pytest.mark.parametrize("delay_ms", [9, 11, 300])
async def test_a_transaction_that_was_held_up_does_not_outlive_the_lease(delay_ms: int) -> None:
    kernel = FakeKernel(gate_delays_ms=[delay_ms])
    held = await gated_on(kernel).hold(1000, Admission.OPEN)
    assert held.lifetime_s > 0
    assert kernel.gate_until_ms <= 1000


async def test_a_process_that_was_stopped_in_the_transaction_closes_the_gate() -> None:
    kernel = FakeKernel(gate_delays_ms=[60_000])
    held = await gated_on(kernel).hold(1000, Admission.OPEN)
    assert (held.lifetime_s, kernel.admits, kernel.present) == (0, Admission.CLOSED, [])


async def test_a_process_that_was_stopped_before_the_address_does_not_keep_it() -> None:
    kernel = FakeKernel(delays_ms=[60_000])
    held = await gated_on(kernel).hold(1000, Admission.OPEN)
    assert (held.lifetime_s, kernel.admits, kernel.present) == (0, Admission.CLOSED, [])


async def test_the_addresses_go_though_the_gate_cannot_be_closed() -> None:
    kernel = FakeKernel()
    holder = gated_on(kernel)
    await holder.hold(1000, Admission.OPEN)
    kernel.gate_broken = True
    await holder.drop()
    assert kernel.present == []


async def test_no_address_is_added_when_the_gate_cannot_be_told() -> None:
    kernel = FakeKernel(gate_broken=True)
    with pytest.raises(ActionError, match="the packet filter refused"):
        await gated_on(kernel).hold(1000)
    assert kernel.present == []


async def test_what_the_kernel_keeps_beyond_the_lease_is_ended_by_the_next_life(
    tmp_path: Path,
) -> None:
    kernel = FakeKernel(now_ms=1000)
    path = tmp_path / "run" / "default.lease"

    def life() -> VipHolder:
        return VipHolder(
            GROUP, [WEB], note=LeaseNote(path), clock=lambda: kernel.now_ms, kernel=lambda: kernel
        )

    await life().hold(until_ms=3990)
    kernel.now_ms = 3989
    assert await life().end_what_is_over() == ()
    assert kernel.present
    kernel.now_ms = 3990  # the machine slept: the kernel's timer has not run
    assert await life().end_what_is_over() == (WEB,)
    assert not kernel.present


async def test_what_is_not_ours_or_not_known_is_left_alone(tmp_path: Path) -> None:
    kernel = FakeKernel(now_ms=9000, present=[_address(WEB, None, mark=0)])
    path = tmp_path / "default.lease"
    note = LeaseNote(path)
    holder = VipHolder(GROUP, [WEB], note=note, clock=lambda: kernel.now_ms, kernel=lambda: kernel)
    for content in (None, b"", b"12", b"x" * 21, b"\xff" * 21):
        if content is not None:
            path.write_bytes(content)
        assert note.read() is None
        assert await holder.end_what_is_over() == ()
    note.write(8000)
    assert note.read() == 8000
    assert await holder.end_what_is_over() == ()
    assert kernel.present


def test_a_note_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("in the way")
    note = LeaseNote(tmp_path / "run" / "default.lease")
    note.write(1)
    note.write(2)
    assert len(caplog.records) == 1
    assert "too long" in caplog.text
