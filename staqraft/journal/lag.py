"""How far behind a reader of the journal is, in bytes and in age. Reads one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from staqraft.journal.cursor import Cursor, Frames
from staqraft.journal.record_codec import decode
from staqraft.model import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """`bytes` of the journal that follow a position; `since_ms`: wall clock of the first, or 0."""

    bytes: int = 0
    since_ms: int = 0


def lag(directory: Path, after: Position) -> Lag:
    """What follows `after`; nothing for a place that cannot be read, of which others say why.

    OSError, or JournalCorrupt, for a journal that cannot be looked at.
    """
    with Cursor(directory, after) as cursor:
        found = cursor.read(1)
        if not isinstance(found, Frames):
            return Lag()
        oldest = next(decode(found.data))
        return Lag(bytes=len(found.data) + cursor.bytes_left(), since_ms=oldest.wall_ms)
