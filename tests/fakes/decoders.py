"""Every decoder that faces a peer or a disk, with what it may raise and what it is fed with.

For `test_fuzz_decoders` and `scripts/fuzz`. A decoder returns what it read in a form that can be
encoded again by `encode`; reading that gives the same.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staqraft.consensus import codec, generations, log_mark, log_records
from staqraft.consensus.codec import ID_BYTES, KIND_NO_OP, KIND_REGULAR, Snapshot
from staqraft.consensus.errors import BadMessage
from staqraft.consensus.message_codec import message_from_wire, message_to_wire
from staqraft.consensus.openings import SESSION_ID_BYTES, check_opening, make_opening, named
from staqraft.consensus.snapshot_store import SnapshotStore
from staqraft.errors import JournalCorrupt, Outdated, StaqraftError
from staqraft.health import ping
from staqraft.index.digest import pack_xattrs, unpack_xattrs
from staqraft.journal import frames, record_codec, segment, state
from staqraft.journal.record import (
    Chunk,
    Inline,
    Metadata,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Upsert,
)
from staqraft.model import (
    ClusterEvent,
    ClusterRecord,
    Epoch,
    EpochStart,
    Fenced,
    FenceRung,
    Generation,
    GroupId,
    GroupRecord,
    MemberRecord,
    NodeId,
    NoteEvent,
    Position,
    Renew,
    SetInSync,
)
from staqraft.replication import frame
from staqraft.wire import tls
from staqraft.wire.v1 import raft_pb2, replication_pb2

A, B, GROUP = NodeId("a"), NodeId("b"), GroupId("default")
AT = Position(Epoch(3), 17)
IDENTITY = bytes(range(ID_BYTES))
CLUSTER = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """`decode` gives something comparable; None is "this is nothing of ours"."""

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes] | None
    errors: tuple[type[Exception], ...]
    examples: tuple[bytes, ...]
    sealed: Callable[[bytes], bytes] = bytes  # puts checksums right, so that it is looked behind


def attempt(decoder: Decoder, data: bytes) -> bool:
    """Whether `data` was accepted; then it means the same after having been encoded again."""
    try:
        found = decoder.decode(data)
    except decoder.errors as error:
        if isinstance(error, StaqraftError) and not str(error):
            raise AssertionError("an error that says nothing") from error
        return False
    if found is not None and decoder.encode is not None:
        again = decoder.decode(decoder.encode(found))
        if again != found:
            raise AssertionError(f"it read {found}, and then {again}")
    return found is not None


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some of what can happen to bytes, a few times."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(content) + 1)
        length = rng.choice((1, 1, 2, 4, 16))
        match rng.randrange(7):
            case 0 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(content):
                content[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = rng.randbytes(length)
            case 4:
                content[at:at] = content[at : at + 16 * length]
            case 5:
                content[at : at + length] = b"\xff" * length
            case _:
                del content[at:]
    return bytes(content)


# --- Raft ---------------------------------------------------------------------------------------

NOTE = NoteEvent(node=A, group=None, kind="test", text="a sentence", wall_ms=-5)
COMMANDS = (
    NOTE,
    Renew(node=A, group=GROUP, epoch=Epoch(3), renewal=9, position=AT),
    SetInSync(
        node=A,
        group=GROUP,
        epoch=Epoch(3),
        expected=frozenset({A}),
        expected_index=8,
        members=frozenset({A, B}),
        reason="why",
    ),
    Fenced(node=A, group=GROUP, epoch=Epoch(3), loser=B, rung=FenceRung.DEVICE, detail="off"),
)
PROPOSALS = tuple(codec.encode_proposal(IDENTITY, command) for command in COMMANDS)
ENTRY = KIND_REGULAR + PROPOSALS[0]
SNAPSHOT = Snapshot(
    last=(ENTRY, 9, 2),
    previous=(KIND_NO_OP, 8, 2),
    record=ClusterRecord(
        groups={
            GROUP: GroupRecord(
                epoch=Epoch(3),
                active=A,
                in_sync=frozenset({A, B}),
                position=AT,
                epoch_starts=(EpochStart(epoch=Epoch(3), seq=4),),
            )
        },
        members={A: MemberRecord(version="1", config_fingerprint="f", log_index=3)},
        events=(
            ClusterEvent(
                index=3, wall_ms=1, group=GROUP, node=A, kind="k", text="t", epoch=Epoch(3)
            ),
        ),
        log_index=9,
    ),
)
MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "request_vote", "term": 3, "last_log_index": 5, "last_log_term": 2, "transfer": True},
    {"type": "pre_vote_request", "term": 3, "last_log_index": 5, "last_log_term": 2},
    {
        "type": "append_entries",
        "term": 3,
        "commit_index": 4,
        "prevLogIdx": 5,
        "prevLogTerm": 2,
        "entries": [(ENTRY, 6, 2), (KIND_NO_OP, 7, 3)],
    },
    {"type": "append_entries", "term": 3, "commit_index": 4, "serialized": (b"data", True, False)},
    {"type": "next_node_idx", "next_node_idx": 6, "reset": False, "success": True, "term": 3},
    {"type": "apply_command", "command": ENTRY, "request_id": 7},
    {"type": "apply_command_response", "request_id": 7, "log_idx": 9, "log_term": 3},
)
SESSION = bytes(SESSION_ID_BYTES)
_SNAPSHOTS = SnapshotStore(Path("nowhere"), cluster=CLUSTER)


def _message(data: bytes) -> dict[str, Any]:
    return message_from_wire(_parsed(raft_pb2.Envelope, data))


def _opening(data: bytes) -> Generation:
    envelope = _parsed(raft_pb2.Envelope, data)
    return named(check_opening([envelope], CLUSTER, A, None), (A, B))


def _parsed(kind: type[Any], data: bytes) -> Any:
    """gRPC parses before we see it, and ends a call that it cannot parse."""
    try:
        return kind.FromString(data)
    except Exception as error:
        raise BadMessage("gRPC ends the call") from error


def _snapshot_file(content: bytes) -> bytes:
    return (
        b"STQRSNAP"
        + zlib.crc32(content).to_bytes(4, "little")
        + len(content).to_bytes(8, "little")
        + content
    )


def _generation(data: bytes) -> Generation:
    return generations.from_text(data.decode(errors="surrogateescape"))


ALONE = Generation(number=2, members=frozenset({A}), founder=A, rung=FenceRung.DEVICE)
STORED = log_records.Stored(
    entries=[(KIND_NO_OP, 1, 0), (KIND_REGULAR + PROPOSALS[0], 2, 1)],
    term=3,
    vote=B,
    generation=ALONE,
    number=1,
)
LOG_FILE = log_records.whole_file(CLUSTER, A, STORED, number=1)
LOG_TAIL = log_records.transaction(CLUSTER, A, STORED, number=2, replace_from=2)


def _log(data: bytes) -> tuple[str, NodeId, log_records.Stored] | None:
    found = log_records.read(data)
    return found.cluster, NodeId(found.node), found.stored


def _reseal_log(data: bytes) -> bytes:
    """The lengths are believed, the checksums made right."""
    content, at = bytearray(data), len(log_records._BEGIN)
    while at + log_records._HEAD.size <= len(content):
        _, length, number, _ = log_records._HEAD.unpack_from(content, at)
        begin = at + log_records._HEAD.size
        body = bytes(content[begin : begin + length])
        crc = zlib.crc32(body, zlib.crc32(log_records._SEALED.pack(len(body), number)))
        content[at:begin] = log_records._HEAD.pack(log_records._MARK, len(body), number, crc)
        at = begin + len(body)
    return bytes(content)


RAFT = (
    Decoder(
        name="command",
        decode=codec.decode_proposal,
        encode=lambda found: codec.encode_proposal(*found),
        errors=(BadMessage, Outdated),
        examples=PROPOSALS,
    ),
    Decoder(
        name="snapshot",
        decode=lambda data: codec.decode_snapshot(CLUSTER, data),
        encode=lambda found: codec.encode_snapshot(CLUSTER, found),
        errors=(BadMessage, Outdated),
        examples=(codec.encode_snapshot(CLUSTER, SNAPSHOT),),
    ),
    Decoder(
        name="snapshot file",
        decode=_SNAPSHOTS.decode,
        encode=lambda found: _snapshot_file(codec.encode_snapshot(CLUSTER, found)),
        errors=(BadMessage, Outdated),
        examples=(_snapshot_file(codec.encode_snapshot(CLUSTER, SNAPSHOT)),),
        sealed=lambda data: _snapshot_file(data[20:]),
    ),
    Decoder(
        name="message",
        decode=_message,
        encode=lambda found: message_to_wire(found).SerializeToString(),
        errors=(BadMessage, Outdated),
        examples=tuple(message_to_wire(one).SerializeToString() for one in MESSAGES),
    ),
    Decoder(
        name="opening",
        decode=_opening,
        encode=None,
        errors=(BadMessage,),
        examples=(
            raft_pb2.Envelope(
                session_open=make_opening(CLUSTER, A, SESSION, "1.0", ALONE)
            ).SerializeToString(),
        ),
    ),
    Decoder(
        name="generation",
        decode=_generation,
        encode=lambda found: generations.to_text(found).encode(errors="surrogateescape"),
        errors=(ValueError,),  # which the log store turns into StoreCorrupt
        examples=(generations.to_text(ALONE).encode(),),
    ),
    Decoder(
        name="mark",
        decode=log_mark._number,
        encode=log_mark._slot,
        errors=(),
        examples=(log_mark._slot(0), log_mark._slot(1 << 40)),
        sealed=lambda data: data[:16] + zlib.crc32(data[:16]).to_bytes(4, "little"),
    ),
    Decoder(
        name="log file",
        decode=_log,
        encode=lambda found: log_records.whole_file(*found, number=found[2].number),
        errors=(log_records.Damaged, log_records.NewerLayout),
        examples=(LOG_FILE, LOG_FILE + LOG_TAIL),
        sealed=_reseal_log,
    ),
)

# --- the journal and what is replicated -----------------------------------------------------------

FILE = Metadata(
    type=ObjectType.FILE,
    mode=0o600,
    uid=8,
    gid=8,
    mtime_ns=1_700_000_000_000,
    size=3,
    xattrs=((b"user.x", b"y"),),
)
RECORDS = (
    Record(
        tree="web",
        path=b"a/b",
        change=Upsert(metadata=FILE, digest=bytes(16), content=Inline(b"abc")),
        position=AT,
    ),
    Record(
        tree="web",
        path=b"c",
        change=Upsert(metadata=FILE, digest=bytes(16), content=MovedFrom(b"a/b")),
        position=Position(AT.epoch, AT.seq + 1),
    ),
    Record(tree="web", path=b"d", change=Remove(), position=Position(AT.epoch, AT.seq + 2)),
    Record(
        tree="web",
        path=b"e",
        change=Chunk(stage=4, offset=9, data=b"more"),
        position=Position(AT.epoch, AT.seq + 3),
    ),
)
FRAMES = b"".join(map(record_codec.encode, RECORDS))
HEADER = segment.Header(
    generation=1, cluster=CLUSTER, group=GROUP, previous=AT, created_ms=1_700_000_000_000
)


def _reseal(data: bytes) -> bytes:
    """The frames' lengths are believed, their checksums made right."""
    content, at = bytearray(data), 0
    while (length := frames.length_at(bytes(content), at)) and at + length <= len(content):
        body = bytes(content[at + frames.HEADER_BYTES : at + length])
        content[at : at + length] = frames.seal(body)
        at += length
    return bytes(content)


