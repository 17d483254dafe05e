"""What a writer finds when it opens a journal, and what it does about it.

| found | done |
|---|---|
| nothing | an empty journal, generation 1 |
| files of an older generation, or unnamed yet | removed: a reset or a roll was interrupted |
| bytes behind the last good frame of the last segment | cut, and said unless it was room |
| less than what was once durable | cut, said, and the epoch's tail counts as lost |
| damage with good records behind it, a bad header, segments missing | JournalCorrupt |
| a journal of another cluster or group | JournalError: never touched |

Damage before the point that is known to be durable is not looked for here (opening has to be quick:
a takeover waits for it); readers check every record and find it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from staqraft.errors import JournalCorrupt, JournalError
from staqraft.journal import frames, segment, state
from staqraft.journal.frames import Gap
from staqraft.journal.segment import Header, Name
from staqraft.journal.state import WriterState
from staqraft.model import NO_EPOCH, ORIGIN, GroupId, Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A journal as it is after recovery. `end` is where the next frame of the last segment goes."""

    headers: tuple[Header, ...]
    last: Position
    end: int
    state: WriterState
    notices: tuple[str, ...]


def recover(directory: Path, *, cluster: str, group: GroupId, boot_id: str) -> Found | None:
    """Cleans up and finds the end. None: there is no segment."""
    notices = _remove_leftovers(directory)
    noted = state.read(directory)
    headers = [
        _checked_header(directory, name, cluster, group) for name in segment.listing(directory)
    ]
    if not headers:
        return None
    path = headers[-1].name.segment(directory)
    tail = _tail(path, headers[-1], noted)
    if tail.cut:
        notices.append(f"journal: {path} ended in {tail.cut_reason}: {tail.cut} bytes were cut off")
    if tail.vanished:
        notices.append(
            f"journal: {path} lacks records up to {noted.last if noted else ORIGIN} that were "
            f"durable once; it goes on behind {tail.last}. Check the disk."
        )
    before = noted or WriterState()
    epoch = max(before.epoch, tail.last.epoch)
    power_cut = noted is not None and not noted.clean and noted.boot_id != boot_id
    lost = tail.vanished or power_cut or noted is None
    if lost:
        notices.append(f"journal: in {directory} the last records of epoch {epoch} may be lost")
    current = replace(
        before,
        clean=False,
        generation=headers[-1].generation,
        first_seq=headers[-1].previous.seq + 1,
        end=tail.end,
        last=tail.last,
        epoch=epoch,
        lost_epoch=epoch if lost else before.lost_epoch,
        boot_id=boot_id,
    )
    return Found(
        headers=tuple(headers),
        last=tail.last,
        end=tail.end,
        state=current,
        notices=tuple(notices),
    )


def newest_trace(directory: Path) -> Position:
    """The newest position that anything readable in a damaged journal still speaks of."""
    noted = state.read(directory)
    traces = [noted.last if noted else ORIGIN, Position(noted.epoch if noted else NO_EPOCH)]
    for name in segment.every_segment(directory):
        path = name.segment(directory)
        data = path.read_bytes()
        try:
            previous = segment.unpack(data, path).previous
        except JournalCorrupt:
            traces.append(Position(NO_EPOCH, name.first_seq))
            continue
        run = frames.scan(data, segment.HEADER_BYTES, previous)
        traces.extend([previous, run.last, frames.goes_on(data, run) or ORIGIN])
    return Position(max(t.epoch for t in traces), max(t.seq for t in traces))


def _remove_leftovers(directory: Path) -> list[str]:
    notices = []
    for scratch in directory.glob("*.new"):
        scratch.unlink()
    names = segment.every_segment(directory)
    old = [name for name in names if name.generation != names[-1].generation]
    for name in old:
        remove(directory, name)
    if old:
        notices.append(f"journal: an interrupted reset of {directory} was completed")
    kept = {name.index(directory) for name in names} - {name.index(directory) for name in old}
    for stray in set(directory.glob("*.idx")) - kept:
        stray.unlink()
    return notices


def remove(directory: Path, name: Name) -> None:
    """Removes a segment and its index."""
    name.segment(directory).unlink(missing_ok=True)
    name.index(directory).unlink(missing_ok=True)


def _checked_header(directory: Path, name: Name, cluster: str, group: GroupId) -> Header:
    path = name.segment(directory)
    with path.open("rb") as file:
        header = segment.unpack(file.read(segment.HEADER_BYTES), path)
    if (header.cluster, header.group) != (cluster, group):
        text = (
            f"{path} belongs to group {header.group} of cluster {header.cluster}, not to {group} "
            f"of {cluster}: move the directory {directory} away, or correct the configuration"
        )
        raise JournalError(text)
    if header.name != name:
        text = f"{path} has another segment's header: its name does not match what it says"
        raise JournalCorrupt(text)
    return header


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    last: Position
    end: int
    cut: int = 0
    cut_reason: str = ""
    vanished: bool = False


def _tail(path: Path, header: Header, noted: WriterState | None) -> _Tail:
    """Finds the end of the last segment and cuts what is behind it."""
    data = path.read_bytes() if noted is None else b""
    size = len(data) if noted is None else path.stat().st_size
    start, previous, trusted = segment.HEADER_BYTES, header.previous, False
    if noted and (noted.generation, noted.first_seq) == (header.generation, header.name.first_seq):
        trusted = segment.HEADER_BYTES <= noted.end <= size
        if trusted:
            start, previous = noted.end, noted.last
    if noted is not None:
        with path.open("rb") as file:
            file.seek(start)
            data, base = file.read(), start
    else:
        base = 0
    run = frames.scan(data, start - base, previous)
    end = run.end + base
    vanished = noted is not None and noted.last.seq > run.last.seq
    behind = frames.goes_on(data, run)
    if behind is not None and not trusted:
        text = (
            f"{path} is damaged behind record {run.last} ({frames.describe(run.stop)}) and goes on "
            f"with record {behind}: the journal has to be given up and the replicas compared. "
            "Check the disk."
        )
        raise JournalCorrupt(text)
    if size == end:
        return _Tail(last=run.last, end=end, vanished=vanished)
    os.truncate(path, end)
    if run.stop is Gap.EMPTY and not data[run.end :].strip(b"\0"):
        return _Tail(last=run.last, end=end, vanished=vanished)  # it was room
    reason = f"an unfinished record behind {run.last} ({frames.describe(run.stop)})"
    return _Tail(last=run.last, end=end, cut=size - end, cut_reason=reason, vanished=vanished)
