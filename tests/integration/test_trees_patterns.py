"""Patterns on a real pair: what is left out stays where it is, also when the patterns change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.data_pair import DataNode, DataPair, data_pair
from fakes.stream_pair import leave_out
from staqraft.wire.v1 import data_worker_pb2 as pb

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")


def files(tree: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file() and not path.relative_to(tree).parts[0].startswith(".staqraft")
    }


def read(path: str) -> bytes:
    return Path(path).read_bytes()


async def follow_up(pair: DataPair) -> None:
    """The standby has all that the active has."""
    position = await pair.a.barrier()
    await pair.a.acknowledged(pair.b.node, position)
    await pair.b.applied(position)


async def start_anew(pair: DataPair, *excluded: str) -> None:
    """As the README says: the standby first, then the active."""
    for node in (pair.b, pair.a):
        leave_out(node.tree.parent, exclude=list(excluded))
    await restart(pair.b)
    await pair.follow(pair.b, pair.a)
    await restart(pair.a)
    await pair.a.assign(pb.WORKER_ROLE_ACTIVE, pair.epoch, pair.starts, pair.a.node)
    await follow_up(pair)


async def restart(node: DataNode) -> None:
    await node.stop_processes()
    node.start()


@needs_root
async def test_what_is_left_out_is_never_touched_and_what_comes_in_is_compared() -> None:
    async with data_pair() as pair:
        for node, whose in ((pair.a, b"of a"), (pair.b, b"of b")):
            (node.tree / "site" / "cache").mkdir(parents=True)
            (node.tree / "site" / "cache" / "page").write_bytes(whose)
        (pair.b.tree / "site" / "cache" / "more").write_bytes(b"of b only")
        (pair.a.tree / "site" / "index").write_bytes(b"hello")
        (pair.a.tree / "logs").mkdir()
        (pair.a.tree / "logs" / "access").write_bytes(b"line 1\n")
        for node in (pair.a, pair.b):
            leave_out(node.tree.parent, exclude=["cache/"])
            await restart(node)
        await pair.promote(pair.a, pair.b)
        await follow_up(pair)
        own = {"site/cache/page": b"of b", "site/cache/more": b"of b only"}
        assert files(pair.b.tree) == {
            "site/index": b"hello", "logs/access": b"line 1\n", **own
        }  # fmt: skip
        (pair.a.tree / "site" / "cache" / "page").unlink()
        (pair.a.tree / "site").rename(pair.a.tree / "moved")
        await follow_up(pair)
        assert files(pair.b.tree)["moved/cache/more"] == b"of b only"

        # More is left out: the standby keeps what it has of it, and it changes no more.
        await start_anew(pair, "cache/", "/logs")
        (pair.a.tree / "logs" / "access").write_bytes(b"line 1\nline 2\n")
        (pair.a.tree / "moved" / "index").write_bytes(b"changed")
        await follow_up(pair)
        now = files(pair.b.tree)
        assert (now["logs/access"], now["moved/index"]) == (b"line 1\n", b"changed")
        assert (await pair.b.quarantine()) == []

        # Nothing is left out: what comes in is compared, and nothing of the standby's is lost.
        await start_anew(pair)
        await pair.settle(pair.a, pair.b)
        kept = {entry.path: read(entry.kept_at) for entry in await pair.b.quarantine()}
        assert kept == {
            b"moved/cache/page": b"of b", b"moved/cache/more": b"of b only",
            b"logs/access": b"line 1\n",
        }  # fmt: skip
