"""Raft's messages as protobuf, and back.

The Raft library and our guards around it speak in dictionaries; `RaftMessage` is one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from staqraft.consensus.codec import (
    KIND_REGULAR,
    MAX_COUNTER,
    Entry,
    decode_proposal,
    entry_from_wire,
)
from staqraft.consensus.errors import BadMessage
from staqraft.errors import Outdated
from staqraft.wire.v1 import raft_pb2 as pb

RaftMessage = dict[str, Any]

MAX_CHUNK_BYTES: Final = 1 << 20


def message_to_wire(message: RaftMessage) -> pb.Envelope:
    """A message dictionary in its envelope. BadMessage for one that is not to be sent."""
    try:
        return _WRITERS[message["type"]](message)
    except (KeyError, ValueError, TypeError) as error:
        raise BadMessage(f"the Raft library made a message that is not known: {error!r}") from error


def message_from_wire(wire: pb.Envelope) -> RaftMessage:
    """The message dictionary. BadMessage for anything that is not a message of Raft."""
    kind = wire.WhichOneof("message")
    reader = _READERS.get(kind or "")
    if reader is None:
        raise BadMessage(f"a Raft message of unknown kind {kind!r}")
    message = reader(getattr(wire, str(kind)))
    for value in message.values():
        if type(value) is int and value > MAX_COUNTER:
            raise BadMessage(f"a Raft message of kind {kind!r} with a counter of {value}")
    return message


def _append_entries_to_wire(message: RaftMessage) -> pb.Envelope:
    # Most of what is ever sent: filled in place, nothing is made twice.
    envelope = pb.Envelope()
    wire = envelope.append_entries
    wire.term = message["term"]
    wire.commit_index = message["commit_index"]
    if "serialized" in message:
        data, first, last = message["serialized"]
        wire.snapshot.CopyFrom(pb.SnapshotChunk(data=data, first=first, last=last))
    elif "transmission" in message:
        # It splits, as pickle, entries larger than a batch. Commands are bounded far below that.
        raise ValueError("a split entry")
    else:
        body = wire.entries
        body.SetInParent()
        if message["prevLogIdx"] is not None:
            body.previous_index = message["prevLogIdx"]
            body.previous_term = message["prevLogTerm"]
        for command, index, term in message["entries"]:
            body.entries.add(command=command, index=index, term=term)
    return envelope


def _append_entries_from_wire(m: pb.AppendEntries) -> RaftMessage:
    message: RaftMessage = {
        "type": "append_entries",
        "term": m.term,
        "commit_index": m.commit_index,
    }
    match m.WhichOneof("body"):
        case "entries":
            body = m.entries
            known = body.HasField("previous_index") and body.HasField("previous_term")
            message["prevLogIdx"] = body.previous_index if known else None
            message["prevLogTerm"] = body.previous_term if known else None
            if body.entries and not known:
                raise BadMessage("entries of a log whose place in it is not told")
            message["entries"] = _following_entries(body, m.term)
        case "snapshot":
            chunk = m.snapshot
            if len(chunk.data) > MAX_CHUNK_BYTES:
                raise BadMessage(f"a piece of a snapshot with {len(chunk.data)} bytes")
            message["serialized"] = (chunk.data, chunk.first, chunk.last)
        case _:
            raise BadMessage("AppendEntries with neither entries nor a snapshot")
    return message


def _following_entries(body: pb.LogEntries, newest_term: int) -> list[Entry]:
    """The entries, each next to the one before, with terms that do not fall, and readable."""
    index, term = body.previous_index, body.previous_term
    entries: list[Entry] = []
    for wire in body.entries:
        entry = entry_from_wire(wire)
        if entry[1] != index + 1 or not term <= entry[2] <= newest_term:
            raise BadMessage(
                f"entry {entry[1]} of term {entry[2]} does not follow {index} of {term}"
            )
        _, index, term = entry
        entries.append(entry)
    return entries


def _next_node_index_to_wire(message: RaftMessage) -> pb.Envelope:
    envelope = pb.Envelope()
    wire = envelope.next_node_index
    wire.next_node_index = message["next_node_idx"]
    wire.reset = message["reset"]
    wire.success = message["success"]
    wire.term = message["term"]
    return envelope


def _apply_command_to_wire(message: RaftMessage) -> pb.Envelope:
    return pb.Envelope(
        apply_command=pb.ApplyCommand(
            command=message["command"], request_id=message.get("request_id")
        )
    )


def _apply_command_from_wire(m: pb.ApplyCommand) -> RaftMessage:
    if m.command[:1] != KIND_REGULAR:
        raise BadMessage(f"a forwarded command of kind {m.command[:1]!r}")
    try:
        decode_proposal(m.command[1:])
    except Outdated as error:
        # It is in no log yet; who proposes it learns from this node's announcement what to use.
        raise BadMessage(str(error)) from error
    message: RaftMessage = {"type": "apply_command", "command": m.command}
    if m.HasField("request_id"):
        message["request_id"] = m.request_id
    return message


def _response_to_wire(message: RaftMessage) -> pb.Envelope:
    return pb.Envelope(
        apply_command_response=pb.ApplyCommandResponse(
            request_id=message["request_id"],
            error=message.get("error"),
            log_index=message.get("log_idx"),
            log_term=message.get("log_term"),
        )
    )


def _response_from_wire(m: pb.ApplyCommandResponse) -> RaftMessage:
    message: RaftMessage = {"type": "apply_command_response", "request_id": m.request_id}
    if m.HasField("error"):
        message["error"] = m.error
    elif m.HasField("log_index") and m.HasField("log_term"):
        message["log_idx"], message["log_term"] = m.log_index, m.log_term
    else:
        raise BadMessage("an answer to a forwarded command that says nothing")
    return message


_WRITERS: Final[dict[str, Callable[[RaftMessage], pb.Envelope]]] = {
    "request_vote": lambda m: pb.Envelope(
        request_vote=pb.RequestVote(
            term=m["term"],
            last_log_index=m["last_log_index"],
            last_log_term=m["last_log_term"],
            transfer=m.get("transfer", False),
        )
    ),
    "response_vote": lambda m: pb.Envelope(response_vote=pb.ResponseVote(term=m["term"])),
    "pre_vote_request": lambda m: pb.Envelope(
        pre_vote_request=pb.PreVoteRequest(
            term=m["term"], last_log_index=m["last_log_index"], last_log_term=m["last_log_term"]
        )
    ),
    "pre_vote_granted": lambda m: pb.Envelope(pre_vote_granted=pb.PreVoteGranted(term=m["term"])),
    "term_notice": lambda m: pb.Envelope(term_notice=pb.TermNotice(term=m["term"])),
    "timeout_now": lambda m: pb.Envelope(timeout_now=pb.TimeoutNow(term=m["term"])),
    "append_entries": _append_entries_to_wire,
    "next_node_idx": _next_node_index_to_wire,
    "apply_command": _apply_command_to_wire,
    "apply_command_response": _response_to_wire,
}


def _standing(kind: str) -> Callable[[Any], RaftMessage]:
    return lambda m: {
        "type": kind,
        "term": m.term,
        "last_log_index": m.last_log_index,
        "last_log_term": m.last_log_term,
    }


def _only_term(kind: str) -> Callable[[Any], RaftMessage]:
    return lambda m: {"type": kind, "term": m.term}


_READERS: Final[dict[str, Callable[[Any], RaftMessage]]] = {
    "request_vote": lambda m: {**_standing("request_vote")(m), "transfer": m.transfer},
    "response_vote": _only_term("response_vote"),
    "pre_vote_request": _standing("pre_vote_request"),
    "pre_vote_granted": _only_term("pre_vote_granted"),
    "term_notice": _only_term("term_notice"),
    "timeout_now": _only_term("timeout_now"),
    "append_entries": _append_entries_from_wire,
    "next_node_index": lambda m: {
        "type": "next_node_idx",
        "next_node_idx": m.next_node_index,
        "reset": m.reset,
        "success": m.success,
        "term": m.term,
    },
    "apply_command": _apply_command_from_wire,
    "apply_command_response": _response_from_wire,
}
