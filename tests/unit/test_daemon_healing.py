"""A standby that is not sure of an object: it waits for what is told of it before it does more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from fakes.records import BOOT, MAIL, open_journal
from fakes.stream_pair import A, B, lab_config, until
from staqraft.apply.quarantine import Quarantine
from staqraft.config.schema import Config, Group
from staqraft.daemon.trees_client import RemoteTrees
from staqraft.daemon.trees_common import Assignment, Common
from staqraft.daemon.trees_standby import StandbyRole
from staqraft.index import Index, content_digest
from staqraft.journal.journal import Journal
from staqraft.journal.record import Inline, Metadata, MovedFrom, ObjectType, Record, Remove, Upsert
from staqraft.model import Epoch, EpochStart, NodeId, Position
from staqraft.wire.v1 import data_worker_pb2 as pb

STARTS = (EpochStart(epoch=Epoch(1), seq=1),)
DIRECTORY = Metadata(type=ObjectType.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=1)


class Active:
    """An active whose barrier is at record `last`, and what was asked of it."""

    def __init__(self) -> None:
        self.last = 0
        self.asked = asyncio.Event()
        self.fetched: list[bytes] = []
        self.there: dict[bytes, Upsert] = {}
        self.moves: Callable[[], None] = lambda: None  # while it is asked

    def dial(self, _config: Config, _group: Group, _node: NodeId, _epoch: Epoch) -> RemoteTrees:
        return cast("RemoteTrees", self)

    async def barrier(self) -> tuple[Position, dict[str, object]]:
        self.asked.set()
        return Position(Epoch(1), self.last), {}

    async def fetch(self, tree: str, paths: Sequence[bytes]) -> AsyncIterator[list[Record]]:
        self.fetched += paths
        self.moves()
        at = Position(Epoch(1), self.last)
        yield [
            Record(tree=tree, path=path, change=self.there.get(path, Remove()), position=at)
            for path in paths
        ]

    async def close(self) -> None:
        pass


class Following:
    """A standby that follows a journal which the test writes."""

    def __init__(self, base: Path) -> None:
        config = lab_config(base, B, 1)
        self.group = config.groups[MAIL]
        self.group.trees[0].path.mkdir(parents=True)
        self.active = Active()
        directory = config.group_dir(MAIL)
        directory.mkdir(parents=True)
        self.common = Common(
            config=config,
            group=self.group,
            index=Index.open(directory / "index.sqlite"),
            quarantine=Quarantine(directory / "quarantine", lambda: 0),
            boot_id=BOOT,
            clock_ms=lambda: time.monotonic_ns() // 50_000,  # twenty times as fast: nobody waits
            wall_ms=lambda: time.time_ns() // 1_000_000,
            ring_stream=lambda: None,
        )
        self.journal: Journal = open_journal(self.common.journal_directory)
        assignment = Assignment(
            role=pb.WORKER_ROLE_STANDBY, epoch=Epoch(1), epoch_starts=STARTS, active=A
        )
        self.failures: list[BaseException] = []
        self.role = StandbyRole(self.common, assignment, self.failures.append, self.active.dial)

    async def told(self, *changes: tuple[bytes, Upsert | Remove]) -> None:
        """The journal says this, and it is applied."""
        tree = self.group.trees[0].name
        records = [Record(tree=tree, path=path, change=change) for path, change in changes]
        last = self.journal.append(records, Epoch(1))
        self.journal.sync()
        self.role.ring()

        async def applied() -> bool:
            return self.common.index.position >= last

        await until(applied, f"{last} is applied")

    async def suspect(self, path: bytes) -> None:
        """As a comparison does when it met an object that went while it was fetched."""
        applier = self.role._trees.applier
        assert applier is not None
        tree = self.group.trees[0].name
        await self.common.on_disk(partial(applier.doubtful.suspect, tree, path))

    async def is_sure(self) -> bool:
        return not self.role.unsettled

    async def stop(self) -> None:
        await self.role.stop()
        self.journal.close()
        self.common.index.close()


@pytest.fixture
async def following(tmp_path: Path) -> AsyncIterator[Following]:
    made = Following(tmp_path)
    await made.role.start()
    await made.told((b"", Upsert(metadata=DIRECTORY)))
    yield made
    await made.stop()
    assert not made.failures


async def test_what_went_while_it_was_compared_needs_no_other_comparison(
    following: Following,
) -> None:
    following.active.last = 2
    await following.suspect(b"moved/away")  # nor does the index have its directory
    following.role.ring()
    await asyncio.wait_for(following.active.asked.wait(), 30)
    await following.told((b"moved/away", Remove()))
    await until(following.is_sure, "the record that tells of it was believed")
    assert following.role.reason == ""
    assert following.active.fetched == []


async def test_a_directory_of_which_nothing_is_told_is_compared(following: Following) -> None:
    following.active.last = 1
    await following.suspect(b"lost/with what is in it")

    async def needs() -> bool:
        return following.role.reason != ""

    await until(needs, "the standby asks for a comparison")
    assert "a directory with its content" in following.role.reason


async def test_an_object_that_stays_wrong_is_fetched(following: Following) -> None:
    following.active.last = 2
    metadata = Metadata(type=ObjectType.FILE, mode=0o600, uid=0, gid=0, mtime_ns=1, size=1)
    await following.told((b"file", Upsert(metadata=metadata, digest=b"", content=Inline(b"x"))))
    await following.suspect(b"file")
    await until(following.is_sure, "it was fetched")
    assert following.active.fetched == [b"file"]
    assert following.role.reason == ""
    assert following.common.index.get(following.group.trees[0].name, b"file") is None


async def test_what_was_fetched_of_a_successor_is_not_taken_along(following: Following) -> None:
    """The directory moves, another is made in its place, and that is what the active reads."""

    def a_file(content: bytes) -> Upsert:
        metadata = Metadata(type=ObjectType.FILE, mode=0o600, uid=0, gid=0, mtime_ns=1, size=3)
        return Upsert(metadata=metadata, digest=content_digest(content), content=Inline(content))

    directory = Upsert(metadata=DIRECTORY)
    await following.told((b"there", directory), (b"there/file", a_file(b"old")))
    active, asked = following.active, asyncio.Event()
    active.last = 3
    active.there = {b"there/file": a_file(b"new")}

    def moves() -> None:
        active.last = 6
        asked.set()

    active.moves = moves
    await following.suspect(b"there/file")
    await asyncio.wait_for(asked.wait(), 30)
    await until(following.is_sure, "it was fetched")
    await following.told(
        (b"here", Upsert(metadata=DIRECTORY, content=MovedFrom(b"there"))),
        (b"there", directory),
        (b"there/file", a_file(b"new")),
    )

    async def needs() -> bool:
        return following.role.reason != ""

    await until(needs, "what came along is not believed")
    assert "a directory with its content" in following.role.reason


async def test_what_moves_while_it_is_fetched_moves_along(following: Following) -> None:
    """Torture, seed 9304: it was taken for removed, and its directory came without it."""
    metadata = Metadata(type=ObjectType.FILE, mode=0o600, uid=0, gid=0, mtime_ns=1, size=1)
    file = Upsert(metadata=metadata, digest=content_digest(b"x"), content=Inline(b"x"))
    await following.told((b"there", Upsert(metadata=DIRECTORY)), (b"there/file", file))
    active, told = following.active, asyncio.Event()
    active.last = 3
    active.there = {b"there/file": file}

    def moves() -> None:  # what says so is journalled, and is not here yet
        active.there = {b"here/file": file}
        active.last = 4
        told.set()

    active.moves = moves
    await following.suspect(b"there/file")
    await asyncio.wait_for(told.wait(), 30)
    active.moves = lambda: None
    await following.told((b"here", Upsert(metadata=DIRECTORY, content=MovedFrom(b"there"))))
    await until(following.is_sure, "it is known where it is")
    tree = following.group.trees[0]
    assert (tree.path / "here" / "file").read_bytes() == b"x"
    assert following.common.index.get(tree.name, b"here/file") is not None
    assert following.role.reason == ""


async def test_what_the_filesystem_refuses_is_named_and_compared_no_more(
    following: Following,
) -> None:
    """It went on comparing all trees again and again, and nobody was told what was wrong."""
    plain = Metadata(type=ObjectType.FILE, mode=0o600, uid=0, gid=0, mtime_ns=1, size=1)
    strange = replace(plain, xattrs=((b"no-such-kind.of", b"attribute"),))
    file = Upsert(metadata=strange, digest=content_digest(b"x"), content=Inline(b"x"))
    following.active.last = 2
    following.active.there = {b"file": file}
    await following.told((b"file", file))

    async def was_tried() -> bool:
        return len(following.active.fetched) > 4

    await until(was_tried, "it is fetched again and again")
    ((code, text),) = following.common.problems.now()
    assert code == "unhealed"
    assert "'file' cannot be made on b as it is on a" in text
    assert "Operation not supported" in text
    assert following.role.reason == ""

    following.active.there = {b"file": replace(file, metadata=plain)}
    await until(following.is_sure, "it could be made")

    async def is_over() -> bool:
        return not following.common.problems.now()

    await until(is_over, "and nothing is said any more")
