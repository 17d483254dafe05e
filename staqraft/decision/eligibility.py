"""Why this replica takes over, or why it would not by itself (PURE).

All that can be against a takeover is listed here and nowhere else: `Against` names each, and
`refusals` gives it with the reason and with what to do, so that "why does b not take over?" has an
answer in `staqctl status` before the night in which it matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from staqraft.decision import health
from staqraft.decision.phases import Phase
from staqraft.model import NO_EPOCH
from staqraft.words import because

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState
    from staqraft.model import GroupRecord, NodeId


class Against(Enum):
    """What can be against a takeover."""

    NO_MAJORITY = "no-majority"
    LEFT_BEHIND = "left-behind"
    NOT_FIRST = "not-first"
    NOT_IN_SYNC = "not-in-sync"
    MAINTENANCE = "maintenance"
    STOPPING = "stopping"
    NOT_LET_GO = "not-let-go"
    FAILED_LATELY = "failed-lately"
    FENCED = "fenced"
    DATA = "data"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason, and what to do about it: half a sentence each, without a full stop."""

    code: Against
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}"


_MAINTENANCE = Refusal(
    code=Against.MAINTENANCE,
    reason="maintenance is on, so nothing is taken over automatically",
    remedy="'staqctl maintenance off' when the work is done",
)
MAINTENANCE = str(_MAINTENANCE)


def refusals(state: GroupState, now_ms: int) -> tuple[Refusal, ...]:
    """Why this replica would not take over now; empty: it would once the lease is free."""
    return (*_of_the_cluster(state), *_of_this_node(state, now_ms))


def reasons_against(state: GroupState, now_ms: int) -> tuple[str, ...]:
    """The same as sentences."""
    return tuple(str(refusal) for refusal in refusals(state, now_ms))


def _of_the_cluster(state: GroupState) -> Iterator[Refusal]:
    """What the replicated record says, or that it is not known."""
    settings, record = state.settings, state.record
    me = settings.node
    if state.phase is Phase.STARTUP:
        yield Refusal(
            code=Against.NO_MAJORITY,
            reason=f"{me} has not heard from the Raft majority yet",
            remedy="check that another member runs and can be reached",
        )
    if state.pair is not None and state.pair.newer:
        yield Refusal(
            code=Against.LEFT_BEHIND,
            reason=f"the other replica went on without {me}, in {state.pair.newer}",
            remedy=f"bring the link between them back, then {me} is taken in by itself",
        )
    if record.epoch == NO_EPOCH:
        if me != settings.initial_active:
            yield Refusal(
                code=Against.NOT_FIRST,
                reason=(
                    "the group was never active, and"
                    f" {settings.initial_active} (initial_active) goes first"
                ),
                remedy=f"start {settings.initial_active}, which holds the data",
            )
    elif me not in record.in_sync and me != record.active:
        # The active itself lacks nothing, even where its first epoch was never opened.
        source = record.active if not record.released else ", ".join(sorted(record.in_sync))
        yield Refusal(
            code=Against.NOT_IN_SYNC,
            reason=(
                f"{me} is not in sync, so it may lack acknowledged changes"
                f" (in sync: {', '.join(sorted(record.in_sync)) or 'nobody'})"
            ),
            remedy=(
                f"it catches up by itself as soon as it reaches {source or 'the active'}; if that"
                f" is lost for good, 'staqctl force-active {me} --accept-data-loss'"
            ),
        )
    if record.maintenance and not _asked_for(record, me):
        yield _MAINTENANCE


def _of_this_node(state: GroupState, now_ms: int) -> Iterator[Refusal]:
    """What this replica knows of itself."""
    me = state.settings.node
    if state.shutting_down:
        yield Refusal(
            code=Against.STOPPING,
            reason=f"the daemon on {me} is stopping",
            remedy=f"'systemctl start staqraftd' on {me} when it is to take part again",
        )
    if state.phase in {Phase.DROPPING, Phase.HALTING} and state.retry_ms:  # it failed before
        what = "virtual addresses" if state.phase is Phase.DROPPING else "services"
        by_hand = "remove them" if state.phase is Phase.DROPPING else "stop them"
        yield Refusal(
            code=Against.NOT_LET_GO,
            reason=f"{me} cannot let go of its {what} ({state.reason})",
            remedy=f"{by_hand} by hand on {me}; it is tried again all the time, and then goes on",
        )
    if now_ms < state.cooldown_ms:
        left = -(-(state.cooldown_ms - now_ms) // 1000)
        yield Refusal(
            code=Against.FAILED_LATELY,
            reason=f"the last takeover failed on {me} ({state.reason})",
            remedy=f"mend that; it is tried again in {left} s",
        )
    if state.fenced_before > state.record.epoch:
        yield Refusal(
            code=Against.FENCED,
            reason=f"another node acquired epoch {state.fenced_before}, and asked {me} to let go",
            remedy=f"this ends when {me} hears of that epoch: check its link to the other members",
        )
    for blocker in state.blockers:
        reason, _, remedy = blocker.rpartition(": ")
        reason, remedy = (reason, remedy) if reason else (blocker, "see the log of staqraftd")
        yield Refusal(code=Against.DATA, reason=reason, remedy=remedy)
    wish = state.record.switchover
    if wish is None or not wish.forced or wish.target != me:  # an operator knows better
        for defect in health.own(state).barring:
            yield Refusal(
                code=Against.UNHEALTHY,
                reason=f"{me} is not fit to serve, since {defect.text}",
                remedy=defect.remedy or "see 'findings' in 'staqctl status'",
            )


def _asked_for(record: GroupRecord, me: NodeId) -> bool:
    """What maintenance is no bar to: an operator asked for it, or it takes nothing from anybody."""
    wish = record.switchover
    if wish is not None and wish.target == me and (record.released or wish.forced):
        return True
    return record.active == me


def lease_over_ms(state: GroupState) -> int:
    """From when on the active's lease, as far as this node observed it, has surely run out.

    Where a lease proves nothing (`pair`), that a daemon rests is no reason to wait for longer.
    """
    resting_ms = 0 if state.settings.pair else state.record.resting_ms
    return state.settings.timing.challenger_deadline(state.observed_ms, resting_ms)


def why_now(state: GroupState, now_ms: int) -> str | None:
    """The reason to acquire at this instant, or None. Eligibility is asked apart."""
    record, me = state.record, state.settings.node
    if record.epoch == NO_EPOCH:
        return "first start"
    if record.active == me and not record.released:
        # We let go without a release and nobody followed: a new epoch, with nobody to fence.
        return "nobody took over since this node lost its lease"
    if record.released:
        wish = record.switchover
        if wish is not None and wish.target == me:
            return f"switchover asked by {wish.requested_by}{because(wish.reason)}"
        if wish is None and record.active != me:
            return f"{record.active} released"
        if wish is None and now_ms >= lease_over_ms(state):
            return "released, and nobody else took over"
        return None
    if now_ms >= lease_over_ms(state):
        return f"the lease of {record.active} ran out"
    return None
