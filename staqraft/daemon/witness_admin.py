"""What administrators ask of a witness (`api.node.Node`): all it knows is from Raft."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from staqraft import __version__
from staqraft.api.node import (
    BarrierReached,
    ClearWish,
    FenceWish,
    ForceWish,
    MaintenanceWish,
    ScheduleWish,
    SwitchOverStep,
    SwitchOverWish,
)
from staqraft.config.schema import Config
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon import raft_status
from staqraft.daemon.changes import RaftChanges
from staqraft.daemon.clearing import clear
from staqraft.daemon.lease_watch import LeaseWatch
from staqraft.daemon.maintaining import maintain
from staqraft.errors import NotActive
from staqraft.model import ClusterEvent, GroupId, GroupRecord
from staqraft.wire.v1 import admin_pb2


class WitnessAdmin:
    """Answers the admin service for one cluster of a witness."""

    def __init__(
        self,
        config: Config,
        raft: RaftGroup,
        fingerprint: str,
        *,
        test_notifications: Callable[[str], Awaitable[list[tuple[str, str]]]],
        now_ms: Callable[[], int],
    ) -> None:
        """`now_ms`: CLOCK_BOOTTIME."""
        self._config = config
        self._test_notifications = test_notifications
        self._raft = raft
        self._fingerprint = fingerprint
        self._changes = RaftChanges(raft)
        self._leases = LeaseWatch(config, raft, now_ms)

    async def status(self) -> admin_pb2.GetStatusResponse:
        """See `look`."""
        return self.look()

    def look(self) -> admin_pb2.GetStatusResponse:
        """The cluster as this witness sees it."""
        view = self._raft.status()
        return admin_pb2.GetStatusResponse(
            cluster=self._config.cluster,
            node=self._config.node,
            version=__version__,
            nodes=raft_status.node_statuses(
                self._config, self._raft.state, view, self._fingerprint
            ),
            raft=raft_status.raft_status(view),
            groups=[
                raft_status.witness_group_status(
                    self._config,
                    group,
                    self.group(group),
                    over_ms=self._leases.over_ms(group),
                    has_quorum=view.has_quorum,
                )
                for group in sorted(self._config.groups)
            ],
        )

    def group(self, group: GroupId) -> GroupRecord:
        """The group's record as applied on this node."""
        return self._raft.state.groups.get(group, GroupRecord())

    async def barrier(
        self, group: GroupId, *, timeout_ms: int, min_replicas: int
    ) -> BarrierReached:
        """Never asked of a witness: it is passed on to the active."""
        del group, timeout_ms, min_replicas
        raise self._no_replica()

    def switch_over(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        """Never asked of a witness: it is passed on to the active."""
        del wish
        raise self._no_replica()

    def preview(self, wish: SwitchOverWish) -> AsyncIterator[SwitchOverStep]:
        """Never asked of a witness: it is passed on to the active."""
        del wish
        raise self._no_replica()

    async def schedule(self, wish: ScheduleWish) -> str:
        """See `planning.schedule`."""
        from staqraft.daemon import planning  # noqa: PLC0415 - it brings gRPC

        return await planning.schedule(self._raft, self._config.node, wish)

    async def cancel_switchover(self, group: GroupId, requested_by: str) -> str:
        """See `planning.cancel`."""
        from staqraft.daemon import planning  # noqa: PLC0415 - it brings gRPC

        return await planning.cancel(self._raft, self._config.node, group, requested_by)

    async def maintain(self, wish: MaintenanceWish) -> str:
        """See `maintaining.maintain`."""
        return await maintain(self._raft, self._config, wish)

    async def clear_failures(self, wish: ClearWish) -> str:
        """See `clearing.clear`."""
        return await clear(self._raft, self._config.node, wish)

    async def force_active(self, wish: ForceWish) -> str:
        """Never."""
        raise NotActive(f"a witness is never active in group {wish.group}: ask a replica")

    async def fence(self, wish: FenceWish) -> str:
        """Never asked of a witness: it is passed on to the other replica."""
        del wish
        raise self._no_replica()

    async def test_notifications(self, requested_by: str) -> list[tuple[str, str]]:
        """See `telling.Telling.test`."""
        return await self._test_notifications(requested_by)

    def events(self, after: int, *, follow: bool) -> AsyncIterator[ClusterEvent]:
        """The history behind `after`; with `follow` for ever."""
        return self._changes.events(after, follow=follow)

    def _no_replica(self) -> NotActive:
        return NotActive(f"{self._config.node} is a witness: ask a replica")
