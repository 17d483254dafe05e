"""Much vanishes on the active of a real pair: the standby keeps it until somebody has answered."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from fakes.data_pair import DataPair, data_pair
from fakes.stream_pair import leave_out, until
from staqraft.wire.v1 import data_worker_pb2 as pb

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners need root"),
]
_FILES = 100


@pytest.fixture
async def asking() -> AsyncIterator[DataPair]:
    """Of a hundred files ninety are gone on a, and it asks."""
    async with data_pair() as pair:
        for node in (pair.a, pair.b):
            leave_out(node.tree.parent, removals={"percent": 30, "within_ms": 600_000})
            await node.stop_processes()
            node.start()
        await pair.promote(pair.a, pair.b)
        for number in range(_FILES):
            (pair.a.tree / f"{number}").write_bytes(b"%d" % number)
        await pair.settle(pair.a, pair.b)
        for number in range(10, _FILES):
            (pair.a.tree / f"{number}").unlink()

        async def asks() -> bool:
            return "removals allow" in (await pair.a.problems()).get("capture", "")

        await until(asks, "it asks")
        position = await pair.a.barrier()
        await pair.a.acknowledged(pair.b.node, position)
        await pair.b.applied(position)
        yield pair


def there(pair: DataPair) -> int:
    return sum(path.is_file() for path in pair.b.tree.iterdir())


async def test_a_switchover_brings_back_what_a_mistake_removed(asking: DataPair) -> None:
    pair = asking
    kept = there(pair)
    assert kept >= 70
    await pair.a.assign(pb.WORKER_ROLE_IDLE, pair.epoch, pair.starts, pair.a.node)
    await pair.promote(pair.b, pair.a)
    await pair.settle(pair.b, pair.a)
    assert there(pair) == kept
    assert await pair.a.quarantine() == []
    assert await pair.a.problems() == {}


async def test_what_was_meant_is_removed_when_somebody_says_so(asking: DataPair) -> None:
    pair = asking
    await pair.a.trees.BelieveRemovals(pb.BelieveRemovalsRequest(tree="mail"))

    async def answered() -> bool:
        return "capture" not in await pair.a.problems()

    await until(answered, "nothing is asked any more")
    await pair.settle(pair.a, pair.b)
    assert there(pair) == 10
