"""How fast the stream is: printed, and held to generous bounds only (machines differ)."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from fakes.records import delivery
from fakes.stream_pair import B, Pair, pair
from staqraft.wire.v1 import data_worker_pb2 as pb

RECORDS = 12_000


async def test_it_prints_latency_and_throughput(capsys: pytest.CaptureFixture[str]) -> None:
    async with pair() as both:
        await both.b.be_standby()
        await both.a.be_active()
        await _one(both, 0)
        idle = [await _one(both, number) for number in range(1, 200)]
        busy = await _at_a_thousand_a_second(both)
        records_s = await _in_bulk(both)
        with capsys.disabled():
            print(f"\nack idle: {_figures(idle)}; at 1,000 records/s: {_figures(busy)}")  # noqa: T201
            print(f"4 KiB records, journalled to durable on the standby: {records_s:,.0f}/s")  # noqa: T201
        assert statistics.median(idle) < 0.1
        assert (await both.a.session()).state == pb.SESSION_STATE_STREAMING


async def _one(both: Pair, number: int) -> float:
    """From append to the acknowledgement's arrival in the stream process."""
    started = time.perf_counter()
    last = both.a.write([delivery(number)])
    await both.a.worker.senders[B].wait_durable(last)
    return time.perf_counter() - started


async def _at_a_thousand_a_second(both: Pair) -> list[float]:
    waits = []
    for number in range(1000):
        waits.append(asyncio.create_task(_one(both, number)))
        await asyncio.sleep(0.001)
    return list(await asyncio.gather(*waits))


async def _in_bulk(both: Pair) -> float:
    journal = both.a.open_journal()
    records = [delivery(number) for number in range(RECORDS)]
    last = journal.last
    for start in range(0, RECORDS, 100):
        last = journal.append(records[start : start + 100], journal.last.epoch)
    started = time.perf_counter()
    both.a.write([delivery(0)])
    await both.a.worker.senders[B].wait_durable(last)
    return RECORDS / (time.perf_counter() - started)


def _figures(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms"
