"""Who speaks to a standby without being its active: older epochs, damaged words, strangers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fakes.patience import PATIENCE_S
from fakes.pki import cluster_pki, new_pki
from fakes.records import LAB, MAIL, deliveries, positions
from fakes.stream_pair import FIRST_EPOCH, A, B, Replica, pair, until
from fakes.streaming import ONE, TWO, at, follow
from staqraft.config.schema import Tls
from staqraft.model import ORIGIN, EpochStart, NodeId
from staqraft.replication.messages import CHANNEL_OPTIONS, to_hello, to_position
from staqraft.replication.plan import Offer
from staqraft.wire import tls
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import replication_pb2, replication_pb2_grpc

# --- epochs and strangers -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def speaker(to: Replica, files: Tls, node: NodeId = B) -> AsyncIterator[object]:
    """A call to the replica's stream port, with somebody's certificate."""
    config = to.config
    address = config.nodes[node].rings[0].address
    port = config.stream_port(MAIL)
    async with tls.channel(address, port, node, config.cluster, files, CHANNEL_OPTIONS) as channel:
        stub = replication_pb2_grpc.ReplicationServiceStub(channel)  # type: ignore[no-untyped-call]
        yield stub.Replicate(timeout=PATIENCE_S)


def hello(**changes: object) -> replication_pb2.ReplicateRequest:
    words: dict[str, object] = {
        "cluster": "lab",
        "group": MAIL,
        "node": A,
        "epoch": ONE,
        "epoch_starts": FIRST_EPOCH,
        "first": at(1, 1),
        "last": ORIGIN,
    }
    return to_hello(Offer(**(words | changes)), "test")  # type: ignore[arg-type]


async def answer(to: Replica, *requests: replication_pb2.ReplicateRequest) -> str:
    """How the standby answers to these messages: its last word."""
    async with speaker(to, cluster_pki(LAB).node("a")) as call:
        try:
            for request in requests:
                await call.write(request)  # type: ignore[attr-defined]
            said = ""
            while (response := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                kind = response.WhichOneof("message")
                if kind == "refusal":
                    name = replication_pb2.RefusalKind.Name(response.refusal.kind)
                    return f"{name.removeprefix('REFUSAL_KIND_')}: {response.refusal.reason}"
                said = kind
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return said


async def test_an_older_epoch_is_refused() -> None:
    async with pair() as both:
        await both.b.be_standby(epoch=3, active=A)
        assert (await answer(both.b, hello())).startswith("STALE_EPOCH: a speaks of epoch 1")


async def test_a_session_ends_when_control_knows_of_a_newer_epoch() -> None:
    async with pair() as both:
        await follow(both)
        await both.b.assign(pb.WORKER_ROLE_STANDBY, epoch=2, active=NodeId("c"))
        both.a.write(deliveries(1, 5))

        async def refused() -> bool:
            return "a is no longer active" in (await both.a.session()).problem

        await until(refused, "the former active is told")
        assert positions(both.b.journal_dir) == []


async def test_a_batch_of_a_history_that_was_given_up_is_refused() -> None:
    starts = (EpochStart(epoch=ONE, seq=1), EpochStart(epoch=TWO, seq=3))
    async with pair() as both:
        await both.b.be_standby(epoch=2, starts=starts)
        batch = replication_pb2.Batch(
            first=to_position(at(1, 1)), last=to_position(at(1, 5)), records=5, raw_bytes=9
        )
        said = await _after_resume(both.b, hello(epoch=TWO, epoch_starts=starts), batch=batch)
        assert said == "STALE_EPOCH: record 1:5 is of a history that was given up"


async def test_a_damaged_batch_is_refused_and_leaves_no_trace() -> None:
    async with pair() as both:
        await both.b.be_standby()
        batch = replication_pb2.Batch(
            first=to_position(at(1, 1)),
            last=to_position(at(1, 2)),
            records=2,
            codec=replication_pb2.CODEC_NONE,
            raw_bytes=7,
            frames=b"rubbish",
        )
        said = await _after_resume(both.b, hello(), batch=batch)
        assert said.startswith("BAD_FRAME: records 1:1 to 1:2 were announced behind 0:0")
        batch.codec = replication_pb2.CODEC_LZ4
        assert "cannot be unpacked" in await _after_resume(both.b, hello(), batch=batch)
        assert positions(both.b.journal_dir) == []


async def test_a_heartbeat_of_another_epoch_ends_the_session() -> None:
    async with pair() as both:
        await both.b.be_standby()
        beat = replication_pb2.Heartbeat(epoch=7, last=to_position(ORIGIN))
        said = await _after_resume(both.b, hello(), heartbeat=beat)
        assert said == "STALE_EPOCH: a message of epoch 7 came in a session of epoch 1"


async def _after_resume(
    to: Replica, first: replication_pb2.ReplicateRequest, **message: object
) -> str:
    async with speaker(to, cluster_pki(LAB).node("a")) as call:
        await call.write(first)  # type: ignore[attr-defined]
        resume = await call.read()  # type: ignore[attr-defined]
        assert resume.WhichOneof("message") == "resume", resume
        await call.write(replication_pb2.ReplicateRequest(**message))  # type: ignore[attr-defined, arg-type]
        while (response := await call.read()).WhichOneof("message") != "refusal":  # type: ignore[attr-defined]
            pass
        name = replication_pb2.RefusalKind.Name(response.refusal.kind)
        return f"{name.removeprefix('REFUSAL_KIND_')}: {response.refusal.reason}"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"cluster": "other"}, "IDENTITY: a speaks for group mail of cluster other"),
        ({"group": "web"}, "IDENTITY: a speaks for group web of cluster lab"),
        ({"node": "c"}, "IDENTITY: the certificate says a, its Hello says c"),
        ({"epoch_starts": ()}, "BAD_FRAME: a contradicts itself"),
    ],
)
async def test_a_hello_that_is_not_right_is_refused(words: dict[str, object], reason: str) -> None:
    async with pair() as both:
        await both.b.be_standby()
        assert (await answer(both.b, hello(**words))).startswith(reason)


async def test_who_does_not_begin_with_hello_is_refused() -> None:
    async with pair() as both:
        await both.b.be_standby()
        finish = replication_pb2.ReplicateRequest(finish=replication_pb2.Finish(reason=""))
        assert await answer(both.b, finish) == "BAD_FRAME: a did not begin with Hello"


async def test_an_idle_node_says_that_it_is_no_standby() -> None:
    async with pair() as both:
        assert await answer(both.b, hello()) == "NOT_STANDBY: b is not a standby at the moment"


async def test_strangers_are_not_let_in(tmp_path: Path) -> None:
    async with pair() as both:
        await both.b.be_standby()
        stranger = new_pki(tmp_path / "pki", "lab").node("a")  # another authority
        async with speaker(both.b, stranger) as call:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call.read()  # type: ignore[attr-defined]
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        pki = cluster_pki(LAB)
        for files in (pki.node("w"), pki.admin()):  # known, but not for the likes of them
            async with speaker(both.b, files) as call:
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call.read()  # type: ignore[attr-defined]
                assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
