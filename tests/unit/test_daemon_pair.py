"""What a daemon without a witness keeps for the next one, and what it tells its core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fakes.decision import GROUP, A, B, settings
from staqraft.consensus import generations
from staqraft.consensus.group import RaftView
from staqraft.consensus.statemachine import apply
from staqraft.daemon.pair_watch import PairWatch
from staqraft.daemon.right import Right, this_boot
from staqraft.decision import events as on
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, PairState
from staqraft.errors import OutcomeUnknown
from staqraft.model import (
    NO_EPOCH,
    ClusterRecord,
    Command,
    Epoch,
    Farewell,
    FenceRung,
    GroupRecord,
    Outcome,
)

FIRST = generations.first((A, B))
OTHERS = replace(FIRST, number=3, founder=B)


# --- the right ------------------------------------------------------------------------------------


def test_it_holds_over_a_restart_of_the_daemon(tmp_path: Path) -> None:
    Right(tmp_path / "r").write(2, Epoch(5))
    assert Right(tmp_path / "r").read() == (2, 5)


def test_it_ends_with_the_boot(tmp_path: Path) -> None:
    Right(tmp_path / "r", boot=lambda: "monday").write(2, Epoch(5))
    assert Right(tmp_path / "r", boot=lambda: "tuesday").read() is None


def test_a_boot_has_a_name() -> None:
    assert len(this_boot().split()) == 2
    assert this_boot() == this_boot()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"generation": 1}', '{"generation": "x"}'])
def test_what_cannot_be_read_proves_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "r").write_text(content)
    assert Right(tmp_path / "r").read() is None


def test_what_cannot_be_replaced_is_removed(tmp_path: Path) -> None:
    right = Right(tmp_path / "r")
    right.write(1, Epoch(5))
    (tmp_path / "r.new").mkdir()  # so that it cannot be written
    right.write(1, NO_EPOCH)
    assert Right(tmp_path / "r").read() is None


# --- the watch ------------------------------------------------------------------------------------


@dataclass
class FakeRaft:
    """Raft as the watch sees it."""

    view: RaftView
    commits: bool = False
    state: ClusterRecord = field(default_factory=ClusterRecord)
    barriers: int = 0
    proposed: list[Command] = field(default_factory=list)

    async def propose(self, command: Command, _timeout_ms: int) -> Outcome:
        if not self.commits:
            raise OutcomeUnknown("no majority")
        self.proposed.append(command)
        self.state, outcome = apply(self.state, self.state.log_index + 1, command)
        return outcome

    def status(self) -> RaftView:
        return self.view

    async def barrier(self, _timeout_ms: int) -> ClusterRecord:
        self.barriers += 1
        if not self.commits:
            raise OutcomeUnknown("no majority")
        return self.state


def view(**changes: object) -> RaftView:
    plain = RaftView(
        leader=None,
        term=1,
        commit_index=7,
        applied_index=7,
        has_quorum=False,
        late_ticks=0,
        problem="",
        reachable=frozenset(),
        generation=FIRST,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # by name


def watch(
    raft: FakeRaft, path: Path, clock: Callable[[], int] = lambda: 0
) -> tuple[PairWatch, list[on.Event]]:
    said: list[on.Event] = []
    raft_like: object = raft
    made = PairWatch(
        raft_like,  # type: ignore[arg-type]  # what it uses of it
        Right(path),
        settings(A),
        post=said.append,
        now_ms=clock,
    )
    return made, said


def last(said: list[on.Event]) -> on.RaftReported:
    report = said[-1]
    assert isinstance(report, on.RaftReported)
    return report


async def test_after_a_start_nothing_is_known_without_the_other(tmp_path: Path) -> None:
    made, said = watch(FakeRaft(view()), tmp_path / "r")
    assert await made.begin() is None
    assert not last(said).reached


async def test_a_committed_read_makes_the_record_current(tmp_path: Path) -> None:
    raft = FakeRaft(view(reachable=frozenset({B}), contacts=1), commits=True)
    made, said = watch(raft, tmp_path / "r")
    assert await made.begin() == NO_EPOCH
    assert last(said).reached
    assert last(said).favoured  # the first active, as long as nobody was


async def test_a_restarted_daemon_goes_on_with_what_was_kept(tmp_path: Path) -> None:
    Right(tmp_path / "r").write(1, Epoch(5))
    made, _ = watch(FakeRaft(view()), tmp_path / "r")
    assert await made.begin() == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": OTHERS},  # kept in an older generation
        {"newer": OTHERS},  # the other went on meanwhile
        {"reachable": frozenset({B})},  # it is there: it can be asked
        {"applied_index": 6},  # its record is not even as new as its log
    ],
)
async def test_but_not_if_that_may_have_changed(tmp_path: Path, changes: dict[str, object]) -> None:
    Right(tmp_path / "r").write(1, Epoch(5))
    made, _ = watch(FakeRaft(view(**changes)), tmp_path / "r")
    assert await made.begin() is None


async def test_who_was_taken_in_is_told_when_its_record_is_current(tmp_path: Path) -> None:
    raft = FakeRaft(view(reachable=frozenset({B}), contacts=1), commits=True)
    made, said = watch(raft, tmp_path / "r")
    await made.begin()
    raft.commits = False
    raft.view = view(generation=OTHERS, reachable=frozenset({B}), contacts=2)
    made.look()
    await asyncio.sleep(0)
    assert last(said).generation == FIRST
    assert not last(said).reached  # not in the generation that the core knows
    raft.commits = True
    while last(said).generation == FIRST:
        made.look()
        await asyncio.sleep(0)
    assert last(said).generation == OTHERS
    assert last(said).reached


async def test_a_generation_of_its_own_is_current_at_once(tmp_path: Path) -> None:
    raft = FakeRaft(view(reachable=frozenset({B})), commits=True)
    made, said = watch(raft, tmp_path / "r")
    await made.begin()
    alone = generations.alone(FIRST, A, FenceRung.DEVICE)
    raft.view, raft.commits = view(generation=alone), False
    made.look()
    assert last(said).generation == alone


async def test_a_lone_host_that_started_looks_whether_the_other_was_forced(tmp_path: Path) -> None:
    now = [0]
    alone = generations.alone(FIRST, A, FenceRung.DEVICE)
    raft = FakeRaft(view(generation=alone), commits=True)
    made, said = watch(raft, tmp_path / "r", lambda: now[0])
    assert await made.begin() is None
    now[0] = 2_000
    raft.view = view(generation=alone, newer=replace(OTHERS, members=frozenset({B})))
    assert await made.begin() is None
    assert "generation 3" in last(said).newer
    raft.view = view(generation=alone)
    assert await made.begin() == NO_EPOCH


async def test_a_lone_daemon_that_restarted_does_not_wait(tmp_path: Path) -> None:
    alone = generations.alone(FIRST, A, FenceRung.DEVICE)
    Right(tmp_path / "r").write(alone.number, Epoch(5))
    made, _ = watch(FakeRaft(view(generation=alone), commits=True), tmp_path / "r")
    assert await made.begin() == NO_EPOCH


# --- farewell -------------------------------------------------------------------------------------


async def test_who_says_farewell_has_given_its_right_up_for_the_rest_of_its_life(
    tmp_path: Path,
) -> None:
    raft = FakeRaft(view(reachable=frozenset({B}), contacts=1), commits=True)
    made, _ = watch(raft, tmp_path / "r")
    await made.begin()
    pair = PairState(generation=FIRST, reached=True, contacts=1, newer="", favoured=True, lost_ms=0)
    standing = GroupState(settings=settings(A), phase=Phase.STANDBY, pair=pair)
    made.keep(standing, standing)
    assert Right(tmp_path / "r").read() == (1, NO_EPOCH)
    made.give_up_right()
    assert Right(tmp_path / "r").read() is None
    await made.say_farewell()
    assert raft.state.groups[GROUP].away == {A}
    made.keep(standing, standing)
    assert Right(tmp_path / "r").read() is None


async def test_no_farewell_of_who_has_its_right_still(tmp_path: Path) -> None:
    made, _ = watch(FakeRaft(view(), commits=True), tmp_path / "r")
    with pytest.raises(AssertionError, match="still has the right"):
        await made.say_farewell()


async def test_a_farewell_that_nobody_hears_does_not_hold_the_stop_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, _ = watch(FakeRaft(view()), tmp_path / "r")
    made.give_up_right()
    await made.say_farewell()
    assert "may not know that this stop is meant" in caplog.text


async def test_who_is_back_has_said_so_twice_over_before_it_goes_on(tmp_path: Path) -> None:
    away = ClusterRecord(groups={GROUP: GroupRecord(away=frozenset({A}))})
    reached = view(reachable=frozenset({B}), contacts=1)
    raft = FakeRaft(reached, commits=True, state=away)
    made, _ = watch(raft, tmp_path / "r")
    assert await made.begin() == NO_EPOCH
    (back,) = raft.proposed
    assert isinstance(back, Farewell)
    assert not back.gone
    assert raft.barriers == 2  # the second after it: then the other knows that it is committed
    assert raft.state.groups[GROUP].away == frozenset()
