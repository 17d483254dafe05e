"""The stream when things go wrong: links, processes, disks, histories, strangers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fakes.pki import cluster_pki, new_pki
from fakes.records import LAB, MAIL, deliveries, delivery, positions, read_all
from fakes.small_disk import fill, small_disk
from fakes.stream_pair import FIRST_EPOCH, A, B, Pair, Replica, pair, until
from staqraft.config.schema import Journal as Limits
from staqraft.config.schema import Replication, Tls
from staqraft.journal import segment
from staqraft.model import ORIGIN, Epoch, EpochStart, NodeId, Position
from staqraft.replication.messages import CHANNEL_OPTIONS, to_hello, to_position
from staqraft.replication.plan import Offer
from staqraft.wire import tls
from staqraft.wire.v1 import data_worker_pb2 as pb
from staqraft.wire.v1 import replication_pb2, replication_pb2_grpc

ONE, TWO = Epoch(1), Epoch(2)
STREAMING = pb.SESSION_STATE_STREAMING
DISCONNECTED = pb.SESSION_STATE_DISCONNECTED


def at(epoch: int, seq: int) -> Position:
    return Position(Epoch(epoch), seq)


async def in_state(replica: Replica, state: pb.SessionState) -> bool:
    return (await replica.session()).state == state


async def follow(both: Pair) -> None:
    await both.b.be_standby()
    await both.a.be_active()
    await until(lambda: in_state(both.a, STREAMING), "the standby follows")


def same(both: Pair, after: Position = ORIGIN) -> bool:
    return list(read_all(both.a.journal_dir, after)) == list(read_all(both.b.journal_dir, after))


# --- resuming ---------------------------------------------------------------------------------


async def test_a_standby_that_comes_back_goes_on_where_it_was() -> None:
    async with pair() as both:
        await follow(both)
        for round_ in range(3):
            last = both.a.write(deliveries(100 * round_, 100))
            await both.a.acknowledged(B, last)
            await both.b.be_idle()
            last = both.a.write(deliveries(50, 10))
            await until(lambda: in_state(both.a, DISCONNECTED), "the standby is gone")
            assert "b is not a standby" in (await both.a.session()).problem
            await both.b.be_standby()
            await both.a.acknowledged(B, last)
        assert same(both)
        assert both.b.trees.reconciled == []


async def test_connections_that_break_in_the_middle_leave_neither_gap_nor_duplicate() -> None:
    async with pair(replication=Replication(window_bytes=1 << 20)) as both:
        await follow(both)
        writing = asyncio.create_task(_write_on(both, 6000))
        breaks = 0
        while not writing.done():
            await asyncio.sleep(0.05)
            sync = both.b.config.me.rings[1]
            await both.b.worker.close_ring(sync)  # every other time the ring is another one
            await both.b.worker.serve_ring(sync)
            breaks += 1
        last = await writing
        await both.a.acknowledged(B, last)
        assert breaks > 3
        assert [p.seq for p in positions(both.b.journal_dir)] == list(range(1, last.seq + 1))
        assert same(both)


async def _write_on(both: Pair, count: int) -> Position:
    last = ORIGIN
    for start in range(0, count, 20):
        last = both.a.write(deliveries(start, 20, 1000))
        await asyncio.sleep(0.002)
    return last


async def test_waiting_for_an_acknowledgement_ends_when_the_node_is_no_longer_active() -> None:
    async with pair() as both:
        await both.a.be_active()
        last = both.a.write(deliveries(1, 1))
        waiting = asyncio.create_task(both.a.acknowledged(B, last))
        await asyncio.sleep(0.05)
        await both.a.be_idle()
        with pytest.raises(grpc.aio.AioRpcError, match="stopped being active") as error:
            await waiting
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(grpc.aio.AioRpcError, match="sends nothing to b"):
            await both.a.acknowledged(B, last)


async def test_who_sends_no_more_complains_of_its_peer_no_more() -> None:
    async def says_so() -> bool:
        return "peer-b" in await both.a.problems()

    async with pair() as both:
        await both.b.be_idle()
        await both.a.be_active()
        await until(says_so, "the active says that b is not a standby")
        await both.a.be_idle()
        assert await both.a.problems() == {}


async def test_a_role_given_twice_changes_nothing() -> None:
    async with pair() as both:
        await follow(both)
        sender = both.a.worker.senders[B]
        receiver = both.b.worker.receiver
        await both.a.assign(pb.WORKER_ROLE_ACTIVE)
        await both.b.assign(pb.WORKER_ROLE_STANDBY)
        assert both.a.worker.senders[B] is sender
        assert both.b.worker.receiver is receiver
        assert (await both.b.status()).role == pb.WORKER_ROLE_STANDBY


async def test_leaving_standby_lets_the_journal_go_with_everything_in_it() -> None:
    async with pair() as both:
        await follow(both)
        last = both.a.write(deliveries(1, 200, 4096))
        await both.a.acknowledged(B, last)
        await both.b.be_idle()
        journal = both.b.open_journal()  # the trees process may write now
        assert journal.last == last
        assert journal.notices == ()


async def test_a_takeover_and_the_way_back() -> None:
    async with pair() as both:
        await follow(both)
        last = both.a.write(deliveries(1, 50))
        await both.a.acknowledged(B, last)
        await both.b.be_idle()
        await both.a.be_idle()
        starts = (*FIRST_EPOCH, EpochStart(epoch=TWO, seq=last.seq + 1))
        await both.b.be_active(epoch=2, starts=starts, active=B)
        await both.a.be_standby(epoch=2, starts=starts, active=B)
        last = both.b.write(deliveries(51, 50), epoch=2)
        assert await both.b.acknowledged(A, last) == last == at(2, 100)
        assert same(both)
        assert both.a.trees.reconciled == []


# --- comparing --------------------------------------------------------------------------------


async def test_histories_that_parted_are_compared_and_then_followed() -> None:
    async with pair() as both:
        both.b.open_journal().append(deliveries(900, 30), ONE)  # what b had when it was active
        starts = (*FIRST_EPOCH, EpochStart(epoch=TWO, seq=21))
        both.a.open_journal().append(deliveries(1, 20), ONE)
        both.b.trees.position = both.a.write(deliveries(21, 5), epoch=2)
        both.b.trees.may_finish.clear()
        await both.b.be_standby(epoch=2, starts=starts)
        await both.a.be_active(epoch=2, starts=starts)
        await until(lambda: in_state(both.a, pb.SESSION_STATE_RECONCILING), "it compares")

        async def shown() -> bool:
            session = await both.a.session()
            return (session.objects_done, session.objects_total) == (5, 10)

        await until(shown, "the progress arrives")
        assert (await both.b.session()).state == pb.SESSION_STATE_RECONCILING
        await asyncio.sleep(1.5)  # longer than a dead peer lives: it must not look like one
        assert await in_state(both.a, pb.SESSION_STATE_RECONCILING)
        asked = both.b.trees.reconciled
        assert [request.reason for request in asked] == [
            "this replica's last record 1:30 is not part of a's history"
        ]
        assert (asked[0].active, asked[0].epoch) == ("a", 2)
        both.b.trees.may_finish.set()
        last = both.a.write(deliveries(26, 5), epoch=2)
        assert await both.a.acknowledged(B, last) == last
        assert (await both.b.status()).first == to_position(at(2, 26))
        assert positions(both.b.journal_dir, at(2, 25)) == [at(2, n) for n in range(26, 31)]


async def test_who_was_made_active_by_force_may_lack_an_epoch_that_the_other_has() -> None:
    """By Raft's history the standby is on it; the journals say otherwise."""
    async with pair() as both:
        shared = deliveries(1, 10)
        both.a.open_journal().append(shared, ONE)
        both.b.open_journal().append(shared, ONE)
        both.a.open_journal().append(deliveries(11, 20), ONE)  # which b never got
        both.b.open_journal().append(deliveries(500, 5), TWO)  # b by force, then a by force
        both.b.trees.position = both.a.write(deliveries(31, 5), epoch=3)
        starts = (
            *FIRST_EPOCH,
            EpochStart(epoch=TWO, seq=11),
            EpochStart(epoch=Epoch(3), seq=31),
        )
        await both.b.be_standby(epoch=3, starts=starts)
        await both.a.be_active(epoch=3, starts=starts)
        last = both.a.write(deliveries(36, 5), epoch=3)
        assert await both.a.acknowledged(B, last) == last
        assert len(both.b.trees.reconciled) == 1


