"""What the stream process says of its sessions and of the journal."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from staqraft.daemon.clock import boottime_ms, wall_ms
from staqraft.journal.lag import lag
from staqraft.model import Position
from staqraft.replication.messages import to_position
from staqraft.replication.status import PeerStatus, State
from staqraft.wire.v1 import data_worker_pb2 as pb

_STATES = {
    State.DISCONNECTED: pb.SESSION_STATE_DISCONNECTED,
    State.RECONCILING: pb.SESSION_STATE_RECONCILING,
    State.CATCHING_UP: pb.SESSION_STATE_CATCHING_UP,
    State.STREAMING: pb.SESSION_STATE_STREAMING,
}


def segment_bytes(directory: Path) -> int:
    """What the journal takes on its volume."""
    total = 0
    for path in directory.glob("*.seg"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # trimmed in between
    return total


@dataclass(frozen=True, slots=True)
class Volume:
    """How the journal lies on its disk."""

    segments: int = 0
    free_bytes: int | None = None  # None: not known


class VolumeLook:
    """Looks at the journal's volume beside everything else: a disk that hangs delays no answer."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._look: asyncio.Future[Volume] | None = None
        self._latest = Volume()

    def latest(self) -> Volume:
        """What was seen last; looks again, for the next time, unless a look is under way."""
        if self._look is not None and self._look.done():
            self._latest = self._look.result()
            self._look = None
        if self._look is None:
            self._look = asyncio.get_running_loop().run_in_executor(None, volume, self._directory)
        return self._latest


def volume(directory: Path) -> Volume:
    """What is in the journal's directory, and what is free there."""
    try:
        segments = sum(1 for _ in directory.glob("*.seg"))
        figures = os.statvfs(directory)
    except OSError:  # it is not there yet, or its disk is broken, which the journal itself reports
        return Volume()
    return Volume(segments, figures.f_bavail * figures.f_frsize)


def session(status: PeerStatus, last: Position) -> pb.PeerSession:
    """A session, as far as its two ends say; `last` is the journal's end."""
    heard = boottime_ms() - status.heard_ms if status.heard_ms is not None else 0
    return pb.PeerSession(
        node=status.node,
        state=_STATES[status.state],
        durable=to_position(status.durable),
        applied=to_position(status.applied),
        settling=status.settling,
        ring=status.ring,
        heard_ms_ago=max(0, heard),
        problem=status.problem,
        objects_done=status.objects_done,
        objects_total=status.objects_total,
        bytes_done=status.bytes_done,
        bytes_per_s=status.bytes_per_s,
        left_ms=status.left_ms,
        wire_bytes=status.wire_bytes,
        raw_bytes=status.raw_bytes,
        lag_records=max(0, last.seq - status.durable.seq),
    )


def add_lag(directory: Path, to: pb.PeerSession, durable: Position) -> None:
    """How much of the journal the peer lacks, and since when. OSError, JournalCorrupt."""
    behind = lag(directory, durable)
    to.lag_bytes = behind.bytes
    if behind.since_ms:
        to.lag_ms = max(0, wall_ms() - behind.since_ms)
