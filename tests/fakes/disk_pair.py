"""Two replicas' data workers, each tree on an image of its own, which can be spoilt."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fakes.data_pair import DataNode, DataPair
from fakes.grounds import mounted
from fakes.ports import free_port
from fakes.stream_pair import A, B


@asynccontextmanager
async def disk_pair(megabytes: int, kind: str = "ext4") -> AsyncIterator[DataPair]:
    """Each tree is a small disk of its own; journal, index and quarantine are elsewhere."""
    async with AsyncExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sr-")))
        port = free_port()
        for node in (A, B):
            try:
                stack.enter_context(mounted(kind, base / node / "mail", megabytes=megabytes))
            except RuntimeError as error:
                pytest.skip(str(error))
        pair = DataPair(DataNode(base, A, port), DataNode(base, B, port))
        for one in (pair.a, pair.b):
            stack.push_async_callback(one.stop)
            one.start()
        yield pair
