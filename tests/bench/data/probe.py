"""The stream alone: `probe standby CONFIG` on b, `probe active CONFIG POOL SCALE` on a.

Each is a stream process with its journal, and a trees process that does nothing. The active prints
its figures when it has them; durable is what the standby acknowledged after its fdatasync.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Final

from bench.data.content import Pool
from fakes.records import delivery
from fakes.stream_pair import B, Replica
from staqraft.config.loader import load
from staqraft.daemon import heap
from staqraft.journal.record import CHUNK_BYTES, Chunk, Record

MAILS: Final = 60_000
CHUNKS: Final = 512
ACKS: Final = 500
BUSY: Final = 3000
BUSY_RATE: Final = 1000
BATCH: Final = 100


async def active(config: Path, pool: Path, scale: float) -> None:
    """Measures, and prints a JSON object."""
    replica = Replica(load(config))
    await replica.start()
    try:
        await replica.be_active()
        for number in range(BATCH):
            await _ack(replica, number)  # it has connected, and everything is warm
        idle = [await _ack(replica, number) for number in range(round(ACKS * scale) + 2)]
        busy = await _at_rate(replica, round(BUSY * scale) + 2)
        mails = round(MAILS * scale)
        mails_s = mails / await _in_bulk(replica, [delivery(n) for n in range(1000)], mails)
        chunks = round(CHUNKS * scale) + 1
        chunks_s = chunks / await _in_bulk(replica, [*_chunks(Pool(pool))], chunks)
        figures = {
            "idle_s": idle,
            "busy_s": busy,
            "mails_s": mails_s,
            "large_bytes_s": chunks_s * CHUNK_BYTES,
        }
        print(json.dumps(figures), flush=True)
    finally:
        await replica.stop()


async def _ack(replica: Replica, number: int) -> float:
    """From append to the acknowledgement."""
    began = time.perf_counter()
    last = replica.write([delivery(number)])
    await replica.worker.senders[B].wait_durable(last)
    return time.perf_counter() - began


async def _at_rate(replica: Replica, count: int) -> list[float]:
    waits = []
    began = time.perf_counter()
    for number in range(count):
        waits.append(asyncio.create_task(_ack(replica, number)))
        await asyncio.sleep(max(0.0, began + (number + 1) / BUSY_RATE - time.perf_counter()))
    return list(await asyncio.gather(*waits))


def _chunks(pool: Pool) -> list[Record]:
    """Pieces of large files."""
    return [
        Record(
            tree="mail",
            path=b"large",
            change=Chunk(stage=1, offset=number * CHUNK_BYTES, data=pool.large(CHUNK_BYTES)),
        )
        for number in range(16)
    ]


async def _in_bulk(replica: Replica, records: list[Record], count: int) -> float:
    """Seconds from the doorbell until so many, which the journal had already, are durable on b.

    The journal is filled while the stream process does not look: it is the same process.
    """
    journal = replica.open_journal()
    batch = min(BATCH, len(records))
    written = 0
    while written < count:
        start = written % len(records)
        some = records[start : start + min(batch, count - written)]
        journal.append(some, journal.last.epoch)
        written += len(some)
    journal.sync()
    began = time.perf_counter()
    last = replica.write([delivery(0)])
    await replica.worker.senders[B].wait_durable(last)
    return time.perf_counter() - began


async def standby(config: Path) -> None:
    """Receives until it is killed."""
    replica = Replica(load(config))
    await replica.start()
    await replica.be_standby()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    heap.keep()  # as in the stream process
    if sys.argv[1] == "standby":
        asyncio.run(standby(Path(sys.argv[2])))
    else:
        asyncio.run(active(Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
