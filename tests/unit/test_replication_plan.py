"""What a standby answers to an offer: the table, and what holds for any history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staqraft.model import ORIGIN, Epoch, EpochStart, GroupId, NodeId, Position
from staqraft.replication.plan import (
    Holding,
    Offer,
    Reconcile,
    RefusalKind,
    Refuse,
    Resume,
    on_history,
    plan,
)

A, B = NodeId("a"), NodeId("b")


def at(epoch: int, seq: int) -> Position:
    return Position(Epoch(epoch), seq)


def starts(*pairs: tuple[int, int]) -> tuple[EpochStart, ...]:
    return tuple(EpochStart(epoch=Epoch(epoch), seq=seq) for epoch, seq in pairs)


OFFER = Offer(
    cluster="lab",
    group=GroupId("mail"),
    node=A,
    epoch=Epoch(5),
    epoch_starts=starts((1, 1), (3, 100), (5, 200)),
    first=at(1, 50),
    last=at(5, 250),
)
HOLDING = Holding(
    cluster="lab", group=GroupId("mail"), node=B, epoch=Epoch(5), active=A, last=at(5, 220)
)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (at(5, 220), ""),
        (at(5, 250), ""),  # nothing to send
        (at(3, 199), ""),  # the end of the epoch before
        (at(1, 99), ""),
        (at(1, 49), ""),  # the oldest record that is kept follows it
        (at(1, 48), "a can send from 1:50, this replica was away since 1:48"),
        (ORIGIN, "a can send from 1:50, this replica was away since 0:0"),
        (at(3, 200), "this replica's last record 3:200 is not part of a's history"),
        (at(1, 100), "this replica's last record 1:100 is not part of a's history"),
        (at(4, 150), "this replica's last record 4:150 is not part of a's history"),
        (at(5, 199), "this replica's last record 5:199 is not part of a's history"),
        (at(5, 251), "a lost records: it ends at 5:250, 5:251 is here"),
    ],
)
def test_where_the_active_goes_on(last: Position, reason: str) -> None:
    answer = plan(OFFER, replace(HOLDING, last=last))
    assert answer == (Reconcile(reason) if reason else Resume(last))


def test_trees_that_went_wrong_are_compared_first() -> None:
    answer = plan(OFFER, replace(HOLDING, needs_reconcile="the index is new"))
    assert answer == Reconcile("the index is new")


def test_an_empty_standby_is_sent_a_whole_journal() -> None:
    assert plan(replace(OFFER, first=at(1, 1)), replace(HOLDING, last=ORIGIN)) == Resume(ORIGIN)


def test_a_standby_learns_of_a_newer_epoch_from_the_active() -> None:
    assert isinstance(plan(OFFER, replace(HOLDING, epoch=Epoch(3), active=B)), Resume)


@pytest.mark.parametrize(
    ("offer", "holding", "kind", "words"),
    [
        ({"cluster": "other"}, {}, RefusalKind.IDENTITY, "of cluster other"),
        ({"group": GroupId("web")}, {}, RefusalKind.IDENTITY, "for group web"),
        ({"node": B}, {}, RefusalKind.IDENTITY, "which is this node"),
        ({"node": NodeId("c")}, {}, RefusalKind.IDENTITY, "a is"),
        ({}, {"epoch": Epoch(6), "active": B}, RefusalKind.STALE_EPOCH, "a is no longer active"),
        ({"epoch_starts": ()}, {}, RefusalKind.BAD_FRAME, "does not end with its own epoch"),
        ({"epoch_starts": starts((5, 1), (4, 9), (5, 9))}, {}, RefusalKind.BAD_FRAME, "follow"),
        ({"first": at(5, 252)}, {}, RefusalKind.BAD_FRAME, "begin at 5:252 and end at 5:250"),
    ],
)
def test_who_is_not_listened_to(
    offer: dict[str, object], holding: dict[str, object], kind: RefusalKind, words: str
) -> None:
    answer = plan(replace(OFFER, **offer), replace(HOLDING, **holding))  # type: ignore[arg-type]
    assert isinstance(answer, Refuse)
    assert answer.kind is kind
    assert words in answer.reason


def test_a_forced_takeover_by_one_that_was_behind_gives_up_part_of_older_epochs() -> None:
    history = starts((1, 1), (2, 1000), (3, 501))  # the one with 1:500 was made active
    assert on_history(at(1, 500), history)
    assert not on_history(at(1, 800), history)
    assert not on_history(at(2, 1200), history)
    assert on_history(at(3, 9999), history)


class World:
    """Replicas that write, fall behind, and take over from each other, as in real life."""

    def __init__(self) -> None:
        self.history: list[tuple[int, int]] = []  # (epoch, seq) of every record that counts
        self.starts: list[EpochStart] = []
        self.epoch = 0

    def take_over(self, keep: int) -> None:
        """Somebody who has the first `keep` records becomes active."""
        self.epoch += 1
        self.history = self.history[:keep]
        self.starts.append(EpochStart(epoch=Epoch(self.epoch), seq=len(self.history) + 1))

    def write(self, count: int) -> None:
        first = len(self.history) + 1
        self.history += [(self.epoch, first + n) for n in range(count)]


moves = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=12)


@given(moves, st.data())
def test_it_resumes_exactly_where_the_histories_are_one(
    steps: list[tuple[bool, int]], data: st.DataObject
) -> None:
    world = World()
    world.take_over(0)
    ever: set[tuple[int, int]] = set()
    for taken_over, amount in steps:
        if taken_over:
            world.take_over(max(0, len(world.history) - amount))
        else:
            world.write(amount)
        ever |= set(world.history)
    kept = data.draw(st.integers(0, len(world.history)))
    last = data.draw(st.sampled_from(sorted(ever | {(0, 0)})))
    newest = world.history[-1] if world.history else (0, 0)
    offer = replace(
        OFFER,
        epoch=Epoch(world.epoch),
        epoch_starts=tuple(world.starts),
        first=at(newest[0], kept + 1),
        last=at(*newest),
    )
    answer = plan(offer, replace(HOLDING, epoch=Epoch(world.epoch), last=at(*last)))
    shared = last == (0, 0) or last in world.history
    can_follow = shared and last[1] >= kept
    assert isinstance(answer, Resume if can_follow else Reconcile), (answer, world.starts)
