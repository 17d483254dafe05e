"""Records, and journals of them, for tests that care about bytes and order and not about files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from staqraft.config.schema import Journal as Limits
from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.journal import Journal
from staqraft.journal.record import Inline, MailKind, Metadata, ObjectType, Record, Upsert
from staqraft.journal.record_codec import decode
from staqraft.model import ORIGIN, GroupId, Position

LAB = "lab"
MAIL = GroupId("mail")
WALL_MS = 1_700_000_000_000
BOOT = "boot-1"


def delivery(number: int, size: int = 4096, *, compressible: bool = True) -> Record:
    """A mail of `size` bytes; the same number gives the same bytes."""
    source = random.Random(number)
    data = b"Received: by lab; %d\n" % number
    body = source.randbytes(size) if not compressible else (data * (size // len(data) + 1))[:size]
    return Record(
        tree="mail",
        path=b"lea/new/%d.lab" % number,
        change=Upsert(
            metadata=Metadata(
                type=ObjectType.FILE, mode=0o600, uid=8, gid=8, mtime_ns=WALL_MS, size=size
            ),
            digest=source.randbytes(16),
            content=Inline(body),
        ),
        mail=MailKind.DELIVER,
        wall_ms=WALL_MS,
    )


def deliveries(first: int, count: int, size: int = 200) -> list[Record]:
    """Mails numbered from `first`."""
    return [delivery(number, size) for number in range(first, first + count)]


def open_journal(
    directory: Path,
    *,
    boot: str = BOOT,
    cluster: str = LAB,
    limits: Limits | None = None,
    wall_ms: int = WALL_MS,
) -> Journal:
    """The writer of a test's journal."""
    return Journal.open(
        directory,
        cluster=cluster,
        group=MAIL,
        limits=limits or Limits(),
        boot_id=boot,
        now_ms=lambda: wall_ms,
    )


def read_all(directory: Path, after: Position = ORIGIN) -> Iterator[Record]:
    """Every record behind `after`, as a reader of its own sees them now."""
    with Cursor(directory, after) as cursor:
        while (found := cursor.read(1 << 20)) is not None:
            assert isinstance(found, Frames), found
            yield from decode(found.data)


def positions(directory: Path, after: Position = ORIGIN) -> list[Position]:
    """The positions of every record behind `after`."""
    return [record.position for record in read_all(directory, after)]
