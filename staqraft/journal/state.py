"""The writer's note beside the segments: what is surely durable, and how the last writer ended.

`end` and `last` are written after each sync, without syncing the note itself: they are a lower
bound of what is durable. That is what tells a torn tail (behind it: cut) from damage (before it: a
reconcile), lets the journal open without reading a whole segment, and lets readers find the end.

`clean` and `boot_id` tell whether records can be missing: after a crash of the process the page
cache still has them, after a power cut only what was synced is there. `epoch` is the newest epoch
that ever wrote here; `lost_epoch`, when not 0, is an epoch whose tail was lost: to go on in that
same epoch would give old positions to new records.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from staqraft.model import NO_EPOCH, ORIGIN, Epoch, Position

FILE_NAME = "writer.state"
_MAGIC = b"STAQWRS1"
_BODY = Struct("<8s?QQQQQQQ64s")
_CRC_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterState:
    """The note. `generation` and `first_seq` name the segment that `end` is an offset of."""

    clean: bool = False
    generation: int = 0
    first_seq: int = 0
    end: int = 0
    last: Position = ORIGIN
    epoch: Epoch = NO_EPOCH
    lost_epoch: Epoch = NO_EPOCH
    boot_id: str = ""


def pack(state: WriterState) -> bytes:
    """The note's bytes; small enough for one sector, so that they change as one."""
    body = _BODY.pack(
        _MAGIC,
        state.clean,
        state.generation,
        state.first_seq,
        state.end,
        state.last.epoch,
        state.last.seq,
        state.epoch,
        state.lost_epoch,
        state.boot_id.encode()[:64],
    )
    return zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body


def unpack(data: bytes) -> WriterState | None:
    """The note, or None when the bytes are not one."""
    body = data[_CRC_BYTES:]
    if len(body) != _BODY.size or zlib.crc32(body) != int.from_bytes(data[:_CRC_BYTES], "little"):
        return None
    fields = _BODY.unpack(body)
    magic, clean, generation, first_seq, end, last_epoch, last_seq, epoch, lost, boot = fields
    if magic != _MAGIC:
        return None
    return WriterState(
        clean=clean,
        generation=generation,
        first_seq=first_seq,
        end=end,
        last=Position(Epoch(last_epoch), last_seq),
        epoch=Epoch(epoch),
        lost_epoch=Epoch(lost),
        boot_id=boot.rstrip(b"\0").decode(errors="replace"),
    )


def read(directory: Path) -> WriterState | None:
    """The note of the journal in `directory`; None when there is none that can be believed.

    A reader can meet the writer in the middle of writing it, hence the second look.
    """
    for _ in range(2):
        try:
            found = unpack((directory / FILE_NAME).read_bytes())
        except FileNotFoundError:
            return None
        if found is not None:
            return found
    return None


def open_file(directory: Path) -> int:
    """A descriptor to write the note through."""
    return os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o600)
