"""Records as bytes and back: the only place that knows both the values and their protobuf form.

The position is written by hand in front of the rest of the message, so that it stands at a known
place: whoever moves frames (stream, cursor) reads it without parsing the record, and the journal
gives a record its number without serialising it twice. For protobuf it is an ordinary field.
The bytes of a large piece, which stand last, are written and read by hand, too: each time that
protobuf hands them on it copies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from google.protobuf.message import DecodeError

from staqraft.errors import JournalCorrupt
from staqraft.journal import frames
from staqraft.journal.record import (
    Change,
    Chunk,
    Content,
    Delta,
    HardLinkTo,
    Inline,
    MailKind,
    Metadata,
    MovedFrom,
    ObjectType,
    Record,
    Remove,
    Staged,
    Upsert,
)
from staqraft.model import Epoch, Position
from staqraft.wire.v1 import types_pb2 as pb

_MAIL_TO_WIRE = {
    MailKind.DELIVER: pb.MAIL_KIND_DELIVER,
    MailKind.FLAGS: pb.MAIL_KIND_FLAGS,
    MailKind.EXPUNGE: pb.MAIL_KIND_EXPUNGE,
    MailKind.FOLDER: pb.MAIL_KIND_FOLDER,
}
_LARGE_BYTES = 64 << 10
_CHUNK_TAG = 0x4A  # field 9 of Record, a message
_STAGE_TAG, _OFFSET_TAG, _DATA_TAG = 0x08, 0x10, 0x1A  # fields of Chunk
_WITH_LENGTH = 2
_U64 = 2**64 - 1
_SECOND_NS = 10**9
_KNOWN_WIRE_TYPES = (0, _WITH_LENGTH)
_TYPES = {int(kind): kind for kind in ObjectType}
_MAIL_FROM_WIRE = {int(wire): kind for kind, wire in _MAIL_TO_WIRE.items()}


def encode(record: Record) -> bytes:
    """The record as one frame, with the position that it has."""
    return encode_at(record, record.position)


def encode_at(record: Record, position: Position) -> bytes:
    """The record as one frame, numbered `position` whatever its own says."""
    return _frame(frames.position_prefix(position), record)


def decode(data: bytes) -> Iterator[Record]:
    """The records of whole frames, each checked; JournalCorrupt when one is damaged or cut."""
    offset = 0
    while offset < len(data):
        match frames.frame_at(data, offset):
            case frames.Frame(end=end):
                yield _record(memoryview(data)[offset + frames.HEADER_BYTES : end])
                offset = end
            case fault:
                reason = f"frame at byte {offset} of {len(data)}: {frames.describe(fault)}"
                raise JournalCorrupt(reason)


def encode_from(records: Iterable[Record], epoch: Epoch, seq: int) -> Iterator[bytes]:
    """Frames of records that are numbered from `seq` on."""
    for prefix, record in zip(frames.position_prefixes(epoch, seq), records, strict=False):
        yield _frame(prefix, record)


def decode_checked(data: bytes) -> Iterator[Record]:
    """The records of frames that a cursor has checked and given out."""
    return map(_record, frames.bodies(data))


def _frame(prefix: bytes, record: Record) -> bytes:
    change = record.change
    if isinstance(change, Chunk) and len(change.data) >= _LARGE_BYTES:
        head = pb.Chunk(stage=change.stage, offset=change.offset).SerializeToString()
        head += bytes((_DATA_TAG,)) + frames.varint(len(change.data))
        size = frames.varint(len(head) + len(change.data))
        rest = _message(record).SerializeToString()
        return frames.seal(prefix, rest, bytes((_CHUNK_TAG,)), size, head, change.data)
    return frames.seal(prefix, _body(record))


def _message(record: Record) -> pb.Record:
    message = pb.Record(
        tree=record.tree, path=record.path, before=record.before, wall_ms=record.wall_ms
    )
    if record.mail is not None:
        message.mail = _MAIL_TO_WIRE[record.mail]
    return message


def _body(record: Record) -> bytes:
    message = _message(record)
    match record.change:
        case Upsert() as upsert:
            _fill_upsert(message.upsert, upsert)
        case Remove():
            message.remove.SetInParent()
        case Chunk(stage=stage, offset=offset, data=data):
            chunk = message.chunk
            chunk.SetInParent()
            chunk.stage, chunk.offset, chunk.data = stage, offset, data
    return message.SerializeToString()


def _fill_upsert(message: pb.Upsert, upsert: Upsert) -> None:
    message.digest = upsert.digest
    fill_metadata(message.metadata, upsert.metadata)
    match upsert.content:
        case None:
            pass
        case Inline(data=data):
            message.inline = data
        case Delta(base=base, extents=extents):
            message.delta.base_digest = base
            for offset, piece in extents:
                message.delta.extents.add(offset=offset, data=piece)
        case Staged(stage=stage):
            message.staged.SetInParent()
            message.staged.stage = stage
        case MovedFrom(path=path):
            message.moved_from = path
        case HardLinkTo(path=path):
            message.hard_link_to = path


def fill_metadata(message: pb.Metadata, metadata: Metadata) -> None:
    """Copies the value into its protobuf form."""
    message.type = cast("pb.ObjectType", int(metadata.type))
    message.mode = metadata.mode
    message.uid = metadata.uid
    message.gid = metadata.gid
    try:
        message.mtime_ns = metadata.mtime_ns
    except ValueError:  # anybody may give a file a time of the year 2300
        message.mtime_more_s, message.mtime_ns = divmod(metadata.mtime_ns, _SECOND_NS)
    message.size = metadata.size
    message.symlink_target = metadata.symlink_target
    message.rdev = metadata.rdev
    for name, value in metadata.xattrs:
        message.xattrs.add(name=name, value=value)


def metadata_from(message: pb.Metadata) -> Metadata:
    """The value of a protobuf Metadata; JournalCorrupt for an object type that we do not know."""
    kind = _TYPES.get(message.type)
    if kind is None:
        text = (
            f"a record speaks of object type {message.type}, which this version does not know: "
            "run the same StaqRaft version on both replicas"
        )
        raise JournalCorrupt(text)
    return Metadata(
        type=kind,
        mode=message.mode,
        uid=message.uid,
        gid=message.gid,
        mtime_ns=message.mtime_ns + message.mtime_more_s * _SECOND_NS,
        size=message.size,
        symlink_target=message.symlink_target,
        rdev=message.rdev,
        xattrs=tuple((x.name, x.value) for x in message.xattrs) if message.xattrs else (),
    )


def _record(body: bytes | memoryview) -> Record:
    piece = _large_piece(body) if len(body) >= _LARGE_BYTES else None
    try:
        message = pb.Record.FromString(bytes(body if piece is None else body[: piece[0]]))
    except DecodeError as error:
        text = f"a record's checksum is right but it cannot be read ({error}): report this"
        raise JournalCorrupt(text) from error
    return Record(
        tree=message.tree,
        path=message.path,
        change=_change(message) if piece is None else piece[1],
        position=Position(Epoch(message.position.epoch), message.position.seq),
        before=message.before,
        mail=_MAIL_FROM_WIRE.get(message.mail),
        wall_ms=message.wall_ms,
    )


def _large_piece(body: bytes | memoryview) -> tuple[int, Chunk] | None:
    """Where the chunk at a record's end begins, and that; None: protobuf is to read it all."""
    view, end = memoryview(body), len(body)
    begin, tag, at = 0, *frames.read_varint(view, 0, end)
    while at < end and tag != _CHUNK_TAG:
        if tag & 7 not in _KNOWN_WIRE_TYPES:
            return None
        number, at = frames.read_varint(view, at, end)
        begin = at = at + (number if tag & 7 == _WITH_LENGTH else 0)
        tag, at = frames.read_varint(view, at, end)
    size, at = frames.read_varint(view, at, end)
    if at + size != end:
        return None
    fields = {_STAGE_TAG: 0, _OFFSET_TAG: 0}
    while at < end and (tag := view[at]) in fields:
        fields[tag], at = frames.read_varint(view, at + 1, end)
    if at >= end or view[at] != _DATA_TAG or max(fields.values()) > _U64:
        return None
    length, at = frames.read_varint(view, at + 1, end)
    if at + length != end:
        return None
    stage, offset = fields.values()
    return begin, Chunk(stage=stage, offset=offset, data=bytes(view[at:]))


def _change(message: pb.Record) -> Change:
    match message.WhichOneof("change"):
        case "upsert":
            upsert = message.upsert
            return Upsert(
                metadata=metadata_from(upsert.metadata),
                digest=upsert.digest,
                content=_content(upsert),
            )
        case "remove":
            return Remove()
        case "chunk":
            chunk = message.chunk
            return Chunk(stage=chunk.stage, offset=chunk.offset, data=chunk.data)
    text = (
        f"record {message.position.epoch}:{message.position.seq} has a change of an unknown kind: "
        "run the same StaqRaft version on both replicas"
    )
    raise JournalCorrupt(text)


def _content(upsert: pb.Upsert) -> Content | None:
    match upsert.WhichOneof("content"):
        case "inline":
            return Inline(upsert.inline)
        case "delta":
            delta = upsert.delta
            return Delta(delta.base_digest, tuple((e.offset, e.data) for e in delta.extents))
        case "staged":
            return Staged(upsert.staged.stage)
        case "moved_from":
            return MovedFrom(upsert.moved_from)
        case "hard_link_to":
            return HardLinkTo(upsert.hard_link_to)
    return None
