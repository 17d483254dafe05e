"""What must be true of one replica's state at any time (PURE). The simulator asks after every step.

What must be true of all replicas together (one lease, one holder of the address) is checked by
those who see all of them: the simulator and the lab.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staqraft.decision.lease import Lease
from staqraft.decision.phases import CAPTURED, HOLDING, Phase
from staqraft.decision.state import Joining

if TYPE_CHECKING:
    from staqraft.decision.state import GroupState


def violations(state: GroupState, now_ms: int) -> tuple[str, ...]:
    """Broken invariants, a sentence each; empty if all hold."""
    found: list[str] = []
    record, lease = state.record, state.lease
    # A release after letting go at once: the lease was given up with the addresses.
    if state.phase in HOLDING and not (state.phase is Phase.RELEASING and lease == Lease()):
        if lease.epoch != record.epoch:
            found.append(
                f"{state.phase.value} with a lease of epoch {lease.epoch}, not {record.epoch}"
            )
        if not lease.held(now_ms):
            found.append(f"{state.phase.value} without a lease")
    if state.addressed and not state.epoch_is_open:
        found.append(f"{state.phase.value} before epoch {record.epoch} was opened")
    if state.addressed and state.settings.node not in record.in_sync:
        found.append(f"{state.phase.value} and not in the in-sync set")
    served = state.phase in CAPTURED or state.phase is Phase.UNADDRESSING
    if served and state.settings.watchdog_ms and state.kicked_ms is None:
        found.append(f"{state.phase.value} with a watchdog that is not armed")
    joining = [peer for peer, sync in state.peers.items() if sync.joining is not Joining.OUT]
    if joining and state.phase not in HOLDING:
        found.append(f"{', '.join(joining)} joins, but this node is {state.phase.value}")
    return tuple(found)