async def test_a_comparison_that_was_cut_off_is_begun_again_even_after_a_restart() -> None:
    async with pair() as both:
        await both.a.be_active()
        both.b.trees.position = both.a.write(deliveries(1, 5))
        both.b.trees.needs_reconcile = "the index is new"
        both.b.trees.may_finish.clear()
        await both.b.be_standby()

        async def halfway() -> bool:
            return (await both.a.session()).objects_done == 5

        await until(halfway, "it compares")
        await both.b.be_idle()
        both.b.trees.needs_reconcile = ""  # the trees process may have forgotten, we must not
        both.b.trees.may_finish.set()
        await both.b.be_standby()
        last = both.a.write(deliveries(6, 1))
        assert await both.a.acknowledged(B, last) == last
        assert [r.reason for r in both.b.trees.reconciled] == ["the index is new"] * 2
        assert positions(both.b.journal_dir, at(1, 5)) == [at(1, 6)]


async def test_trees_that_go_wrong_while_records_flow_are_compared() -> None:
    async with pair() as both:
        await follow(both)
        last = both.a.write(deliveries(1, 5))
        await both.a.acknowledged(B, last)
        both.b.trees.position = last
        both.b.trees.needs_reconcile = "record 3 could not be applied"

        async def compared() -> bool:
            return len(both.b.trees.reconciled) == 1 and await in_state(both.a, STREAMING)

        await until(compared, "the trees were compared and the stream went on")
        last = both.a.write(deliveries(6, 1))
        assert await both.a.acknowledged(B, last) == last


