"""Guards of the lease, each taken out by a function; see `mutations`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulation.patching import put
from staqraft.decision import lease, step, takeover
from staqraft.decision.lease import Timing


def renewal_counts_from_commit() -> None:
    real = step._observe

    def observe(turn: Any, event: Any) -> None:
        before = turn.state.lease
        real(turn, event)
        if turn.state.lease is not before and turn.state.lease.deadline_ms is not None:
            timing = turn.state.settings.timing
            later = timing.holder_deadline(turn.now_ms)
            turn.set(lease=replace(turn.state.lease, deadline_ms=later))
            step._hold(turn)

    put(step, "_observe", observe)


def grant_counts_from_commit() -> None:
    real = lease.granted
    put(takeover, "granted", lambda timing, epoch, _at, now: real(timing, epoch, now, now))


def second_attempt_counts() -> None:
    real = takeover._acquire

    def acquire(turn: Any, reason: str) -> None:
        turn.set(takeover=None)
        real(turn, reason)

    put(takeover, "_acquire", acquire)


def renewals_share_a_number() -> None:
    real = lease.proposing
    put(
        step,
        "proposing",
        lambda timing, held, seen, now: real(timing, replace(held, last_number=0), seen, now),
    )


def challenger_impatient() -> None:
    put(Timing, "challenger_deadline", lambda self, at, rest=0: at + max(rest, self.ttl_ms))


def rest_not_waited_for() -> None:
    """Whoever was left to its kernel in maintenance is taken for silent after a usual lease."""
    real = Timing.challenger_deadline
    put(Timing, "challenger_deadline", lambda self, at, _rest=0: real(self, at))


def holder_without_drift() -> None:
    put(
        Timing,
        "holder_deadline",
        lambda self, at, rest=0: at + (rest or self.ttl_ms) + self._drift_ms(self.ttl_ms),
    )
    put(
        Timing,
        "challenger_deadline",
        lambda self, at, rest=0: at + max(rest, self.ttl_ms) + self.margin_ms,
    )


def renewals_not_observed() -> None:
    real = step._observe

    def observe(turn: Any, event: Any) -> None:
        before = turn.state
        real(turn, event)
        if before.record.epoch == turn.state.record.epoch and before.observed_ms:
            turn.set(observed_ms=before.observed_ms)

    put(step, "_observe", observe)


def proposed_is_renewed() -> None:
    real = lease.proposing

    def proposing(timing: Timing, held: lease.Lease, seen: int, now: int) -> lease.Lease:
        return replace(
            real(timing, held, seen, now),
            deadline_ms=timing.holder_deadline(now) if held.deadline_ms is not None else None,
        )

    put(step, "proposing", proposing)


def restart_believes_its_lease() -> None:
    real = takeover.resume

    def resume(turn: Any) -> None:
        real(turn)
        timing = turn.state.settings.timing
        deadline = timing.holder_deadline(turn.now_ms)
        turn.set(lease=replace(turn.state.lease, deadline_ms=deadline))

    put(takeover, "resume", resume)


def lost_lease_ignored() -> None:
    put(step, "_lost", lambda *_: None)
