"""The content of the Raft log's file: how a transaction is written down, and a file read. PURE.

    magic and layout, then transactions: mark, length, number, checksum, LogTransaction

The first transaction has everything, each later one what changed, with the number that follows the
one before. The file ends with the last whole one. Something behind that is the transaction that
was being written when power or process ended, of which nobody was told; unless a later one follows,
or the log is known to have come further (`log_mark`): then the disk has lost what it was given.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from staqraft.consensus import generations
from staqraft.consensus.codec import MAX_COUNTER, Entry
from staqraft.model import Generation, NodeId
from staqraft.wire.v1 import raft_pb2 as pb

MAGIC: Final = b"STQRLOG"
LAYOUT: Final = b"1"
_BEGIN: Final = MAGIC + LAYOUT
_MARK: Final = b"\xa7TX\n"
_HEAD: Final = struct.Struct("<4sIQI")  # mark, length of the body, number, checksum
_SEALED: Final = struct.Struct("<IQ")  # what the checksum covers, with the body


class Damaged(Exception):
    """The file is not what was written: what was found."""


class NewerLayout(Exception):
    """A newer version wrote the file; its layout."""


@dataclass(slots=True)
class Stored:
    """What the file holds. `number` counts its transactions."""

    entries: list[Entry] = field(default_factory=list)
    term: int = 0
    vote: NodeId | None = None
    commit_index: int = 1
    generation: Generation | None = None  # None: the first
    number: int = 0


@dataclass(slots=True)
class Found:
    """A file that was read: whose it is, what it holds, and how many of its bytes are that."""

    cluster: str
    node: str
    stored: Stored
    good_bytes: int


def transaction(
    cluster: str, node: NodeId, stored: Stored, *, number: int, replace_from: int | None
) -> bytes:
    """What is appended to a file to make it hold `stored`, whose entries differ from an index on.

    None: they do not.
    """
    entries = stored.entries
    wire = pb.LogTransaction(
        cluster=cluster,
        node=node,
        term=stored.term,
        vote=stored.vote,
        commit_index=min(stored.commit_index, entries[-1][1]),
        generation=generations.to_text(stored.generation) if stored.generation else None,
        replace_from=replace_from,
        last_index=entries[-1][1],
    )
    if replace_from is not None:
        for command, index, term in entries[max(0, replace_from - entries[0][1]) :]:
            wire.entries.add(index=index, term=term, command=command)
    body = wire.SerializeToString()
    crc = zlib.crc32(body, zlib.crc32(_SEALED.pack(len(body), number)))
    return _HEAD.pack(_MARK, len(body), number, crc) + body


def whole_file(cluster: str, node: NodeId, stored: Stored, *, number: int) -> bytes:
    """A file that holds `stored` and nothing else."""
    first = stored.entries[0][1]
    return _BEGIN + transaction(cluster, node, stored, number=number, replace_from=first)


def read(content: bytes) -> Found:
    """What a file holds. Damaged, NewerLayout; what its entries command is not looked at."""
    if content[: len(MAGIC)] != MAGIC or len(content) < len(_BEGIN):
        raise Damaged("it does not begin as a Raft log does")
    if content[len(MAGIC) : len(_BEGIN)] != LAYOUT:
        raise NewerLayout(repr(content[len(MAGIC) : len(_BEGIN)]))
    at, found = len(_BEGIN), None
    while (sealed := _sealed(content, at)) is not None:
        number, body, behind = sealed
        if found is not None and number != found.stored.number + 1:
            raise Damaged(f"transaction {number} follows {found.stored.number}")
        found = _apply(found, number, body, behind)
        at = behind
    if found is None:
        raise Damaged("its beginning cannot be read")
    if _follows(content, at, found.stored.number):
        raise Damaged(f"transaction {found.stored.number + 1} does not match its checksum")
    return found


def _sealed(content: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Number and body of the whole transaction at this place, and the place behind it."""
    if len(content) - at < _HEAD.size:
        return None
    mark, length, number, crc = _HEAD.unpack_from(content, at)
    behind = at + _HEAD.size + length
    if mark != _MARK or behind > len(content):
        return None
    body = content[at + _HEAD.size : behind]
    if crc != zlib.crc32(body, zlib.crc32(_SEALED.pack(length, number))):
        return None
    return number, body, behind


def _follows(content: bytes, at: int, number: int) -> bool:
    """Whether there is a transaction behind this place that is later than this number."""
    while (at := content.find(_MARK, at)) >= 0:
        sealed = _sealed(content, at)
        if sealed is not None and sealed[0] > number:
            return True
        at += 1
    return False


def _apply(found: Found | None, number: int, body: bytes, behind: int) -> Found:
    try:
        wire = pb.LogTransaction.FromString(body)
    except DecodeError:
        raise Damaged(f"transaction {number} cannot be read") from None
    if found is None:
        found = Found(cluster=wire.cluster, node=wire.node, stored=Stored(), good_bytes=0)
    elif (wire.cluster, wire.node) != (found.cluster, found.node):
        raise Damaged(f"transaction {number} is of {wire.node} of {wire.cluster}")
    stored = found.stored
    if wire.HasField("replace_from"):
        _replace(stored.entries, wire.replace_from, wire)
    if not stored.entries or stored.entries[-1][1] != wire.last_index:
        raise Damaged("its end is missing")
    if not stored.entries[-1][2] <= wire.term <= MAX_COUNTER or wire.commit_index > wire.last_index:
        raise Damaged(f"transaction {number} has a term or an index out of range")
    stored.term, stored.commit_index = wire.term, wire.commit_index
    stored.vote = NodeId(wire.vote) if wire.HasField("vote") else None
    try:
        text = wire.generation if wire.HasField("generation") else None
        stored.generation = None if text is None else generations.from_text(text)
    except ValueError as error:
        raise Damaged(f"its generation cannot be read ({error})") from error
    stored.number, found.good_bytes = number, behind
    return found


def _replace(entries: list[Entry], start: int, wire: pb.LogTransaction) -> None:
    if entries:
        del entries[max(0, start - entries[0][1]) :]
    for new in wire.entries:
        if not 0 < new.index <= MAX_COUNTER or new.term > MAX_COUNTER:
            raise Damaged(f"entry {new.index} of term {new.term} is out of range")
        if entries and new.index != entries[-1][1] + 1:
            raise Damaged(f"entry {new.index} follows {entries[-1][1]}")
        if entries and new.term < entries[-1][2]:
            raise Damaged(f"entry {new.index} has an older term than the one before it")
        entries.append((new.command, new.index, new.term))
