"""The stream when things go wrong: links, processes, disks, histories, strangers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fakes.records import deliveries, delivery, positions
from fakes.small_disk import fill, small_disk
from fakes.stream_pair import FIRST_EPOCH, A, B, Pair, pair, until
from fakes.streaming import DISCONNECTED, ONE, STREAMING, TWO, at, follow, in_state, same
from staqraft.config.schema import Journal as Limits
from staqraft.config.schema import Replication
from staqraft.journal import segment
from staqraft.model import ORIGIN, Epoch, EpochStart, Position
from staqraft.replication.messages import to_position
from staqraft.wire.v1 import data_worker_pb2 as pb

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
        enough = asyncio.Event()
        writing = asyncio.create_task(_write_on(both, enough))
        for _ in range(6):
            await asyncio.sleep(0.05)
            sync = both.b.config.me.rings[1]
            await both.b.worker.close_ring(sync)  # every other time the ring is another one
            await both.b.worker.serve_ring(sync)
        enough.set()
        last = await writing
        await both.a.acknowledged(B, last)
        assert [p.seq for p in positions(both.b.journal_dir)] == list(range(1, last.seq + 1))
        assert same(both)


async def _write_on(both: Pair, enough: asyncio.Event) -> Position:
    last = ORIGIN
    for start in itertools.count(step=20):
        last = both.a.write(deliveries(start, 20, 1000))
        await asyncio.sleep(0.002)
        if enough.is_set():
            break
    return last


async def test_waiting_for_an_acknowledgement_ends_when_the_node_is_no_longer_active() -> None:
    async with pair() as both:
        await both.a.be_active()
        last = both.a.write(deliveries(1, 1))
        sender = both.a.worker.senders[B]

        async def waits() -> bool:
            return bool(sender._waiters)

        waiting = asyncio.create_task(both.a.acknowledged(B, last))
        await until(waits, "the call is waiting")
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


async def damage_the_standbys_journal(both: Pair) -> Position:
    """It is idle then; until where it had everything."""
    await both.a.be_active()
    last = both.a.write(deliveries(1, 100))
    await both.b.be_standby()
    await both.a.acknowledged(B, last)
    await both.b.be_idle()
    path = segment.listing(both.b.journal_dir)[0].segment(both.b.journal_dir)
    path.write_bytes(b"x" * 600)
    return last


async def test_a_damaged_journal_on_the_standby_is_given_up_and_compared() -> None:
    async with pair() as both:
        both.b.trees.position = await damage_the_standbys_journal(both)
        await both.b.be_standby()
        last = both.a.write(deliveries(1, 1))
        assert await both.a.acknowledged(B, last) == last
        assert "the journal was damaged" in both.b.trees.reconciled[0].reason
        # What was compared is repaired: the history has it, the status is well again.
        assert "journal-repaired" not in await both.b.problems()


async def test_who_becomes_active_with_a_repaired_journal_is_well() -> None:
    async with pair() as both:
        await damage_the_standbys_journal(both)
        await both.a.be_idle()
        await both.b.be_standby()
        await both.b.be_idle()
        assert "journal-repaired" in await both.b.problems()
        await both.b.be_active(epoch=TWO, active=B)
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
