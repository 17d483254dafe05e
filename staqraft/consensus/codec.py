"""Commands, log entries and snapshots as protobuf, and back.

Whatever comes in from a peer or a disk is checked here (and in `message_codec`) once, completely;
what passes has the right types and is within bounds, so that nothing behind has to doubt it.
Anything else is `BadMessage`. No pickle is made or loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message

from staqraft.consensus import state_codec, versions
from staqraft.consensus.bounds import check_fields
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.state_codec import RUNGS_BACK, RUNGS_OUT, position, wire_position
from staqraft.errors import Outdated
from staqraft.model import (
    Acquire,
    Announce,
    CancelSwitchover,
    ClearFailures,
    ClusterRecord,
    Command,
    DropSchedule,
    Epoch,
    Farewell,
    Fenced,
    ForceActive,
    GroupId,
    NodeId,
    NoteEvent,
    OpenEpoch,
    ReadBarrier,
    Release,
    Renew,
    RequestSwitchover,
    Rest,
    ScheduleSwitchover,
    SetInSync,
    SetMaintenance,
    SettleFailback,
)
from staqraft.wire.v1 import raft_pb2 as pb

ID_BYTES: Final = 12
MAX_COMMAND_BYTES: Final = 64 << 10
_DECODED_KEPT: Final = 64  # of at most MAX_COMMAND_BYTES each

MAX_COUNTER: Final = 1 << 62  # terms and indexes

KIND_REGULAR: Final = b"\x00"
KIND_NO_OP: Final = b"\x01"

_Wire = TypeVar("_Wire", bound=Message)

Entry = tuple[bytes, int, int]  # the library's: command, index, term


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The record, and the two log entries at which it was taken."""

    last: Entry
    previous: Entry
    record: ClusterRecord
    format: int = versions.OLDEST


# --- commands -----------------------------------------------------------------------------------


def encode_proposal(identity: bytes, command: Command, spoken: int = versions.OLDEST) -> bytes:
    """`command` as it stands in the log, under `identity` of `ID_BYTES` bytes.

    `spoken` is the format that all members understand, as `versions.spoken` says. BadMessage for a
    command that is too large or has values out of range.
    """
    wire = pb.Proposal(format=min(spoken, versions.FORMAT), id=identity, node=command.node)
    try:
        wire.wall_ms = command.wall_ms
        _fill(wire, command)
        data = wire.SerializeToString(deterministic=True)
    except (ValueError, TypeError) as error:
        raise BadMessage(f"{type(command).__name__} cannot be proposed: {error}") from error
    if len(data) > MAX_COMMAND_BYTES:
        raise BadMessage(
            f"{type(command).__name__} has {len(data)} bytes; {MAX_COMMAND_BYTES} are allowed"
        )
    return data


def decode_proposal(data: bytes) -> tuple[bytes, Command]:
    """Identity and command. BadMessage for anything that `encode_proposal` does not make.

    Outdated for what a newer version made.
    """
    if len(data) > MAX_COMMAND_BYTES:
        raise BadMessage(f"a command of {len(data)} bytes; {MAX_COMMAND_BYTES} are allowed")
    return _decode_proposal(data, versions.FORMAT)


@lru_cache(_DECODED_KEPT)
def _decode_proposal(data: bytes, known: int) -> tuple[bytes, Command]:
    """An entry is decoded when it is taken into the log, and again when it is applied."""
    wire = _parse(pb.Proposal(), data)
    _check_format("a command", wire.format, known)
    if len(wire.id) != ID_BYTES or not wire.node:
        raise BadMessage("a command without a proper identity")
    kind = wire.WhichOneof("command")
    if kind is None:
        raise BadMessage("a command of a kind that this software does not know")
    base: dict[str, Any] = {"node": NodeId(wire.node), "wall_ms": wire.wall_ms}
    return wire.id, _READERS[kind](getattr(wire, kind), base)


