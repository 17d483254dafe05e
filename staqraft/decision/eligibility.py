"""Why this replica would not take over by itself, if it would not (PURE).

Each reason is a sentence for `staqctl status`, so that "why does b not take over?" has an answer
before the night in which it matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.decision.phases import Phase
from staqraft.model import NO_EPOCH

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState


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
    if record.maintenance and not state.mine:
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
