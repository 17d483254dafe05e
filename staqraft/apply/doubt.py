"""Records whose result rests on what a power cut left: to be looked at again."""

from __future__ import annotations

from staqraft.index import Index
from staqraft.journal.record import Inline, ObjectType, Record, Upsert
from staqraft.model import ORIGIN, Epoch, Position

_DOUBTFUL_UNTIL = "doubtful-until"


class Doubt:
    """Until which position of the journal; it is kept with the index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._until = _position(index.meta(_DOUBTFUL_UNTIL))

    def begin(self, until: Position) -> None:
        """Records up to `until` are in doubt."""
        self._until = until
        self._index.set_meta(_DOUBTFUL_UNTIL, f"{until.epoch}:{until.seq}")

    def end(self, reached: Position) -> None:
        """Everything up to `reached` was looked at."""
        if self._until != ORIGIN and reached >= self._until:
            self._until = ORIGIN
            self._index.set_meta(_DOUBTFUL_UNTIL, None)

    def about(self, record: Record) -> bool:
        """Whether this record's result is only as right as what was there before."""
        change = record.change
        return (
            record.position <= self._until
            and isinstance(change, Upsert)
            and change.metadata.type is ObjectType.FILE
            and not isinstance(change.content, Inline)
        )


def _position(text: str | None) -> Position:
    epoch, _, seq = (text or "0:0").partition(":")
    return Position(Epoch(int(epoch)), int(seq))
