"""A group of a pair that serves, and what a command does to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from staqraft.consensus import statemachine
from staqraft.model import (
    Accepted,
    Acquire,
    ClusterRecord,
    Command,
    Epoch,
    EpochStart,
    ForceActive,
    GroupId,
    GroupRecord,
    Maintenance,
    NodeId,
    Outcome,
    Position,
    Refused,
    Renew,
    Switchover,
)

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
GROUP = GroupId("default")
HERE = Position(Epoch(3), 40)


WORK = Maintenance(node=None, requested_by="admin", reason="", since_ms=0, log_index=9)


def active_pair(**changes: Any) -> GroupRecord:
    """a is active in epoch 3, renewed 5 times, and b is in sync."""
    record = GroupRecord(
        epoch=Epoch(3),
        active=A,
        renewal=5,
        in_sync=frozenset({A, B}),
        position=HERE,
        epoch_starts=(EpochStart(epoch=Epoch(2), seq=1), EpochStart(epoch=Epoch(3), seq=30)),
    )
    return replace(record, **changes)


def judged(group: GroupRecord, command: Command) -> tuple[GroupRecord, Outcome, list[str]]:
    before = ClusterRecord(groups={GROUP: group}, log_index=100)
    after, outcome = statemachine.apply(before, 101, command)
    return after.groups[GROUP], outcome, [event.kind for event in after.events]


def accepted(group: GroupRecord, command: Command, *kinds: str) -> GroupRecord:
    after, outcome, events = judged(group, command)
    assert outcome == Accepted(log_index=101)
    assert events == list(kinds)
    return after


def refused(group: GroupRecord, command: Command, because: str) -> None:
    after, outcome, events = judged(group, command)
    assert isinstance(outcome, Refused)
    assert because in outcome.reason
    assert after == group
    assert events == []


def renew(renewal: int, node: NodeId = A, epoch: int = 3) -> Renew:
    return Renew(node=node, group=GROUP, epoch=Epoch(epoch), renewal=renewal, position=HERE)


def acquire(node: NodeId, epoch: int = 3, renewal: int = 5) -> Acquire:
    return Acquire(
        node=node, group=GROUP, base_epoch=Epoch(epoch), base_renewal=renewal, reason="test"
    )


def force(target: NodeId, epoch: int = 3, renewal: int = 5) -> ForceActive:
    return ForceActive(
        node=A,
        group=GROUP,
        base_epoch=Epoch(epoch),
        base_renewal=renewal,
        target=target,
        requested_by="admin",
        reason="a burned",
    )


def switch_to(target: NodeId, *, forced: bool = False) -> Switchover:
    return Switchover(
        target=target, requested_by="admin", reason="test", log_index=90, forced=forced
    )
