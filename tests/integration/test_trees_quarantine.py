"""The quarantine of real data workers: refused where it would not be replicated, else restored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from fakes.data_pair import DataNode, DataPair, data_pair
from staqraft.wire.v1 import data_worker_pb2 as pb

STRANGE = os.fsdecode(b"caf\xe9\x1b[2J")
STRANGE_PATH = b"d/" + os.fsencode(STRANGE)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")


async def restore(node: DataNode, **wish: Any) -> list[pb.RestoreQuarantinedResponse]:
    call = node.trees.RestoreQuarantined(pb.RestoreQuarantinedRequest(**wish), timeout=30)
    return [outcome async for outcome in call]


async def a_failover_that_left_something(pair: DataPair) -> None:
    """a had changes that b never got; b is active now and a follows it."""
    tree = pair.a.tree
    (tree / "shared").write_bytes(b"one")
    await pair.promote(pair.a, pair.b)
    await pair.settle(pair.a, pair.b)
    pair.a.kill()
    (tree / "d").mkdir(mode=0o751)
    (tree / "d" / STRANGE).write_bytes(b"only here")
    (tree / "shared").write_bytes(b"changed here and never sent")
    await pair.promote(pair.b)
    (pair.b.tree / "shared").write_bytes(b"changed on the new active")
    await pair.b.barrier()
    pair.a.start()
    await pair.follow(pair.a, pair.b)
    await pair.settle(pair.b, pair.a)


@needs_root
async def test_what_only_the_loser_had_comes_back_and_is_replicated(tmp_path: Path) -> None:
    async with data_pair() as pair:
        await a_failover_that_left_something(pair)
        entries = {entry.path: entry for entry in await pair.a.quarantine()}
        assert set(entries) == {b"shared", STRANGE_PATH}
        assert (await pair.a.status()).quarantined_bytes == sum(e.size for e in entries.values())

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await restore(pair.a, all=True)
        said = refused.value.details() or ""
        assert "a is not active in group mail (b is)" in said
        assert "'staqctl switchover --to a'" in said
        with pytest.raises(grpc.aio.AioRpcError, match="'staqctl quarantine list'"):
            await restore(pair.a, ids=["nonsense"])

        (saved,) = await restore(
            pair.a, ids=[entries[b"shared"].id], target=os.fsencode(tmp_path / "rescued")
        )
        assert saved.restored, "outside of the trees a standby may"
        assert (tmp_path / "rescued").read_bytes() == b"changed here and never sent"

        await pair.promote(pair.a, pair.b)
        (outcome,) = await restore(pair.a, all=True)
        assert outcome.restored
        await pair.settle(pair.a, pair.b)
        there = pair.b.tree / "d"
        assert (there / STRANGE).read_bytes() == b"only here"
        assert there.stat().st_mode & 0o7777 == 0o751
        assert await pair.a.quarantine() == []


@needs_root
async def test_one_that_cannot_be_restored_does_not_stop_the_others() -> None:
    async with data_pair() as pair:
        await a_failover_that_left_something(pair)
        await pair.promote(pair.a, pair.b)
        outcomes = {outcome.entry.path: outcome for outcome in await restore(pair.a, all=True)}
        assert outcomes[STRANGE_PATH].restored
        kept = outcomes[b"shared"]
        assert not kept.restored
        assert "is there, newer than the one in quarantine" in kept.text
        (forced,) = await restore(pair.a, ids=[kept.entry.id[:6]], force=True)
        assert forced.restored
        await pair.settle(pair.a, pair.b)
        assert (pair.b.tree / "shared").read_bytes() == b"changed here and never sent"
        (replaced,) = await pair.a.quarantine()
        assert replaced.id in forced.text

        gone = await pair.a.trees.DropQuarantined(pb.DropQuarantinedRequest(all=True), timeout=30)
        assert (gone.objects, gone.problem) == (1, "")
        assert (await pair.a.status()).quarantined == 0