def _batch(data: bytes) -> bytes:
    batch = _parsed(replication_pb2.Batch, data)
    return frame.decompress(batch.codec, batch.raw_bytes, batch.frames)


def _as_batch(raw: bytes) -> bytes:
    kind, packed = frame.compress(raw, "always")
    return replication_pb2.Batch(codec=kind, raw_bytes=len(raw), frames=packed).SerializeToString()


def _header(data: bytes) -> segment.Header:
    return segment.unpack(data, Path("segment"))


def _seal_header(data: bytes) -> bytes:
    page = data[: segment.HEADER_BYTES].ljust(segment.HEADER_BYTES, b"\0")
    at = segment._CRC_AT
    blank = page[:at] + bytes(4) + page[at + 4 :]
    return page[:at] + zlib.crc32(blank).to_bytes(4, "little") + page[at + 4 :]


JOURNAL = (
    Decoder(
        name="records",
        decode=lambda data: list(record_codec.decode(data)),
        encode=lambda found: b"".join(map(record_codec.encode, found)),
        errors=(JournalCorrupt,),
        examples=(FRAMES, *map(record_codec.encode, RECORDS)),
        sealed=_reseal,
    ),
    Decoder(
        name="frames",
        decode=lambda data: frames.scan(data, 0, Position(AT.epoch, AT.seq - 1)).records or None,
        encode=None,
        errors=(),
        examples=(FRAMES,),
        sealed=_reseal,
    ),
    Decoder(
        name="batch",
        decode=_batch,
        encode=_as_batch,
        errors=(JournalCorrupt, BadMessage),
        examples=(_as_batch(FRAMES), _as_batch(bytes(100_000))),
    ),
    Decoder(
        name="segment header",
        decode=_header,
        encode=None,
        errors=(JournalCorrupt,),
        examples=(segment.pack(HEADER),),
        sealed=_seal_header,
    ),
    Decoder(
        name="writer's note",
        decode=state.unpack,
        encode=None,
        errors=(),
        examples=(bytes(4 + state._BODY.size),),
        sealed=lambda data: zlib.crc32(data[4:]).to_bytes(4, "little") + data[4:],
    ),
    Decoder(
        name="extended attributes",
        decode=unpack_xattrs,
        encode=pack_xattrs,
        errors=(ValueError,),  # which the index turns into IndexDamaged
        examples=(pack_xattrs(((b"user.a", b"1"), (b"user.b", b""))),),
    ),
    Decoder(
        name="identity",
        decode=tls.parse_identity,
        encode=None,
        errors=(),
        examples=(b"staqraft://test/a", b"staqraft://test/admin/ann"),
    ),
)

_ECHO = bytes([8, 0, 0, 0, 0, 7, 0, 9]) + ping.MARK
NETWORK = (
    Decoder(
        name="pings",
        decode=lambda data: ping.parse(data, ip_header=True),
        encode=None,
        errors=(),
        examples=(b"\x45" + bytes(19) + _ECHO, b"\x46" + bytes(23) + _ECHO),
    ),
)

DECODERS = (*RAFT, *JOURNAL, *NETWORK)


def endless(decoder: Decoder, rng: random.Random) -> Iterator[bytes]:
    """Noise, and examples that something happened to, with and without right checksums."""
    while True:
        example = rng.choice(decoder.examples)
        yield rng.randbytes(rng.randrange(120))
        for _ in range(20):
            spoiled = mutated(example, rng)
            yield spoiled
            yield decoder.sealed(spoiled)
