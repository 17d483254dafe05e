"""The stream over loopback with mutual TLS and real journals: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio

from fakes.records import deliveries, positions, read_all
from fakes.stream_pair import A, B, pair, until
from staqraft.daemon.watch import following
from staqraft.decision.following import Following
from staqraft.journal import segment
from staqraft.journal.room import ROOM_BYTES
from staqraft.model import Epoch, Position
from staqraft.wire.v1 import data_worker_pb2 as pb


async def test_what_is_written_on_the_active_is_durable_on_the_standby() -> None:
    async with pair() as both:
        await both.b.be_standby()
        await both.a.be_active()
        last = both.a.write(deliveries(1, 100))
        assert await both.a.acknowledged(B, last) == last
        assert list(read_all(both.b.journal_dir)) == list(read_all(both.a.journal_dir))

        async def streaming() -> bool:
            return (await both.a.session()).state == pb.SESSION_STATE_STREAMING

        await until(streaming, "the standby keeps up")
        session = await both.a.session()
        assert session.ring == "sync"
        assert session.lag_records == 0
        assert (await both.b.session()).node == A
        assert await both.a.problems() == {}
        assert await both.b.problems() == {}


async def test_a_standby_makes_room_in_its_journal_for_what_comes_next() -> None:
    async with pair() as both:
        await both.b.be_standby()
        await both.a.be_active()
        await both.a.acknowledged(B, both.a.write(deliveries(1, 1)))
        path = segment.listing(both.b.journal_dir)[-1].segment(both.b.journal_dir)

        async def has_room() -> bool:
            return path.stat().st_size >= ROOM_BYTES

        await until(has_room, "there is room")
        size = path.stat().st_size
        last = both.a.write(deliveries(2, 20))
        assert await both.a.acknowledged(B, last) == last
        assert path.stat().st_size == size
        assert positions(both.b.journal_dir)[-1] == last


async def test_a_standby_that_comes_late_is_sent_everything_from_the_start() -> None:
    async with pair() as both:
        await both.a.be_active()
        last = both.a.write(deliveries(1, 5000, 4096))
        await both.b.be_standby()
        assert await both.a.acknowledged(B, last) == last
        assert positions(both.b.journal_dir) == [Position(Epoch(1), n) for n in range(1, 5001)]


async def test_a_standby_that_is_not_whole_without_the_active_is_not_counted_on() -> None:
    """Torture, seed 9316: it had every record, and was in sync, and could not be promoted."""
    async with pair() as both:
        both.b.trees.settling = True
        await both.b.be_standby()
        await both.a.be_active()
        last = both.a.write(deliveries(1, 100))
        barrier = asyncio.create_task(both.a.acknowledged(B, last))

        async def had() -> bool:
            return (await both.a.session()).lag_records == 0

        await until(had, "the standby has every record")
        await asyncio.wait([barrier], timeout=0.3)
        assert not barrier.done()
        assert following(await both.a.session()) is Following.SETTLES

        both.b.trees.settling = False
        assert await barrier == last

        async def counts() -> bool:
            return following(await both.a.session()) is Following.WHOLE

        await until(counts, "the standby is counted on")
