"""A disk of the active that gives back something else, met by a standby that fetches."""

from __future__ import annotations

import os
from argparse import Namespace

import pytest

from fakes.disk_pair import disk_pair
from fakes.spoilt import spoil
from fakes.stream_pair import until
from staqraft.cli.commands import ATTENTION
from staqraft.cli.verify import Told
from staqraft.wire.v1 import data_admin_pb2
from staqraft.wire.v1 import data_worker_pb2 as pb

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="it mounts file systems"),
]


async def test_damage_replaces_no_good_copy_and_is_said_when_it_is_sent() -> None:
    async with disk_pair(megabytes=32) as pair:
        await pair.promote(pair.a, pair.b)
        content = {name: os.urandom(8192) for name in ("good-there", "gone-there")}
        for name, data in content.items():
            (pair.a.tree / name).write_bytes(data)
        await pair.settle(pair.a, pair.b)
        for name in content:
            spoil(pair.a.tree / name)
            assert (pair.a.tree / name).read_bytes()[:6] == b"spoilt"
        (pair.b.tree / "good-there").chmod(0o600)  # by another hand
        (pair.b.tree / "gone-there").unlink()

        async for _ in pair.b.trees.VerifyTrees(pb.VerifyTreesRequest(repair=True), timeout=90):
            pass

        good = pair.b.tree / "good-there"
        assert good.read_bytes() == content["good-there"]
        assert good.stat().st_mode == (pair.a.tree / "good-there").stat().st_mode
        assert (pair.b.tree / "gone-there").read_bytes() == (
            pair.a.tree / "gone-there"
        ).read_bytes(), "there is nothing better"

        async def said() -> bool:
            return "damaged" in await pair.a.problems()

        await until(said, "the damage is told")
        text = (await pair.a.problems())["damaged"]
        assert "'gone-there' of tree mail is not what was written" in text
        assert "'gone-there' of tree mail did not stand on the standby" in text
        assert "backup" in text


async def test_a_repair_goes_on_behind_what_the_active_cannot_read_and_names_it() -> None:
    """Whether its disk refuses (btrfs sums what it stores) is known only when it is read."""
    async with disk_pair(megabytes=128, kind="btrfs") as pair:
        await pair.promote(pair.a, pair.b)
        names = ("1-lost", "2-fine", "3-lost", "4-fine")
        content = {name: os.urandom(8192) for name in names}
        for name, data in content.items():
            (pair.a.tree / name).write_bytes(data)
        await pair.settle(pair.a, pair.b)
        for name in names:
            (pair.b.tree / name).unlink()  # by another hand
        for name in ("1-lost", "3-lost"):
            spoil(pair.a.tree / name)
        told = Told(Namespace(json=False, deep=False, repair=True))

        last, repaired = pb.VerifyTreesResponse(), {}
        wish = pb.VerifyTreesRequest(repair=True)
        async for last in pair.b.trees.VerifyTrees(wish, timeout=90):
            told.on(data_admin_pb2.VerifyResponse(node="b", step=last))
            if last.HasField("finding"):
                repaired[last.finding.path] = last.finding.repaired

        for name in ("2-fine", "4-fine"):
            assert repaired[name.encode()]
            assert (pair.b.tree / name).read_bytes() == content[name]
        assert not repaired[b"1-lost"]
        assert not repaired[b"3-lost"]
        (why,) = last.not_repaired
        assert "a cannot read '1-lost' (Input/output error), '3-lost' (Input/output error)" in why
        assert "backup" in why
        assert told.verdict() == ATTENTION
