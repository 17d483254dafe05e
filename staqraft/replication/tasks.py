"""Small tools for sessions: the first of several coroutines to end, and work on the disk thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


async def first_ended(*parts: Coroutine[Any, Any, T]) -> T:
    """Runs all; when one returns or raises, stops the others, waits for them, and is that one.

    A session's reading, writing and watching belong together: whichever ends first says why.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return min(done, key=tasks.index).result()


async def never() -> Any:
    """Waits until it is cancelled."""
    return await asyncio.get_running_loop().create_future()


async def on_disk(executor: Executor, work: Callable[[], T]) -> T:
    """Runs `work` in the executor. When cancelled, waits for it all the same: it holds the disk."""
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
