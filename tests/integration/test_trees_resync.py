"""A standby that compares everything from scratch, on a volume that has next to no space left."""

from __future__ import annotations

import os

import pytest

from fakes.disk_pair import disk_pair
from fakes.records import MAIL
from fakes.small_disk import fill
from fakes.stream_pair import B, until
from staqraft.wire.v1 import data_worker_pb2 as pb

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="it mounts file systems"),
]

MEGABYTES = 96
FILES = 300
FILE_BYTES = 200 << 10


async def test_from_scratch_on_a_full_disk_says_what_it_waits_for_and_goes_on() -> None:
    async with disk_pair(MEGABYTES) as pair:
        for number in range(FILES):
            (pair.a.tree / f"f{number}").write_bytes(b"%09d" % number + os.urandom(FILE_BYTES))
        (pair.a.tree / "large").write_bytes(os.urandom(8 << 20))
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        (pair.b.tree / "f7").write_bytes(b"by another hand")
        (pair.b.tree / "f8").chmod(0o600)
        with (pair.b.tree / "large").open("r+b") as file:
            file.seek(4 << 20)
            file.write(b"by another hand")
        changed = (pair.b.tree / "large").read_bytes()
        ballast = fill(pair.b.tree).rename(pair.b.tree / ".staqraft-ballast")
        wish = pb.PrepareResyncRequest(reason="test", trees=["mail"], from_scratch=True)
        await pair.b.trees.PrepareResync(wish, timeout=30)

        async def told() -> bool:
            texts = [problem.text for problem in (await pair.b.stream_status()).problems]
            return any("'f7': No space left on device" in text for text in texts)

        await until(told, "it is said what is in the way")
        assert (await pair.b.status()).needs_reconcile == "test", "it is not in sync meanwhile"
        (pair.a.tree / "written meanwhile").write_bytes(b"nobody has to wait for the standby")
        position = await pair.a.barrier()
        ballast.unlink()

        await pair.a.acknowledged(B, position)

        async def done() -> bool:
            return not (await pair.b.status()).needs_reconcile

        await until(done, "the trees are compared")
        await pair.settle(pair.a, pair.b)
        kept = {entry.path: entry for entry in await pair.b.quarantine()}
        assert sorted(kept) == [b"f7", b"large"]
        quarantine = pair.b.config.group_dir(MAIL) / "quarantine"
        found = {path.name: path.read_bytes() for path in quarantine.rglob("*") if path.is_file()}
        assert (found["f7"], found["large"]) == (b"by another hand", changed)
