"""What the journal's writer does with the file system, and its errors in our words."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from staqraft.errors import JournalBusy, JournalError, JournalFull
from staqraft.model import Position

LOCK_NAME = "writer.lock"
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def next_of(last: Position) -> Position:
    """Where an empty journal's first record will stand."""
    return Position(last.epoch, last.seq + 1)


def pwrite_all(fd: int, data: memoryview, offset: int) -> bool:
    """False when there is no space for all of it."""
    try:
        while data:
            written = os.pwrite(fd, data, offset)
            data, offset = data[written:], offset + written
    except OSError as error:
        if error.errno in NO_SPACE:
            return False
        raise
    return True


def full_text(directory: Path) -> str:
    """That there is no space, and what to do."""
    return f"no space left for the journal in {directory}: free some, or give it a larger volume"


def broken_text(directory: Path, doing: str, error: OSError) -> str:
    """That the disk failed while `doing` something to the journal, and what to do."""
    return f"{doing} the journal in {directory} failed ({error.strerror}): check the disk"


def in_words(error: OSError, directory: Path) -> JournalError:
    """An error of the file system as one of ours."""
    if error.errno in NO_SPACE:
        return JournalFull(full_text(directory))
    return JournalError(broken_text(directory, "opening", error))


def lock(directory: Path) -> int:
    """Becomes the writer, and leaves the pid for whoever comes too late."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise JournalBusy(
            f"the journal in {directory} is being written by another process (pid {holder})"
        ) from None
    except OSError:
        os.close(fd)
        raise
    return fd
