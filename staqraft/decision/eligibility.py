"""Why this replica takes over, or why it would not by itself (PURE).

Each reason is a sentence for `staqctl status`, so that "why does b not take over?" has an answer
before the night in which it matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.decision.phases import Phase
from staqraft.model import NO_EPOCH

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState
    from staqraft.model import GroupRecord, NodeId


MAINTENANCE = "maintenance is on: nothing is taken over automatically"


def reasons_against(state: GroupState, now_ms: int) -> tuple[str, ...]:
    """Why this replica would not take over now; empty: it would once the lease is free."""
    settings, record = state.settings, state.record
    me = settings.node
    reasons: list[str] = []
    if state.phase is Phase.STARTUP:
        reasons.append(
            f"{me} has not heard from the Raft majority yet: "
            "check that another member runs and can be reached"
        )
    if state.pair is not None and state.pair.newer:
        reasons.append(f"the other replica went on without {me}, in {state.pair.newer}")
    if record.epoch == NO_EPOCH:
        if me != settings.initial_active:
            reasons.append(
                f"the group was never active: {settings.initial_active} (initial_active) goes first"
            )
    elif me not in record.in_sync and me != record.active:
        # The active itself lacks nothing, even where its first epoch was never opened.
        reasons.append(
            f"{me} is not in sync: it may lack acknowledged changes "
            f"(in sync: {', '.join(sorted(record.in_sync)) or 'nobody'})"
        )
    if record.maintenance and not _asked_for(record, me):
        reasons.append(MAINTENANCE)
    if state.shutting_down:
        reasons.append(f"the daemon on {me} is stopping")
    if now_ms < state.cooldown_ms:
        left = -(-(state.cooldown_ms - now_ms) // 1000)
        reasons.append(f"the last takeover failed on {me} ({state.reason}); next try in {left} s")
    if state.fenced_before > record.epoch:
        reasons.append(f"another node has acquired epoch {state.fenced_before}")
    reasons.extend(state.blockers)
    return tuple(reasons)


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
            return f"switchover asked by {wish.requested_by}: {wish.reason}"
        if wish is None and record.active != me:
            return f"{record.active} released"
        if wish is None and now_ms >= lease_over_ms(state):
            return "released, and nobody else took over"
        return None
    if now_ms >= lease_over_ms(state):
        return f"the lease of {record.active} ran out"
    return None
