"""What operators' switchovers, now and later, and the failback policy do to a record. PURE.

A scheduled switchover is kept here until its time, which the active tells by its wall clock: it
then becomes a switchover like any other, in the same step in which it stops being scheduled, or it
is dropped, with the reason in the history. So it is done once or not at all, whoever is active by
then and however often the daemons were restarted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, assert_never

from staqraft.consensus.verdict import Changed, Verdict, clip
from staqraft.model import (
    MOVES_KEPT,
    CancelSwitchover,
    ClearFailures,
    DropSchedule,
    GroupRecord,
    NodeId,
    RequestSwitchover,
    Scheduled,
    ScheduleSwitchover,
    Switchover,
)
from staqraft.words import because

FAILBACKS_COUNTED: Final = 1000
_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999, the last that can be written


Command = RequestSwitchover | CancelSwitchover | ScheduleSwitchover | DropSchedule


def judge(group: GroupRecord, index: int, command: Command) -> Verdict:
    """What a command that stands in the log at `index` does."""
    match command:
        case RequestSwitchover():
            return _request(group, index, command)
        case CancelSwitchover():
            return _cancel(group, command)
        case ScheduleSwitchover():
            return _schedule(group, index, command)
        case DropSchedule():
            return _drop(group, command)
        case _:
            assert_never(command)


def _request(group: GroupRecord, index: int, command: RequestSwitchover) -> Verdict:
    """Now: by an operator, because it was scheduled, or by the failback policy."""
    due, pending = group.scheduled, group.switchover
    again = command.schedule in {0, pending.schedule} if pending is not None else False
    if pending is not None and pending.target == command.target and again:
        return None
    if command.schedule and (due is None or due.log_index != command.schedule):
        return "what was scheduled is not scheduled any more"
    if pending is not None:
        return f"a switchover to {pending.target} is pending: cancel it first"
    if group.active is None:
        return "the group has no active yet: there is nothing to switch over"
    if group.active == command.target and not group.released:
        return f"{command.target} is active already"
    if command.target not in group.in_sync:
        members = ", ".join(sorted(group.in_sync)) or "nobody"
        return (
            f"{command.target} is not in sync (in sync: {members}): wait until it is"
            " ('staqctl status' says how far it is)"
        )
    wish = Switchover(
        target=command.target,
        requested_by=clip(command.requested_by),
        reason=clip(command.reason),
        log_index=index,
        failback=command.failback,
        schedule=command.schedule,
        service=clip(command.service),
    )
    failbacks = min(group.failbacks + 1, FAILBACKS_COUNTED) if command.failback else 0
    after = replace(
        group,
        switchover=wish,
        scheduled=None if command.schedule else due,
        failbacks=group.failbacks if command.service else failbacks,
        moves=(*group.moves, index)[-MOVES_KEPT:] if command.service else group.moves,
    )
    why = because(command.reason)
    text = f"{command.requested_by} asks that {command.target} becomes active{why}"
    return Changed(after, "switchover-requested", text)


def _cancel(group: GroupRecord, command: CancelSwitchover) -> Verdict:
    """The one that is pending."""
    pending = group.switchover
    if pending is None:
        return None
    in_sync = group.in_sync
    if pending.forced and pending.target != group.active:
        # It was let in without being in sync; if it is, the active will say so again.
        in_sync -= {pending.target}
    text = f"the switchover to {pending.target} is given up: {command.reason}"
    # What did not come about is no move.
    moves = tuple(move for move in group.moves if move != pending.log_index)
    after = replace(group, switchover=None, in_sync=in_sync, moves=moves)
    return Changed(after, "switchover-cancelled", text)


def _schedule(group: GroupRecord, index: int, command: ScheduleSwitchover) -> Verdict:
    """Later. The time is compared with the proposer's clock, which came with the command."""
    known = group.scheduled
    entry = Scheduled(
        target=NodeId(clip(command.target)),
        at_ms=command.at_ms,
        requested_by=clip(command.requested_by),
        reason=clip(command.reason),
        log_index=index,
    )
    if known is not None:
        if replace(known, log_index=index) == entry:
            return None
        return (
            f"a switchover to {known.target} is scheduled for {when(known.at_ms)} already: cancel"
            " it first ('staqctl switchover --cancel')"
        )
    if not command.wall_ms < command.at_ms <= _LATEST_MS:
        return f"{when(command.at_ms)} is in the past: by now it is {when(command.wall_ms)}"
    if group.active == command.target and not group.released:
        return f"{command.target} is active already: nothing would be left to do"
    text = (
        f"{command.requested_by} asks that {command.target} becomes active at"
        f" {when(command.at_ms)}{because(command.reason)}"
    )
    return Changed(replace(group, scheduled=entry), "switchover-scheduled", text)


def _drop(group: GroupRecord, command: DropSchedule) -> Verdict:
    """By an operator, or by the active because its time came and it could not be done."""
    known = group.scheduled
    if known is None or (command.schedule and command.schedule != known.log_index):
        return None
    what = f"the switchover to {known.target} that was scheduled for {when(known.at_ms)}"
    after = replace(group, scheduled=None)
    if command.missed:
        text = f"{what} was not done, and is not done later: {command.reason}"
        return Changed(after, "switchover-missed", text)
    return Changed(after, "switchover-unscheduled", f"{what} is cancelled: {command.reason}")


def clear_failures(group: GroupRecord, index: int, command: ClearFailures) -> Verdict:
    """By an operator, who mended what failed; or by the active, of moves that are too old."""
    if command.requested_by:
        text = f"{command.requested_by} has the failures of services forgotten"
        after = replace(group, moves=(), cleared_index=index)
        return Changed(after, "service-cleared", text)
    moves = tuple(move for move in group.moves if move > command.up_to)
    return Changed(replace(group, moves=moves)) if moves != group.moves else None


def settle(group: GroupRecord) -> Verdict:
    """By the active: from now on a failback waits no longer than the first one did."""
    if not group.failbacks:
        return None
    return Changed(replace(group, failbacks=0))


def chosen(group: GroupRecord, node: NodeId) -> NodeId | None:
    """Of the group that `node` acquires now: `node` if an operator asked that it is active."""
    wish = group.switchover
    if wish is not None and wish.target == node:
        return None if wish.failback or wish.service else node
    return group.chosen if group.active == node else None


def when(wall_ms: int) -> str:
    """A time for the history, which people in several time zones read."""
    try:
        return f"{datetime.fromtimestamp(wall_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{wall_ms} ms after 1970"


__all__ = ["FAILBACKS_COUNTED", "chosen", "clear_failures", "judge", "settle", "when"]
