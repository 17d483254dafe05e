"""Everything that goes over the wire or to disk comes back as it was; nothing else comes in."""

from __future__ import annotations

import _socket
import pickle
import socket
from typing import Any

import pysyncobj.journal
import pysyncobj.pickle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from staqraft.consensus.codec import (
    ID_BYTES,
    KIND_NO_OP,
    KIND_REGULAR,
    MAX_COMMAND_BYTES,
    Snapshot,
    check_entry_command,
    decode_proposal,
    decode_snapshot,
    encode_proposal,
    encode_snapshot,
)
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.message_codec import message_from_wire, message_to_wire
from staqraft.consensus.syncobj import check_library
from staqraft.errors import ConsensusError, Outdated
from staqraft.model import (
    Acquire,
    Announce,
    CancelSwitchover,
    ClusterEvent,
    ClusterRecord,
    Command,
    DropSchedule,
    Epoch,
    EpochStart,
    Farewell,
    Fenced,
    FenceRecord,
    FenceRung,
    ForceActive,
    GroupId,
    GroupRecord,
    Maintenance,
    MemberRecord,
    NodeId,
    NoteEvent,
    OpenEpoch,
    Position,
    ReadBarrier,
    Release,
    Renew,
    RequestSwitchover,
    Rest,
    ScheduleSwitchover,
    SetInSync,
    SetMaintenance,
    SettleFailback,
    Switchover,
)
from staqraft.wire.v1 import raft_pb2 as pb

ID = b"0123456789ab"

names = st.text(min_size=1, max_size=8)
node_ids = names.map(NodeId)
counters = st.integers(0, 2**62)
epochs = counters.map(Epoch)
texts = st.text(max_size=30)
sets = st.frozensets(node_ids, max_size=3)
positions = st.builds(Position, epochs, counters)
walls = st.integers(-(2**60), 2**60)


def of(kind: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, node=node_ids, wall_ms=walls, group=names.map(GroupId), **fields)


commands: st.SearchStrategy[Command] = st.one_of(
    of(Renew, epoch=epochs, renewal=counters, position=positions),
    of(Acquire, base_epoch=epochs, base_renewal=counters, reason=texts),
    of(OpenEpoch, epoch=epochs, start_seq=counters),
    of(Release, epoch=epochs, position=positions, reason=texts),
    of(
        SetInSync,
        epoch=epochs,
        expected=sets,
        expected_index=counters,
        members=sets,
        reason=texts,
    ),
    of(Fenced, epoch=epochs, loser=node_ids, rung=st.sampled_from(FenceRung)),
    of(
        RequestSwitchover,
        target=node_ids,
        requested_by=texts,
        reason=texts,
        schedule=counters,
        failback=st.booleans(),
    ),
    of(ScheduleSwitchover, target=node_ids, at_ms=walls, requested_by=texts, reason=texts),
    of(DropSchedule, reason=texts, schedule=counters, missed=st.booleans()),
    of(SettleFailback, epoch=epochs),
    of(CancelSwitchover, reason=texts),
    of(
        SetMaintenance,
        enabled=st.booleans(),
        requested_by=texts,
        target=st.none() | node_ids,
        reason=texts,
    ),
    of(Rest, epoch=epochs, renewal=counters, rest_ms=st.integers(0, 2**32 - 1), ends=counters),
    of(Farewell, gone=st.booleans()),
    of(
        ForceActive,
        base_epoch=epochs,
        base_renewal=counters,
        target=node_ids,
        requested_by=texts,
        reason=texts,
    ),
    st.builds(
        NoteEvent,
        node=node_ids,
        wall_ms=walls,
        group=st.none() | names.map(GroupId),
        kind=texts,
        text=texts,
        epoch=epochs,
        position=positions,
    ),
    st.builds(Announce, node=node_ids, wall_ms=walls, version=texts, config_fingerprint=texts),
    st.builds(ReadBarrier, node=node_ids, wall_ms=walls),
)


@settings(deadline=None)
@given(commands)
def test_a_command_comes_back(command: Command) -> None:
    assert decode_proposal(encode_proposal(ID, command)) == (ID, command)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
@example(b"")
@example(pickle.dumps({"a": 1}))
def test_garbage_is_a_bad_message(data: bytes) -> None:
    for decode in (decode_proposal, lambda data: decode_snapshot("test", data)):
        try:
            decode(data)
        except (BadMessage, Outdated) as error:
            assert str(error)  # noqa: PT017 - other exceptions are what is looked for