def _fill(wire: pb.Proposal, command: Command) -> None:
    """Puts the command into the oneof; each case is the mirror of a reader below."""
    match command:
        case Renew(group=group, epoch=epoch, renewal=renewal, position=at):
            wire.renew.CopyFrom(
                pb.Renew(group=group, epoch=epoch, renewal=renewal, position=wire_position(at))
            )
        case Acquire(group=group, base_epoch=epoch, base_renewal=renewal, reason=reason):
            wire.acquire.CopyFrom(
                pb.Acquire(group=group, base_epoch=epoch, base_renewal=renewal, reason=reason)
            )
        case OpenEpoch(group=group, epoch=epoch, start_seq=seq):
            wire.open_epoch.CopyFrom(pb.OpenEpoch(group=group, epoch=epoch, start_seq=seq))
        case Release(group=group, epoch=epoch, position=at, reason=reason):
            wire.release.CopyFrom(
                pb.Release(group=group, epoch=epoch, position=wire_position(at), reason=reason)
            )
        case SetInSync():
            wire.set_in_sync.CopyFrom(
                pb.SetInSync(
                    group=command.group,
                    epoch=command.epoch,
                    expected=sorted(command.expected),
                    expected_index=command.expected_index,
                    members=sorted(command.members),
                    reason=command.reason,
                )
            )
        case Fenced():
            wire.fenced.CopyFrom(
                pb.Fenced(
                    group=command.group,
                    epoch=command.epoch,
                    loser=command.loser,
                    rung=RUNGS_OUT[command.rung],
                    detail=command.detail,
                )
            )
        case _:
            _fill_operators(wire, command)


def _fill_operators(wire: pb.Proposal, command: Command) -> None:
    match command:
        case RequestSwitchover() | ScheduleSwitchover() | DropSchedule() | SettleFailback():
            _fill_switchovers(wire, command)
        case ClearFailures(group=group, up_to=up_to, requested_by=who):
            wire.clear_failures.CopyFrom(
                pb.ClearFailures(group=group, up_to=up_to, requested_by=who)
            )
        case CancelSwitchover(group=group, reason=reason):
            wire.cancel_switchover.CopyFrom(pb.CancelSwitchover(group=group, reason=reason))
        case SetMaintenance():
            wire.set_maintenance.CopyFrom(
                pb.SetMaintenance(
                    group=command.group,
                    enabled=command.enabled,
                    requested_by=command.requested_by,
                    target=command.target or "",
                    reason=command.reason,
                )
            )
        case Rest():
            wire.rest.CopyFrom(
                pb.Rest(
                    group=command.group,
                    epoch=command.epoch,
                    renewal=command.renewal,
                    rest_ms=command.rest_ms,
                    ends=command.ends,
                )
            )
        case Farewell(group=group, gone=gone):
            wire.farewell.CopyFrom(pb.Farewell(group=group, gone=gone))
        case ForceActive():
            wire.force_active.CopyFrom(
                pb.ForceActive(
                    group=command.group,
                    base_epoch=command.base_epoch,
                    base_renewal=command.base_renewal,
                    target=command.target,
                    requested_by=command.requested_by,
                    reason=command.reason,
                )
            )
        case NoteEvent():
            wire.note_event.CopyFrom(
                pb.NoteEvent(
                    group=command.group,
                    kind=command.kind,
                    text=command.text,
                    epoch=command.epoch,
                    position=wire_position(command.position),
                )
            )
        case Announce(version=version, config_fingerprint=fingerprint):
            wire.announce.CopyFrom(
                pb.Announce(version=version, config_fingerprint=fingerprint, format=command.format)
            )
        case ReadBarrier():
            wire.read_barrier.CopyFrom(pb.ReadBarrier())
        case _:
            raise TypeError(f"{type(command).__name__} is not a command")