async def test_a_standby_that_was_away_too_long_is_compared() -> None:
    async with pair(limits=Limits(segment_bytes=20_000, max_bytes=100_000)) as both:
        await follow(both)
        await both.a.acknowledged(B, both.a.write(deliveries(1, 5)))
        await both.b.be_idle()
        for number in range(300):
            both.b.trees.position = both.a.write([delivery(number, 1000)])
        await both.b.be_standby()
        last = both.a.write(deliveries(1, 1))
        assert await both.a.acknowledged(B, last) == last
        assert "this replica was away since 1:5" in both.b.trees.reconciled[0].reason


async def test_a_damaged_journal_on_the_active_leads_to_a_comparison() -> None:
    async with pair() as both:
        await both.a.be_active()
        journal = both.a.open_journal()
        journal.append(deliveries(1, 100, 1000), ONE)
        journal.sync()
        path = segment.listing(both.a.journal_dir)[0].segment(both.a.journal_dir)
        data = bytearray(path.read_bytes())
        data[50_000] ^= 1
        path.write_bytes(bytes(data))
        both.b.trees.position = journal.last
        journal.roll()  # as BeginReconcile does
        await both.b.be_standby()
        await until(lambda: in_state(both.a, STREAMING), "it goes on behind the damage")
        last = both.a.write(deliveries(1, 1))
        assert await both.a.acknowledged(B, last) == last
        assert len(both.b.trees.reconciled) == 1


async def test_a_damaged_journal_on_the_standby_is_given_up_and_compared() -> None:
    async with pair() as both:
        await both.a.be_active()
        last = both.a.write(deliveries(1, 100))
        await both.b.be_standby()
        await both.a.acknowledged(B, last)
        await both.b.be_idle()
        path = segment.listing(both.b.journal_dir)[0].segment(both.b.journal_dir)
        path.write_bytes(b"x" * 600)
        both.b.trees.position = last
        await both.b.be_standby()
        last = both.a.write(deliveries(1, 1))
        assert await both.a.acknowledged(B, last) == last
        assert "the journal was damaged" in both.b.trees.reconciled[0].reason
        # What was compared is repaired: the history has it, the status is well again.
        assert "journal-repaired" not in await both.b.problems()


