"""Whether what stands at a place is what the index, or a record, speaks of."""

from __future__ import annotations

import os
from typing import Final

from staqraft.apply.observe import type_of
from staqraft.apply.writer import Place
from staqraft.index import UNRECORDED, Entry
from staqraft.journal.record import ObjectType, Upsert

NOT_SURE_NS: Final = 0
"""The ctime of an entry that says what an object should be, not what it was found to be."""


def after_move(path: bytes, source: bytes, target: bytes) -> bytes:
    """Where a path is after its tree moved `source` to `target`."""
    if path == source or path.startswith(source + b"/"):
        return target + path[len(source) :]
    return path


def is_same(entry: Entry | None, found: os.stat_result) -> bool:
    """Whether the object found is the very one that the index knows, changed or not."""
    return (
        entry is not None
        and entry.identity.ino == found.st_ino
        and (entry.metadata.type is type_of(found))
    )


def is_unchanged(entry: Entry | None, found: os.stat_result) -> bool:
    """Whether it is, and was not changed since."""
    if entry is None or entry.origin == UNRECORDED or not is_same(entry, found):
        return False
    if entry.identity.ctime_ns == NOT_SURE_NS:
        return False
    return entry.identity.ctime_ns == found.st_ctime_ns or (
        entry.metadata.size == found.st_size and entry.metadata.mtime_ns == found.st_mtime_ns
    )


def is_same_node(at: Place, found: os.stat_result, upsert: Upsert) -> bool:
    """Whether metadata alone can turn what was found into what is wanted (never for files)."""
    wanted = upsert.metadata
    if type_of(found) is not wanted.type:
        return False
    if wanted.type is ObjectType.SYMLINK:
        return os.readlink(at[1], dir_fd=at[0]) == wanted.symlink_target
    return wanted.rdev in {0, found.st_rdev}
