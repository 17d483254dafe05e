"""Two replicas' real trees and stream processes: copy, follow, fail over, come back."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import sysconfig
from pathlib import Path

import grpc
import pytest

from fakes.data_pair import DataNode, data_pair
from fakes.records import MAIL
from fakes.small_disk import small_disk
from fakes.source_tree import SourceTree
from fakes.stream_pair import until
from lab.compare import differences, manifest
from staqraft.model import Epoch
from staqraft.wire.v1 import data_worker_pb2 as pb

ACTIVE = pb.WORKER_ROLE_ACTIVE

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")


def some_files(tree: Path, count: int = 40) -> None:
    for number in range(count):
        directory = tree / f"d{number % 4}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_bytes(b"%d" % number * 100)


@needs_root
async def test_a_copy_changes_a_failover_and_a_return_with_own_versions() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)

        SourceTree(pair.a.tree).live(random.Random(3), 80)
        await pair.settle(pair.a, pair.b)
        assert (await pair.b.status()).healed == 0

        pair.a.kill()
        (pair.a.tree / "never-sent").write_bytes(b"only here")
        await pair.promote(pair.b)
        (pair.b.tree / "after").write_bytes(b"written on the new active")
        await pair.b.barrier()

        pair.a.start()
        await pair.follow(pair.a, pair.b)
        await pair.settle(pair.b, pair.a)
        kept = await pair.a.quarantine()
        assert [entry.path for entry in kept] == [b"never-sent"]
        assert kept[0].size == len(b"only here")

        await pair.promote(pair.a, pair.b)
        SourceTree(pair.a.tree).live(random.Random(4), 40)
        await pair.settle(pair.a, pair.b)


@needs_root
async def test_what_is_written_after_the_processes_ended_in_order_is_quarantined() -> None:
    """They end so when the daemon is killed: services go on until its lease ends."""
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        await pair.a.stop_processes()
        (pair.a.tree / "delivered").write_bytes(b"by a service that nobody stopped")
        await pair.promote(pair.b)
        pair.a.start()
        await pair.follow(pair.a, pair.b)
        await pair.settle(pair.b, pair.a)
        assert [entry.path for entry in await pair.a.quarantine()] == [b"delivered"]


@needs_root
async def test_an_active_that_is_told_to_follow_needs_no_comparison() -> None:
    """Its services were stopped before, so nothing is there that it has not captured."""
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        await pair.promote(pair.b, pair.a)
        await pair.settle(pair.b, pair.a)
        assert "comparing the trees" not in pair.a.log.read_text()


@needs_root
async def test_a_first_copy_does_not_go_through_the_journal_and_survives_kills() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree, 600)
        await pair.promote(pair.a, pair.b)
        pair.b.kill("trees")
        pair.b.start("trees")
        (pair.a.tree / "d1" / "f1").write_bytes(b"changed meanwhile")
        await pair.follow(pair.b, pair.a)
        await pair.settle(pair.a, pair.b)
        journalled = (await pair.a.status()).changes["journalled"]
        assert 0 < journalled < 100, "what was there before is compared and fetched"

        pair.a.kill("trees")
        pair.a.start("trees")
        await pair.a.assign(ACTIVE, pair.epoch, pair.starts, pair.a.node)
        await pair.settle(pair.a, pair.b)
        assert await pair.b.quarantine() == []

        await pair.promote(pair.b, pair.a)
        (pair.b.tree / "d2" / "f2").rename(pair.b.tree / "moved")
        await pair.settle(pair.b, pair.a)
        assert (await pair.a.status()).healed == 0
        assert await pair.a.quarantine() == []


@needs_root
async def test_a_damaged_index_is_rebuilt_on_either_side() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        pair.b.kill("trees")
        pair.b.damage_index()
        pair.b.start("trees")
        await pair.follow(pair.b, pair.a)
        await pair.settle(pair.a, pair.b)

        pair.a.kill("trees")
        pair.a.damage_index()
        pair.a.start("trees")
        answer = await pair.a.assign(ACTIVE, pair.epoch, pair.starts, pair.a.node)
        assert not answer.needs_new_epoch
        (pair.a.tree / "d1" / "f1").write_bytes(b"changed")
        await pair.settle(pair.a, pair.b)
        assert await pair.b.quarantine() == []


@needs_root
async def test_a_standby_with_files_of_its_own_is_compared_before_it_follows() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        some_files(pair.b.tree, 20)
        (pair.b.tree / "older").write_bytes(b"from before StaqRaft")
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        assert [entry.path for entry in await pair.b.quarantine()] == [b"older"]


@pytest.mark.long
@needs_root
async def test_a_volume_that_is_full_of_what_was_replaced_is_freed() -> None:
    """What is replaced stays on the standby until it is durable that it is: not for ever."""
    async with data_pair() as pair:
        with small_disk(pair.b.tree, 8 << 10):
            (pair.a.tree / "large").write_bytes(os.urandom(3 << 20))
            await pair.promote(pair.a, pair.b)
            await pair.settle(pair.a, pair.b)
            for _ in range(4):
                (pair.a.tree / "new").write_bytes(os.urandom(3 << 20))
                (pair.a.tree / "new").rename(pair.a.tree / "large")
                await pair.a.barrier()
            await pair.settle(pair.a, pair.b)


@pytest.mark.long
@needs_root
@pytest.mark.slow
async def test_the_standard_library_is_copied_and_followed() -> None:
    async with data_pair() as pair:
        library = Path(sysconfig.get_path("stdlib"))
        ignore = shutil.ignore_patterns("site-packages", "__pycache__", "test")
        shutil.copytree(library, pair.a.tree / "lib", symlinks=True, ignore=ignore)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        shutil.copytree(pair.a.tree / "lib", pair.a.tree / "again", symlinks=True)
        shutil.rmtree(pair.a.tree / "lib" / "email")
        await pair.settle(pair.a, pair.b)


@needs_root
async def test_a_standby_that_is_killed_goes_on_without_a_comparison() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        live, dice = SourceTree(pair.a.tree), random.Random(5)
        for _ in range(3):
            live.live(dice, 30)
            pair.b.kill("trees")
            live.live(dice, 30)
            pair.b.start("trees")
            await pair.follow(pair.b, pair.a)
        await pair.settle(pair.a, pair.b)
        assert pair.b.log.read_text().count("scanned") == 0, "it compared the trees again"


@needs_root
async def test_a_standby_that_was_away_for_too_long_does_not_look_at_all_its_files() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        pair.b.kill("stream")
        (pair.a.tree / "d1" / "f1").write_bytes(b"changed")
        (pair.a.tree / "d2" / "f2").unlink()
        await pair.a.barrier()
        await pair.a.stop_processes()
        journal = pair.a.config.group_dir(MAIL) / "journal"
        for segment in journal.glob("*"):
            segment.unlink()  # it is begun anew, behind the index
        pair.a.start()
        await pair.a.assign(ACTIVE, pair.epoch, pair.starts, pair.a.node)
        pair.b.start("stream")
        await pair.follow(pair.b, pair.a)
        await pair.settle(pair.a, pair.b)
        said = pair.b.log.read_text()
        assert said.count("compares its trees") + said.count("comparing the trees") == 2
        assert said.count("scanned") == 0


@needs_root
async def test_an_active_that_is_killed_goes_on_in_its_epoch() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        pair.a.kill("trees")
        (pair.a.tree / "meanwhile").write_bytes(b"x")
        (pair.a.tree / "d1" / "f1").unlink()
        pair.a.start("trees")
        answer = await pair.a.assign(ACTIVE, pair.epoch, pair.starts, pair.a.node)
        assert not answer.needs_new_epoch
        await pair.settle(pair.a, pair.b)


@needs_root
@pytest.mark.parametrize("journal_is_there", [True, False])
async def test_what_an_active_journalled_and_forgot_is_missed_when_it_is_gone(
    journal_is_there: bool,
) -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        index = pair.a.config.group_dir(MAIL) / "index.sqlite"
        pair.a.kill("trees")
        before = {
            path: path.read_bytes() for path in index.parent.glob("index.sqlite*") if path.is_file()
        }
        pair.a.start("trees")
        await pair.a.assign(ACTIVE, pair.epoch, pair.starts, pair.a.node)
        (pair.a.tree / "new").write_bytes(b"journalled")
        (pair.a.tree / "d1" / "f1").rename(pair.a.tree / "moved")
        await pair.settle(pair.a, pair.b)

        pair.a.kill("trees")
        for path in index.parent.glob("index.sqlite*"):
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)
        if not journal_is_there:
            pair.a.damage_index()
        (pair.a.tree / "new").unlink()
        (pair.a.tree / "moved").unlink()
        pair.a.start("trees")
        answer = await pair.a.assign(ACTIVE, pair.epoch, pair.starts, pair.a.node)
        assert not answer.needs_new_epoch
        await pair.settle(pair.a, pair.b)


@needs_root
async def test_a_file_of_holes_only_is_copied_and_followed() -> None:
    async with data_pair() as pair:
        with (pair.a.tree / "before").open("wb") as file:
            file.truncate(3 << 20)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        with (pair.a.tree / "after").open("wb") as file:
            file.truncate(3 << 20)
        await pair.settle(pair.a, pair.b)
        assert (pair.b.tree / "after").stat().st_blocks == 0


@needs_root
async def test_a_file_changed_by_another_hand_on_the_standby_is_healed() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        (pair.b.tree / "d1" / "f1").write_bytes(b"tampered")
        (pair.a.tree / "d1" / "f1").chmod(0o600)

        async def healed() -> bool:
            return (await pair.b.status()).healed == 1

        await until(healed, "the file is healed")
        await pair.settle(pair.a, pair.b)


@needs_root
async def test_a_standby_whose_tree_is_not_mounted_says_so_and_loses_nothing() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        aside = pair.b.tree.with_name("aside")
        pair.b.tree.rename(aside)
        pair.b.tree.mkdir()
        (pair.a.tree / "d1" / "f1").unlink()

        async def said() -> bool:
            return "root-missing" in await pair.b.problems()

        await until(said, "the missing root is a problem")
        assert list(pair.b.tree.iterdir()) == []
        pair.b.tree.rmdir()
        aside.rename(pair.b.tree)

        async def over() -> bool:
            return "root-missing" not in await pair.b.problems()

        await until(over, "it is mounted again")
        await pair.settle(pair.a, pair.b)


@needs_root
async def test_a_barrier_is_refused_in_plain_words_while_a_root_is_gone() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a)
        pair.a.tree.rename(pair.a.tree.with_name("away"))
        request = pb.CaptureBarrierRequest(complete=True)
        with pytest.raises(grpc.aio.AioRpcError, match="nothing is removed") as refused:
            await pair.a.trees.CaptureBarrier(request, timeout=60)
        assert "Unexpected" not in (refused.value.details() or "")
        pair.a.tree.with_name("away").rename(pair.a.tree)
        await pair.a.barrier()


async def test_the_roles_are_idempotent_and_refuse_what_is_not_theirs() -> None:
    async with data_pair() as pair:
        await pair.promote(pair.a, pair.b)
        await pair.promote(pair.b, pair.a)
        await pair.follow(pair.a, pair.b)
        with pytest.raises(grpc.aio.AioRpcError, match="does not capture"):
            await pair.a.barrier()
        assert (await pair.b.status()).epoch == Epoch(2)


def lose_power(node: DataNode) -> None:
    """As far as the node can tell: its boot was another one. (The page cache stays.)"""
    with contextlib.closing(sqlite3.connect(node.config.group_dir(MAIL) / "index.sqlite")) as index:
        (role,) = index.execute("SELECT value FROM meta WHERE key='role'").fetchone()
        assert role.startswith("standby@")
        index.execute("UPDATE meta SET value='standby@before' WHERE key='role'")
        index.commit()
    (node.config.group_dir(MAIL) / "applied").unlink()


@needs_root
async def test_a_standby_that_lost_its_power_takes_over_without_the_active() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        live = SourceTree(pair.a.tree)
        live.live(random.Random(6), 60)
        position = await pair.a.barrier()
        await pair.a.acknowledged(pair.b.node, position)
        pair.b.kill()
        pair.a.kill()
        lose_power(pair.b)
        pair.b.start()
        await pair.promote(pair.b)
        found = differences(manifest(pair.a.tree), manifest(pair.b.tree))
        assert not found, "\n".join(map(str, found[:10]))


@needs_root
async def test_a_promotion_is_refused_by_name_and_an_operator_may_accept_the_loss() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        pair.b.kill("trees")
        (pair.a.tree / "d1" / "f1").chmod(0o600)
        position = await pair.a.barrier()
        await pair.a.acknowledged(pair.b.node, position)
        pair.a.kill()
        (pair.b.tree / "d1" / "f1").write_bytes(b"torn")
        lose_power(pair.b)
        pair.b.start("trees")
        with pytest.raises(grpc.aio.AioRpcError, match=r"1 objects are not .*'d1/f1' in tree mail"):
            await pair.b.finish(2, accept_loss=False)
        assert await pair.b.finish(2, accept_loss=True) >= position


@needs_root
async def test_records_that_cannot_be_applied_are_given_up_only_by_an_operator() -> None:
    async with data_pair() as pair:
        some_files(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        await pair.settle(pair.a, pair.b)
        pair.b.kill("trees")
        (pair.a.tree / "d1" / "new").write_bytes(b"x")
        position = await pair.a.barrier()
        await pair.a.acknowledged(pair.b.node, position)
        pair.a.kill()
        pair.b.tree.rename(pair.b.tree.with_name("aside"))
        pair.b.start("trees")
        with pytest.raises(grpc.aio.AioRpcError, match="is not the tree's root"):
            await pair.b.finish(2, accept_loss=False)
        assert await pair.b.finish(2, accept_loss=True) < position
