"""The arithmetic on which "never two" stands."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fakes.decision import TIMING
from staqraft.decision.lease import Lease, granted, proposing, renewed
from staqraft.model import Epoch


@given(
    true_proposed=st.integers(0, 10**9),
    network_ms=st.integers(0, 10**6),
    holder_ppm=st.integers(-1000, 1000),
    challenger_ppm=st.integers(-1000, 1000),
    ttl_ms=st.integers(500, 60_000),
    holder_offset=st.integers(0, 10**9),
    challenger_offset=st.integers(0, 10**9),
)
def test_the_holder_is_done_before_the_challenger_may_begin(
    true_proposed: int,
    network_ms: int,
    holder_ppm: int,
    challenger_ppm: int,
    ttl_ms: int,
    holder_offset: int,
    challenger_offset: int,
) -> None:
    """Whatever the clocks show and however fast each runs within the bound, by true time."""
    timing = replace(TIMING, ttl_ms=ttl_ms)

    def true_time_left(clock_ms: float, ppm: int) -> float:
        return clock_ms / (1 + ppm / 1_000_000)

    holder_clock = holder_offset
    held_for = timing.holder_deadline(holder_clock) - holder_clock
    holder_ends = true_proposed + true_time_left(held_for, holder_ppm)

    challenger_clock = challenger_offset
    waits = timing.challenger_deadline(challenger_clock) - challenger_clock
    challenger_begins = true_proposed + network_ms + true_time_left(waits, challenger_ppm)
    assert holder_ends < challenger_begins


def test_a_lease_counts_from_the_proposal_that_was_applied_and_not_from_an_earlier_one() -> None:
    lease = granted(TIMING, Epoch(1), 1000, 1000)
    lease = proposing(TIMING, lease, 0, 1300)  # number 1, which gets lost
    lease = proposing(TIMING, lease, 0, 2000)  # number 2, which is applied
    lease = renewed(TIMING, lease, 2)
    assert lease.deadline_ms == TIMING.holder_deadline(2000)
    assert lease.pending == ()


def test_a_late_first_attempt_does_not_lengthen_the_lease() -> None:
    lease = granted(TIMING, Epoch(1), 1000, 1000)
    lease = proposing(TIMING, lease, 0, 1300)
    lease = proposing(TIMING, lease, 0, 2000)
    lease = renewed(TIMING, lease, 1)
    assert lease.deadline_ms == TIMING.holder_deadline(1300)
    assert lease.pending == ((2, 2000),)


def test_a_renewal_that_we_did_not_propose_grants_nothing() -> None:
    lease = granted(TIMING, Epoch(1), 1000, 1000)
    assert renewed(TIMING, lease, 7).deadline_ms == lease.deadline_ms


def test_numbers_go_on_above_what_a_predecessor_of_this_process_used() -> None:
    lease = proposing(TIMING, Lease(epoch=Epoch(3), last_number=0), 41, 500)
    assert lease.last_number == 42


def test_nothing_is_held_without_a_grant_and_at_the_deadline() -> None:
    assert not Lease().held(0)
    lease = granted(TIMING, Epoch(1), 0, 0)
    assert lease.deadline_ms is not None
    assert lease.held(lease.deadline_ms - 1)
    assert not lease.held(lease.deadline_ms)
