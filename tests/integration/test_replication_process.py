"""The standby's stream process as a process: stopped, killed, frozen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import fakes.stream_process
from fakes.patience import PATIENCE_S
from fakes.pki import cluster_pki
from fakes.records import LAB, MAIL, deliveries, open_journal, positions
from fakes.stream_pair import A, B, Pair, pair, until
from staqraft.model import ORIGIN, Position
from staqraft.wire.v1 import data_worker_pb2 as pb


@contextlib.asynccontextmanager
async def standby_process(both: Pair) -> AsyncIterator[asyncio.subprocess.Process]:
    """`b` as a process, in its role; the one of this process must have gone."""
    base, port = both.a.config.state_dir.parent, both.a.config.ports.data
    script = Path(fakes.stream_process.__file__)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(base), str(port), str(cluster_pki(LAB).directory)
    )
    try:
        request = pb.SetStreamRoleRequest(
            assignment=pb.RoleAssignment(role=pb.WORKER_ROLE_STANDBY, epoch=1, active=A)
        )
        await both.b.control.SetStreamRole(request, timeout=PATIENCE_S, wait_for_ready=True)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def follows(both: Pair) -> None:
    async def streaming() -> bool:
        return (await both.a.session()).state == pb.SESSION_STATE_STREAMING

    await until(streaming, "the standby follows")


async def gone(both: Pair) -> str:
    """Why the active holds the standby for gone."""

    async def disconnected() -> bool:
        return (await both.a.session()).state == pb.SESSION_STATE_DISCONNECTED

    await until(disconnected, "the active notices")
    return (await both.a.session()).problem


async def test_a_process_that_is_told_to_stop_leaves_a_clean_journal() -> None:
    async with pair() as both:
        await both.b.crash()
        await both.a.be_active()
        async with standby_process(both) as process:
            last = both.a.write(deliveries(1, 500))
            await both.a.acknowledged(B, last)
            process.terminate()
            assert await process.wait() == 0
        journal = open_journal(both.b.journal_dir, boot="boot-2")
        assert (journal.last, journal.lost_tail, journal.notices) == (last, False, ())
        journal.close()
        assert not both.b.config.worker_socket(MAIL, "stream").with_suffix(".bell").exists()


async def test_killing_it_again_and_again_loses_and_doubles_nothing() -> None:
    async with pair() as both:
        await both.b.crash()
        await both.a.be_active()
        acknowledged = last = both.a.write(deliveries(0, 1))
        for round_ in range(3):
            async with standby_process(both) as process:
                await both.a.acknowledged(B, acknowledged)
                writing = asyncio.create_task(_write(both, 1000 * round_))
                await asyncio.sleep(0.15)
                process.kill()
                await process.wait()
                last = await writing
                acknowledged = both.a.worker.senders[B].status.durable
            assert positions(both.b.journal_dir)[-1] >= acknowledged
        async with standby_process(both):
            assert await both.a.acknowledged(B, last) == last
            assert [p.seq for p in positions(both.b.journal_dir)] == list(range(1, last.seq + 1))
        assert both.b.trees.reconciled == []


async def _write(both: Pair, first: int) -> Position:
    last = ORIGIN
    for start in range(first, first + 1000, 5):
        last = both.a.write(deliveries(start, 5))
        await asyncio.sleep(0.001)
    return last


async def test_a_frozen_standby_is_noticed_within_seconds() -> None:
    async with pair() as both:
        await both.b.crash()
        await both.a.be_active()
        async with standby_process(both) as process:
            await follows(both)
            took: list[float] = []
            while not took or took[-1] > 5:  # 1.5 where nothing else runs
                os.kill(process.pid, signal.SIGSTOP)
                frozen = time.monotonic()
                problem = await gone(both)
                took.append(time.monotonic() - frozen)
                os.kill(process.pid, signal.SIGCONT)
                await follows(both)
                assert len(took) < 6, (took, problem)
            last = both.a.write(deliveries(1, 10))
            await both.a.acknowledged(B, last)
