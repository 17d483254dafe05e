"""The admin service: what administrators ask, checked, and done here or by the active."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from staqraft import model
from staqraft.api.asked import BadRequest, group_of, replica_of, who_asked
from staqraft.api.failures import told
from staqraft.api.forward import FORWARDED_KEY, REACH_MS, Forward
from staqraft.api.node import (
    ClearWish,
    FenceAction,
    FenceWish,
    ForceWish,
    MaintenanceWish,
    Node,
    ScheduleWish,
    SwitchOverWish,
)
from staqraft.config.schema import Config
from staqraft.errors import BarrierTimeout, NotActive
from staqraft.model import GroupId, NodeId
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc, types_pb2

BARRIER_DEFAULT_MS = 10_000
SWITCH_OVER_DEFAULT_MS = 60_000
LONGEST_MS = 3_600_000
FENCE_LONGEST_S = 3_600.0  # each agent has a time limit of its own
ANSWER_RESERVE_MS = 500  # for the daemon to say itself what went wrong, before we say "time-out"


_ACTIONS_OUT = {
    FenceAction.OFF: admin_pb2.FENCE_ACTION_OFF,
    FenceAction.ON: admin_pb2.FENCE_ACTION_ON,
    FenceAction.CONFIRM_OFF: admin_pb2.FENCE_ACTION_CONFIRM_OFF,
}
_ACTIONS = {number: action for action, number in _ACTIONS_OUT.items()}


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """Serves AdminService over a `Node`. Who may call is decided before (api.authorisation)."""

    def __init__(
        self,
        config: Config,
        node: Node,
        forward: Forward,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`monotonic` is a clock in seconds, for the times that are reported."""
        self._config = config
        self._node = node
        self._forward = forward
        self._monotonic = monotonic

    async def GetStatus(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.GetStatusRequest, context: tls.Context
    ) -> admin_pb2.GetStatusResponse:
        """The cluster as this node sees it."""
        del request
        async with told(context):
            return await self._node.status()
        raise AssertionError("abort() returned")

    async def Barrier(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.BarrierRequest, context: tls.Context
    ) -> admin_pb2.BarrierResponse:
        """Reached here when this node is the active; else by the active, if `anywhere` is asked."""
        started = self._monotonic()
        async with told(context):
            group = self._group(request.group)
            replicas = len(self._config.replicas)
            if request.min_replicas > replicas:
                raise BadRequest(
                    f"a barrier on {request.min_replicas} replicas cannot be reached: the cluster"
                    f" has {replicas}"
                )
            timeout_ms = _timeout(request.timeout_ms, BARRIER_DEFAULT_MS)
            active = self._active(group, context)
            if active != self._config.node:
                if not request.anywhere:
                    raise NotActive(
                        f"{active} is the active of group {group}, not {self._config.node}: what"
                        f" was written here is in no barrier. Ask on {active}; if it was written"
                        " there, 'staqctl barrier --anywhere' asks it from here"
                    )
                return await self._forward_barrier(active, group, request, timeout_ms)
            try:
                async with asyncio.timeout((timeout_ms + ANSWER_RESERVE_MS) / 1000):
                    reached = await self._node.barrier(
                        group, timeout_ms=timeout_ms, min_replicas=max(1, request.min_replicas)
                    )
            except TimeoutError as error:
                raise BarrierTimeout(
                    f"no barrier of group {group} in {timeout_ms} ms: what was written before is"
                    " not known to be durable on every in-sync replica. 'staqctl status' says what"
                    " is missing"
                ) from error
            return admin_pb2.BarrierResponse(
                position=types_pb2.Position(epoch=reached.position.epoch, seq=reached.position.seq),
                replicas=sorted(reached.replicas),
                degraded=reached.degraded,
                elapsed_us=round((self._monotonic() - started) * 1_000_000),
            )
        raise AssertionError("abort() returned")

    async def SwitchOver(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.SwitchOverRequest, context: tls.Context
    ) -> AsyncIterator[admin_pb2.SwitchOverResponse]:
        """Done here when this node is the active, else by the active, also when the caller goes."""
        started = self._monotonic()
        async with told(context):
            group = self._group(request.group)
            if request.cancel or request.at_ms:
                text = await self._later(group, request, context)
                yield admin_pb2.SwitchOverResponse(step=text, done=True, succeeded=True)
                return
            active = self._active(group, context)
            wish = SwitchOverWish(
                group=group,
                target=self._target(request.target, active),
                reason=request.reason,
                requested_by=self._who(request.requested_by, context),
                timeout_ms=_timeout(request.timeout_ms, SWITCH_OVER_DEFAULT_MS),
            )
            if wish.target == active:
                yield admin_pb2.SwitchOverResponse(
                    step=f"{active} is the active of group {group} already: nothing to do",
                    done=True,
                    succeeded=True,
                    epoch=self._node.group(group).epoch,
                )
                return
            if active != self._config.node:
                async for response in self._forward_switch_over(
                    active, wish, dry_run=request.dry_run
                ):
                    yield response
                return
            do = self._node.preview if request.dry_run else self._node.switch_over
            async for step in do(wish):
                yield admin_pb2.SwitchOverResponse(
                    step=step.step,
                    done=step.done,
                    succeeded=step.succeeded,
                    epoch=step.epoch,
                    elapsed_ms=round((self._monotonic() - started) * 1000),
                )

    async def _later(
        self, group: GroupId, request: admin_pb2.SwitchOverRequest, context: tls.Context
    ) -> str:
        """Scheduled, or given up: by whichever node is asked, also while nobody is active."""
        if request.dry_run or (request.cancel and request.at_ms):
            raise BadRequest("a time, 'cancel' and 'dry run' do not go together: say one of them")
        who = self._who(request.requested_by, context)
        if request.cancel:
            return await self._node.cancel_switchover(group, who)
        record = self._node.group(group)
        if not request.target and record.active is None:
            raise BadRequest(f"group {group} has no active yet: say which replica shall be it")
        wish = ScheduleWish(
            group=group,
            target=self._target(request.target, record.active or NodeId("")),
            at_ms=request.at_ms,
            reason=request.reason,
            requested_by=who,
        )
        return await self._node.schedule(wish)

    async def ListEvents(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ListEventsRequest, context: tls.Context
    ) -> AsyncIterator[admin_pb2.ListEventsResponse]:
        """The history as applied on this node."""
        async with told(context):
            async for event in self._node.events(request.after, follow=request.follow):
                yield _event(event)

    async def FenceNode(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.FenceNodeRequest, context: tls.Context
    ) -> admin_pb2.FenceNodeResponse:
        """Done here unless this node is the one that is meant, or a witness."""
        async with told(context):
            wish = FenceWish(
                node=self._replica(request.node),
                action=_ACTIONS.get(request.action) or _no_action(),
                requested_by=self._who(request.requested_by, context),
            )
            doer = next(r for r in self._config.replicas if r != wish.node)
            if doer != self._config.node:
                return await self._forward_fence(doer, wish, context)
            return admin_pb2.FenceNodeResponse(text=await self._node.fence(wish))
        raise AssertionError("abort() returned")

    async def ForceActive(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ForceActiveRequest, context: tls.Context
    ) -> admin_pb2.ForceActiveResponse:
        """Done here and nowhere else: what this node lacks is what is given up."""
        async with told(context):
            node = self._replica(request.node)
            if node != self._config.node:
                raise BadRequest(f"this is {self._config.node}: run it on the host of {node}")
            if not request.accept_data_loss:
                raise BadRequest(
                    f"{node} may lack what was acknowledged: say --accept-data-loss if that is to"
                    " be given up"
                )
            wish = ForceWish(
                group=self._group(request.group),
                requested_by=self._who(request.requested_by, context),
            )
            return admin_pb2.ForceActiveResponse(text=await self._node.force_active(wish))
        raise AssertionError("abort() returned")

    async def SetMaintenanceMode(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.SetMaintenanceModeRequest, context: tls.Context
    ) -> admin_pb2.SetMaintenanceModeResponse:
        """Through Raft, by whichever node is asked."""
        async with told(context):
            wish = MaintenanceWish(
                node=self._replica(request.node) if request.node else None,
                enabled=request.enabled,
                reason=request.reason,
                requested_by=self._who(request.requested_by, context),
            )
            return admin_pb2.SetMaintenanceModeResponse(text=await self._node.maintain(wish))
        raise AssertionError("abort() returned")

    async def ClearServiceFailures(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ClearServiceFailuresRequest, context: tls.Context
    ) -> admin_pb2.ClearServiceFailuresResponse:
        """Through Raft, by whichever node is asked."""
        async with told(context):
            wish = ClearWish(
                group=self._group(request.group),
                requested_by=self._who(request.requested_by, context),
            )
            text = await self._node.clear_failures(wish)
            return admin_pb2.ClearServiceFailuresResponse(text=text)
        raise AssertionError("abort() returned")

    async def TestNotifications(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.TestNotificationsRequest, context: tls.Context
    ) -> admin_pb2.TestNotificationsResponse:
        """Sent by this node, to each of its receivers."""
        async with told(context):
            who = self._who(request.requested_by, context)
            results = await self._node.test_notifications(who)
            return admin_pb2.TestNotificationsResponse(
                receivers=[
                    admin_pb2.Notified(receiver=name, problem=problem) for name, problem in results
                ]
            )
        raise AssertionError("abort() returned")

    async def _forward_fence(
        self, doer: NodeId, wish: FenceWish, context: tls.Context
    ) -> admin_pb2.FenceNodeResponse:
        if FORWARDED_KEY in dict(context.invocation_metadata() or ()):
            raise BadRequest(f"{self._config.node} is not {doer}: compare the configurations")
        async with self._forward(doer, REACH_MS) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            response: admin_pb2.FenceNodeResponse = await stub.FenceNode(
                admin_pb2.FenceNodeRequest(
                    node=wish.node,
                    action=_ACTIONS_OUT[wish.action],
                    requested_by=wish.requested_by,
                ),
                timeout=FENCE_LONGEST_S,
                metadata=((FORWARDED_KEY, self._config.node),),
            )
            return response

    async def _forward_barrier(
        self, active: NodeId, group: GroupId, request: admin_pb2.BarrierRequest, timeout_ms: int
    ) -> admin_pb2.BarrierResponse:
        deadline = self._monotonic() + timeout_ms / 1000
        async with self._forward(active, min(REACH_MS, timeout_ms)) as channel:
            left_ms = max(1, round((deadline - self._monotonic()) * 1000))
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            response: admin_pb2.BarrierResponse = await stub.Barrier(
                admin_pb2.BarrierRequest(
                    group=group, timeout_ms=left_ms, min_replicas=request.min_replicas
                ),
                timeout=(left_ms + 2 * ANSWER_RESERVE_MS) / 1000,
                metadata=((FORWARDED_KEY, self._config.node),),
            )
            return response

    async def _forward_switch_over(
        self, active: NodeId, wish: SwitchOverWish, *, dry_run: bool
    ) -> AsyncIterator[admin_pb2.SwitchOverResponse]:
        async with self._forward(active, min(REACH_MS, wish.timeout_ms)) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            responses = stub.SwitchOver(
                admin_pb2.SwitchOverRequest(
                    group=wish.group,
                    target=wish.target,
                    reason=wish.reason,
                    timeout_ms=wish.timeout_ms,
                    requested_by=wish.requested_by,
                    dry_run=dry_run,
                ),
                timeout=(wish.timeout_ms + 2 * ANSWER_RESERVE_MS) / 1000,
                metadata=((FORWARDED_KEY, self._config.node),),
            )
            async for response in responses:
                yield response

    def _group(self, name: str) -> GroupId:
        return group_of(self._config, name)

    def _target(self, name: str, active: NodeId) -> NodeId:
        replicas = self._config.replicas
        others = [r for r in replicas if r != active]
        if not name and len(others) == 1:
            return others[0]
        if not name:
            raise BadRequest(
                f"the cluster has several other replicas, so name one: {', '.join(others)}"
            )
        return self._replica(name)

    def _replica(self, name: str) -> NodeId:
        return replica_of(self._config, name)

    def _active(self, group: GroupId, context: tls.Context) -> NodeId:
        """Who is asked: the active as far as this node knows."""
        record = self._node.group(group)
        me = self._config.node
        if record.active is None or record.released:
            raise NotActive(
                f"nobody is active in group {group} at present, as {me} sees it: 'staqctl status'"
                " says why; try again when somebody is"
            )
        metadata = dict(context.invocation_metadata() or ())
        if record.active != me and FORWARDED_KEY in metadata:
            raise NotActive(
                f"{metadata[FORWARDED_KEY]!s} takes {me} for the active of group {group}, but to"
                f" {me} it is {record.active}: a takeover is under way, try again"
            )
        return record.active

    def _who(self, claimed: str, context: tls.Context) -> str:
        return who_asked(self._config, claimed, context)


def _timeout(asked_ms: int, default_ms: int) -> int:
    if asked_ms > LONGEST_MS:
        raise BadRequest(f"a time-out of {asked_ms} ms is too long: an hour is the limit")
    return asked_ms or default_ms


def _no_action() -> FenceAction:
    raise BadRequest("it was not said what is to be done about the node")


def _event(event: model.ClusterEvent) -> admin_pb2.ListEventsResponse:
    return admin_pb2.ListEventsResponse(
        index=event.index,
        wall_ms=event.wall_ms,
        group=event.group or "",
        node=event.node,
        kind=event.kind,
        text=event.text,
        epoch=event.epoch,
        position=types_pb2.Position(epoch=event.position.epoch, seq=event.position.seq),
    )
