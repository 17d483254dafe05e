"""A pair that does to its shared witness what no pair should: the others are not disturbed."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bench.town import end, python
from fakes.many import Town
from fakes.pair import Figures, Member, member, renew
from fakes.ports import free_port
from staqraft.config.clusters import read_clusters
from staqraft.consensus import RaftTicker
from staqraft.daemon.witness import SharedWitness
from staqraft.wire.v1 import admin_pb2

GOOD = (1, 2)
RENEWALS = 40
TIMING = (  # a busy machine alone elects nobody
    "election_min: 2s, election_max: 3s, heartbeat: 300ms, tick: 50ms",
    "ttl: 9s, renew: 100ms",
)


async def until(holds: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"it did not come to this: {what}")


@pytest.fixture
def town(tmp_path: Path) -> Town:
    made = Town(tmp_path, free_port(), free_port(), TIMING)
    for number in (0, *GOOD):
        made.add(number)
    return made


@contextlib.contextmanager
def misbehaving(town: Town, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Pair 0, in a process of its own."""
    words = (str(town.directory), str(town.control_port), str(town.metrics_port), *town.timing)
    process = python("bench.mischief", *words, kind)
    try:
        yield process
    finally:
        end(process)


@contextlib.asynccontextmanager
async def served(town: Town) -> AsyncIterator[tuple[SharedWitness, dict[int, Figures]]]:
    """The witness, and what comes of the renewals of the good pairs."""
    witness = SharedWitness(town.clusters, read_clusters(town.clusters))
    stop, ticker = asyncio.Event(), RaftTicker()
    async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as stack:
        running = tasks.create_task(witness.run(stop))
        await until(lambda: witness.listening, "it listens")
        figures = {number: Figures() for number in GOOD}
        renewing = []
        for number in GOOD:
            replicas: list[Member] = [
                await stack.enter_async_context(member(town.config(number, node), ticker))
                for node in ("a", "b")
            ]
            first = replicas[0]
            renewing.append(tasks.create_task(renew(first.raft, first.config, figures[number])))
        yield witness, figures
        for task in renewing:
            task.cancel()
        stop.set()
        await running


def cluster(witness: SharedWitness, number: int) -> admin_pb2.ClusterStatus:
    return next(c for c in witness.list().clusters if c.cluster == f"c{number}")


def settled(witness: SharedWitness, number: int) -> bool:
    """Whether all are there, and its active leads: nobody hands over any more."""
    found = cluster(witness, number)
    return list(found.reachable) == ["a", "b"] and found.raft.leader == "a"


@pytest.mark.long
async def test_a_pair_that_floods_and_knocks_disturbs_nobody_else(town: Town) -> None:
    async with served(town) as (witness, figures):
        await until(lambda: all(settled(witness, n) for n in GOOD), "the active ones lead")
        await until(lambda: all(f.committed > 3 for f in figures.values()), "they renew")
        before = {n: (f.committed, f.failed, f.terms) for n, f in figures.items()}
        with misbehaving(town, "everything") as pair:
            await until(lambda: cluster(witness, 0).reachable, "the bad pair is heard")
            heard = {n: f.committed for n, f in figures.items()}
            await until(
                lambda: all(f.committed > heard[n] + RENEWALS for n, f in figures.items()),
                f"{RENEWALS} renewals of each good pair while the bad one is at it",
            )
            assert pair.poll() is None, "it misbehaved to the end"
        for number, (_, failed, terms) in before.items():
            assert figures[number].failed == failed, "no lease was lost"
            assert figures[number].terms == terms, "nobody was elected"
            assert settled(witness, number)
