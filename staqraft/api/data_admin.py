"""The data admin service: what administrators do with a group's data, checked and passed on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

from staqraft.api.asked import BadRequest, group_of, replica_of, who_asked
from staqraft.api.failures import told
from staqraft.api.forward import FORWARDED_KEY, REACH_MS, Forward
from staqraft.config.schema import Config
from staqraft.errors import NotActive
from staqraft.model import GroupId, GroupRecord, NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import data_admin_pb2 as pb
from staqraft.wire.v1 import data_admin_pb2_grpc as pb_grpc
from staqraft.wire.v1 import data_worker_pb2 as worker

_RESYNC_S = 60.0  # to forget what is recorded of a large tree
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

    async def require_majority(self, group: GroupId) -> None:
        """On the active: raises NotActive or ConsensusError if it could not change the set."""
        ...

    async def leave_in_sync(self, group: GroupId, standby: NodeId, reason: str) -> None:
        """On the active: a standby that stopped following is out of the set when this returns."""
        ...

    async def resync(self, group: GroupId, wish: worker.PrepareResyncRequest) -> None:
        """On the standby: it stops following, and compares its trees a moment later."""
        ...

    async def allow_removals(self, group: GroupId, tree: str) -> int:
        """On the active: what vanished was meant to; for how many ms nobody is asked."""
        ...

    def note(self, group: GroupId, kind: str, text: str) -> None:
        """Writes into the history."""
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

    async def Resync(  # noqa: N802 - the protocol's name
        self, request: pb.ResyncRequest, context: tls.Context
    ) -> pb.ResyncResponse:
        """The active takes the standby out of the in-sync set, then tells it."""
        async with told(context):
            group = group_of(self._config, request.group)
            standby = replica_of(self._config, request.node)
            who = who_asked(self._config, request.requested_by, context)
            self._check_trees(group, request.trees)
            wish = worker.PrepareResyncRequest(
                reason=f"{who} asked for it", trees=request.trees, from_scratch=request.from_scratch
            )
            if request.told and standby == self._config.node:
                await self._node.resync(group, wish)
                return pb.ResyncResponse()
            other = self._standby(group)
            active = next(replica for replica in self._config.replicas if replica != other)
            if standby == active:
                raise BadRequest(
                    f"{active} is the active of group {group}: its trees are what the others are"
                    f" compared with. To make {other} equal to it: 'staqctl resync {other}'. If"
                    f" what {active} has is wrong, hand over first: 'staqctl switchover'"
                )
            onward = pb.ResyncRequest(
                group=group,
                node=standby,
                trees=request.trees,
                from_scratch=request.from_scratch,
                requested_by=who,
                told=active == self._config.node,
            )
            metadata = ((FORWARDED_KEY, self._config.node),)
            next_one = standby if onward.told else active
            if not onward.told:
                self._not_in_circles(active, context)
            async with self._forward(next_one, REACH_MS) as channel:  # before anything is changed
                stub = pb_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
                if not onward.told:
                    passed: pb.ResyncResponse = await stub.Resync(
                        onward, timeout=_RESYNC_S, metadata=metadata
                    )
                    return passed
                await self._node.require_majority(group)
                await stub.Resync(onward, timeout=_RESYNC_S, metadata=metadata)
            await self._node.leave_in_sync(group, standby, wish.reason)
            return pb.ResyncResponse(text=self._resyncs(group, standby, who, wish))
        raise AssertionError("abort() returned")

    async def AllowRemovals(  # noqa: N802 - the protocol's name
        self, request: pb.AllowRemovalsRequest, context: tls.Context
    ) -> pb.AllowRemovalsResponse:
        """Done here on the active, else passed on to it."""
        async with told(context):
            group = self._group_of_tree(request.tree)
            who = who_asked(self._config, request.requested_by, context)
            standby = self._standby(group)
            if standby != self._config.node and self._config.node in self._config.replicas:
                for_ms = await self._node.allow_removals(group, request.tree)
                text = (
                    f"what vanished from tree {request.tree} is removed from {standby}, and nobody"
                    f" is asked for the next {max(1, for_ms // 60_000)} min"
                )
                self._node.note(group, "removals", f"{who} allowed it: {text}")
                return pb.AllowRemovalsResponse(text=text)
            active = next(replica for replica in self._config.replicas if replica != standby)
            self._not_in_circles(active, context)
            async with self._forward(active, REACH_MS) as channel:
                stub = pb_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
                passed: pb.AllowRemovalsResponse = await stub.AllowRemovals(
                    pb.AllowRemovalsRequest(tree=request.tree, requested_by=who),
                    timeout=_RESYNC_S,
                    metadata=((FORWARDED_KEY, self._config.node),),
                )
                return passed
        raise AssertionError("abort() returned")

    def _group_of_tree(self, tree: str) -> GroupId:
        known: list[str] = []
        for group in self._config.groups.values():
            if any(tree == one.name for one in group.trees):
                return group.id
            known += [one.name for one in group.trees]
        raise BadRequest(f"there is no tree {tree!r}: it is one of {', '.join(sorted(known))}")

    def _resyncs(
        self, group: GroupId, standby: NodeId, who: str, wish: worker.PrepareResyncRequest
    ) -> str:
        trees = f"tree {', '.join(wish.trees)}" if wish.trees else "all trees"
        how = " from scratch: every file is read" if wish.from_scratch else ""
        text = f"{standby} compares {trees} with {self._config.node}'s{how}"
        self._node.note(group, "resync", f"{who} asked for it: {text}")
        return (
            f"{standby} has left the in-sync set and {text.removeprefix(f'{standby} ')}. 'staqctl"
            " status' shows how far it is; until it is in sync again nobody takes over by itself"
        )

    def _check_trees(self, group: GroupId, trees: Sequence[str]) -> None:
        known = [tree.name for tree in self._config.groups[group].trees]
        if unknown := [tree for tree in trees if tree not in known]:
            raise BadRequest(
                f"group {group} has no tree {unknown[0]!r}: it is one of {', '.join(known)}"
            )

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
