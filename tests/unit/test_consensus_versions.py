"""A cluster whose nodes run two adjacent versions: nobody is stopped, but who cannot follow is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fakes.raft_members import NODES, A, B, W, World, release
from staqraft.consensus import versions
from staqraft.consensus.codec import (
    ID_BYTES,
    Snapshot,
    decode_proposal,
    decode_snapshot,
    encode_proposal,
    encode_snapshot,
)
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.generations import first
from staqraft.consensus.message_codec import message_from_wire
from staqraft.consensus.openings import SESSION_ID_BYTES, check_opening, make_opening
from staqraft.consensus.ready import Failure
from staqraft.errors import Outdated
from staqraft.model import Announce, ClusterRecord, MemberRecord, NodeId, ReadBarrier
from staqraft.wire.v1 import raft_pb2 as pb

NOW, NEXT = versions.FORMAT, versions.FORMAT + 1
ID = bytes(ID_BYTES)


def record(**formats: int) -> ClusterRecord:
    return ClusterRecord(
        members={
            NodeId(node): MemberRecord(version="", config_fingerprint="", log_index=1, format=known)
            for node, known in formats.items()
        }
    )


def test_what_the_last_one_understands_is_spoken() -> None:
    assert versions.spoken(record(a=3, b=2, w=3), NODES) == 2
    assert versions.spoken(record(a=3, b=3, w=3, gone=1), NODES) == 3
    assert versions.spoken(record(a=3, b=3), NODES) == versions.OLDEST, "w has not said anything"
    assert versions.spoken(ClusterRecord(), ()) == versions.OLDEST


def newer_command() -> bytes:
    with release(NEXT):
        return encode_proposal(ID, ReadBarrier(node=A), NEXT)


def test_what_is_newer_is_no_nonsense_but_too_new() -> None:
    with pytest.raises(Outdated, match=f"knows {NOW}: upgrade this node"):
        decode_proposal(newer_command())
    at = (b"\x01", 9, 2), (b"\x01", 8, 2)
    with release(NEXT):
        content = encode_snapshot(
            "test", Snapshot(last=at[0], previous=at[1], record=ClusterRecord(), format=NEXT)
        )
        assert decode_snapshot("test", content).format == NEXT
    with pytest.raises(Outdated, match="a snapshot of format"):
        decode_snapshot("test", content)


def test_nobody_proposes_what_its_own_software_does_not_know() -> None:
    data = encode_proposal(ID, ReadBarrier(node=A), NEXT)
    assert decode_proposal(data)[0] == ID


def test_a_newer_command_that_is_forwarded_is_refused_and_stops_nobody() -> None:
    wire = pb.Envelope(apply_command=pb.ApplyCommand(command=b"\x00" + newer_command()))
    with pytest.raises(BadMessage, match="upgrade this node"):
        message_from_wire(wire)


@pytest.mark.parametrize(
    ("mine", "other", "finding"),
    [(1, 1, ""), (2, 1, ""), (1, 2, ""), (3, 1, "upgrade b"), (1, 3, "upgrade this node")],
)
def test_sessions_are_for_adjacent_versions(mine: int, other: int, finding: str) -> None:
    session = bytes(SESSION_ID_BYTES)
    with release(other):
        opening = make_opening("test", B, session, f"{other}.0", first(NODES))
    envelopes = [pb.Envelope(session_open=opening)]
    with release(mine):
        if not finding:
            assert check_opening(envelopes, "test", B, session).format == other
            return
        with pytest.raises(BadMessage, match=finding):
            check_opening(envelopes, "test", B, session)


# --- a group ------------------------------------------------------------------------------------


def upgrade(world: World, node: NodeId, to: int = NEXT) -> None:
    world.crash(node)
    world.run(0.2)
    world.format[node] = to
    world.restart(node)
    world.announce(node)


def formats_in_log(world: World, node: NodeId) -> set[int]:
    return {
        pb.Proposal.FromString(command[1:]).format
        for command, _, _ in world.log_of(node)[:]
        if command[:1] == b"\x00"
    }


def started(directory: Path, seed: int = 1) -> World:
    world = World(directory, seed)
    for node in NODES:
        world.announce(node)
    return world


def close(world: World) -> None:
    for member in world.members.values():
        member._log.close()


def test_a_rolling_upgrade_stops_nobody(tmp_path: Path) -> None:
    world = started(tmp_path)
    for number, node in enumerate((B, A, W)):
        upgrade(world, node)
        for proposer in NODES:
            world.commit(proposer, f"{number} {proposer}")
        if node != W:
            assert formats_in_log(world, A) == {NOW}, "w does not understand more"
    world.run(1)
    assert NEXT in formats_in_log(world, A)
    assert not any(member.outdated for member in world.members.values())
    assert not world.offences
    assert world.members[A].record == world.members[B].record == world.members[W].record
    close(world)


def test_a_snapshot_is_taken_for_the_oldest_member(tmp_path: Path) -> None:
    world = started(tmp_path)
    for node in (A, B):
        upgrade(world, node)
    world.crash(W)
    world.run(2)
    for text in ("one", "two"):
        world.commit(A, text)
        for member in world.members.values():
            member._engine.forceLogCompaction()
        world.run(1)
    assert world.log_of(A).first_index > 3, "w needs the snapshot"
    world.restart(W)
    world.until(lambda: world.texts(W) == world.texts(A))
    assert not world.members[W].outdated
    close(world)


def test_a_member_that_was_put_back_stops_before_it_applies_what_is_newer(tmp_path: Path) -> None:
    world = started(tmp_path)
    for node in (B, A, W):
        upgrade(world, node)
    world.commit(B, "zero")
    world.crash(B)
    world.run(2)
    before = (tmp_path / B / "log").read_bytes()
    for text in ("one", "two"):
        world.commit(A, text)
    world.format[B] = NOW
    with pytest.raises(Outdated, match=r"log is not touched: entry \d+ is a command"):
        world.boot(B)
    assert (tmp_path / B / "log").read_bytes() == before
    world.format[B] = NEXT
    world.restart(B)
    world.commit(B, "three")
    assert world.texts(B)[-3:] == ["one", "two", "three"]
    close(world)


def without_new_entries(world: World, node: NodeId) -> None:
    """`node` knows of everyone's upgrade in time, but has no newer command in its log yet."""
    world.announce(node)
    world.crash(node)
    world.run(2)
    world.format[node] = NOW
    assert formats_in_log(world, A) == {NOW}


