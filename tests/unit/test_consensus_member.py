"""Members of a Raft group in virtual time: cut links, lost disks, late messages.

Each hazard of the Raft library that the package's note lists, and that needs more than one member
to show, has its scenario here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.raft_members import NODES, A, B, W, World
from staqraft.consensus import snapshot_transfer, statemachine, syncobj
from staqraft.consensus.message_codec import message_to_wire
from staqraft.consensus.ready import Disconnected, Failure, Received
from staqraft.model import ClusterRecord, Command, NodeId, NoteEvent, Outcome


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for member in world.members.values():
        member._log.close()


def test_a_leader_is_elected_and_all_apply_what_any_proposes(world: World) -> None:
    world.until(lambda: world.leader() is not None)
    for node in NODES:
        world.commit(node, f"of {node}")
    world.run(0.2)
    assert world.texts(A) == world.texts(B) == world.texts(W) == ["of a", "of b", "of w"]


def test_a_replica_leads_and_not_the_witness(world: World) -> None:
    world.lead(A)
    world.crash(A)
    world.until(lambda: world.leader() == B)
    world.restart(A)
    world.run(3)
    assert W not in world.leaders


def test_a_witness_with_the_newest_entry_leads_and_hands_over(world: World) -> None:
    world.lead(A)
    world.cut = {(A, B), (B, A)}
    world.commit(A, "on a and w only")
    world.crash(A)
    world.until(lambda: world.leader() == W)
    world.until(lambda: world.leader() == B)
    assert world.texts(B) == ["on a and w only"]


def test_one_cut_link_does_not_make_leadership_wander(world: World) -> None:
    world.lead(A)
    term = world.members[A].term
    world.cut = {(A, B), (B, A)}
    world.run(20)
    assert world.leader() == A
    assert world.members[A].term == term


def test_a_member_that_was_cut_off_comes_back_quietly(world: World) -> None:
    world.lead(A)
    term = world.members[A].term
    world.isolate(B)
    world.run(10)
    world.heal()
    world.run(2)
    assert world.leader() == A
    assert {member.term for member in world.members.values()} == {term}


def test_a_leader_that_is_cut_off_steps_down_before_another_is_elected(world: World) -> None:
    world.lead(A)
    world.isolate(A)
    world.until(lambda: not world.members[A].leads)
    assert not world.members[B].leads
    world.until(lambda: world.leader() == B)


def test_a_member_whose_term_ran_ahead_is_heard(world: World) -> None:
    world.lead(A)
    world.members[B].adopt_term(50)
    world.run(5)
    assert world.leader() is not None
    assert {member.term for member in world.members.values()} >= {51} or all(
        member.term >= 50 for member in world.members.values()
    )
    world.commit(B, "works")


def test_a_piece_of_a_snapshot_commits_nothing(world: World) -> None:
    """Hazard 1: it advanced the commit index over entries that were never compared."""
    world.lead(A)
    world.isolate(A)
    lost = world.submit(A, "never committed")
    world.step()
    world.until(lambda: world.leader() == B)
    piece = {
        "type": "append_entries",
        "term": world.members[B].term,
        "commit_index": world.members[A].commit_index + 9,
        "serialized": (b"a piece", True, False),
    }
    world.inbox[A].append(Received(B, message_to_wire(piece)))
    world.run(0.1)
    assert lost not in world.outcomes
    assert "never committed" not in world.texts(A)


def test_a_command_that_cannot_be_applied_blocks_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Hazard 7: every member would raise at it in every tick, for ever."""
    world.lead(A)
    real = statemachine.apply

    def apply(record: ClusterRecord, index: int, command: Command) -> tuple[ClusterRecord, Outcome]:
        if isinstance(command, NoteEvent) and command.text == "poison":
            raise ZeroDivisionError
        return real(record, index, command)

    monkeypatch.setattr(statemachine, "apply", apply)
    world.submit(B, "poison")
    world.run(0.5)
    world.commit(B, "works")
    world.until(lambda: all("works" in world.texts(node) for node in NODES))
    assert "was skipped: report this" in caplog.text


def test_a_member_that_lags_learns_from_a_snapshot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_transfer, "CHUNK_BYTES", 200)
    world.lead(A)
    world.isolate(A)
    lost = world.submit(A, "never committed")
    world.step()
    world.until(lambda: world.leader() == B)
    for number in range(30):
        world.commit(B, f"{number}")
    world.members[B]._engine.forceLogCompaction()
    world.run(0.1)
    assert world.members[B].log_length < 5
    world.heal()
    world.until(lambda: world.texts(A) == world.texts(B))
    assert lost not in world.outcomes
    assert any(message.append_entries.HasField("snapshot") for _, to, message in world.wiretap)


def test_a_vote_is_refused_while_a_leader_lives(world: World) -> None:
    world.lead(A)
    term = world.members[A].term
    request = {"type": "request_vote", "term": term + 1, "transfer": False}
    newest = {"last_log_index": 10**6, "last_log_term": term}
    for node in (A, B):
        world.inbox[node].append(Received(W, message_to_wire({**request, **newest})))
    world.run(0.05)
    assert (world.members[A].term, world.members[B].term) == (term, term)
    assert world.leader() == A


def test_a_member_restarts_from_its_snapshot_and_the_log_after_it(world: World) -> None:
    world.lead(A)
    for number in range(5):
        world.commit(A, f"{number}")
    world.members[B]._engine.forceLogCompaction()
    world.run(0.1)
    world.commit(A, "after")
    world.run(0.2)
    world.crash(B)
    world.restart(B)
    world.run(1)
    assert world.texts(B) == ["0", "1", "2", "3", "4", "after"]


