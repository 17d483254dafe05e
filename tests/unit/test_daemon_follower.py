"""A standby that follows its journal: what it claims of itself, and when."""

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
from staqraft.journal.record import Metadata, ObjectType, Record, Remove, Upsert
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


def compared(common: Common, until: int, *suspects: bytes) -> JournalFollower:
    """A comparison as of 1:3 is over, and met what was written up to `until` meanwhile."""
    journal = open_journal(common.journal_directory)
    journal.append([a_directory(path) for path in (b"", b"lea", b"lea/new")], Epoch(1))
    journal.close()
    before = JournalFollower(common)
    before.look_back(STARTS)
    before.step()
    before.close()
    follower = JournalFollower(common)
    follower.needs("a comparison was begun and is not finished")
    applier = follower.ready_to_compare()
    for path in suspects:
        applier.doubtful.suspect("mail", path)
    applier.doubtful.compared_until = Position(Epoch(1), until)
    follower.compared(Position(Epoch(1), 3))
    return follower


def is_whole(follower: JournalFollower) -> bool:
    return not follower.settling.lasts


def follow(follower: JournalFollower, common: Common, *records: Record) -> None:
    journal = open_journal(common.journal_directory)
    last = journal.append(list(records), Epoch(1))
    journal.close()
    while follower.step():
        pass
    assert follower.applier is not None
    follower.commit(follower.applier)
    assert common.index.position == last


def test_trees_are_whole_when_nothing_was_written_while_they_were_compared(common: Common) -> None:
    follower = compared(common, until=3)
    assert is_whole(follower)
    follower.close()


def test_trees_are_whole_only_with_all_that_was_written_while_they_were_compared(
    common: Common,
) -> None:
    follower = compared(common, until=5)
    assert not is_whole(follower)
    follow(follower, common, *deliveries(1, 1))
    assert not is_whole(follower), "1:5 is not applied yet"
    follower.close()

    follower = JournalFollower(common)
    assert not is_whole(follower), "a restart does not end it"
    follow(follower, common, *deliveries(2, 1))
    assert is_whole(follower)
    follower.close()
    assert is_whole(JournalFollower(common))


def test_trees_are_not_whole_while_anything_in_them_is_in_doubt(common: Common) -> None:
    """Torture, seed 9316: the active died, and 22 objects could be fetched from nobody."""
    follower = compared(common, 4, b"lea/new/gone.lab")
    follow(follower, common, *deliveries(1, 2))
    assert not is_whole(follower)
    follow(follower, common, Record(tree="mail", path=b"lea/new/gone.lab", change=Remove()))
    assert is_whole(follower)
    follower.close()


def test_what_is_in_doubt_later_makes_nobody_leave(common: Common) -> None:
    follower = compared(common, until=3)
    assert follower.applier is not None
    follower.applier.doubtful.suspect("mail", b"lea/new/other hands.lab")
    follow(follower, common, *deliveries(1, 1))
    assert follower.applier.unsettled
    assert is_whole(follower)
    follower.close()


def test_what_is_fetched_anew_lasts_until_its_own_end(common: Common) -> None:
    follower = compared(common, until=4)
    assert follower.applier is not None
    follower.fetched_until(follower.applier, Position(Epoch(1), 5))
    follow(follower, common, *deliveries(1, 1))
    assert not is_whole(follower)
    follow(follower, common, *deliveries(2, 1))
    assert is_whole(follower)
    follower.close()
