"""The arithmetic of the lease (PURE).

The holder counts from the instant just before it proposed, the challenger from the instant at
which it observed the renewal: propose <= commit <= observe, so that with clocks whose speeds differ
by no more than twice the drift the holder has let go before the challenger may act, whatever the
network did. No instant of one host is ever compared with one of another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from staqraft.model import NO_EPOCH, Epoch

_PENDING_KEPT = (
    32  # proposals whose fate is open; at one every renew_ms far more than a TTL's worth
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Durations in milliseconds that the core works with."""

    ttl_ms: int
    renew_ms: int
    margin_ms: int
    drift_ppm: int
    let_go_ms: int  # how long giving the addresses away may take
    in_sync_timeout_ms: int
    retry_ms: int  # between attempts of something that failed or whose outcome is unknown
    cooldown_ms: int  # after a takeover that failed on this node
    device_retry_ms: int = 15_000  # between attempts to have the loser turned off
    favoured_waits_ms: int = (
        4_000  # of a pair: before the one that is to act first has the other off
    )
    other_waits_ms: int = 10_000
    rest_ms: int = 600_000  # in maintenance: for how long the addresses go on without the daemon
    health_ms: int = 3_000  # for so long another replica is better off before it takes over
    health_word_ms: int = 2_000  # of that, before the word by which it still is
    health_fresh_ms: int = 5_000  # what a replica said of itself counts for so long
    health_again_ms: int = 30_000  # between attempts to hand over to who is better off
    own_silence_ms: int = 15_000  # our stream process is silent: a standby is not blamed before

    @property
    def report_ms(self) -> int:
        """A stream process that runs has said something of each standby within this time."""
        return min(1_000, self.in_sync_timeout_ms // 2)

    def _drift_ms(self, lasts_ms: int) -> int:
        """What a clock may gain or lose meanwhile, rounded up."""
        return -(-lasts_ms * self.drift_ppm // 1_000_000)

    def holder_deadline(self, proposed_ms: int, resting_ms: int = 0) -> int:
        """Until when a lease that was proposed then may be used, at rest for so long."""
        lasts_ms = resting_ms or self.ttl_ms
        return proposed_ms + lasts_ms - self._drift_ms(lasts_ms)

    def challenger_deadline(self, observed_ms: int, resting_ms: int = 0) -> int:
        """From when on a lease whose last renewal was observed then has surely run out."""
        lasts_ms = max(resting_ms, self.ttl_ms)
        return observed_ms + lasts_ms + self._drift_ms(lasts_ms) + self.margin_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What a node knows of its lease. `pending` are (number, instant just before proposing).

    Every attempt has a number of its own, so that the instant of the one that was committed is
    known even when earlier attempts were lost or are late.
    """

    epoch: Epoch = NO_EPOCH
    deadline_ms: int | None = None
    pending: tuple[tuple[int, int], ...] = ()
    next_renew_ms: int = 0
    last_number: int = 0

    def held(self, now_ms: int) -> bool:
        """The lease can be relied upon at this instant."""
        return self.deadline_ms is not None and now_ms < self.deadline_ms


def granted(timing: Timing, epoch: Epoch, proposed_ms: int, now_ms: int) -> Lease:
    """The lease that an applied `Acquire` grants, counted from the instant before its proposal."""
    return Lease(
        epoch=epoch,
        deadline_ms=timing.holder_deadline(proposed_ms),
        next_renew_ms=min(proposed_ms + timing.renew_ms, now_ms + timing.renew_ms),
    )


def proposing(timing: Timing, lease: Lease, observed_number: int, now_ms: int) -> Lease:
    """The lease when another renewal is about to be proposed; its number is `last_number`."""
    number = max(lease.last_number, observed_number) + 1
    return replace(
        lease,
        pending=(*lease.pending, (number, now_ms))[-_PENDING_KEPT:],
        last_number=number,
        next_renew_ms=now_ms + timing.renew_ms,
    )


def renewed(timing: Timing, lease: Lease, number: int) -> Lease:
    """The lease when renewal `number` was observed as applied; an unknown one changes nothing."""
    proposed = dict(lease.pending).get(number)
    rest = tuple(entry for entry in lease.pending if entry[0] > number)
    if proposed is None:
        return replace(lease, pending=rest)
    deadline = timing.holder_deadline(proposed)
    if lease.deadline_ms is not None:
        deadline = max(deadline, lease.deadline_ms)
    return replace(lease, pending=rest, deadline_ms=deadline)