def test_the_log_is_kept_short(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncobj, "SNAPSHOT_AFTER_ENTRIES", 50)
    world.crash(A)
    world.restart(A)
    world.until(lambda: world.leader() is not None)
    for number in range(70):
        world.commit(B, f"{number}")
    assert world.members[A].log_length < 50


def test_without_space_a_member_neither_votes_nor_acknowledges_and_recovers(world: World) -> None:
    world.lead(A)
    world.log_of(B).full = True
    world.wiretap.clear()
    world.submit(A, "to make b write")
    world.run(0.5)
    assert "full" in world.members[B].problem
    world.crash(A)
    world.run(3)
    assert world.leader() is None, "w alone is no majority"
    assert not [message for sender, _, message in world.wiretap if sender == B]
    world.submit(B, "not taken")
    world.run(0.1)
    assert Failure.STORE_FULL in world.failures
    world.log_of(B).full = False
    world.until(lambda: world.leader() is not None)
    assert world.members[B].problem == ""
    world.commit(B, "goes on")


def test_a_leader_without_space_is_replaced(world: World) -> None:
    world.lead(A)
    world.log_of(A).full = True
    world.submit(A, "cannot be written")
    world.until(lambda: world.members[B].leads)
    world.commit(B, "goes on")


def test_a_command_for_a_leader_without_a_session_is_not_forgotten(world: World) -> None:
    world.lead(A)
    world.inbox[B] += [Disconnected(A)]
    world.submit(B, "for a leader that cannot be reached")
    world.step()
    world.step()
    assert world.members[B].leader is None
    assert Failure.NOT_TAKEN in world.failures


def test_a_vote_survives_a_crash(world: World) -> None:
    world.lead(A)
    term = world.members[B].term
    vote = world.log_of(B).getVotedForNodeId()
    world.crash(B)
    world.restart(B)
    assert world.members[B].term == term
    assert world.log_of(B).getVotedForNodeId() == vote


def test_an_acknowledgement_of_another_term_is_not_believed(world: World) -> None:
    world.lead(A)
    world.isolate(A)
    leader = world.members[A]
    world.submit(A, "nobody has it")
    world.step()
    ahead = {
        "type": "next_node_idx",
        "next_node_idx": leader.applied_index + 2,
        "reset": False,
        "success": True,
        "term": leader.term - 1,
    }
    committed = leader.commit_index
    world.inbox[A].append(Received(B, message_to_wire(ahead)))
    world.step()
    world.step()
    assert leader.commit_index == committed


@pytest.mark.parametrize(
    "message",
    [
        {"type": "next_node_idx", "next_node_idx": 999, "reset": False, "success": True},
        {"type": "next_node_idx", "next_node_idx": 0, "reset": True, "success": False},
        {"type": "next_node_idx", "next_node_idx": 999, "reset": True, "success": False},
    ],
)
def test_impossible_answers_do_not_hurt_a_leader(world: World, message: dict[str, object]) -> None:
    world.lead(A)
    world.inbox[A].append(Received(B, message_to_wire({**message, "term": world.members[A].term})))
    world.run(1)
    assert world.leader() == A
    world.commit(B, "goes on")


def test_a_committed_entry_is_not_replaced_by_a_leader_that_lost_its_log(world: World) -> None:
    world.lead(A)
    world.commit(A, "committed")
    world.run(0.3)
    follower = world.members[B]
    last = follower.applied_index
    first_entries = {
        "type": "append_entries",
        "term": follower.term + 5,
        "commit_index": last,
        "prevLogIdx": 1,
        "prevLogTerm": 0,
        "entries": [(b"\x01", index, follower.term + 5) for index in range(2, last + 1)],
    }
    world.inbox[B].append(Received(W, message_to_wire(first_entries)))
    world.step()
    assert any("which is committed" in offence for offence in world.offences)
    assert world.texts(B) == ["committed"]


def test_a_stranger_is_not_heard(world: World) -> None:
    wire = message_to_wire({"type": "term_notice", "term": 99})
    world.inbox[A].append(Received(NodeId("x"), wire))
    world.step()
    assert world.offences == ["x is not a member"]
    assert world.members[A].term < 99


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_nothing_acknowledged_is_lost_whatever_fails(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed)
    rng = random.Random(seed)
    proposed: dict[bytes, str] = {}
    for number in range(60):
        match rng.randrange(6):
            case 0:
                world.isolate(rng.choice(NODES))
            case 1:
                pair = rng.sample(NODES, 2)
                world.cut.add((pair[0], pair[1]))
            case 2:
                world.heal()
            case 3 if len(world.members) == 3:
                world.crash(rng.choice(NODES))
            case 4:
                for node in set(NODES) - set(world.members):
                    world.restart(node)
            case _:
                world.members[next(iter(world.members))]._engine.forceLogCompaction()
        node = rng.choice(list(world.members))
        proposed[world.submit(node, f"{number}")] = f"{number}"
        world.run(rng.uniform(0.05, 1.0))
    world.heal()
    for node in set(NODES) - set(world.members):
        world.restart(node)
    world.run(3)
    world.until(lambda: world.leader() is not None)
    world.commit(A, "end")
    world.run(1)
    acknowledged = {proposed[one] for one in world.outcomes if one in proposed}
    assert acknowledged
    assert acknowledged <= set(world.texts(A))
    assert world.texts(A) == world.texts(B) == world.texts(W)
    assert world.members[A].record == world.members[B].record == world.members[W].record
    for member in world.members.values():
        member._log.close()