@pytest.mark.parametrize("by_snapshot", [False, True])
def test_a_member_that_meets_a_newer_command_stands_still(
    tmp_path: Path, *, by_snapshot: bool
) -> None:
    world = started(tmp_path)
    for node in (A, W):
        upgrade(world, node)
    world.format[B] = NEXT
    without_new_entries(world, B)
    world.commit(A, "newer")
    assert NEXT in formats_in_log(world, A)
    if by_snapshot:
        world.members[A]._engine.forceLogCompaction()
        world.members[W]._engine.forceLogCompaction()
        world.commit(A, "more")
    world.restart(B)
    before = world.members[B].record
    world.until(lambda: bool(world.members[B].outdated))
    member = world.members[B]
    assert "cannot follow" in member.outdated
    assert "upgrade this node" in member.outdated
    assert not member.has_quorum
    assert member.record.groups == before.groups, "nothing of it was applied"
    said = len(world.wiretap)
    world.submit(B, "from b")
    world.run(2)
    assert world.failures[-1] is Failure.OUTDATED
    assert B not in {one for one, _, _ in world.wiretap[said:]}, "it says nothing more"
    world.commit(A, "the others go on")
    world.crash(B)
    world.format[B] = NEXT
    world.restart(B)
    world.commit(B, "back")
    world.run(1)
    assert world.members[A].record == world.members[B].record
    close(world)


@pytest.mark.parametrize("seed", range(4))
def test_upgrades_in_any_order_among_faults_stop_nobody(tmp_path: Path, seed: int) -> None:
    world, rng = started(tmp_path, seed), random.Random(seed)
    order = rng.sample(NODES, 3)
    for number in range(24):
        match rng.randrange(5):
            case 0:
                world.isolate(rng.choice(NODES))
            case 1:
                world.members[rng.choice(NODES)]._engine.forceLogCompaction()
            case _:
                world.heal()
        if number % 8 == 4:
            world.heal()
            upgrade(world, order[number // 8])
        world.submit(rng.choice(NODES), f"{number}")
        world.run(rng.uniform(0.05, 0.7))
        assert not any(member.outdated for member in world.members.values())
    world.heal()
    world.commit(A, "end")
    world.run(1)
    assert NEXT in formats_in_log(world, A)
    assert world.texts(A) == world.texts(B) == world.texts(W)
    close(world)


def test_an_announcement_without_a_format_is_one_of_the_oldest(tmp_path: Path) -> None:
    world = started(tmp_path)
    world.confirm(Announce(node=W, version="0.9", config_fingerprint="f", format=0))
    assert world.members[W].record.members[W].format == versions.OLDEST
    close(world)
