"""What is kept of a round that failed: the processes' logs, both journals and indexes, in words."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from fakes.data_pair import DataNode
from staqraft.journal import segment
from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.record import Chunk, Delta, Inline, Record, Remove, Upsert
from staqraft.journal.record_codec import decode
from torture.ground import Ground, group_dir

_READ_BYTES = 1 << 20


def evidence(ground: Ground) -> str:
    """To be asked while the ground still stands."""
    lines: list[str] = []
    for node in (ground.pair.a, ground.pair.b):
        lines += (f"--- {node.node}: log", node.log.read_text(errors="replace"))
        lines += (f"--- {node.node}: journal", *_journal(node))
        lines += (f"--- {node.node}: index", *_index(node))
    return "\n".join(lines)


def _journal(node: DataNode) -> Iterator[str]:
    directory = group_dir(node) / "journal"
    for name in segment.listing(directory)[:1]:
        path = name.segment(directory)
        with path.open("rb") as file:
            before = segment.read_header(file.fileno(), path).previous
        with Cursor(directory, before) as cursor:
            while isinstance(found := cursor.read(_READ_BYTES), Frames):
                yield from (_words(record) for record in decode(found.data))
            yield f"ends with {found}"


def _words(record: Record) -> str:
    what = ""
    match record.change:
        case Remove():
            what = "remove"
        case Chunk(stage=stage, offset=offset):
            what = f"chunk of {stage} at {offset}"
        case Upsert(metadata=metadata, content=content):
            told = type(content).__name__ if isinstance(content, Inline | Delta) else repr(content)
            what = f"{metadata.type.name} {metadata.size} {metadata.mtime_ns} {told}"
    return f"{record.position} {record.path!r}: {what}"


def _index(node: DataNode) -> Iterator[str]:
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(group_dir(node) / "index.sqlite")) as index,
    ):
        yield from (f"{key}={value}" for key, value in index.execute("SELECT * FROM meta"))
        columns = "id, parent, name, type, size, ino, ctime_ns, origin_epoch, origin_seq, mtime_ns"
        for row in index.execute(f"SELECT {columns} FROM entries ORDER BY id"):
            yield str(row)