def _fill_switchovers(
    wire: pb.Proposal,
    command: RequestSwitchover | ScheduleSwitchover | DropSchedule | SettleFailback,
) -> None:
    match command:
        case RequestSwitchover():
            wire.request_switchover.CopyFrom(
                pb.RequestSwitchover(
                    group=command.group,
                    target=command.target,
                    requested_by=command.requested_by,
                    reason=command.reason,
                    schedule=command.schedule,
                    failback=command.failback,
                    service=command.service,
                )
            )
        case ScheduleSwitchover():
            wire.schedule_switchover.CopyFrom(
                pb.ScheduleSwitchover(
                    group=command.group,
                    target=command.target,
                    at_ms=command.at_ms,
                    requested_by=command.requested_by,
                    reason=command.reason,
                )
            )
        case DropSchedule():
            wire.drop_schedule.CopyFrom(
                pb.DropSchedule(
                    group=command.group,
                    schedule=command.schedule,
                    missed=command.missed,
                    reason=command.reason,
                )
            )
        case SettleFailback(group=group, epoch=epoch):
            wire.settle_failback.CopyFrom(pb.SettleFailback(group=group, epoch=epoch))


def _read_fenced(m: pb.Fenced, base: dict[str, Any]) -> Fenced:
    rung = RUNGS_BACK.get(m.rung)
    if rung is None:
        raise BadMessage("a fencing without a known way of fencing")
    return Fenced(
        **base,
        group=GroupId(m.group),
        epoch=Epoch(m.epoch),
        loser=NodeId(m.loser),
        rung=rung,
        detail=m.detail,
    )


_READERS: Final[dict[str, Callable[[Any, dict[str, Any]], Command]]] = {
    "renew": lambda m, base: Renew(
        **base,
        group=GroupId(m.group),
        epoch=Epoch(m.epoch),
        renewal=m.renewal,
        position=position(m.position),
    ),
    "acquire": lambda m, base: Acquire(
        **base,
        group=GroupId(m.group),
        base_epoch=Epoch(m.base_epoch),
        base_renewal=m.base_renewal,
        reason=m.reason,
    ),
    "open_epoch": lambda m, base: OpenEpoch(
        **base, group=GroupId(m.group), epoch=Epoch(m.epoch), start_seq=m.start_seq
    ),
    "release": lambda m, base: Release(
        **base,
        group=GroupId(m.group),
        epoch=Epoch(m.epoch),
        position=position(m.position),
        reason=m.reason,
    ),
    "set_in_sync": lambda m, base: SetInSync(
        **base,
        group=GroupId(m.group),
        epoch=Epoch(m.epoch),
        expected=frozenset(map(NodeId, m.expected)),
        expected_index=m.expected_index,
        members=frozenset(map(NodeId, m.members)),
        reason=m.reason,
    ),
    "fenced": _read_fenced,
    "request_switchover": lambda m, base: RequestSwitchover(
        **base,
        group=GroupId(m.group),
        target=NodeId(m.target),
        requested_by=m.requested_by,
        reason=m.reason,
        schedule=m.schedule,
        failback=m.failback,
        service=m.service,
    ),
    "schedule_switchover": lambda m, base: ScheduleSwitchover(
        **base,
        group=GroupId(m.group),
        target=NodeId(m.target),
        at_ms=m.at_ms,
        requested_by=m.requested_by,
        reason=m.reason,
    ),
    "drop_schedule": lambda m, base: DropSchedule(
        **base,
        group=GroupId(m.group),
        schedule=m.schedule,
        missed=m.missed,
        reason=m.reason,
    ),
    "settle_failback": lambda m, base: SettleFailback(
        **base, group=GroupId(m.group), epoch=Epoch(m.epoch)
    ),
    "cancel_switchover": lambda m, base: CancelSwitchover(
        **base, group=GroupId(m.group), reason=m.reason
    ),
    "clear_failures": lambda m, base: ClearFailures(
        **base, group=GroupId(m.group), up_to=m.up_to, requested_by=m.requested_by
    ),
    "set_maintenance": lambda m, base: SetMaintenance(
        **base,
        group=GroupId(m.group),
        enabled=m.enabled,
        requested_by=m.requested_by,
        target=NodeId(m.target) if m.target else None,
        reason=m.reason,
    ),
    "rest": lambda m, base: Rest(
        **base,
        group=GroupId(m.group),
        epoch=Epoch(m.epoch),
        renewal=m.renewal,
        rest_ms=m.rest_ms,
        ends=m.ends,
    ),
    "farewell": lambda m, base: Farewell(**base, group=GroupId(m.group), gone=m.gone),
    "force_active": lambda m, base: ForceActive(
        **base,
        group=GroupId(m.group),
        base_epoch=Epoch(m.base_epoch),
        base_renewal=m.base_renewal,
        target=NodeId(m.target),
        requested_by=m.requested_by,
        reason=m.reason,
    ),
    "note_event": lambda m, base: NoteEvent(
        **base,
        group=GroupId(m.group) if m.HasField("group") else None,
        kind=m.kind,
        text=m.text,
        epoch=Epoch(m.epoch),
        position=position(m.position),
    ),
    "announce": lambda m, base: Announce(
        **base, version=m.version, config_fingerprint=m.config_fingerprint, format=m.format
    ),
    "read_barrier": lambda _m, base: ReadBarrier(**base),
}


