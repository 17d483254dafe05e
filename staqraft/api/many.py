"""The admin socket of a witness for many clusters: each call says which one it is about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from staqraft.api.admin import AdminServicer
from staqraft.api.failures import told
from staqraft.api.server import GRACE_S, OPTIONS, open_unix
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc

CLUSTER_KEY = "staqraft-cluster"

Pick = Callable[[str], AdminServicer]
"""The service of the cluster of this name (empty: of the only one), or a StaqraftError."""


class ManyAdmin(admin_pb2_grpc.AdminServiceServicer):
    """AdminService, passed on to the cluster that the call's metadata names."""

    def __init__(self, pick: Pick) -> None:
        self._pick = pick

    async def GetStatus(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.GetStatusRequest, context: tls.Context
    ) -> admin_pb2.GetStatusResponse:
        """Of the named cluster."""
        return await (await self._of(context)).GetStatus(request, context)

    async def TestNotifications(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.TestNotificationsRequest, context: tls.Context
    ) -> admin_pb2.TestNotificationsResponse:
        """Of the named cluster."""
        return await (await self._of(context)).TestNotifications(request, context)

    async def Barrier(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.BarrierRequest, context: tls.Context
    ) -> admin_pb2.BarrierResponse:
        """Of the named cluster, by its active."""
        return await (await self._of(context)).Barrier(request, context)

    async def SwitchOver(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.SwitchOverRequest, context: tls.Context
    ) -> AsyncIterator[admin_pb2.SwitchOverResponse]:
        """Of the named cluster, by its active."""
        async for response in (await self._of(context)).SwitchOver(request, context):
            yield response

    async def FenceNode(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.FenceNodeRequest, context: tls.Context
    ) -> admin_pb2.FenceNodeResponse:
        """Of the named cluster, by the other replica."""
        return await (await self._of(context)).FenceNode(request, context)

    async def ForceActive(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ForceActiveRequest, context: tls.Context
    ) -> admin_pb2.ForceActiveResponse:
        """Of the named cluster, which says where to ask."""
        return await (await self._of(context)).ForceActive(request, context)

    async def ClearServiceFailures(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ClearServiceFailuresRequest, context: tls.Context
    ) -> admin_pb2.ClearServiceFailuresResponse:
        """As `AdminServicer`."""
        return await (await self._of(context)).ClearServiceFailures(request, context)

    async def SetMaintenanceMode(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.SetMaintenanceModeRequest, context: tls.Context
    ) -> admin_pb2.SetMaintenanceModeResponse:
        """Of the named cluster."""
        return await (await self._of(context)).SetMaintenanceMode(request, context)

    async def ListEvents(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ListEventsRequest, context: tls.Context
    ) -> AsyncIterator[admin_pb2.ListEventsResponse]:
        """Of the named cluster."""
        async for response in (await self._of(context)).ListEvents(request, context):
            yield response

    async def _of(self, context: tls.Context) -> AdminServicer:
        metadata = dict(context.invocation_metadata() or ())
        async with told(context):
            return self._pick(str(metadata.get(CLUSTER_KEY, "")))
        raise AssertionError("abort() returned")


class ClusterList(admin_pb2_grpc.WitnessServiceServicer):
    """WitnessService over a function that knows."""

    def __init__(self, clusters: Callable[[], admin_pb2.ListClustersResponse]) -> None:
        self._clusters = clusters

    async def ListClusters(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ListClustersRequest, context: tls.Context
    ) -> admin_pb2.ListClustersResponse:
        """All of them, also those that are left out."""
        del request, context
        return self._clusters()


class ManySocket:
    """The server on the unix socket."""

    def __init__(self, path: Path, admin: ManyAdmin, clusters: ClusterList) -> None:
        self._path = path
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not re-exported
        self._server = grpc.aio.server(options=[*OPTIONS.items()])
        for add, service in (
            (admin_pb2_grpc.add_AdminServiceServicer_to_server, admin),
            (admin_pb2_grpc.add_WitnessServiceServicer_to_server, clusters),
            (health_pb2_grpc.add_HealthServicer_to_server, self._health),
        ):
            add(service, self._server)

    async def start(self) -> None:
        """CannotListen when the socket cannot be made, or another daemon has it."""
        open_unix(self._server, self._path)
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Lets running calls end for a moment, then closes."""
        await self._server.stop(GRACE_S)
