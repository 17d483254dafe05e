"""Which transitions the decision table has, and which of them no run has taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from staqraft.decision.phases import CAPTURED, HOLDING, Phase

# As `staqraft.decision` has them; what it takes within one step shows as one transition.
_FORWARD: Final = (
    (Phase.STARTUP, Phase.RESUMING),
    (Phase.STARTUP, Phase.DROPPING),
    (Phase.RESUMING, Phase.CAPTURING),
    (Phase.RESUMING, Phase.FENCING),
    (Phase.RESUMING, Phase.FINISHING),
    (Phase.RESUMING, Phase.DROPPING),
    (Phase.STANDBY, Phase.ACQUIRING),
    (Phase.STANDBY, Phase.FENCING),
    (Phase.STANDBY, Phase.FINISHING),
    (Phase.STANDBY, Phase.DROPPING),
    (Phase.ACQUIRING, Phase.STANDBY),
    (Phase.ACQUIRING, Phase.FENCING),
    (Phase.ACQUIRING, Phase.FINISHING),
    (Phase.FENCING, Phase.FINISHING),
    (Phase.FINISHING, Phase.OPENING),
    (Phase.OPENING, Phase.CAPTURING),
    (Phase.OPENING, Phase.ARMING),
    (Phase.RESUMING, Phase.ARMING),
    (Phase.ARMING, Phase.CAPTURING),
    (Phase.CAPTURING, Phase.STARTING),
    (Phase.CAPTURING, Phase.ACQUIRING),
    (Phase.CAPTURING, Phase.ADDRESSING),  # with a gate
    (Phase.STARTING, Phase.ADDRESSING),
    (Phase.STARTING, Phase.ADMITTING),
    (Phase.ADDRESSING, Phase.ACTIVE),
    (Phase.ADDRESSING, Phase.STARTING),
    (Phase.ADMITTING, Phase.ACTIVE),
    (Phase.ACTIVE, Phase.PREPARING),
    (Phase.PREPARING, Phase.STOPPING),
    (Phase.PREPARING, Phase.DRAINING),
    (Phase.DRAINING, Phase.STOPPING),
    (Phase.DRAINING, Phase.STARTING),
    (Phase.PREPARING, Phase.ACTIVE),
    (Phase.STOPPING, Phase.FLUSHING),
    (Phase.STOPPING, Phase.STARTING),
    (Phase.FLUSHING, Phase.UNADDRESSING),
    (Phase.FLUSHING, Phase.STARTING),
    (Phase.UNADDRESSING, Phase.RELEASING),
    (Phase.RELEASING, Phase.STANDBY),
    (Phase.ACTIVE, Phase.RESTING),
    (Phase.RESTING, Phase.ACTIVE),
    (Phase.RESTING, Phase.LEAVING),
    (Phase.LEAVING, Phase.RESTED),
    (Phase.STARTUP, Phase.CAPTURING),  # of a pair: it kept its lease alone
    (Phase.DROPPING, Phase.HALTING),
    (Phase.HALTING, Phase.STANDBY),
    (Phase.HALTING, Phase.RELEASING),
    (Phase.HALTING, Phase.ACQUIRING),
)
# The data worker was restarted and cannot go on in this epoch (`CaptureBroken`): the next one.
_BROKEN: Final = {(phase, Phase.ACQUIRING) for phase in CAPTURED}
# What had been done is done again or undone within the same step that found the lease lost.
_AT_ONCE: Final = {
    (Phase.HALTING, Phase.DROPPING),  # granted in the step in which it was lost again
    # granted with less of its lease left than letting go takes; or the active's own, not granted
    (Phase.ACQUIRING, Phase.DROPPING),
    (Phase.STANDBY, Phase.DROPPING),  # the same, learned late
    (Phase.HALTING, Phase.FINISHING),  # granted late, and the loser was fenced before
    (Phase.ADDRESSING, Phase.STOPPING),  # a switchover is asked for as it becomes active
    (Phase.ADDRESSING, Phase.PREPARING),
    (Phase.ADMITTING, Phase.PREPARING),
    (Phase.ADDRESSING, Phase.RESTING),  # its daemon is to stop as it becomes active
    (Phase.ADMITTING, Phase.RESTING),
    (Phase.ACTIVE, Phase.LEAVING),  # of a pair whose other replica is lost: nothing to wait for
    (Phase.RESTING, Phase.PREPARING),  # maintenance ends, and the daemon stops by handing over
}
# Seldom: a journal that breaks, or a lease that ends, in a phase of milliseconds; the drill
# `in_a_phase` has them last for longer. Only with a watchdog: ARMING.
TABLE: Final = (
    frozenset(_FORWARD) | {(phase, Phase.DROPPING) for phase in HOLDING} | _BROKEN | _AT_ONCE
)


def never_taken(taken: Mapping[tuple[Phase, Phase], int]) -> Iterator[str]:
    """Those of the table that nobody took, and those that are not in it, a line each."""
    order = list(Phase)
    for one, other in sorted(TABLE - set(taken), key=lambda pair: tuple(map(order.index, pair))):
        yield f"{one.value} -> {other.value}"
    for (one, other), times in sorted(taken.items(), key=lambda item: -item[1]):
        if (one, other) not in TABLE:
            yield f"(not in the table: {one.value} -> {other.value}, {times} times)"