@settings(max_examples=200, deadline=None)
@given(commands, st.data())
def test_a_spoiled_command_is_a_command_or_a_bad_message(command: Command, data: Any) -> None:
    content = bytearray(encode_proposal(ID, command))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decode_proposal(bytes(content))
    except (BadMessage, Outdated) as error:
        assert str(error)  # noqa: PT017 - other exceptions are what is looked for


def test_commands_are_bounded_and_in_range() -> None:
    note = NoteEvent(node=NodeId("a"), group=None, kind="", text="x" * MAX_COMMAND_BYTES)
    with pytest.raises(BadMessage, match="are allowed"):
        encode_proposal(ID, note)
    with pytest.raises(BadMessage, match="cannot be proposed"):
        encode_proposal(
            ID, OpenEpoch(node=NodeId("a"), group=GroupId("g"), epoch=Epoch(-1), start_seq=1)
        )
    with pytest.raises(BadMessage, match="are allowed"):
        decode_proposal(bytes(MAX_COMMAND_BYTES + 1))


@pytest.mark.parametrize(
    ("wire", "finding"),
    [
        (pb.Proposal(format=0, id=ID, node="a", read_barrier=pb.ReadBarrier()), "format 0"),
        (pb.Proposal(format=1, id=b"x", node="a", read_barrier=pb.ReadBarrier()), "identity"),
        (pb.Proposal(format=1, id=ID, read_barrier=pb.ReadBarrier()), "identity"),
        (pb.Proposal(format=1, id=ID, node="a"), "does not know"),
        (pb.Proposal(format=1, id=ID, node="a", fenced=pb.Fenced(loser="b")), "way of fencing"),
    ],
)
def test_what_is_not_quite_a_command_is_refused(wire: pb.Proposal, finding: str) -> None:
    with pytest.raises(BadMessage, match=finding):
        decode_proposal(wire.SerializeToString())


COMMAND = KIND_REGULAR + encode_proposal(ID, ReadBarrier(node=NodeId("a")))


@pytest.mark.parametrize("kind", [b"\x02", b"\x03", b"\x01x", b"", b"\xff"])
def test_commands_of_the_library_have_no_place_in_a_log(kind: bytes) -> None:
    with pytest.raises(BadMessage):
        check_entry_command(kind + (COMMAND[1:] if kind in {b"\x02", b"\x03"} else b""))
    check_entry_command(KIND_NO_OP)


def test_a_full_record_comes_back_from_a_snapshot() -> None:
    a, b, group = NodeId("a"), NodeId("b"), GroupId("default")
    at = Position(Epoch(4), 17)
    record = ClusterRecord(
        groups={
            group: GroupRecord(
                epoch=Epoch(4),
                active=a,
                renewal=8,
                released=True,
                in_sync=frozenset({a, b}),
                in_sync_index=6,
                position=at,
                epoch_starts=(EpochStart(epoch=Epoch(4), seq=12),),
                fence=FenceRecord(epoch=Epoch(4), loser=b, rung=FenceRung.DEVICE, log_index=7),
                switchover=Switchover(
                    target=b, requested_by="x", reason="y", log_index=8, forced=True
                ),
                maintenance=(
                    Maintenance(node=None, requested_by="x", reason="y", since_ms=-1, log_index=8),
                    Maintenance(node=b, requested_by="x", reason="", since_ms=9, log_index=9),
                ),
                resting_ms=600_000,
                resting_index=8,
                away=frozenset({b}),
            ),
            GroupId("other"): GroupRecord(),
        },
        members={a: MemberRecord(version="1", config_fingerprint="f", log_index=3)},
        events=(
            ClusterEvent(
                index=8,
                wall_ms=9,
                group=group,
                node=a,
                kind="k",
                text="t",
                epoch=Epoch(4),
                position=at,
            ),
            ClusterEvent(
                index=9, wall_ms=9, group=None, node=b, kind="k", text="t", epoch=Epoch(0)
            ),
        ),
        log_index=9,
    )
    snapshot = Snapshot(last=(COMMAND, 9, 2), previous=(KIND_NO_OP, 8, 2), record=record)
    assert decode_snapshot("test", encode_snapshot("test", snapshot)) == snapshot


