"""The index's values, and how they stand in a database row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from staqraft.index.digest import pack_xattrs, unpack_xattrs
from staqraft.index.errors import IndexDamaged
from staqraft.journal.record import Metadata, ObjectType
from staqraft.model import Epoch, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

UNRECORDED: Final = Position(Epoch(0), 0)
"""Origin of a version that no record made: found on disk, known to no journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """Which inode it was when last looked at. `dev` may change at a reboot."""

    dev: int
    ino: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object as last known."""

    path: bytes  # relative to the tree's root; b"" is the root itself
    metadata: Metadata
    digest: bytes  # xxh3_128 of a regular file's content, else b""
    identity: FileIdentity
    origin: Position  # the record that made this state, or UNRECORDED

    @property
    def is_unread(self) -> bool:
        """Whether it is a file of which nobody has looked what it holds, or not yet all of it."""
        return self.metadata.type is ObjectType.FILE and not self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An entry of a directory, as replicas compare it."""

    name: bytes
    type: ObjectType
    state: bytes  # digest of the object itself; b"" of a file that is unread: it equals nothing
    subtree: bytes  # of a directory: digest of everything below it
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How much a tree holds, its root included."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSummary:
    """A whole tree as replicas compare it. `digest` is b"" when the root is not in the index."""

    digest: bytes
    objects: int
    bytes: int


def is_same_file(one: Entry, other: Entry) -> bool:
    """Whether both are regular files, and one inode: so its other names are what they were."""
    a, b = one.identity, other.identity
    is_file = ObjectType.FILE
    return (
        one.metadata.type is is_file
        and other.metadata.type is is_file
        and (a.ino, a.dev) == (b.ino, b.dev)
    )


COLUMNS: Final = (
    "type, mode, uid, gid, mtime_ns, size, target, rdev, xattrs, digest, "
    "dev, ino, ctime_ns, origin_epoch, origin_seq"
)
COLUMN_COUNT: Final = 15
_SIGN: Final = 1 << 63
_WRAP: Final = 1 << 64


def signed(number: int) -> int:
    """An unsigned 64-bit number (an inode, a device) as SQLite can hold it."""
    return number - _WRAP if number >= _SIGN else number


def unsigned(number: int) -> int:
    """The number that `signed` was given."""
    return number + _WRAP if number < 0 else number


def to_row(entry: Entry) -> tuple[Any, ...]:
    """The entry's values in the order of `COLUMNS`."""
    m, i = entry.metadata, entry.identity
    return (
        int(m.type),
        m.mode,
        m.uid,
        m.gid,
        m.mtime_ns if -_SIGN <= m.mtime_ns < _SIGN else b"%d" % m.mtime_ns,
        m.size,
        m.symlink_target or None,
        signed(m.rdev),
        pack_xattrs(m.xattrs) if m.xattrs else None,
        entry.digest or None,
        signed(i.dev),
        signed(i.ino),
        i.ctime_ns,
        entry.origin.epoch,
        entry.origin.seq,
    )


def metadata_of(row: Sequence[Any]) -> Metadata:
    """The metadata in a row that begins with `COLUMNS`. IndexDamaged when that cannot be."""
    try:
        return _metadata(row)
    except (ValueError, TypeError) as error:
        raise IndexDamaged(f"a row of the index cannot be read: {error}") from error


def _metadata(row: Sequence[Any]) -> Metadata:
    return Metadata(
        type=ObjectType(row[0]),
        mode=row[1],
        uid=row[2],
        gid=row[3],
        mtime_ns=int(row[4]),  # digits, if it is too far from 1970 for SQLite
        size=row[5],
        symlink_target=row[6] or b"",
        rdev=unsigned(row[7]),
        xattrs=unpack_xattrs(row[8]) if row[8] else (),
    )


def to_entry(path: bytes, row: Sequence[Any]) -> Entry:
    """The entry at `path` from a row that begins with `COLUMNS`."""
    return Entry(
        path=path,
        metadata=metadata_of(row),
        digest=row[9] or b"",
        identity=FileIdentity(dev=unsigned(row[10]), ino=unsigned(row[11]), ctime_ns=row[12]),
        origin=Position(Epoch(row[13]), row[14]),
    )
