"""Some pairs of the witness bench in one process; a line of figures a second on stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

from fakes.many import Town
from fakes.pair import Figures, member, renew
from staqraft.consensus import RaftTicker
from staqraft.logs import setup


async def pair(town: Town, number: int, ticker: RaftTicker, figures: Figures) -> None:
    """Both replicas of one cluster, for ever."""
    async with contextlib.AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(member(town.config(number, node), ticker))
            for node in ("a", "b")
        ]
        await renew(members[0].raft, members[0].config, figures)


async def run(town: Town, numbers: range) -> None:
    """All of them, and what comes of it."""
    ticker = RaftTicker()
    figures = {number: Figures() for number in numbers}
    async with asyncio.TaskGroup() as tasks:
        for number in numbers:
            tasks.create_task(pair(town, number, ticker, figures[number]))
        while True:
            await asyncio.sleep(1)
            line = {
                number: [f.committed, f.failed, f.terms, [round(ms, 2) for ms in f.commit_ms]]
                for number, f in figures.items()
            }
            for f in figures.values():
                f.commit_ms.clear()
            print(json.dumps(line), flush=True)


def main() -> None:
    """`pairs DIRECTORY CONTROL METRICS ELECTION LEASE FIRST BEHIND`."""
    directory, control, metrics, election, lease, first, behind = sys.argv[1:]
    setup("error")
    town = Town(Path(directory), int(control), int(metrics), (election, lease))
    asyncio.run(run(town, range(int(first), int(behind))))


if __name__ == "__main__":
    main()