MESSAGES: list[dict[str, Any]] = [
    {"type": "request_vote", "term": 3, "last_log_index": 5, "last_log_term": 2, "transfer": True},
    {"type": "response_vote", "term": 3},
    {"type": "pre_vote_request", "term": 3, "last_log_index": 5, "last_log_term": 2},
    {"type": "pre_vote_granted", "term": 3},
    {"type": "term_notice", "term": 3},
    {"type": "timeout_now", "term": 3},
    {
        "type": "append_entries",
        "term": 3,
        "commit_index": 4,
        "prevLogIdx": 5,
        "prevLogTerm": 2,
        "entries": [(COMMAND, 6, 2), (KIND_NO_OP, 7, 3)],
    },
    {
        "type": "append_entries",
        "term": 3,
        "commit_index": 4,
        "prevLogIdx": None,
        "prevLogTerm": None,
        "entries": [],
    },
    {"type": "append_entries", "term": 3, "commit_index": 4, "serialized": (b"data", True, False)},
    {"type": "next_node_idx", "next_node_idx": 6, "reset": False, "success": True, "term": 3},
    {"type": "apply_command", "command": COMMAND, "request_id": 7},
    {"type": "apply_command", "command": COMMAND},
    {"type": "apply_command_response", "request_id": 7, "error": 4},
    {"type": "apply_command_response", "request_id": 7, "log_idx": 9, "log_term": 3},
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["type"])
def test_a_message_comes_back(message: dict[str, Any]) -> None:
    wire = pb.Envelope.FromString(message_to_wire(message).SerializeToString())
    assert message_from_wire(wire) == message


def entries(*listed: pb.LogEntry, before: int | None = 5, term: int = 3) -> pb.Envelope:
    body = pb.LogEntries(
        previous_index=before, previous_term=2 if before is not None else None, entries=listed
    )
    return pb.Envelope(append_entries=pb.AppendEntries(term=term, entries=body))


@pytest.mark.parametrize(
    "wire",
    [
        pb.Envelope(),
        pb.Envelope(session_heartbeat=pb.SessionHeartbeat()),
        pb.Envelope(append_entries=pb.AppendEntries(term=1)),
        pb.Envelope(response_vote=pb.ResponseVote(term=2**63)),
        entries(pb.LogEntry(index=7, term=2, command=COMMAND)),
        entries(pb.LogEntry(index=6, term=1, command=COMMAND)),
        entries(pb.LogEntry(index=6, term=4, command=COMMAND)),
        entries(pb.LogEntry(index=6, term=2, command=b"\x02" + pickle.dumps(["add", "x"]))),
        entries(pb.LogEntry(index=6, term=2, command=b"\x00" + pickle.dumps(0))),
        entries(pb.LogEntry(index=6, term=2, command=COMMAND), before=None),
        pb.Envelope(apply_command=pb.ApplyCommand(command=b"\x03" + pickle.dumps(1))),
        pb.Envelope(apply_command=pb.ApplyCommand(command=KIND_NO_OP)),
        pb.Envelope(apply_command_response=pb.ApplyCommandResponse(request_id=1)),
    ],
)
def test_what_is_not_quite_a_message_is_refused(wire: pb.Envelope) -> None:
    with pytest.raises(BadMessage):
        message_from_wire(wire)


def test_an_entry_split_as_pickle_is_not_sent() -> None:
    with pytest.raises(BadMessage):
        message_to_wire({**MESSAGES[6], "transmission": "start", "data": b""})


def test_no_pickle_is_loaded_from_anywhere() -> None:
    for load in (pysyncobj.pickle.loads, pysyncobj.pickle.load, pysyncobj.journal.loads):
        with pytest.raises(BadMessage, match="pickle"):
            load(pickle.dumps({}))


def test_the_library_leaves_the_processes_own_functions_alone() -> None:
    assert socket.inet_ntop(socket.AF_INET, bytes([192, 0, 2, 7])) == "192.0.2.7"
    assert socket.inet_ntop is _socket.inet_ntop


def test_another_version_of_the_library_is_refused() -> None:
    check_library()
    with pytest.raises(ConsensusError, match=r"Install pysyncobj==0\.3\.17"):
        check_library("0.3.18")
    assert len(ID) == ID_BYTES
