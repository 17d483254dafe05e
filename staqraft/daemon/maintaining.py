"""What an operator asks when something is worked on, and the reminder that it still is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from staqraft.api.node import MaintenanceWish
from staqraft.config.schema import Config
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.clock import wall_ms
from staqraft.errors import ActionError
from staqraft.model import GroupId, GroupRecord, Maintenance, Refused, SetMaintenance

logger = logging.getLogger(__name__)

_LOOK_S = 10.0
_MINUTE_MS = 60_000


async def maintain(raft: RaftGroup, config: Config, wish: MaintenanceWish) -> str:
    """Do it for every group; returns sentences. ActionError when it was refused.

    When this returns a majority knows that it is committed, not only that it was proposed: whoever
    has the entry of the barrier got it from a leader that had committed the others. Without a
    witness that is both replicas, and neither turns the other off.
    """
    for group in sorted(config.groups):
        outcome = await raft.propose(
            SetMaintenance(
                node=config.node,
                group=group,
                enabled=wish.enabled,
                requested_by=wish.requested_by,
                target=wish.node,
                reason=wish.reason,
                wall_ms=wall_ms(),
            )
        )
        if isinstance(outcome, Refused):
            raise ActionError(f"group {group}: {outcome.reason}")
    cluster = await raft.barrier()
    records = [cluster.groups.get(group, GroupRecord()) for group in sorted(config.groups)]
    whom = wish.node or "the cluster"
    if wish.enabled:
        minutes = config.maintenance.rest_ms // _MINUTE_MS
        return (
            f"{whom} is in maintenance: nobody is turned off, nothing is taken over by itself. A"
            " daemon may be stopped and upgraded; the active's addresses and services go on"
            f" without it for up to {minutes} min. When you are done: 'staqctl maintenance off'"
        )
    return " ".join([f"The maintenance of {whom} is over.", *_what_is_left(records)])


def _what_is_left(records: Iterable[GroupRecord]) -> Iterator[str]:
    left = {of(entry) for record in records for entry in record.maintenance}
    if left:
        yield f"{', '.join(sorted(left))} is still in maintenance."
    for record in records:
        if record.resting_ms and record.active is not None:
            yield (
                f"The daemon of {record.active} is stopped, and its kernel goes on for it: start"
                " it. If it does not come back, the other replica takes over when that is over,"
                f" up to {-(-record.resting_ms // _MINUTE_MS)} min after it stopped."
            )
            return


def of(entry: Maintenance) -> str:
    """Whom it is about."""
    return entry.node or "the cluster"


def lasts_ms(entry: Maintenance, now_ms: int) -> int:
    """For how long it lasts by the wall clocks, which are for people."""
    return max(0, now_ms - entry.since_ms)


def longest_ms(record: GroupRecord, now_ms: int) -> int:
    """For how long maintenance has been on; 0 when it is off. At least a second when it is on."""
    return max((max(1000, lasts_ms(entry, now_ms)) for entry in record.maintenance), default=0)


async def remind(raft: RaftGroup, config: Config, *, now_ms: Callable[[], int] = wall_ms) -> None:
    """Say in the log that maintenance lasts long, again and again, until cancelled."""
    said: dict[tuple[GroupId, int], int] = {}
    while True:
        for text in reminders(raft, config, said, now_ms()):
            logger.warning("%s", text)
        await asyncio.sleep(_LOOK_S)


def reminders(
    raft: RaftGroup, config: Config, said: dict[tuple[GroupId, int], int], now_ms: int
) -> Iterator[str]:
    """What is to be said now; `said` keeps how often each was."""
    for group, record in sorted(raft.state.groups.items()):
        for entry in record.maintenance:
            times = lasts_ms(entry, now_ms) // config.maintenance.remind_ms
            key = group, entry.log_index
            if times > said.get(key, 0):
                said[key] = times
                minutes = lasts_ms(entry, now_ms) // _MINUTE_MS
                yield (
                    f"group {group}: {of(entry)} has been in maintenance for {minutes} min, since"
                    f" {entry.requested_by} asked for it ({entry.reason or 'no reason given'}):"
                    " nothing is taken over by itself meanwhile. If it is done: 'staqctl"
                    " maintenance off'"
                )
