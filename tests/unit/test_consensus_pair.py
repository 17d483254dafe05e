"""Two replicas without a witness: how one goes on alone, and takes the other in again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.raft_members import A, B, W, World
from staqraft.consensus import generations, syncobj
from staqraft.consensus.ready import Connected, GoAlone, Received
from staqraft.errors import ConsensusError
from staqraft.model import FenceRung, Generation, NodeId

PAIR = (A, B)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, nodes=PAIR)
    yield world
    for member in world.members.values():
        member._log.close()


def go_alone(
    world: World, node: NodeId, rung: FenceRung = FenceRung.DEVICE, *, forced: bool = False
) -> str:
    """The peer is off by `rung`: what the member answers."""
    contacts = world.members[node].membership.contacts
    world.inbox[node].append(GoAlone(rung, contacts, forced))
    world.step()
    return world.answers.pop()


def lose(world: World, node: NodeId) -> None:
    """The host is off, and its peer finds out."""
    world.crash(node)
    world.run(1)


def test_a_pair_commits_nothing_when_one_is_lost(world: World) -> None:
    world.commit(A, "of both")
    lose(world, B)
    identity = world.submit(A, "of a alone")
    world.run(3)
    assert identity not in world.outcomes


def test_the_survivor_goes_on_alone_and_what_was_under_way_is_committed(world: World) -> None:
    world.lead(A)
    world.commit(A, "of both")
    term = world.members[A].term
    world.crash(B)
    world.submit(A, "under way")
    world.run(1)
    assert go_alone(world, A) == ""
    world.commit(A, "of a alone")
    assert world.texts(A) == ["of both", "under way", "of a alone"]
    generation = world.members[A].generation
    assert (generation.number, generation.members) == (2, frozenset({A}))
    assert (generation.founder, generation.rung) == (A, FenceRung.DEVICE)
    assert world.members[A].term > term


def test_it_does_not_while_the_peer_is_there_or_was_heard_since(world: World) -> None:
    world.lead(A)
    assert "was heard" in go_alone(world, A)
    seen = world.members[A].membership.contacts
    world.crash(B)
    world.restart(B)
    world.run(1)
    world.crash(B)
    world.run(1)
    world.inbox[A].append(GoAlone(FenceRung.DEVICE, seen))
    world.step()
    assert "was heard" in world.answers.pop()
    assert world.members[A].generation.number == 1


def test_with_a_witness_nobody_goes_on_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.lead(A)
    world.crash(B)
    world.crash(W)
    world.run(1)
    assert "without a witness" in go_alone(world, A)


def test_who_returns_is_taken_in_and_has_everything(world: World) -> None:
    world.lead(A)
    world.commit(A, "of both")
    lose(world, B)
    go_alone(world, A)
    world.commit(A, "of a alone")
    world.restart(B)
    world.until(lambda: world.texts(B) == ["of both", "of a alone"])
    assert world.members[A].generation == world.members[B].generation
    assert world.members[A].generation.number == 3
    world.commit(B, "of both again")
    world.until(lambda: world.texts(A) == world.texts(B))
    assert world.texts(A)[-1] == "of both again"


def test_it_is_taken_in_by_a_snapshot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncobj, "SNAPSHOT_AFTER_ENTRIES", 20)
    for node in PAIR:
        world.crash(node)
        world.restart(node)
    world.commit(A, "of both")
    lose(world, B)
    go_alone(world, A)
    for number in range(60):
        world.commit(A, f"alone {number}")
    assert world.log_of(A).first_index > 20
    world.restart(B)
    world.until(lambda: world.texts(B) == world.texts(A))
    assert len(world.texts(B)) == 61


def test_what_only_the_lost_one_had_was_never_committed_and_goes(world: World) -> None:
    world.lead(B)
    world.commit(B, "of both")
    world.cut = {(A, B), (B, A)}
    world.submit(B, "of b only")
    world.run(0.1)
    lose(world, B)
    world.heal()
    go_alone(world, A)
    world.commit(A, "of a alone")
    world.restart(B)
    world.until(lambda: world.texts(B) == world.texts(A))
    assert world.texts(A) == ["of both", "of a alone"]
    assert world.offences == []


def test_members_of_two_generations_carry_no_raft_messages(world: World) -> None:
    world.lead(A)
    lose(world, B)
    go_alone(world, A)
    world.restart(B)
    world.log_of(B).full = True  # it cannot enter the generation that takes it in
    world.wiretap.clear()
    world.run(3)
    assert world.members[A].generation.number == 3
    assert world.members[B].generation.number == 1
    assert not world.members[B].reachable
    assert world.wiretap == []
    world.log_of(B).full = False
    world.until(lambda: world.members[B].generation.number == 3)
    world.until(lambda: world.texts(A) == world.texts(B))


def test_a_message_of_a_session_in_the_old_generation_is_not_taken(world: World) -> None:
    world.lead(B)
    late = [message for _, to, message in world.wiretap if to == A][-1]
    lose(world, B)
    go_alone(world, A)
    world.restart(B)
    world.log_of(B).full = True
    world.run(1)
    assert world.members[A].peers == {B}  # a member again, but not in this session
    term = world.members[A].term
    late.append_entries.term = term + 7
    world.inbox[A].append(Received(B, late))
    world.run(0.2)
    assert world.members[A].term == term


def test_a_generation_is_on_disk_before_anybody_hears_of_it(world: World) -> None:
    world.lead(A)
    lose(world, B)
    world.log_of(A).full = True
    assert "full" in go_alone(world, A)
    assert world.members[A].generation.number == 1
    world.log_of(A).full = False
    world.run(0.1)
    assert go_alone(world, A) == ""
    lose(world, A)
    world.boot(A)
    assert world.members[A].generation.members == {A}
    world.commit(A, "alone after a restart")


def test_alone_and_without_space_nothing_is_confirmed(world: World) -> None:
    world.lead(A)
    lose(world, B)
    go_alone(world, A)
    world.commit(A, "on disk")
    world.log_of(A).full = True
    identity = world.submit(A, "in memory")
    world.run(1)
    assert identity not in world.outcomes
    world.log_of(A).full = False
    world.until(lambda: identity in world.outcomes)


@pytest.mark.parametrize("victim", PAIR)
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 6, 8, 12, 40, 80])
def test_a_crash_at_any_step_of_taking_in_mends_itself(
    world: World, victim: NodeId, steps: int
) -> None:
    world.lead(B)
    world.commit(A, "of both")
    lose(world, B)
    go_alone(world, A)
    world.commit(A, "of a alone")
    world.restart(B)
    for _ in range(steps):
        world.step()
    world.crash(victim)
    world.run(0.2)
    world.restart(victim)
    world.until(lambda: world.texts(A) == world.texts(B) == ["of both", "of a alone"])
    assert world.members[A].generation == world.members[B].generation
    world.run(1)
    world.commit(B, "of both again")


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 30, 60])
def test_a_crash_at_any_step_of_going_alone_mends_itself(world: World, steps: int) -> None:
    world.lead(A)
    world.commit(A, "of both")
    lose(world, B)
    world.inbox[A].append(GoAlone(FenceRung.DEVICE, world.members[A].membership.contacts))
    for _ in range(steps):
        world.step()
    world.crash(A)
    world.boot(A)
    expected = 1 if steps == 0 else 2
    assert world.members[A].generation.number == expected
    world.restart(B)
    world.until(lambda: world.texts(A) == world.texts(B) == ["of both"])
    world.commit(B, "of both again")


def both_go_alone(world: World, *, forced: bool) -> None:
    """First a does, then b, each while the other is off; then they meet."""
    world.lead(A)
    world.commit(A, "of both")
    world.crash(B)
    world.run(0.5)
    go_alone(world, A, FenceRung.OPERATOR)
    world.commit(A, "of a alone")
    world.crash(A)
    world.boot(B)
    world.run(0.5)
    assert go_alone(world, B, FenceRung.OPERATOR, forced=forced) == ""
    world.commit(B, "of b alone")
    world.restart(A)
    world.run(3)


@pytest.mark.parametrize(("forced", "serves"), [(False, A), (True, B)])
def test_two_that_both_went_on_alone_refuse_each_other(
    world: World, forced: bool, serves: NodeId
) -> None:
    both_go_alone(world, forced=forced)
    silent = B if serves == A else A
    for node in PAIR:
        member = world.members[node]
        assert "both went on alone" in member.membership.conflict
        assert f"{silent} does not serve" in member.membership.conflict
        assert member.generation.members == {node}
        assert not member.reachable
    assert world.members[serves].membership.newer is None
    assert world.members[silent].membership.newer == world.members[serves].generation
    assert world.texts(A) == ["of both", "of a alone"]
    assert world.texts(B) == ["of both", "of b alone"]


def test_the_way_out_of_that_is_to_give_one_up(world: World, tmp_path: Path) -> None:
    both_go_alone(world, forced=False)
    world.crash(B)
    for file in (tmp_path / B).iterdir():
        file.unlink()
    world.restart(B)
    world.until(lambda: world.texts(B) == ["of both", "of a alone"])
    assert world.members[A].membership.conflict == ""


def test_who_took_in_whom_it_should_not_have_is_not_joined(world: World) -> None:
    """b was told of a generation in which a is not any more, and takes a in on that word."""
    both_go_alone(world, forced=True)
    mine = world.members[B].generation
    world.inbox[B].append(Connected(A, mine, generations.first(PAIR)))
    world.run(3)
    taken_in = world.members[B].generation
    assert (taken_in.members, taken_in.number) == (frozenset(PAIR), mine.number + 1)
    assert world.members[A].generation.members == {A}
    assert "never merged" in world.members[A].membership.conflict
    assert "never merged" in world.members[B].membership.conflict
    assert world.members[A].membership.newer == taken_in  # who was given up does not serve
    assert world.texts(A) == ["of both", "of a alone"]
    assert world.offences == []


@pytest.mark.parametrize("given_up", PAIR)
def test_and_the_way_out_is_the_same(world: World, tmp_path: Path, given_up: NodeId) -> None:
    both_go_alone(world, forced=True)
    world.inbox[B].append(Connected(A, world.members[B].generation, generations.first(PAIR)))
    world.run(1)
    world.crash(given_up)
    for file in (tmp_path / given_up).iterdir():
        file.unlink()
    world.restart(given_up)
    stays = A if given_up == B else B
    world.until(lambda: world.texts(given_up) == ["of both", f"of {stays} alone"])
    world.commit(given_up, "of both again")


def test_who_was_left_out_knows_that_there_is_a_newer_generation(world: World) -> None:
    lose(world, B)
    go_alone(world, A)
    newer = world.members[A].generation
    world.restart(B)
    world.inbox[A].clear()  # it is not heard by the survivor yet
    mine = world.members[B].generation
    world.inbox[B] = [Connected(A, mine, newer)]
    world.members[B].step(world.inbox[B])
    assert world.members[B].membership.newer == newer
    answer = world.members[B].membership.alone(FenceRung.DEVICE, 0)
    assert isinstance(answer, str)
    assert "went on already" in answer


def test_a_witness_is_not_added_while_one_is_alone(tmp_path: Path) -> None:
    world = World(tmp_path, nodes=PAIR)
    lose(world, B)
    go_alone(world, A)
    lose(world, A)
    world.nodes = (A, B, W)
    with pytest.raises(ConsensusError, match="both replicas are in sync"):
        world.boot(A)


def test_a_witness_that_is_added_later_joins_the_generation_of_the_pair(tmp_path: Path) -> None:
    world = World(tmp_path, nodes=PAIR)
    lose(world, B)
    go_alone(world, A)
    world.restart(B)
    world.until(lambda: world.members[B].generation.number == 3)
    world.commit(A, "of both")
    for node in PAIR:
        world.crash(node)
    world.nodes = (A, B, W)
    for node in (A, B, W):
        world.restart(node)
    world.until(lambda: world.texts(W) == ["of both"])
    assert world.members[W].generation.number == 3


# --- as text --------------------------------------------------------------------------------------

LATER = Generation(
    number=7,
    members=frozenset({A}),
    founder=A,
    rung=FenceRung.OPERATOR,
    lineage=((2, A), (3, A), (6, B)),
)


@pytest.mark.parametrize("generation", [generations.first(PAIR), LATER])
def test_a_generation_survives_the_way_to_disk(generation: Generation) -> None:
    read = generations.from_text(generations.to_text(generation))
    assert (read, read.rung, read.lineage) == (generation, generation.rung, generation.lineage)


@pytest.mark.parametrize(
    "change",
    [
        '"number": 0',
        '"number": "7"',
        '"members": []',
        '"members": [7]',
        '"rung": "luck"',
        '"x": 1',
        '"lineage": 7',
        '"lineage": [7]',
        '"lineage": [[1, "a"]]',
        '"lineage": [[2, ""]]',
    ],
)
def test_nothing_else_is_read_as_one(change: str) -> None:
    values = json.loads(generations.to_text(LATER)) | json.loads(f"{{{change}}}")
    with pytest.raises(ValueError, match=r"."):
        generations.from_text(json.dumps(values))


def test_generations_of_one_number_are_equal_only_in_members_and_founder() -> None:
    other = replace(LATER, members=frozenset({B}), founder=B)
    assert generations.relate(A, LATER, B, other) is generations.Relation.CONFLICT
    assert generations.relate(A, LATER, B, replace(LATER, rung=None)) is generations.Relation.EQUAL


@pytest.mark.parametrize(
    ("number", "founder", "expected"),
    [
        (1, None, generations.Relation.TAKE_IN),  # the beginning, also of who lost its log
        (3, A, generations.Relation.TAKE_IN),
        (3, B, generations.Relation.CONFLICT),  # b took a in where a was not
        (4, A, generations.Relation.CONFLICT),
    ],
)
def test_only_who_is_in_an_older_one_of_the_same_descent_is_taken_in(
    number: int, founder: NodeId | None, expected: generations.Relation
) -> None:
    theirs = Generation(number=number, members=frozenset(PAIR), founder=founder)
    assert generations.relate(A, LATER, B, theirs) is expected


@pytest.mark.parametrize(
    ("members", "expected"), [(PAIR, generations.Relation.JOIN), (A, generations.Relation.LEFT_OUT)]
)
def test_only_a_newer_one_of_the_same_descent_is_joined(
    members: tuple[NodeId, ...], expected: generations.Relation
) -> None:
    theirs = replace(LATER, members=frozenset(members))
    mine = Generation(number=3, members=frozenset(PAIR), founder=A)
    assert generations.relate(B, mine, A, theirs) is expected
    parted = replace(mine, founder=B)
    assert generations.relate(B, parted, A, theirs) is generations.Relation.CONFLICT


def test_a_descent_goes_through_whoever_opened_it() -> None:
    first = generations.first(PAIR)
    second = generations.alone(first, A, FenceRung.DEVICE)
    third = generations.taking_in(second, A, B)
    assert (second.lineage, third.lineage) == ((), ((2, A),))
    assert generations.alone(third, B, FenceRung.DEVICE).lineage == ((2, A), (3, A))
