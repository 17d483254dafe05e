"""Real data workers whose disks are compared while they are written to."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from typing import Any

import grpc
import pytest

from fakes.data_pair import DataNode, data_pair
from fakes.source_tree import SourceTree
from fakes.stream_pair import until
from staqraft.wire.v1 import data_worker_pb2 as pb

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners need root"),
]


async def verify(node: DataNode, **wish: Any) -> tuple[dict[bytes, pb.VerifyFinding], int]:
    """The findings, and how many objects never came to rest."""
    found: dict[bytes, pb.VerifyFinding] = {}
    restless = -1
    async for step in node.trees.VerifyTrees(pb.VerifyTreesRequest(**wish), timeout=90):
        if step.HasField("finding"):
            found[step.finding.path] = step.finding
        if step.done:
            restless = step.restless
            assert step.objects_done > 0
    assert restless >= 0, "it did not end"
    return found, restless


async def test_drift_is_found_and_repaired_and_live_changes_are_no_drift() -> None:
    async with data_pair() as pair:
        source = SourceTree(pair.a.tree)
        source.live(random.Random(8), 120)
        (pair.a.tree / "large").write_bytes(os.urandom(3 << 20))
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        with pytest.raises(grpc.aio.AioRpcError, match="a is not a standby"):
            await verify(pair.a)
        assert await verify(pair.b) == ({}, 0)

        writing = asyncio.create_task(asyncio.to_thread(source.live, random.Random(9), 400))
        rounds = 0
        while not writing.done() or rounds < 2:
            found, _ = await verify(pair.b, deep=rounds % 2 == 0)
            assert not found, "what is on its way is no difference"
            rounds += 1
        await writing
        (pair.a.tree / "kept").mkdir()
        for number in range(20):
            (pair.a.tree / "kept" / f"f{number}").write_bytes(b"%d" % number)
        await pair.settle(pair.a, pair.b)

        there = pair.b.tree / "kept"
        before = (there / "f5").stat()
        (there / "f5").write_bytes(b"6")
        os.utime(there / "f5", ns=(before.st_atime_ns, before.st_mtime_ns))
        (there / "f1").write_bytes(b"tampered")
        (there / "f2").unlink()
        (there / "f3").chmod(0o600)
        os.setxattr(there / "f4", b"user.x", b"y")
        (there / "more").mkdir()
        (there / "more" / "own").write_bytes(b"somebody's")
        found, _ = await verify(pair.b)
        assert {path: list(f.aspects) for path, f in found.items() if path != b"kept"} == {
            b"kept/f1": ["content", "mtime"],
            b"kept/f2": ["missing"],
            b"kept/f3": ["mode"],
            b"kept/f4": ["xattrs"],
            b"kept/f5": ["content"],
            b"kept/more": ["extra"],
            b"kept/more/own": ["extra"],
        }
        assert (there / "f1").read_bytes() == b"tampered", "looking changes nothing"

        found, _ = await verify(pair.b, repair=True)
        assert all(finding.repaired for finding in found.values())
        await pair.settle(pair.a, pair.b)
        assert {entry.path for entry in await pair.b.quarantine()} == {
            b"kept/f1",
            b"kept/f5",
            b"kept/more/own",
        }
        assert (await pair.b.status()).healed >= len(found)
        assert await verify(pair.b, deep=True) == ({}, 0)

        await a_resync(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)


async def a_resync(active: DataNode, standby: DataNode) -> None:
    """It looks at files again although nothing is recorded of what happened to them."""
    (standby.tree / "kept" / "f7").write_bytes(b"tampered")
    with pytest.raises(grpc.aio.AioRpcError, match="a is not a standby"):
        await active.trees.PrepareResync(pb.PrepareResyncRequest(reason="test"), timeout=30)
    wish = pb.PrepareResyncRequest(reason="test", trees=["mail"], from_scratch=True)
    await standby.trees.PrepareResync(wish, timeout=30)
    status = await standby.status()
    assert status.needs_reconcile == "test"
    assert status.trees[0].objects == 0, "nothing that was recorded is believed"

    async def done() -> bool:
        return not (await standby.status()).needs_reconcile

    await until(done, "the trees are compared")
    assert (standby.tree / "kept" / "f7").read_bytes() == b"7"
    assert b"kept/f7" in {entry.path for entry in await standby.quarantine()}


def run(*argv: object) -> int:
    return subprocess.run([str(word) for word in argv], check=False).returncode


async def test_a_standby_that_cannot_apply_says_so_at_once() -> None:
    async with data_pair() as pair:
        await pair.promote(pair.a, pair.b)
        (pair.a.tree / "directory").mkdir()
        await pair.settle(pair.a, pair.b)
        covered = pair.b.tree / "directory"
        if run("mount", "-t", "tmpfs", "tmpfs", covered):
            pytest.skip("nothing can be mounted here")
        try:
            (pair.a.tree / "directory" / "file").write_bytes(b"cannot be applied")

            async def paused() -> bool:
                return "apply-paused" in await pair.b.problems()

            await until(paused, "the standby notices")
            with pytest.raises(grpc.aio.AioRpcError, match="'directory' is, or is below, a mount"):
                await verify(pair.b)
        finally:
            run("umount", covered)
        await pair.settle(pair.a, pair.b)
        assert await verify(pair.b) == ({}, 0)
