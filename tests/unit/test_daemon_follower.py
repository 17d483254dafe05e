"""A standby's index that forgets what was applied: it learns it again and claims nothing before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.records import BOOT, MAIL, deliveries, open_journal
from fakes.stream_pair import B, lab_config
from staqraft.apply.quarantine import Quarantine
from staqraft.daemon.journal_follower import JournalFollower
from staqraft.daemon.trees_common import Common
from staqraft.index import Index, IndexFull
from staqraft.journal.record import Metadata, ObjectType, Record, Upsert
from staqraft.model import Epoch, EpochStart, Position

STARTS = (EpochStart(epoch=Epoch(1), seq=1),)


class Clock:
    """Stands still until it is moved, so that nothing is committed in between."""

    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def common(tmp_path: Path, clock: Clock) -> Iterator[Common]:
    config = lab_config(tmp_path, B, 1)
    group = config.groups[MAIL]
    group.trees[0].path.mkdir(parents=True)
    directory = config.group_dir(MAIL)
    directory.mkdir(parents=True, exist_ok=True)
    made = Common(
        config=config,
        group=group,
        index=Index.open(directory / "index.sqlite"),
        quarantine=Quarantine(directory / "quarantine", lambda: 0),
        boot_id=BOOT,
        clock_ms=clock,
        wall_ms=lambda: 0,
        ring_stream=lambda: None,
    )
    yield made
    made.index.close()


def a_directory(path: bytes) -> Record:
    metadata = Metadata(type=ObjectType.DIRECTORY, mode=0o755, uid=0, gid=0, mtime_ns=1)
    return Record(tree="mail", path=path, change=Upsert(metadata=metadata))


def test_what_somebody_else_made_the_index_forget_is_not_claimed(
    common: Common, clock: Clock
) -> None:
    journal = open_journal(common.journal_directory)
    folders = [a_directory(path) for path in (b"", b"lea", b"lea/new")]
    last = journal.append([*folders, *deliveries(1, 5)], Epoch(1))
    journal.sync()
    follower = JournalFollower(common)
    follower.look_back(STARTS)
    assert follower.step()
    assert follower.applier is not None
    assert common.index.position < last, "it is applied and not committed"

    common.index.rollback()  # as when a comparison's digests met a full volume
    with pytest.raises(IndexFull, match="forgot what was applied"):
        follower.commit(follower.applier)
    assert common.index.position < last

    clock.ms += 1000
    while common.index.position < last:
        follower.step()
        clock.ms += 1000
    for number in range(1, 6):
        assert common.index.get("mail", b"lea/new/%d.lab" % number) is not None
    assert common.index.totals("mail").objects == len(folders) + 5
    assert last == Position(Epoch(1), 8)
    follower.close()
    journal.close()
