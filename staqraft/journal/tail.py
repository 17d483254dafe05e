"""The newest records of a journal, for people: read beside whoever writes it, without its lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from staqraft.errors import JournalCorrupt, JournalError
from staqraft.journal import segment
from staqraft.journal.cursor import Corrupt, Cursor, Frames, Trimmed
from staqraft.journal.record import Record
from staqraft.journal.record_codec import decode
from staqraft.model import ORIGIN, Position

Wanted = Callable[[Record], bool]

_READ_BYTES: Final = 1 << 20
_LOOK_AGAIN: Final = 8
_ANY_SEQ: Final = 1 << 63


class Parted(JournalError):
    """What follows a place is not in the journal any more: it was trimmed, or begun anew."""

    retryable = True


def newest(
    directory: Path, count: int, wanted: Wanted = lambda _: True
) -> tuple[list[Record], Position]:
    """The last `count` records that are wanted, oldest first, and the position behind all.

    Reads backwards, a piece of a segment at a time, until there are enough. JournalCorrupt when
    something on the way is damaged. An empty journal: ([], ORIGIN).
    """
    for _ in range(_LOOK_AGAIN):
        try:
            return _newest(directory, count, wanted)
        except FileNotFoundError:
            continue  # trimmed or reset while it was looked at
    raise JournalCorrupt(f"the journal in {directory} changes faster than it can be read")


def behind(cursor: Cursor) -> Iterator[list[Record]]:
    """What follows the cursor's place, in portions, to the journal's present end.

    JournalCorrupt when something is damaged, Parted when the journal does not go on there.
    """
    while True:
        match cursor.read(_READ_BYTES):
            case Frames(data=data):
                yield list(decode(data))
            case Corrupt(reason=reason):
                raise JournalCorrupt(reason)
            case Trimmed(reason=reason):
                raise Parted(reason)
            case None:
                return


def _newest(directory: Path, count: int, wanted: Wanted) -> tuple[list[Record], Position]:
    found: list[Record] = []
    end: Position | None = None
    upto = _ANY_SEQ
    for start in _places(directory):
        try:
            last, part = _between(directory, start, upto)
        except Parted:
            break  # what is older was trimmed just now
        end = last if end is None else end
        found = [*filter(wanted, part), *found]
        if len(found) >= count:
            break
        upto = start.seq
    return found[len(found) - count :] if count < len(found) else found, end or ORIGIN


def _places(directory: Path) -> Iterator[Position]:
    """Positions at which reading can begin, from the end to the start."""
    for name in reversed(segment.listing(directory)):
        seq = _ANY_SEQ
        while (entry := segment.nearest_entry(name.index(directory), seq)) is not None:
            yield entry[0]
            seq = entry[0].seq - 1
        path = name.segment(directory)
        with path.open("rb") as file:
            yield segment.unpack(file.read(segment.HEADER_BYTES), path).previous


def _between(directory: Path, start: Position, upto: int) -> tuple[Position, list[Record]]:
    """The records behind `start`, to the one with this seq or the end; the last one's position."""
    records: list[Record] = []
    with Cursor(directory, start) as cursor:
        for portion in behind(cursor):
            records += [record for record in portion if record.position.seq <= upto]
            if portion[-1].position.seq >= upto:
                break
    return (records[-1].position if records else start), records
