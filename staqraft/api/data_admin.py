"""The data admin service: what administrators do with a group's data, checked and passed on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from staqraft.api.asked import BadRequest, group_of, who_asked
from staqraft.api.failures import told
from staqraft.api.forward import FORWARDED_KEY, REACH_MS, Forward
from staqraft.config.schema import Config
from staqraft.errors import NotActive
from staqraft.model import GroupId, GroupRecord, NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import data_admin_pb2 as pb
from staqraft.wire.v1 import data_admin_pb2_grpc as pb_grpc
from staqraft.wire.v1 import data_worker_pb2 as worker

_OLDEST_MS = 3650 * 24 * 3600 * 1000


class DataNode(Protocol):
    """The daemon, as this service sees it. Errors are StaqraftErrors in plain words."""

    def restore(
        self, group: GroupId, wish: worker.RestoreQuarantinedRequest, who: str
    ) -> AsyncGenerator[worker.RestoreQuarantinedResponse, None]:
        """Brings objects back from this node's quarantine."""
        ...

    async def drop(
        self, group: GroupId, wish: worker.DropQuarantinedRequest, who: str
    ) -> worker.DropQuarantinedResponse:
        """Removes objects from this node's quarantine for good."""
        ...

    def group(self, group: GroupId) -> GroupRecord:
        """The group's record as applied on this node; used to find the standby."""
        ...

    def verify(
        self, group: GroupId, wish: worker.VerifyTreesRequest, who: str
    ) -> AsyncGenerator[worker.VerifyTreesResponse, None]:
        """Compares this node's trees with the active's."""
        ...


class DataAdminServicer(pb_grpc.DataAdminServiceServicer):
    """Serves DataAdminService. Who may call is decided before (api.authorisation)."""

    def __init__(self, config: Config, node: DataNode, forward: Forward) -> None:
        self._config = config
        self._node = node
        self._forward = forward

    async def RestoreQuarantine(  # noqa: N802 - the protocol's name
        self, request: pb.RestoreQuarantineRequest, context: tls.Context
    ) -> AsyncIterator[pb.RestoreQuarantineResponse]:
        """A message for each object."""
        async with told(context):
            group = group_of(self._config, request.group)
            wish = request.wish
            _one_way(ids=bool(wish.ids), everything=wish.all)
            if wish.target and not wish.target.startswith(b"/"):
                raise BadRequest("the place to restore to is to be an absolute path")
            who = who_asked(self._config, request.requested_by, context)
            outcomes = self._node.restore(group, wish, who)
            try:
                async for outcome in outcomes:
                    yield pb.RestoreQuarantineResponse(outcome=outcome)
            finally:
                await outcomes.aclose()

    async def DropQuarantine(  # noqa: N802 - the protocol's name
        self, request: pb.DropQuarantineRequest, context: tls.Context
    ) -> pb.DropQuarantineResponse:
        """What was removed."""
        async with told(context):
            group = group_of(self._config, request.group)
            wish = request.wish
            _one_way(ids=bool(wish.ids), everything=wish.all or wish.older_than_ms > 0)
            if wish.older_than_ms > _OLDEST_MS:
                raise BadRequest("nothing is in quarantine for longer than ten years")
            who = who_asked(self._config, request.requested_by, context)
            return pb.DropQuarantineResponse(outcome=await self._node.drop(group, wish, who))
        raise AssertionError("abort() returned")

    async def Verify(  # noqa: N802 - the protocol's name
        self, request: pb.VerifyRequest, context: tls.Context
    ) -> AsyncIterator[pb.VerifyResponse]:
        """Done here on the standby, else passed on to it."""
        async with told(context):
            group = group_of(self._config, request.group)
            who = who_asked(self._config, request.requested_by, context)
            standby = self._standby(group)
            if standby == self._config.node:
                steps = self._node.verify(group, request.wish, who)
                try:
                    async for step in steps:
                        yield pb.VerifyResponse(step=step, node=standby)
                finally:
                    await steps.aclose()
                return
            self._not_in_circles(standby, context)
            async with self._forward(standby, REACH_MS) as channel:
                stub = pb_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
                call = stub.Verify(
                    pb.VerifyRequest(group=group, wish=request.wish, requested_by=who),
                    metadata=((FORWARDED_KEY, self._config.node),),
                )
                try:
                    async for response in call:
                        yield response
                finally:
                    call.cancel()

    def _standby(self, group: GroupId) -> NodeId:
        """The replica that follows the active, as far as this node knows."""
        record = self._node.group(group)
        if record.active is None or record.released:
            raise NotActive(
                f"nobody is active in group {group} at present, so there is nothing to compare"
                " with: 'staqctl status' says why"
            )
        return next(replica for replica in self._config.replicas if replica != record.active)

    def _not_in_circles(self, node: NodeId, context: tls.Context) -> None:
        metadata = dict(context.invocation_metadata() or ())
        if FORWARDED_KEY in metadata:
            raise NotActive(
                f"{metadata[FORWARDED_KEY]!s} takes {self._config.node} for the one to ask, but to"
                f" {self._config.node} it is {node}: a takeover is under way, try again"
            )


def _one_way(*, ids: bool, everything: bool) -> None:
    if ids == everything:
        raise BadRequest("say which objects: either ids of 'staqctl quarantine list', or all")
