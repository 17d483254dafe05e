"""The scrubber of a real standby: finds what nobody told it of, heals it, and counts it."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3

import pytest

from fakes.data_pair import data_pair
from fakes.records import MAIL
from fakes.source_tree import SourceTree
from fakes.stream_pair import until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners need root"),
]


async def test_drift_and_silent_damage_are_found_and_healed() -> None:
    async with data_pair(scrub_ms=50) as pair:
        source = SourceTree(pair.a.tree)
        await pair.promote(pair.a, pair.b)
        source.live(random.Random(1), 200)
        (pair.a.tree / "kept").mkdir()
        for number in range(30):
            (pair.a.tree / "kept" / f"f{number}").write_bytes(b"%d" % number)
        await pair.settle(pair.a, pair.b)

        async def passed() -> bool:
            return (await pair.b.status()).scrub.ended_wall_ms > 0

        await until(passed, "a whole pass")
        scrub = (await pair.b.status()).scrub
        assert (scrub.found, scrub.healed, scrub.corrupt) == (0, 0, 0), scrub.last_finding

        there = pair.b.tree / "kept"
        (there / "f1").write_bytes(b"by another hand")
        (there / "f2").unlink()
        (there / "f3").chmod(0o600)
        (there / "own").write_bytes(b"somebody's")

        async def healed() -> bool:
            scrub = (await pair.b.status()).scrub
            return scrub.healed >= 4 and not (there / "own").exists()

        await until(healed, "the drift is healed")
        await pair.settle(pair.a, pair.b)
        assert {b"kept/f1", b"kept/own"} <= {entry.path for entry in await pair.b.quarantine()}
        assert (await pair.b.status()).scrub.corrupt == 0
        assert "of tree mail on b not as they should be" in (
            (await pair.b.status()).scrub.last_finding
        )

        # The file's inode is as it was, and its content is not: as if the disk had changed it.
        pair.b.kill("trees")
        index = pair.b.config.group_dir(MAIL) / "index.sqlite"
        with contextlib.closing(sqlite3.connect(index)) as database:
            database.execute("UPDATE entries SET digest=zeroblob(16) WHERE name=CAST('f9' AS BLOB)")
            database.commit()
        pair.b.start("trees")
        await pair.follow(pair.b, pair.a)

        async def damage_found() -> bool:
            scrub = (await pair.b.status()).scrub
            return scrub.corrupt == 1 and scrub.healed == 1

        await until(damage_found, "the damage is found and healed")
        assert "damaged without anybody writing" in (await pair.b.status()).scrub.last_finding
        await pair.settle(pair.a, pair.b)


async def test_damage_on_the_active_is_said_and_not_spread() -> None:
    async with data_pair(scrub_ms=50) as pair:
        await pair.promote(pair.a, pair.b)
        for number in range(9):
            (pair.a.tree / f"f{number}").write_bytes(b"%d" % number)
        await pair.settle(pair.a, pair.b)

        # The file's inode is as it was when it was indexed, and its content is not.
        await pair.a.stop_processes()
        index = pair.a.config.group_dir(MAIL) / "index.sqlite"
        with contextlib.closing(sqlite3.connect(index)) as database:
            database.execute("UPDATE entries SET digest=zeroblob(16) WHERE name=CAST('f4' AS BLOB)")
            database.execute("DELETE FROM meta WHERE key='capture.captured-ns'")  # not just written
            database.commit()
        pair.a.start()
        await pair.promote(pair.a, pair.b)

        async def said() -> bool:
            return "damaged" in await pair.a.problems()

        await until(said, "the damage is told")
        text = (await pair.a.problems())["damaged"]
        assert "'f4' of tree mail is not what was written, and nobody wrote to it since" in text
        assert "staqctl verify --deep" in text
        scrub = (await pair.a.status()).scrub
        assert (scrub.found, scrub.corrupt) == (1, 1), "said once, however often it is read"
        assert (pair.b.tree / "f4").read_bytes() == b"4"

        (pair.a.tree / "f4").write_bytes(b"restored")

        async def over() -> bool:
            return not await said()

        await until(over, "what was written anew is not damaged")
        await pair.settle(pair.a, pair.b)
