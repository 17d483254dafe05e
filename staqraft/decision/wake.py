"""When the core has to be asked again if nothing else happens (PURE).

The two phases in which a group spends its life know their next instant, so that an idle daemon
sleeps; in the others the core is asked often enough for any. What an instant depends on can only
change in a step, and after each step this is asked anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from staqraft.decision import health, pair, planned, services, watchdog
from staqraft.decision.eligibility import lease_over_ms
from staqraft.decision.phases import Phase

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState

_OFTEN_MS: Final = 50
_SELDOM_MS: Final = 250  # an instant forgotten here is seen this late


def wake_ms(state: GroupState, now_ms: int) -> int:
    """When to send the next `Tick`, after a step at `now_ms`. Past instants that step has seen."""
    match state.phase:
        case Phase.STANDBY:
            instants = _of_standby(state)
        case Phase.ACTIVE:
            instants = _of_active(state)
        case _:
            return now_ms + _OFTEN_MS
    return min(
        (instant for instant in instants if now_ms < instant < now_ms + _SELDOM_MS),
        default=now_ms + _SELDOM_MS,
    )


def _of_standby(state: GroupState) -> Iterator[int]:
    yield lease_over_ms(state)
    yield from pair.instants(state)
    yield state.retry_ms
    yield state.cooldown_ms


def _of_active(state: GroupState) -> Iterator[int]:
    timing = state.settings.timing
    yield state.lease.next_renew_ms
    yield from pair.instants(state)
    if state.lease.deadline_ms is not None:
        yield state.lease.deadline_ms - timing.let_go_ms
    if (fires_ms := watchdog.let_go_by_ms(state)) is not None:
        yield fires_ms
    yield from services.instants(state)
    yield state.retry_ms
    yield state.rest_over_again_ms
    yield from planned.instants(state)
    yield from health.instants(state)
    for sync in state.peers.values():
        yield sync.whole_ms + timing.in_sync_timeout_ms + 1  # it is silent for too long
        yield sync.told_ms + timing.own_silence_ms + timing.in_sync_timeout_ms + 1
        yield sync.propose_again_ms
