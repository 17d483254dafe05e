"""What a standby does with an active's offer (PURE): resume, reconcile first, or refuse.

The rule: history is a line of epochs, each beginning at a record number that Raft keeps. A
standby's last durable record is on the active's history if its epoch is of that line and the record
comes before the start of every later epoch (in the active's own: not behind what the active has).
Every, not only the next: a forced takeover by a replica that was behind begins its epoch at a lower
number than the epoch before, and so gives up part of an older one too. The standby can resume if,
besides, what follows is still in the active's journal. Everything else needs a comparison of the
trees; that is not an error, so the reason is a sentence for the operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from staqraft.model import ORIGIN, Epoch, EpochStart, GroupId, NodeId, Position


class RefusalKind(Enum):
    """Why a standby refuses; the numbers are those of the wire."""

    STALE_EPOCH = 1
    IDENTITY = 2
    JOURNAL_FULL = 3
    BAD_FRAME = 4
    NOT_STANDBY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The active's Hello: who it is, its history, and what its journal can still send."""

    cluster: str
    group: GroupId
    node: NodeId
    epoch: Epoch
    epoch_starts: tuple[EpochStart, ...]
    first: Position
    last: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The standby: who it is, the newest epoch it knows of and who is active in it, what it has.

    `needs_reconcile`: why the trees cannot follow the journal as they are, or empty.
    """

    cluster: str
    group: GroupId
    node: NodeId
    epoch: Epoch
    active: NodeId | None
    last: Position
    needs_reconcile: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """Send what follows this record."""

    after: Position


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Compare the trees first."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """No session with this speaker."""

    kind: RefusalKind
    reason: str


Plan = Resume | Reconcile | Refuse


def plan(offer: Offer, holding: Holding) -> Plan:
    """The answer to `offer` of a standby that holds `holding`."""
    return _refusal(offer, holding) or _way(offer, holding)


def _refusal(offer: Offer, holding: Holding) -> Refuse | None:
    if (offer.cluster, offer.group) != (holding.cluster, holding.group):
        return Refuse(
            RefusalKind.IDENTITY,
            f"{offer.node} speaks for group {offer.group} of cluster {offer.cluster}; this is "
            f"{holding.group} of {holding.cluster}: compare the configurations",
        )
    if offer.node == holding.node:
        return Refuse(
            RefusalKind.IDENTITY,
            f"the caller says that it is {offer.node}, which is this node: compare the files",
        )
    if offer.epoch < holding.epoch:
        return Refuse(
            RefusalKind.STALE_EPOCH,
            f"{offer.node} speaks of epoch {offer.epoch}, but epoch {holding.epoch} has begun"
            + (f" with {holding.active} active" if holding.active else "")
            + f": {offer.node} is no longer active",
        )
    if offer.epoch == holding.epoch and holding.active not in {None, offer.node}:
        return Refuse(
            RefusalKind.IDENTITY,
            f"{offer.node} is not the active of epoch {offer.epoch}, {holding.active} is",
        )
    problem = history_problem(offer.epoch_starts, offer.epoch)
    if not problem and offer.first.seq > offer.last.seq + 1:
        problem = f"its journal would begin at {offer.first} and end at {offer.last}"
    if problem:
        return Refuse(RefusalKind.BAD_FRAME, f"{offer.node} contradicts itself: {problem}")
    return None


def _way(offer: Offer, holding: Holding) -> Resume | Reconcile:
    last = holding.last
    if holding.needs_reconcile:
        return Reconcile(holding.needs_reconcile)
    if not on_history(last, offer.epoch_starts):
        return Reconcile(f"this replica's last record {last} is not part of {offer.node}'s history")
    if last.epoch == offer.epoch and last.seq > offer.last.seq:
        return Reconcile(f"{offer.node} lost records: it ends at {offer.last}, {last} is here")
    if last.seq > offer.last.seq:
        return Reconcile(f"{offer.node}'s journal ends at {offer.last}, before {last}")
    if offer.first.seq > last.seq + 1:
        return Reconcile(
            f"{offer.node} can send from {offer.first}, this replica was away since {last}"
        )
    return Resume(last)


def history_problem(starts: Sequence[EpochStart], epoch: Epoch) -> str:
    """Why `starts` cannot be the history of one who is active in `epoch`; empty if it can."""
    if not starts or starts[-1].epoch != epoch:
        return f"its history does not end with its own epoch {epoch}"
    for earlier, later in pairwise(starts):
        if later.epoch <= earlier.epoch:
            return f"epoch {later.epoch} cannot follow epoch {earlier.epoch}"
    return ""


def on_history(position: Position, starts: Sequence[EpochStart]) -> bool:
    """Whether the record at `position` belongs to the line of epochs `starts`."""
    if position == ORIGIN:
        return True
    parted = [later.seq for later in starts if later.epoch > position.epoch]
    begun = any(s.epoch == position.epoch and s.seq <= position.seq for s in starts)
    return begun and all(position.seq < seq for seq in parted)
