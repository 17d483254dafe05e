"""The two doors of a staqraftd: who gets in, what is passed on, and how errors arrive."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fakes.node import FakeNode, event
from fakes.patience import LONG_MS, PATIENCE_S
from fakes.pki import cluster_pki, new_pki
from fakes.ports import free_port
from fakes.trio import DEFAULT, SERVICE_LAN, A, B, W, trio_config
from staqraft.actions.fence import FenceClient, FenceServicer
from staqraft.api.admin import AdminServicer
from staqraft.api.failures import exit_code_of
from staqraft.api.forward import over_any_ring
from staqraft.api.node import BarrierReached, FenceAction, FenceWish, SwitchOverStep
from staqraft.api.server import ApiServers
from staqraft.api.sockets import CannotListen
from staqraft.config.schema import Config, Ring, Tls
from staqraft.errors import BarrierTimeout, NotActive
from staqraft.model import Epoch, GroupId, NodeId, Position
from staqraft.wire import tls
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc

REACHED = BarrierReached(
    position=Position(Epoch(5), 77), replicas=frozenset({A, B}), degraded=False
)


@dataclass
class Daemons:
    """Nodes of one cluster in this process, each with its API."""

    directory: Path
    port: int = field(default_factory=free_port)
    asked_to_let_go: list[GroupId] = field(default_factory=list)

    def config(self, node: NodeId) -> Config:
        return trio_config(node, cluster_pki(), self.directory, control_port=self.port)

    def servers(self, node: FakeNode, config: Config | None = None) -> ApiServers:
        config = config or self.config(node.me)
        admin = AdminServicer(config, node, over_any_ring(config))
        fence = FenceServicer(config, self._let_go, FenceClient(config))
        return ApiServers(config, admin, fence)

    async def _let_go(self, group: GroupId, epoch: Epoch) -> tuple[bool, str]:
        self.asked_to_let_go.append(group)
        return True, ""

    @asynccontextmanager
    async def running(self, *nodes: FakeNode) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for node in nodes:
                servers = self.servers(node)
                await servers.start()
                stack.push_async_callback(servers.stop)
                assert servers.problems == ()
            yield

    @asynccontextmanager
    async def by_socket(self, node: NodeId) -> AsyncIterator[admin_pb2_grpc.AdminServiceStub]:
        path = self.config(node).admin_socket
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            yield admin_stub(channel)

    def by_tcp(self, node: NodeId, files: Tls) -> grpc.aio.Channel:
        return tls.channel(SERVICE_LAN[node], self.port, node, "lab", files)


def admin_stub(channel: grpc.aio.Channel) -> admin_pb2_grpc.AdminServiceStub:
    return admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


@pytest.fixture
def daemons(tmp_path: Path) -> Daemons:
    return Daemons(tmp_path)


# --- the unix socket ----------------------------------------------------------------------------


async def test_the_socket_is_roots_alone(daemons: Daemons) -> None:
    path = daemons.config(A).admin_socket
    async with daemons.running(FakeNode(A)), daemons.by_socket(A) as stub:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (await stub.GetStatus(admin_pb2.GetStatusRequest())).node == "a"


async def test_a_directory_that_others_may_enter_is_refused(daemons: Daemons) -> None:
    daemons.config(A).admin_socket.parent.mkdir(parents=True, mode=0o755)
    with pytest.raises(CannotListen, match=r"must be in a directory that is root's alone.*chmod"):
        await daemons.servers(FakeNode(A)).start()


async def test_a_running_daemon_keeps_its_socket(daemons: Daemons) -> None:
    async with daemons.running(FakeNode(A)), daemons.by_socket(A) as stub:
        with pytest.raises(CannotListen, match="another staqraftd answers"):
            await daemons.servers(FakeNode(A)).start()
        assert (await stub.GetStatus(admin_pb2.GetStatusRequest())).node == "a"


async def test_the_socket_of_a_dead_daemon_is_replaced(daemons: Daemons) -> None:
    path = daemons.config(A).admin_socket
    path.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with daemons.running(FakeNode(A)), daemons.by_socket(A) as stub:
        assert (await stub.GetStatus(admin_pb2.GetStatusRequest())).node == "a"


async def test_a_path_that_is_too_long_for_a_socket_is_said(daemons: Daemons) -> None:
    config = replace(daemons.config(A), admin_socket=daemons.directory / ("x" * 120))
    with pytest.raises(CannotListen, match="too long"):
        await daemons.servers(FakeNode(A), config).start()


# --- TCP: who may do what -----------------------------------------------------------------------


async def test_administrators_and_nodes_see_the_status(daemons: Daemons) -> None:
    async with daemons.running(FakeNode(A)):
        for files in (cluster_pki().admin(), cluster_pki().node("w")):
            async with daemons.by_tcp(A, files) as channel:
                response = await admin_stub(channel).GetStatus(admin_pb2.GetStatusRequest())
                assert response.node == "a"


async def test_a_stranger_does_not_get_through_the_handshake(
    daemons: Daemons, tmp_path: Path
) -> None:
    strangers = new_pki(tmp_path / "strangers").admin()
    ours = replace(strangers, ca=cluster_pki().admin().ca)  # believes us, but is not believed
    async with daemons.running(FakeNode(A)), daemons.by_tcp(A, ours) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await admin_stub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=PATIENCE_S)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_node_that_is_not_of_this_cluster_is_refused_everything(daemons: Daemons) -> None:
    async with (
        daemons.running(FakeNode(A)),
        daemons.by_tcp(A, cluster_pki().node("former")) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Check(health_pb2.HealthCheckRequest())
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_only_nodes_may_fence(daemons: Daemons) -> None:
    request = admin_pb2.FenceRequest(cluster="lab", group="default", epoch=6, loser="a")
    async with daemons.running(FakeNode(A)):
        async with daemons.by_tcp(A, cluster_pki().admin()) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await fence_stub(channel).Fence(request)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert daemons.asked_to_let_go == []
        async with daemons.by_tcp(A, cluster_pki().node("b")) as channel:
            assert (await fence_stub(channel).Fence(request)).let_go
        assert daemons.asked_to_let_go == [DEFAULT]


async def test_there_is_no_fencing_by_the_unix_socket(daemons: Daemons) -> None:
    path = daemons.config(A).admin_socket
    async with (
        daemons.running(FakeNode(A)),
        grpc.aio.insecure_channel(f"unix:{path}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await fence_stub(channel).Fence(admin_pb2.FenceRequest())
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


def fence_stub(channel: grpc.aio.Channel) -> admin_pb2_grpc.FenceServiceStub:
    return admin_pb2_grpc.FenceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


async def test_health_and_reflection_answer(daemons: Daemons) -> None:
    async with (
        daemons.running(FakeNode(A)),
        daemons.by_tcp(A, cluster_pki().admin()) as channel,
    ):
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        asking = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        answer = await asking.read()
        names = {service.name for service in answer.list_services_response.service}
        assert "staqraft.wire.v1.AdminService" in names


async def test_a_ring_without_its_address_is_said_and_opened_later(daemons: Daemons) -> None:
    """127.0.2.1 is taken by another program here, which then ends."""
    config = daemons.config(A)
    retry = asyncio.Event()

    async def sleep(_: float) -> None:
        await retry.wait()
        retry.clear()

    node = FakeNode(A)
    servers = ApiServers(
        config,
        AdminServicer(config, node, over_any_ring(config)),
        FenceServicer(config, daemons._let_go, FenceClient(config)),
        sleep=sleep,
    )
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.2.1", daemons.port))
        other.listen()
        await servers.start()
        (problem,) = servers.problems
        assert "cannot listen on 127.0.2.1" in problem
        assert "another program has that port" in problem
    async with daemons.by_tcp(A, cluster_pki().admin()) as channel:
        await admin_stub(channel).GetStatus(admin_pb2.GetStatusRequest())
    retry.set()
    channel = tls.channel("127.0.2.1", daemons.port, A, "lab", cluster_pki().admin())
    async with channel:
        stub = admin_stub(channel)
        await stub.GetStatus(admin_pb2.GetStatusRequest(), wait_for_ready=True, timeout=PATIENCE_S)
    assert servers.problems == ()
    await servers.stop()


async def test_an_address_that_the_host_does_not_have_is_said(daemons: Daemons) -> None:
    config = daemons.config(A)
    me = replace(config.me, rings=(Ring(name="sync", address="198.51.100.7"),))
    config = replace(config, nodes={**config.nodes, A: me})
    servers = daemons.servers(FakeNode(A), config)
    await servers.start()
    assert "this host does not have that address now" in servers.problems[0]
    await servers.stop()


# --- barrier ------------------------------------------------------------------------------------


async def test_a_barrier_on_the_active(daemons: Daemons) -> None:
    node = FakeNode(A, active=A, barrier_answer=REACHED)
    async with daemons.running(node), daemons.by_socket(A) as stub:
        response = await stub.Barrier(admin_pb2.BarrierRequest(timeout_ms=1234, min_replicas=2))
    assert node.barriers == [(DEFAULT, 1234, 2)]
    assert (response.position.epoch, response.position.seq) == (5, 77)
    assert (list(response.replicas), response.degraded) == (["a", "b"], False)


async def test_a_barrier_where_the_active_is_not_says_nothing_of_what_was_written_there(
    daemons: Daemons,
) -> None:
    # A program that has just written on b must not take a's barrier for its own: b may have been
    # active a moment ago, and what it wrote last is in its quarantine now.
    active = FakeNode(A, active=A, barrier_answer=REACHED)
    async with daemons.running(active, FakeNode(B, active=A)), daemons.by_socket(B) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="what was written here is in no") as refusal:
            await stub.Barrier(admin_pb2.BarrierRequest())
    assert exit_code_of(refusal.value) == NotActive.exit_code
    assert active.barriers == []


@pytest.mark.parametrize("asked", [B, W])
async def test_a_barrier_asked_anywhere_is_passed_on_to_the_active(
    daemons: Daemons, asked: NodeId
) -> None:
    active = FakeNode(A, active=A, barrier_answer=REACHED)
    other = FakeNode(asked, active=A)
    async with daemons.running(active, other), daemons.by_socket(asked) as stub:
        response = await stub.Barrier(admin_pb2.BarrierRequest(timeout_ms=LONG_MS, anywhere=True))
    assert response.position.seq == 77
    assert other.barriers == []
    ((group, timeout_ms, min_replicas),) = active.barriers
    assert (group, min_replicas) == (DEFAULT, 1)
    assert LONG_MS // 2 < timeout_ms <= LONG_MS


async def test_what_the_active_says_arrives_with_its_exit_code(daemons: Daemons) -> None:
    active = FakeNode(A, active=A, barrier_answer=BarrierTimeout("b has not acknowledged 5:77"))
    async with daemons.running(active, FakeNode(B, active=A)), daemons.by_socket(B) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Barrier(admin_pb2.BarrierRequest(anywhere=True))
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert failure.value.details() == "b has not acknowledged 5:77"
    assert exit_code_of(failure.value) == BarrierTimeout.exit_code


async def test_a_daemon_that_hangs_does_not_hang_the_barrier(daemons: Daemons) -> None:
    async with daemons.running(FakeNode(A, active=A)), daemons.by_socket(A) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="no barrier of group default in 50 ms"):
            await stub.Barrier(admin_pb2.BarrierRequest(timeout_ms=50))


async def test_two_nodes_that_take_each_other_for_the_active_say_so(daemons: Daemons) -> None:
    nodes = (FakeNode(A, active=B), FakeNode(B, active=A))
    async with daemons.running(*nodes), daemons.by_socket(B) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="b takes a for the active") as refusal:
            await stub.Barrier(admin_pb2.BarrierRequest(anywhere=True))
    assert exit_code_of(refusal.value) == NotActive.exit_code


async def test_an_active_that_is_gone_is_named(daemons: Daemons) -> None:
    async with daemons.running(FakeNode(B, active=A)), daemons.by_socket(B) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="a is to do this but cannot be reached"):
            await stub.Barrier(admin_pb2.BarrierRequest(timeout_ms=LONG_MS, anywhere=True))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (admin_pb2.BarrierRequest(group="mail"), "there is no group 'mail': it is one of default"),
        (admin_pb2.BarrierRequest(min_replicas=3), "on 3 replicas .* the cluster has 2"),
        (admin_pb2.BarrierRequest(timeout_ms=4_000_000_000), "an hour is the limit"),
    ],
)
async def test_a_barrier_that_makes_no_sense_is_refused(
    daemons: Daemons, request_: admin_pb2.BarrierRequest, words: str
) -> None:
    async with daemons.running(FakeNode(A, active=A)), daemons.by_socket(A) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refusal:
            await stub.Barrier(request_)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert exit_code_of(refusal.value) == 2


async def test_nobody_active_is_said(daemons: Daemons) -> None:
    async with daemons.running(FakeNode(A)), daemons.by_socket(A) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="nobody is active in group default"):
            await stub.Barrier(admin_pb2.BarrierRequest())


# --- switchover ---------------------------------------------------------------------------------

STEPS = [
    SwitchOverStep(step="services stopped"),
    SwitchOverStep(step="b is active", done=True, succeeded=True, epoch=Epoch(6)),
]


async def test_a_switchover_asked_of_the_witness_shows_the_steps_of_the_active(
    daemons: Daemons,
) -> None:
    active = FakeNode(A, active=A, steps=STEPS)
    async with daemons.running(active, FakeNode(W, active=A)), daemons.by_socket(W) as stub:
        steps = [
            step async for step in stub.SwitchOver(admin_pb2.SwitchOverRequest(reason="kernel"))
        ]
    assert [s.step for s in steps] == ["services stopped", "b is active"]
    assert (steps[-1].done, steps[-1].succeeded, steps[-1].epoch) == (True, True, 6)
    (wish,) = active.wishes
    assert (wish.target, wish.reason, wish.requested_by) == (B, "kernel", "root on w")


async def test_the_history_names_the_administrator_by_certificate(daemons: Daemons) -> None:
    node = FakeNode(A, active=A, steps=STEPS)
    async with (
        daemons.running(node),
        daemons.by_tcp(A, cluster_pki().admin("lea")) as channel,
    ):
        request = admin_pb2.SwitchOverRequest(requested_by="somebody else")
        assert [s.step async for s in admin_stub(channel).SwitchOver(request)]
    assert node.wishes[0].requested_by == "administrator lea"


async def test_a_switchover_to_the_active_is_done_already(daemons: Daemons) -> None:
    node = FakeNode(A, active=A)
    async with daemons.running(node), daemons.by_socket(A) as stub:
        (step,) = [s async for s in stub.SwitchOver(admin_pb2.SwitchOverRequest(target="a"))]
    assert (step.done, step.succeeded, step.epoch) == (True, True, 5)
    assert node.wishes == []


@pytest.mark.parametrize(("target", "words"), [("w", "is a witness"), ("c", "no replica 'c'")])
async def test_a_target_that_cannot_be_active_is_refused(
    daemons: Daemons, target: str, words: str
) -> None:
    async with daemons.running(FakeNode(A, active=A)), daemons.by_socket(A) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match=words):
            async for _ in stub.SwitchOver(admin_pb2.SwitchOverRequest(target=target)):
                pass


# --- events -------------------------------------------------------------------------------------


async def test_events_are_listed_and_followed(daemons: Daemons) -> None:
    node = FakeNode(B, history=[event(3, "old"), event(4, "b took over")])
    async with daemons.running(node), daemons.by_socket(B) as stub:
        call = stub.ListEvents(admin_pb2.ListEventsRequest(after=3, follow=True))
        first = await call.read()
        assert (first.index, first.text, first.position.seq) == (4, "b took over", 1200)
        node.news.put_nowait(event(5, "a is in sync again"))
        assert (await call.read()).text == "a is in sync again"
        call.cancel()
        listed = stub.ListEvents(admin_pb2.ListEventsRequest())
        assert [e.text async for e in listed] == ["old", "b took over"]


@pytest.mark.parametrize("asked", [A, B, W])
async def test_a_replica_is_turned_off_by_the_other_whoever_is_asked(
    daemons: Daemons, asked: NodeId
) -> None:
    nodes = {name: FakeNode(name) for name in (A, B, W)}
    request = admin_pb2.FenceNodeRequest(
        node=A, action=admin_pb2.FENCE_ACTION_OFF, requested_by="root on x"
    )
    async with daemons.running(*nodes.values()), daemons.by_socket(asked) as stub:
        response = await stub.FenceNode(request)
    assert response.text == "a is off: ipmi turned it off and says so"
    wish = FenceWish(node=A, action=FenceAction.OFF, requested_by="root on x")
    assert [nodes[n].fenced for n in (A, B, W)] == [[], [wish], []]


async def test_who_vouches_is_known_by_certificate(daemons: Daemons) -> None:
    node = FakeNode(B)
    request = admin_pb2.FenceNodeRequest(
        node=A, action=admin_pb2.FENCE_ACTION_CONFIRM_OFF, requested_by="somebody else"
    )
    async with daemons.running(node), daemons.by_tcp(B, cluster_pki().admin()) as channel:
        await admin_stub(channel).FenceNode(request)
    (wish,) = node.fenced
    assert wish.requested_by.startswith("administrator ")
    assert wish.action is FenceAction.CONFIRM_OFF


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (admin_pb2.FenceNodeRequest(node="w", action="FENCE_ACTION_OFF"), "w is a witness"),
        (
            admin_pb2.FenceNodeRequest(node="z", action="FENCE_ACTION_OFF"),
            "there is no replica 'z': it is one of a",
        ),
        (admin_pb2.FenceNodeRequest(node="a"), "it was not said what is to be done"),
    ],
)
async def test_a_fencing_that_makes_no_sense_is_refused(
    daemons: Daemons, request_: admin_pb2.FenceNodeRequest, words: str
) -> None:
    node = FakeNode(B)
    async with daemons.running(node), daemons.by_socket(B) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refusal:
            await stub.FenceNode(request_)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert node.fenced == []
