"""What the admin service needs of the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from staqraft.model import NO_EPOCH, ClusterEvent, Epoch, GroupId, GroupRecord, NodeId, Position
from staqraft.wire.v1 import admin_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierReached:
    """All up to `position` is durable on `replicas`; `degraded`: that is the active alone."""

    position: Position
    replicas: frozenset[NodeId]
    degraded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOverWish:
    """An operator's wish, complete and checked: `target` is a replica and not the active."""

    group: GroupId
    target: NodeId
    reason: str
    requested_by: str
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleWish:
    """An operator's wish for later: `at_ms` is a wall clock (since 1970), `target` a replica."""

    group: GroupId
    target: NodeId
    at_ms: int
    reason: str
    requested_by: str


class FenceAction(Enum):
    """What an operator wants done about a replica."""

    OFF = "off"
    ON = "on"
    CONFIRM_OFF = "confirm-off"  # nothing is turned off: somebody vouches that it is


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceWish:
    """An operator's wish, complete and checked: `node` is a replica, and not this node."""

    node: NodeId
    action: FenceAction
    requested_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceWish:
    """An operator accepts data loss: this node is to become active in `group`."""

    group: GroupId
    requested_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearWish:
    """An operator has mended what failed: it is not counted any more."""

    group: GroupId
    requested_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceWish:
    """An operator's wish: maintenance of `node`, a replica, or of the whole cluster (None)."""

    node: NodeId | None
    enabled: bool
    reason: str
    requested_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchOverStep:
    """A sentence on the way; the last one is `done`, with its outcome and epoch."""

    step: str
    done: bool = False
    succeeded: bool = False
    epoch: Epoch = NO_EPOCH


class Node(Protocol):
    """The daemon, as the admin service sees it. Errors are StaqraftErrors in plain words."""

    async def status(self) -> admin_pb2.GetStatusResponse:
        """The cluster as this node sees it. Answers in a second, whoever else does not."""

    def group(self, group: GroupId) -> GroupRecord:
        """The group's record as applied on this node; used to find the active, decides nothing."""

    async def barrier(
        self, group: GroupId, *, timeout_ms: int, min_replicas: int
    ) -> BarrierReached:
        """On the active. BarrierTimeout when it is not reached; NotActive when it no longer is."""

    def switch_over(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        """On the active. Goes on to its end when the iterator is abandoned. NotActive as above."""

    def preview(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        """On the active: what `switch_over` would do now; the last step says what is in its way."""

    async def schedule(self, wish: ScheduleWish) -> str:
        """On any node. A sentence; ActionError if it was refused."""

    async def cancel_switchover(self, group: GroupId, requested_by: str) -> str:
        """On any node: what is scheduled and what is pending is given up. A sentence."""

    async def fence(self, wish: FenceWish) -> str:
        """On the other replica than the one that is meant. A sentence; ActionError if not done."""

    async def maintain(self, wish: MaintenanceWish) -> str:
        """On any node. A sentence, when every replica that is to rely on it knows."""

    async def clear_failures(self, wish: ClearWish) -> str:
        """On any node. A sentence."""

    async def force_active(self, wish: ForceWish) -> str:
        """On this node. A sentence; ActionError if it was refused."""

    async def test_notifications(self, requested_by: str) -> list[tuple[str, str]]:
        """Each receiver, and why the test message did not arrive there, or ""."""

    def events(self, after: int, *, follow: bool) -> AsyncIterator[ClusterEvent]:
        """The history behind index `after`, oldest first; with `follow` for ever."""
