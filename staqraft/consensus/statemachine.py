"""What a committed command does to the replicated record. PURE.

`apply` is a total function: it never raises, reads no clock, and gives the same answer on every
member. A command is judged against our own epoch and renewal counter, never against the Raft term.
Applying one again changes nothing: it is Accepted again while its effect stands. Refusals are
sentences for people.

The rules of who may acquire are the rules against two actives and against silent data loss, so
they stand here, behind the log, and not only in the proposer's head:

- only on top of exactly the (epoch, renewal) that the proposer saw last;
- only from the in-sync set, or as the active itself, or in an operator's name (ForceActive);
- a position handed over in a switchover goes to its target, until the switchover is cancelled;
- in maintenance only the active itself, the target of a released switchover, or ForceActive's;
- a daemon rests only in maintenance, and as a renewal: who acquires afterwards has seen that it
  does, and waits for as long as it may last (`resting_ms`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from staqraft.consensus import maintenance, switchovers
from staqraft.consensus.verdict import MEMBERS_KEPT, Changed, Verdict, clip
from staqraft.model import (
    EVENTS_KEPT,
    NO_EPOCH,
    ORIGIN,
    Accepted,
    Acquire,
    Announce,
    CancelSwitchover,
    ClearFailures,
    ClusterEvent,
    ClusterRecord,
    Command,
    DropSchedule,
    Epoch,
    EpochStart,
    Farewell,
    Fenced,
    FenceRecord,
    ForceActive,
    GroupRecord,
    MemberRecord,
    NodeId,
    NoteEvent,
    OpenEpoch,
    Outcome,
    ReadBarrier,
    Refused,
    Release,
    Renew,
    RequestSwitchover,
    Rest,
    ScheduleSwitchover,
    SetInSync,
    SetMaintenance,
    SettleFailback,
    Switchover,
)
from staqraft.words import because

EPOCH_STARTS_KEPT = 1000
GROUPS_KEPT = 256  # the configuration has a handful; a mad member is not to fill our memory
REPEATS_LOOKED_AT = 64  # so far back an event proposed twice is recognised

_GroupCommand = (
    Renew
    | Acquire
    | OpenEpoch
    | Release
    | SetInSync
    | Fenced
    | RequestSwitchover
    | ScheduleSwitchover
    | DropSchedule
    | SettleFailback
    | CancelSwitchover
    | ClearFailures
    | SetMaintenance
    | Rest
    | Farewell
    | ForceActive
)


def apply(record: ClusterRecord, index: int, command: Command) -> tuple[ClusterRecord, Outcome]:
    """The record after `command`, which stands in the log at `index`, and what became of it."""
    match command:
        case ReadBarrier():
            changed = record
        case Announce():
            announced = _announce(record, index, command)
            if isinstance(announced, str):
                return replace(record, log_index=index), Refused(log_index=index, reason=announced)
            changed = announced
        case NoteEvent():
            changed = _note(record, index, command)
        case _:
            return _apply_to_group(record, index, command)
    return replace(changed, log_index=index), Accepted(log_index=index)


def _apply_to_group(
    record: ClusterRecord, index: int, command: _GroupCommand
) -> tuple[ClusterRecord, Outcome]:
    known = record.groups.get(command.group)
    if known is None and len(record.groups) >= GROUPS_KEPT:
        reason = f"there are {GROUPS_KEPT} groups already: group {clip(command.group)} is not kept"
        return replace(record, log_index=index), Refused(log_index=index, reason=reason)
    verdict = _judge(known if known is not None else GroupRecord(), index, command)
    match verdict:
        case str():
            return replace(record, log_index=index), Refused(log_index=index, reason=verdict)
        case None:
            return replace(record, log_index=index), Accepted(log_index=index)
        case Changed(group=group, kind=kind, text=text):
            events = record.events
            if kind:
                event = ClusterEvent(
                    index=index,
                    wall_ms=command.wall_ms,
                    group=command.group,
                    node=command.node,
                    kind=kind,
                    text=clip(text),
                    epoch=group.epoch,
                    position=group.position,
                )
                events = _with_event(events, event)
            before = known.in_sync if known is not None else frozenset()
            if group.in_sync != before:
                group = replace(group, in_sync_index=index)
            groups = {**record.groups, command.group: group}
            after = replace(record, groups=groups, events=events, log_index=index)
            return after, Accepted(log_index=index)


def _judge(group: GroupRecord, index: int, command: _GroupCommand) -> Verdict:  # noqa: PLR0911 - a case a command
    match command:
        case Renew():
            return _renew(group, command)
        case Acquire():
            return _acquire(group, command)
        case OpenEpoch():
            return _open_epoch(group, command)
        case Release():
            return _release(group, command)
        case SetInSync():
            return _set_in_sync(group, command)
        case Fenced():
            return _fenced(group, index, command)
        case RequestSwitchover() | CancelSwitchover() | ScheduleSwitchover() | DropSchedule():
            return switchovers.judge(group, index, command)
        case SettleFailback():
            return _not_active(group, command.node, command.epoch) or switchovers.settle(group)
        case ClearFailures():
            return switchovers.clear_failures(group, index, command)
        case SetMaintenance():
            return maintenance.put(group, index, command)
        case Rest():
            return _not_active(group, command.node, command.epoch) or maintenance.rest(
                group, index, command, opened=_opened(group)
            )
        case Farewell():
            return maintenance.farewell(group, command)
        case ForceActive():
            return _force_active(group, index, command)
        case _:
            assert_never(command)


# --- the lease ----------------------------------------------------------------------------------


def _renew(group: GroupRecord, command: Renew) -> Verdict:
    if (problem := _not_active(group, command.node, command.epoch)) is not None:
        return problem
    if group.released:
        return f"{command.node} has released epoch {group.epoch}: it has no lease to renew"
    if command.renewal == group.renewal:
        return None
    if command.renewal < group.renewal:
        return (
            f"renewal {command.renewal} came after renewal {group.renewal}"
            f" of epoch {group.epoch}: re-read and go on from there"
        )
    return Changed(replace(group, renewal=command.renewal, position=command.position))


def _acquire(group: GroupRecord, command: Acquire) -> Verdict:
    node = command.node
    if _acquired_already(group, node, command.base_epoch):
        return None
    if (problem := _moved_on(group, command.base_epoch, command.base_renewal)) is not None:
        return problem
    if (problem := _may_not_acquire(group, node)) is not None:
        return problem
    epoch = Epoch(group.epoch + 1)
    wished = group.switchover is not None and group.switchover.target == node
    if group.active is None:
        kind, text = "acquire", f"{node} is the first active, epoch {epoch}"
    elif group.active == node:
        kind, text = "acquire", f"{node} stays active in the new epoch {epoch}"
    else:
        kind, text = "takeover", f"{node} takes over from {group.active} in epoch {epoch}"
        if wished:
            kind = "switchover-done"
    after = replace(
        group,
        epoch=epoch,
        active=node,
        renewal=0,
        released=False,
        switchover=None if wished else group.switchover,
        chosen=switchovers.chosen(group, node),
        # What its own kernel was left with outlives an epoch; another acquires when that is over.
        resting_ms=group.resting_ms if group.active == node else 0,
        resting_index=group.resting_index if group.active == node else 0,
    )
    return Changed(after, kind, f"{text}: {command.reason}")


def _may_not_acquire(group: GroupRecord, node: NodeId) -> str | None:
    """Why `node` may not take the next epoch, whoever saw what; None: it may."""
    switchover = group.switchover
    target = switchover.target if switchover is not None else None
    forced = switchover is not None and switchover.forced and target == node
    if group.active == node and not (group.released and target not in {None, node}):
        return None
    if (group.released or group.epoch == NO_EPOCH) and target not in {None, node}:
        return (
            f"{group.active or 'an operator'} handed over to {target}: {node} may take over only"
            " when that switchover is cancelled"
        )
    first = group.epoch == NO_EPOCH and not group.in_sync
    if not (forced or first or node in group.in_sync):
        members = ", ".join(sorted(group.in_sync)) or "nobody"
        return (
            f"{node} is not in sync (in sync: {members}): it may lack acknowledged changes."
            " Bring a replica back that is in sync"
        )
    handed_over = group.released and target == node
    if group.maintenance and not (forced or handed_over or first):
        return "maintenance is on: nothing is taken over automatically"
    return None


def _open_epoch(group: GroupRecord, command: OpenEpoch) -> Verdict:
    if (problem := _not_active(group, command.node, command.epoch)) is not None:
        return problem
    if _opened(group):
        start = group.epoch_starts[-1]
        if start.seq == command.start_seq:
            return None
        return f"epoch {group.epoch} is open already and begins at {start.seq}"
    if group.released:
        return f"{command.node} has released epoch {group.epoch}"
    start = EpochStart(epoch=command.epoch, seq=command.start_seq)
    after = replace(
        group,
        epoch_starts=(*group.epoch_starts, start)[-EPOCH_STARTS_KEPT:],
        in_sync=frozenset({command.node}),
    )
    text = (
        f"the history of epoch {group.epoch} begins at {command.start_seq}; in sync:"
        f" {command.node} alone"
    )
    return Changed(after, "epoch-opened", text)


def _release(group: GroupRecord, command: Release) -> Verdict:
    if (problem := _not_active(group, command.node, command.epoch)) is not None:
        return problem
    if group.released:
        if group.position == command.position:
            return None
        return f"epoch {group.epoch} is released already, at {group.position}"
    after = replace(group, released=True, position=command.position, resting_ms=0, resting_index=0)
    text = f"{command.node} stood down at {command.position}: {command.reason}"
    return Changed(after, "released", text)


def _fenced(group: GroupRecord, index: int, command: Fenced) -> Verdict:
    if (problem := _not_active(group, command.node, command.epoch)) is not None:
        return problem
    if command.loser == command.node:
        return f"{command.node} cannot vouch that it does not serve itself"
    known = group.fence
    wanted = FenceRecord(
        epoch=command.epoch, loser=command.loser, rung=command.rung, log_index=index
    )
    if known is not None and replace(known, log_index=index) == wanted:
        return None
    text = f"{command.loser} no longer serves; proof: {command.rung.value}"
    if command.detail:
        text += f" ({command.detail})"
    return Changed(replace(group, fence=wanted), "fenced", text)


# --- who may be promoted ------------------------------------------------------------------------


def _set_in_sync(group: GroupRecord, command: SetInSync) -> Verdict:
    if (problem := _not_active(group, command.node, command.epoch)) is not None:
        return problem
    if group.released:
        return f"{command.node} has released epoch {group.epoch}"
    if not _opened(group):
        return f"epoch {group.epoch} is not open yet: its in-sync set begins when it is"
    if command.node not in command.members:
        return f"the in-sync set always has the active, {command.node}"
    if group.in_sync == command.members:
        return None
    if (group.in_sync, group.in_sync_index) != (command.expected, command.expected_index):
        members = ", ".join(sorted(group.in_sync)) or "nobody"
        return f"the in-sync set changed meanwhile (in sync: {members}): re-read"
    joined = sorted(command.members - group.in_sync)
    left = sorted(group.in_sync - command.members)
    parts = [f"{', '.join(joined)} joined"] if joined else []
    parts += [f"{', '.join(left)} left"] if left else []
    text = f"{' and '.join(parts)} the in-sync set: {command.reason}"
    return Changed(replace(group, in_sync=command.members), "in-sync", text)


# --- operators ----------------------------------------------------------------------------------


def _force_active(group: GroupRecord, index: int, command: ForceActive) -> Verdict:
    """A switchover that needs no in-sync target.

    It takes nothing from a living active, which goes on renewing and hands over as in any
    switchover; from a dead one the target takes over when the lease has run out, as always.
    """
    target = command.target
    if _acquired_already(group, target, command.base_epoch):
        return None
    pending = group.switchover
    if pending is not None and pending.forced and pending.target == target:
        return None
    if (problem := _moved_on(group, command.base_epoch, command.base_renewal)) is not None:
        return problem
    if group.active == target and not group.released:
        return f"{target} is the active: it needs no force to go on"
    wish = Switchover(
        target=target,
        requested_by=clip(command.requested_by),
        reason=clip(command.reason),
        log_index=index,
        forced=True,
    )
    after = replace(group, switchover=wish, in_sync=group.in_sync | {target})
    loss = "" if target in group.in_sync else ", accepting the loss of what it lacks"
    why = because(command.reason)
    text = f"{command.requested_by} forces {target} to become active{loss}{why}"
    return Changed(after, "force-active", text)


# --- members and history ------------------------------------------------------------------------


def _announce(record: ClusterRecord, index: int, command: Announce) -> ClusterRecord | str:
    known = record.members.get(command.node)
    version, fingerprint = clip(command.version), clip(command.config_fingerprint)
    format_ = max(1, command.format)  # 0: it does not know of formats
    announced = (version, fingerprint, format_)
    if known is not None and announced == (known.version, known.config_fingerprint, known.format):
        return record
    if known is None and len(record.members) >= MEMBERS_KEPT:
        return f"there are {MEMBERS_KEPT} members already: {clip(command.node)} is not kept"
    member = MemberRecord(
        version=version, config_fingerprint=fingerprint, log_index=index, format=format_
    )
    changed = replace(record, members={**record.members, command.node: member})
    if known is not None and known.version == version:
        text = f"{command.node} changed its configuration"
    else:
        text = f"{command.node} runs version {version}"
    event = ClusterEvent(
        index=index,
        wall_ms=command.wall_ms,
        group=None,
        node=command.node,
        kind="member",
        text=text,
        epoch=NO_EPOCH,
        position=ORIGIN,
    )
    return replace(changed, events=_with_event(record.events, event))


def _note(record: ClusterRecord, index: int, command: NoteEvent) -> ClusterRecord:
    event = ClusterEvent(
        index=index,
        wall_ms=command.wall_ms,
        group=command.group,
        node=command.node,
        kind=clip(command.kind),
        text=clip(command.text),
        epoch=command.epoch,
        position=command.position,
    )
    recent = record.events[-REPEATS_LOOKED_AT:]
    if any(replace(known, index=index) == event for known in recent):
        return record
    return replace(record, events=_with_event(record.events, event))


# --- shared -------------------------------------------------------------------------------------


def _with_event(events: tuple[ClusterEvent, ...], event: ClusterEvent) -> tuple[ClusterEvent, ...]:
    return (*events, event)[-EVENTS_KEPT:]


def _opened(group: GroupRecord) -> bool:
    return bool(group.epoch_starts) and group.epoch_starts[-1].epoch == group.epoch


def _acquired_already(group: GroupRecord, node: NodeId, base_epoch: Epoch) -> bool:
    return group.epoch == base_epoch + 1 and group.active == node and not group.released


def _not_active(group: GroupRecord, node: NodeId, epoch: Epoch) -> str | None:
    if group.epoch == epoch and group.active == node:
        return None
    return (
        f"{node} is not the active of epoch {epoch}:"
        f" {group.active or 'nobody'} is active in epoch {group.epoch}"
    )


def _moved_on(group: GroupRecord, base_epoch: Epoch, base_renewal: int) -> str | None:
    if group.epoch != base_epoch:
        return (
            f"the group moved on to epoch {group.epoch}, active {group.active or 'nobody'}:"
            f" what was seen was epoch {base_epoch}"
        )
    if group.renewal != base_renewal:
        return (
            f"{group.active} renewed its lease meanwhile (renewal {group.renewal} of epoch"
            f" {group.epoch}, seen was {base_renewal}): it is alive"
        )
    return None


__all__ = ["EPOCH_STARTS_KEPT", "apply"]