# --- the snapshot -------------------------------------------------------------------------------


def encode_snapshot(cluster: str, snapshot: Snapshot) -> bytes:
    """The content of a snapshot file."""
    return pb.Snapshot(
        format=min(snapshot.format, versions.FORMAT),
        cluster=cluster,
        last=entry_to_wire(snapshot.last),
        previous=entry_to_wire(snapshot.previous),
        state=state_codec.encode(snapshot.record),
    ).SerializeToString(deterministic=True)


def decode_snapshot(cluster: str, data: bytes) -> Snapshot:
    """BadMessage for another cluster's, and what contradicts itself; Outdated for a newer one."""
    check_fields(data, pb.Snapshot.DESCRIPTOR)
    wire = _parse(pb.Snapshot(), data)
    _check_format("a snapshot", wire.format, versions.FORMAT)
    if wire.cluster != cluster:
        raise BadMessage(f"a snapshot of cluster {wire.cluster!r}, not of {cluster!r}")
    last, previous = entry_from_wire(wire.last), entry_from_wire(wire.previous)
    if previous[1] + 1 != last[1] or previous[2] > last[2]:
        raise BadMessage(f"a snapshot whose entries {previous[1]} and {last[1]} do not follow")
    record = state_codec.decode(wire.state)
    if record.log_index > last[1]:
        raise BadMessage(f"a snapshot at {last[1]} with a state of {record.log_index}")
    return Snapshot(last=last, previous=previous, record=record, format=wire.format)


# --- log entries --------------------------------------------------------------------------------


def check_entry_command(command: bytes) -> None:
    """BadMessage unless an entry with this content may stand in a log: ours, or a leader's no-op.

    The library's own commands for changing members and versions are neither: the members are
    configuration, and their content is pickle.
    """
    if command[:1] == KIND_REGULAR:
        decode_proposal(command[1:])
    elif command != KIND_NO_OP:
        raise BadMessage(f"an entry of kind {command[:1]!r}")


def entry_from_wire(wire: pb.LogEntry) -> Entry:
    """The entry as the Raft library has it. BadMessage for what may not stand in a log."""
    check_entry_command(wire.command)
    if not 0 < wire.index <= MAX_COUNTER or wire.term > MAX_COUNTER:
        raise BadMessage(f"an entry at index {wire.index} of term {wire.term}")
    return wire.command, wire.index, wire.term


def entry_to_wire(entry: Entry) -> pb.LogEntry:
    """The entry as a message."""
    command, index, term = entry
    return pb.LogEntry(command=command, index=index, term=term)


def _check_format(what: str, found: int, known: int) -> None:
    if found < versions.OLDEST:
        raise BadMessage(f"{what} of format {found}")
    if found > known:
        raise Outdated(
            f"{what} of format {found}, made for a newer version than this software, which knows"
            f" {known}: upgrade this node"
        )


def _parse(wire: _Wire, data: bytes) -> _Wire:
    try:
        wire.ParseFromString(data)
    except DecodeError as error:
        raise BadMessage(f"{type(wire).__name__}: {error}") from error
    return wire
