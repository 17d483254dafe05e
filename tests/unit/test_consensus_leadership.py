"""Leadership goes where it serves best: to the active, and away from who is about to stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.raft_members import A, B, W, World
from staqraft.consensus.codec import ID_BYTES, encode_proposal
from staqraft.consensus.ready import Resign, Submitted
from staqraft.model import NO_EPOCH, Acquire, GroupId, NodeId

MAIL, WEB = GroupId("mail"), GroupId("web")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for member in world.members.values():
        member._log.close()


def _becomes_active(world: World, node: NodeId, group: GroupId) -> None:
    identity = world.rng.randbytes(ID_BYTES)
    acquire = Acquire(node=node, group=group, base_epoch=NO_EPOCH, base_renewal=0, reason="test")
    world.inbox[node].append(Submitted(identity, encode_proposal(identity, acquire)))
    world.until(lambda: identity in world.outcomes)


def test_a_replica_hands_over_to_the_active_calmly_and_once(world: World) -> None:
    world.lead(B)
    _becomes_active(world, A, MAIL)
    world.run(1.5)
    assert world.leader() == B, "it was handed over at once"
    world.until(lambda: world.leader() == A)
    term = world.members[A].term
    world.run(30)
    assert world.leader() == A
    assert world.members[A].term == term


def test_nobody_hands_over_when_each_is_active_in_one_group(world: World) -> None:
    world.lead(B)
    _becomes_active(world, A, MAIL)
    _becomes_active(world, B, WEB)
    term = world.members[B].term
    world.run(30)
    assert world.leader() == B
    assert world.members[B].term == term


def test_nobody_hands_over_to_an_active_that_does_not_answer(world: World) -> None:
    world.lead(B)
    _becomes_active(world, A, MAIL)
    world.cut = {(A, B), (A, W)}  # it hears, and is not heard; its sessions are still open
    term = world.members[B].term
    world.run(20)
    assert world.leader() == B
    assert world.members[B].term == term


def test_a_cut_link_leaves_the_active_its_renewals_when_it_leads(world: World) -> None:
    world.lead(B)
    _becomes_active(world, A, MAIL)
    world.until(lambda: world.leader() == A)
    world.cut = {(A, B), (B, A)}
    term = world.members[A].term
    world.commit(A, "through the witness")
    world.run(5)
    world.commit(A, "still")
    assert world.members[A].term == term


def test_a_witness_that_led_does_not_keep_the_active_from_leading(world: World) -> None:
    world.lead(A)
    _becomes_active(world, B, MAIL)
    world.until(lambda: world.leader() == B)
    world.run(0.3)
    world.members[B].hand_over(W)
    world.until(lambda: world.leader() == W)
    world.until(lambda: world.leader() not in {None, W})
    world.until(lambda: world.leader() == B, limit_s=15)


@pytest.mark.parametrize("leaving", [A, W])
def test_who_is_about_to_stop_hands_over_faster_than_an_election(
    world: World, leaving: NodeId
) -> None:
    world.lead(leaving) if leaving != W else _witness_leads_for_a_moment(world)
    world.inbox[leaving].append(Resign())
    begun = world.now
    world.until(lambda: world.leader() not in {None, leaving})
    assert world.now - begun < 0.1
    world.run(5)
    assert world.leader() != leaving, "it stood again although it is about to stop"


def _witness_leads_for_a_moment(world: World) -> None:
    world.lead(A)
    world.run(0.3)
    world.members[A].hand_over(W)
    world.until(lambda: world.leader() == W)