# --- a full disk ------------------------------------------------------------------------------


async def test_a_full_journal_disk_on_the_standby_refuses_and_goes_on_when_freed(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 512) as disk:
        async with pair(b_base=disk / "b") as both:
            await follow(both)
            last = both.a.write(deliveries(1, 10))
            await both.a.acknowledged(B, last)
            ballast = fill(disk, leave_bytes=8192)
            last = both.a.write(deliveries(11, 100, 1000))

            async def said() -> bool:
                told = (await both.a.session()).problem
                return "b refused: no space left for the journal in" in told

            await until(said, "the active knows why")
            assert "no space left" in (await both.b.problems())["journal-full"]
            ballast.unlink()
            assert await both.a.acknowledged(B, last) == last
            assert same(both)

            async def over() -> bool:
                return not await both.b.problems() and not await both.a.problems()

            await until(over, "the problems are over")


async def test_a_standby_that_cannot_apply_stops_taking_and_keeps_what_it_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "staqraft.replication")
    small = Limits(segment_bytes=20_000, max_bytes=100_000)
    async with pair(b_limits=small) as both:
        await follow(both)
        last = ORIGIN
        for number in range(300):
            last = both.a.write([delivery(number, 1000)])
            await asyncio.sleep(0.001)

        async def full() -> bool:
            return "journal-full" in await both.b.problems()

        await until(full, "the standby's journal is full of what is not applied")
        assert "not applied yet" in (await both.b.problems())["journal-full"]
        held = positions(both.b.journal_dir)
        assert held[0] == at(1, 1)
        assert held[-1] < last

        def sessions() -> int:
            return sum("following a in epoch" in record.getMessage() for record in caplog.records)

        async def more() -> bool:
            return sessions() >= before + 5

        before, begun_s = sessions(), time.monotonic()
        await until(more, "it is tried again")
        assert time.monotonic() - begun_s > 0.8, "but not as fast as it can be refused"
        while (await both.a.session()).durable != to_position(last):
            both.b.trees.applied = (await both.b.worker.ends())[1]
            await asyncio.sleep(0.1)


# --- epochs and strangers -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def speaker(to: Replica, files: Tls, node: NodeId = B) -> AsyncIterator[object]:
    """A call to the replica's stream port, with somebody's certificate."""
    config = to.config
    address = config.nodes[node].rings[0].address
    port = config.stream_port(MAIL)
    async with tls.channel(address, port, node, config.cluster, files, CHANNEL_OPTIONS) as channel:
        stub = replication_pb2_grpc.ReplicationServiceStub(channel)  # type: ignore[no-untyped-call]
        yield stub.Replicate(timeout=5)


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


# --- rings --------------------------------------------------------------------------------------


async def test_the_other_ring_is_used_while_the_preferred_one_is_away() -> None:
    async with pair() as both:
        sync = next(ring for ring in both.b.config.me.rings if ring.name == "sync")
        await both.b.worker.close_ring(sync)
        await follow(both)
        assert (await both.a.session()).ring == "service"
        last = both.a.write(deliveries(1, 100))
        await both.a.acknowledged(B, last)
        await both.b.worker.serve_ring(sync)

        async def back() -> bool:
            session = await both.a.session()
            return session.ring == "sync" and session.state == STREAMING

        await until(back, "the preferred ring is used again")
        assert (await both.b.session()).ring == "sync"
        last = both.a.write(deliveries(101, 100))
        await both.a.acknowledged(B, last)
        assert same(both)


async def test_large_records_pass() -> None:
    async with pair() as both:
        await follow(both)
        big = [delivery(n, 8 << 20, compressible=n % 2 == 0) for n in range(4)]
        last = ORIGIN
        for record in big:
            last = both.a.write([record])
        assert await both.a.acknowledged(B, last) == last
        assert same(both)
