"""Appends to a member for whom nobody waits: fewer messages, and the same said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from staqraft.consensus.bundles import merged
from staqraft.consensus.openings import make_opening
from staqraft.consensus.session import Session, Sink
from staqraft.model import Generation, NodeId
from staqraft.wire.stream import Lost
from staqraft.wire.v1 import raft_pb2 as pb

W = NodeId("w")


def append(*indexes: int, after: int = 0, term: int = 3, commit: int = 1) -> pb.Envelope:
    """Entries of term 3 behind `after`, by default behind the one before the first."""
    before = after or indexes[0] - 1
    entries = pb.LogEntries(previous_index=before, previous_term=3)
    for index in indexes:
        entries.entries.add(index=index, term=3, command=b"\1")
    message = pb.AppendEntries(term=term, commit_index=commit, entries=entries)
    return pb.Envelope(append_entries=message)


def indexes(envelope: pb.Envelope) -> list[int]:
    return [entry.index for entry in envelope.append_entries.entries.entries]


def test_what_follows_is_said_with_what_came_before() -> None:
    first = append(5)
    for later in (append(after=5, commit=5), append(6, commit=5), append(7, 8, commit=6)):
        assert merged(first, later)
    assert first == append(5, 6, 7, 8, commit=6)


def test_a_heartbeat_is_said_with_the_append_that_follows() -> None:
    first = append(after=4)
    assert merged(first, append(5, commit=4))
    assert first == append(5, commit=4)


def test_what_does_not_follow_is_said_by_itself() -> None:
    snapshot = pb.AppendEntries(term=3, commit_index=1, snapshot=pb.SnapshotChunk(data=b"x"))
    heartbeat = pb.Envelope(session_heartbeat=pb.SessionHeartbeat())
    older = append(6)
    older.append_entries.entries.previous_term = 2
    unknown = append(6)
    unknown.append_entries.entries.ClearField("previous_index")
    for later in (
        append(7),
        append(5),
        append(6, term=4),
        append(6, commit=0),
        pb.Envelope(append_entries=snapshot),
        heartbeat,
        older,
        unknown,
    ):
        first = append(5)
        assert not merged(first, later)
        assert first == append(5), "it is as it was"


def test_a_bundle_has_an_end() -> None:
    first, index = append(5), 6
    while merged(first, append(index)):
        index += 1
    assert len(indexes(first)) == 64


class _Nobody(Sink):
    def disconnected(self, node: NodeId) -> None:
        pass

    def connected(self, node: NodeId, told: Generation, heard: Generation) -> None:
        raise AssertionError

    def received(self, node: NodeId, envelopes: Iterable[pb.Envelope]) -> None:
        raise AssertionError


async def written(session: Session, count: int) -> list[list[pb.Envelope]]:
    """What it writes until there were so many messages."""
    batches: list[list[pb.Envelope]] = []
    enough = asyncio.Event()

    async def read() -> pb.ExchangeResponse:
        await enough.wait()
        raise Lost("enough")

    async def write(envelopes: list[pb.Envelope]) -> None:
        batches.append(envelopes)
        if sum(map(len, batches)) >= count:
            enough.set()

    async with asyncio.timeout(30):
        await session.run(read, write, _Nobody())
    return batches


def session(patience_s: float) -> Session:
    return Session(W, None, 60.0, patience_s, bundles=False)


async def test_calm_appends_wait_for_each_other() -> None:
    patient = session(0.05)
    for index in (5, 6, 7):
        patient.push(append(index), calm=True)
    assert await written(patient, 1) == [[append(5, 6, 7)]]


async def test_as_soon_as_somebody_waits_all_goes_out_in_order() -> None:
    patient = session(3600.0)
    vote = pb.Envelope(request_vote=pb.RequestVote(term=4))
    patient.push(append(5), calm=True)
    patient.push(vote, calm=True)
    assert await written(patient, 2) == [[append(5), vote]]
    patient = session(3600.0)
    patient.push(append(5), calm=True)
    patient.push(append(6), calm=False)
    assert await written(patient, 2) == [[append(5), append(6)]]


async def test_nobody_waits_for_whom_did_not_ask_for_it() -> None:
    plain = session(0.0)
    plain.push(append(5), calm=True)
    plain.push(append(6), calm=True)
    assert await written(plain, 2) == [[append(5), append(6)]]


def test_an_older_version_asks_for_nothing() -> None:
    older = pb.SessionOpen(cluster="c", node="w")
    assert (older.patience_ms, older.bundles) == (0, False)
    mine = make_opening("c", W, b"x" * 12, "1", Generation(number=1, members=frozenset()), 400)
    assert (mine.patience_ms, mine.bundles) == (400, True)
